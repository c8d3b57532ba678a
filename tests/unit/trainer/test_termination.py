from pathlib import Path

import pytest

from torchyard.api.contract import (
    EXIT_PERMANENT,
    EXIT_RETRY,
    TERMINATION_LIMIT,
    Outcome,
    PublishedArtifact,
    Termination,
    WorkerProgress,
)
from torchyard.api.modelversion import Datatype, Signature, Tensor
from torchyard.api.trainingjob import CheckpointStatus, Format, Progress
from torchyard_trainer.termination import End, cut, encode, exit_code, verdict, write

PROGRESS = WorkerProgress(
    attempt=3,
    first_step=100,
    progress=Progress(step=420, total_steps=900),
    checkpoint=CheckpointStatus(
        step=400, uri="pvc://models/c/a0003-s00000400", time="2026-01-01T00:00:00Z", bytes=7
    ),
)


def word(outcome: Outcome, rank: int = 0) -> Termination:
    return Termination(outcome=outcome, rank=rank, message=f"said rank {rank}")


def killed(rank: int, time: float) -> End:
    return End(rank, 137, time)


def left(rank: int, time: float, outcome: Outcome) -> End:
    return End(rank, 0 if outcome is Outcome.SUCCEEDED else 1, time, word(outcome, rank))


def test_all_well_is_what_the_first_rank_says() -> None:
    ends = [left(5, 1.0, Outcome.SUCCEEDED), left(4, 2.0, Outcome.SUCCEEDED)]
    assert verdict(ends, None).message == "said rank 4"


def test_a_rank_that_was_killed_is_named_with_signal_step_and_checkpoint() -> None:
    found = verdict([left(0, 1.0, Outcome.PEER_LOST), killed(1, 1.1)], PROGRESS)
    assert found.outcome is Outcome.PROCESS_FAILED
    assert (found.rank, found.exit_code) == (1, 137)
    assert found.message == "rank 1 was ended by signal 9"
    assert found.time == "1970-01-01T00:00:01.100Z"
    assert found.first_step == 100
    assert found.progress == PROGRESS.progress
    assert found.checkpoint == PROGRESS.checkpoint


@pytest.mark.parametrize(
    ("ends", "outcome", "rank"),
    [
        ([left(0, 1, Outcome.PEER_LOST), left(1, 2, Outcome.DATA_INVALID)], "DataInvalid", 1),
        ([left(0, 1, Outcome.PEER_LOST), left(1, 2, Outcome.INTERRUPTED)], "Interrupted", 1),
        ([left(0, 1, Outcome.INTERRUPTED), left(1, 2, Outcome.TASK_INVALID)], "TaskInvalid", 1),
        ([left(0, 2, Outcome.PEER_LOST), left(1, 1, Outcome.PEER_LOST)], "PeerLost", 1),
        ([left(0, 2, Outcome.PROCESS_FAILED), killed(1, 1)], "ProcessFailed", 1),
        ([left(0, 1, Outcome.SUCCEEDED), left(1, 2, Outcome.PEER_LOST)], "PeerLost", 1),
        ([End(0, 137, 9, dismissed=True), left(1, 1, Outcome.PEER_LOST)], "PeerLost", 1),
        ([left(0, 1, Outcome.SUCCEEDED), End(1, 3, 2)], "ProcessFailed", 1),
    ],
    ids=[
        "own failure before a lost peer",
        "interruption before a lost peer",
        "failure before an interruption",
        "the first of equals",
        "the first of failures",
        "one that succeeded is not to blame",
        "one that the supervisor killed is not to blame",
        "an exit without a word",
    ],
)
def test_who_is_to_blame(ends: list[End], outcome: str, rank: int) -> None:
    found = verdict(ends, None)
    assert (found.outcome, found.rank) == (outcome, rank)


def test_a_rank_that_dies_after_it_said_it_succeeded_has_failed() -> None:
    end = End(0, 139, 1.0, word(Outcome.SUCCEEDED))
    assert verdict([end], None).message == "rank 0 was ended by signal 11"


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Outcome.SUCCEEDED, 0),
        (Outcome.INTERRUPTED, EXIT_RETRY),
        (Outcome.PEER_LOST, EXIT_RETRY),
        (Outcome.PROCESS_FAILED, 1),
        (Outcome.CONFIG_INVALID, EXIT_PERMANENT),
        (Outcome.DATA_INVALID, EXIT_PERMANENT),
        (Outcome.TASK_INVALID, EXIT_PERMANENT),
        (Outcome.ACCELERATOR_MISSING, EXIT_PERMANENT),
        (Outcome.REQUIREMENT_NOT_MET, EXIT_PERMANENT),
        (Outcome.EXPORT_FAILED, EXIT_PERMANENT),
    ],
)
def test_exit_codes(outcome: Outcome, code: int) -> None:
    assert exit_code(Termination(outcome=outcome)) == code


def artifact(outputs: int) -> PublishedArtifact:
    tensors = [
        Tensor(name=f"output{n}", datatype=Datatype.FP32, shape=[-1]) for n in range(outputs)
    ]
    return PublishedArtifact(
        uri="pvc://models/model/uid-0",
        digest="sha256:" + "0" * 64,
        size_bytes=1,
        formats=[Format.ONNX],
        signature=Signature(inputs=tensors[:1], outputs=tensors),
    )


@pytest.mark.parametrize("character", ["x", "é", "漢", "\n", '"', "\x01"])
def test_a_message_of_any_text_fits(character: str) -> None:
    message = Termination(outcome=Outcome.PROCESS_FAILED, message=character * 1024)
    text = encode(message.model_copy(update={"artifact": artifact(30)}))
    assert len(text) <= TERMINATION_LIMIT
    found = Termination.model_validate_json(text)
    assert found.message.startswith(character * 20)
    assert found.artifact is not None


def test_outcome_and_artifact_outlast_everything_else() -> None:
    metrics = {f"{'metric' * 9}{n}": "0.123456" for n in range(32)}
    assert PROGRESS.checkpoint is not None
    long = f"pvc://models/{'c' * 1000}"
    message = Termination(
        outcome=Outcome.SUCCEEDED,
        message="\x01" * 1024,
        progress=Progress(metrics=metrics),
        checkpoint=PROGRESS.checkpoint.model_copy(update={"uri": long}),
        artifact=artifact(48),
    )
    text = encode(message)
    assert len(text) <= TERMINATION_LIMIT
    found = Termination.model_validate_json(text)
    assert (found.outcome, found.artifact) == (Outcome.SUCCEEDED, artifact(48))


def test_the_middle_of_a_long_text_is_cut() -> None:
    assert cut("short") == "short"
    found = cut("start" + "x" * 5000 + "the reason")
    assert len(found) <= 1024
    assert found.startswith("startx")
    assert found.endswith("xthe reason")


def test_writing_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "termination-log"
    path.write_bytes(b"x" * 5000)
    write(path, Termination(outcome=Outcome.SUCCEEDED))
    assert Termination.model_validate_json(path.read_bytes()).outcome is Outcome.SUCCEEDED
