"""Whole sessions of one process: training, interruption, resumption, publication."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from safetensors.numpy import load_file

from tests.unit.trainer import here
from tests.unit.trainer.gang import Job
from torchyard import artifact
from torchyard.api.contract import Outcome
from torchyard_trainer.checkpoint.shelf import Name
from torchyard_trainer.data.table import read_numbers

STEPS = 26 * 4  # about 1,620 training rows in batches of 64, 4 epochs


def job(root: Path, data: Path, **spec: Any) -> Job:
    common = {
        "optimization": {"epochs": 4, "batchSize": 64},
        "checkpoint": {"everySteps": 20, "keep": 3},
    }
    return Job(root, {"mlpClassifier": {"dropout": 0.1}}, data, spec={**common, **spec})


def weights(job: Job, attempt: int = 0) -> dict[str, Any]:
    return dict(load_file(job.artifact(attempt) / "model.safetensors"))


def same(mine: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return mine.keys() == theirs.keys() and all((mine[name] == theirs[name]).all() for name in mine)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, digits: Path) -> Job:
    """A job whose attempt 0 has run through."""
    whole = job(tmp_path_factory.mktemp("finished"), digits)
    termination, progress = here.run(whole)
    assert termination.outcome is Outcome.SUCCEEDED, termination
    (whole.root / "progress.json").write_text(json.dumps([message.wire() for message in progress]))
    (whole.root / "termination.json").write_text(termination.model_dump_json())
    return whole


@pytest.fixture
def copy(finished: Job, tmp_path: Path) -> Job:
    """The finished job's files, to be changed at will."""
    shutil.copytree(finished.root, tmp_path / "copy")
    return job(tmp_path / "copy", finished.data)


def test_progress_only_grows_and_ends_at_the_last_step(finished: Job) -> None:
    messages = json.loads((finished.root / "progress.json").read_text())
    steps = [message["progress"]["step"] for message in messages]
    assert steps[0] == messages[0]["firstStep"] == 0
    assert steps == sorted(steps)
    assert steps[-1] == messages[-1]["progress"]["totalSteps"] == STEPS
    saved = [message["checkpoint"]["step"] for message in messages if "checkpoint" in message]
    assert saved == sorted(saved)
    assert set(saved) == {20, 40, 60, 80, 100, STEPS}
    last = messages[-1]["progress"]
    assert (last["epoch"], last["etaSeconds"]) == (4, 0)
    assert float(last["samplesPerSecond"]) > 0
    assert float(last["metrics"]["accuracy"]) > 0.9


def test_the_termination_tells_all_that_a_record_needs(finished: Job) -> None:
    termination = json.loads((finished.root / "termination.json").read_text())
    assert termination["checkpoint"]["uri"] == f"pvc://models/.checkpoints/uid/a0000-s{STEPS:08d}"
    record = termination["artifact"]
    manifest = artifact.verify(finished.artifact(), record["digest"])
    assert record["uri"] == "pvc://models/model/uid-0"
    assert record["size_bytes"] == manifest.size_bytes
    assert record["formats"] == ["SafeTensors", "Onnx"]
    assert record["metrics"].keys() == {"accuracy", "loss"}
    assert float(record["metrics"]["accuracy"]) > 0.9
    assert record["data_digest"] == manifest.lineage["data"]["digest"]  # type: ignore[index,call-overload]


def test_the_same_training_gives_the_same_digest(finished: Job, tmp_path: Path) -> None:
    termination, _ = here.run(job(tmp_path, finished.data))
    assert termination.artifact is not None
    assert termination.artifact.digest == artifact.verify(finished.artifact(), None).digest


def test_the_graph_classifies_raw_rows(finished: Job) -> None:
    manifest = artifact.verify(finished.artifact(), None)
    (scale,) = manifest.preprocessing
    (labels,) = manifest.postprocessing
    assert isinstance(scale, artifact.Scale)
    table = read_numbers(finished.data, "label")
    scaled = ((table.features - np.array(scale.mean)) / np.array(scale.scale)).astype(np.float32)
    session = onnxruntime.InferenceSession(finished.artifact() / "model.onnx")
    (probabilities,) = session.run([labels.input], {scale.output: scaled})
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    found = [labels.labels[best] for best in probabilities.argmax(axis=1)]
    right = sum(mine == true for mine, true in zip(found, table.labels, strict=True))
    assert right / len(found) > 0.95


def test_keep_newest(finished: Job) -> None:
    assert finished.checkpoints == [Name(0, STEPS), Name(0, 100), Name(0, 80)]


@pytest.mark.parametrize("stop_at", [1, 30, 52])
def test_interrupted_and_resumed_is_as_if_nothing_had_happened(
    finished: Job, tmp_path: Path, stop_at: int
) -> None:
    halted = job(tmp_path, finished.data)
    first, reports = here.run(halted, 0, stop_at=stop_at)
    assert first.outcome is Outcome.INTERRUPTED
    assert first.progress is not None
    assert first.checkpoint is not None
    assert stop_at <= first.progress.step < STEPS
    assert first.checkpoint.step == first.progress.step
    assert reports[-1].checkpoint == first.checkpoint
    assert halted.checkpoints[0] == Name(0, first.progress.step)
    second, reports = here.run(halted, 1)
    assert second.outcome is Outcome.SUCCEEDED
    assert second.first_step == reports[0].progress.step == first.progress.step
    assert reports[0].checkpoint == first.checkpoint
    assert same(weights(halted, 1), weights(finished))


def test_a_corrupt_checkpoint_is_passed_over(
    copy: Job, finished: Job, caplog: pytest.LogCaptureFixture
) -> None:
    path = copy.shelf.directory(Name(0, STEPS)) / "__0_0.distcp"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    termination, _ = here.run(copy, 1)
    assert termination.outcome is Outcome.SUCCEEDED
    assert termination.first_step == 100
    assert f"checkpoint a0000-s{STEPS:08d} is corrupt, taking the one before: __0_0" in caplog.text
    assert same(weights(copy, 1), weights(finished))


def test_a_finished_training_goes_straight_to_its_export(copy: Job, finished: Job) -> None:
    termination, _ = here.run(copy, 1)
    assert termination.outcome is Outcome.SUCCEEDED
    assert termination.first_step == STEPS
    assert termination.artifact is not None
    assert termination.artifact.uri == "pvc://models/model/uid-1"
    assert same(weights(copy, 1), weights(finished))
    assert copy.checkpoints[0] == Name(0, STEPS)  # nothing new to keep


def test_an_attempt_that_has_published_does_so_once(copy: Job) -> None:
    before = (copy.artifact() / "manifest.json").read_bytes()
    changed = {"output": {"model": "model", "uri": "pvc://models", "formats": ["Onnx"]}}
    copy.spec = {**copy.spec, **changed}
    termination, _ = here.run(copy, 0)
    assert termination.outcome is Outcome.SUCCEEDED
    assert termination.artifact is not None
    assert termination.artifact.digest == artifact.verify(copy.artifact(), None).digest
    assert (copy.artifact() / "manifest.json").read_bytes() == before


def test_half_published_is_published_again(copy: Job) -> None:
    (copy.artifact() / "manifest.json").unlink()
    (copy.artifact() / "model.onnx").write_bytes(b"half")
    termination, _ = here.run(copy, 0)
    assert termination.artifact is not None
    artifact.verify(copy.artifact(), termination.artifact.digest)


def test_never_begins_anew(copy: Job) -> None:
    copy.spec = {**copy.spec, "checkpoint": {"everySteps": 50, "resume": "Never"}}
    termination, _ = here.run(copy, 1, stop_at=1)
    assert termination.first_step == 0
    assert termination.outcome is Outcome.INTERRUPTED


def test_other_data_than_the_checkpoint_was_trained_on(copy: Job, tmp_path: Path) -> None:
    text = copy.data.read_text()
    copy.data = tmp_path / "other.csv"
    copy.data.write_text(text.replace(",9\n", ",nine\n"))
    termination, _ = here.run(copy, 1)
    assert termination.outcome is Outcome.DATA_INVALID
    assert "the data has changed since checkpoint" in termination.message


def test_a_checkpoint_of_another_model_is_not_begun_anew_in_silence(copy: Job) -> None:
    copy.task = {"mlpClassifier": {"hidden": [16]}}
    termination, _ = here.run(copy, 1)
    assert termination.outcome is Outcome.PROCESS_FAILED
    assert "CheckpointUnreadable" in termination.message


def test_a_bar_that_is_not_cleared(copy: Job) -> None:
    bar = {"metric": "accuracy", "atLeast": 0.999}
    copy.spec = {
        **copy.spec,
        "output": {"model": "model", "uri": "pvc://models", "require": [bar]},
    }
    termination, _ = here.run(copy, 1)
    assert termination.outcome is Outcome.REQUIREMENT_NOT_MET
    assert termination.message.startswith("accuracy 0.9")
    assert termination.message.endswith(" is below atLeast 0.999")
    assert not copy.artifact(1).exists()


def test_a_loss_that_explodes(tmp_path: Path, digits: Path) -> None:
    wild = {"epochs": 2, "optimizer": {"name": "SGD", "learningRate": 100, "momentum": 0.99}}
    termination, _ = here.run(job(tmp_path, digits, optimization=wild))
    assert termination.outcome is Outcome.TASK_INVALID
    assert "lower optimization.optimizer.learningRate" in termination.message


def test_accelerators_are_not_made_up_for_by_the_cpu(tmp_path: Path, digits: Path) -> None:
    workers = {"accelerator": {"resource": "nvidia.com/gpu", "count": 1}}
    termination, reports = here.run(job(tmp_path, digits, workers=workers))
    assert termination.outcome is Outcome.ACCELERATOR_MISSING
    assert "worker 0 asked for 1 x nvidia.com/gpu but torch sees 0" in termination.message
    assert reports == []


def test_no_output_no_artifact(tmp_path: Path, digits: Path) -> None:
    termination, _ = here.run(job(tmp_path, digits, output=None), checkpointPath=None)
    assert termination.outcome is Outcome.SUCCEEDED
    assert termination.artifact is None
    assert not list(tmp_path.iterdir())


def test_text_from_end_to_end(tmp_path: Path, texts: Path) -> None:
    task = {"textClassifier": {"embedding": 8, "hidden": 8, "layers": 2, "dropout": 0.1}}
    course = {"epochs": 12, "batchSize": 32, "optimizer": {"learningRate": 0.02}}
    whole = Job(tmp_path, task, texts, spec={"optimization": course})
    termination, _ = here.run(whole)
    assert termination.outcome is Outcome.SUCCEEDED, termination
    assert termination.artifact is not None
    assert float(termination.artifact.metrics["accuracy"]) > 0.9
    manifest = artifact.verify(whole.artifact(), termination.artifact.digest)
    assert [file.path for file in manifest.files] == [
        "model.safetensors",
        "model.onnx",
        "tokenizer.json",
    ]
    assert [str(tensor) for tensor in manifest.signature.inputs] == ["BYTES[-1]"]
    assert manifest.postprocessing[0].labels == ("neg", "pos")
