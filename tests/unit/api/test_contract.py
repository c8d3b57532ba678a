"""What operator and pods tell each other: neighbouring releases understand each other."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from torchyard.api import contract
from torchyard.api.contract import (
    ARTIFACT_LIMIT,
    PERMANENT,
    TERMINATION_LIMIT,
    Message,
    Outcome,
    PublishedArtifact,
    Termination,
    WorkerConfig,
    WorkerProgress,
)
from torchyard.api.trainingjob import CheckpointStatus

Json = dict[str, Any]
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
PROGRESS = {"step": 3, "totalSteps": 9, "epoch": 1, "loss": "0.5", "metrics": {"accuracy": "0.8"}}
CHECKPOINT = {"step": 2, "uri": "pvc://m/c", "time": "2026-03-01T12:00:00Z", "bytes": 7}
ARTIFACT = {
    "uri": "pvc://m/a",
    "digest": "sha256:" + "0" * 64,
    "sizeBytes": 5,
    "formats": ["Onnx"],
    "signature": {"inputs": [TENSOR], "outputs": [TENSOR]},
    "metrics": {"accuracy": "0.8"},
}
CONFIG = {
    "contractVersion": 1,
    "job": {"namespace": "team", "name": "job", "uid": "u"},
    "attempt": 0,
    "spec": {
        "task": {"entrypoint": {"object": "a:B", "arguments": {"x": {"y": 1}}}},
        "image": "mine",
        "data": {"uri": "pvc://d/rows.csv"},
        "workers": {"count": 2, "resources": {"limits": {"cpu": "1"}}},
        "optimization": {"optimizer": {"name": "SGD"}},
        "output": {"model": "m", "uri": "pvc://m", "require": [{"metric": "loss", "atMost": 1}]},
    },
    "rendezvous": "a0-w0.job-workers:29500",
    "dataPath": "/torchyard/data/rows.csv",
}
ENDED = {
    "contractVersion": 1,
    "outcome": "Succeeded",
    "time": "2026-03-01T12:00:00Z",
    "progress": PROGRESS,
    "checkpoint": CHECKPOINT,
    "artifact": ARTIFACT,
}
SAID = {"contractVersion": 1, "attempt": 0, "progress": PROGRESS, "checkpoint": CHECKPOINT}
MESSAGES = [(WorkerConfig, CONFIG), (WorkerProgress, SAID), (Termination, ENDED)]

FREE = ("arguments", "metrics", "limits")
"""Maps whose keys are the user's."""


def with_novelties(message: Any) -> Iterator[Json]:
    """The message with a field more, once in each of its parts."""
    if isinstance(message, list):
        for index, item in enumerate(message):
            for changed in with_novelties(item):
                yield [*message[:index], changed, *message[index + 1 :]]  # type: ignore[misc]
    if isinstance(message, dict):
        yield {**message, "novelty": {"of": ["a", "newer", "release"]}}
        for key, value in message.items():
            if key not in FREE:
                for changed in with_novelties(value):
                    yield {**message, key: changed}


@pytest.mark.parametrize(
    ("kind", "message"), MESSAGES, ids=lambda value: getattr(value, "__name__", "")
)
def test_a_reader_ignores_what_a_newer_writer_adds(kind: type[Message], message: Json) -> None:
    plain = kind.read(json.dumps(message))
    changed = list(with_novelties(message))
    assert len(changed) >= 3
    for novelty in changed:
        assert kind.read(json.dumps(novelty)) == plain


@pytest.mark.parametrize(
    ("kind", "message"), MESSAGES, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_written_is_read(kind: type[Message], message: Json) -> None:
    read = kind.read(json.dumps(message))
    assert kind.read(read.model_dump_json(by_alias=True, exclude_none=True)) == read
    assert kind.read(json.dumps(read.wire())) == read


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        (Termination, {"outcome": "ProcessFailed"}),
        (WorkerProgress, {"attempt": 0, "progress": {}}),
    ],
)
def test_an_older_writer_leaves_most_fields_out(kind: type[Message], least: Json) -> None:
    assert kind.read(json.dumps(least)).contract_version == contract.CONTRACT_VERSION


@pytest.mark.parametrize(("kind", "message"), MESSAGES[1:], ids=["progress", "termination"])
def test_what_a_pod_says_in_another_contract_is_not_guessed_at(
    kind: type[Message], message: Json
) -> None:
    with pytest.raises(ValidationError, match="contractVersion"):
        kind.read(json.dumps({**message, "contractVersion": 2}))


def test_a_worker_can_tell_a_person_that_the_contract_is_another() -> None:
    assert WorkerConfig.read(json.dumps({**CONFIG, "contractVersion": 2})).contract_version == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("outcome", "Mood"),
        ("message", "x" * 1025),
        ("rank", -1),
        ("rank", 10**30),
        ("exitCode", 10**30),
        ("firstStep", -1),
        ("time", "yesterday"),
        ("time", "2026-03-01 12:00:00Z"),
        ("time", "2026-03-01T12:00:00"),
        ("time", "2026-13-01T12:00:00Z"),
        ("progress", {"step": -1}),
        ("progress", {"loss": "9" * 33}),
        ("progress", {"metrics": {"not a name": "1"}}),
        ("progress", {"metrics": {f"m{i}": "1" for i in range(33)}}),
        ("checkpoint", {**CHECKPOINT, "time": "now"}),
        ("checkpoint", {**CHECKPOINT, "uri": "x" * 1025}),
        ("artifact", {**ARTIFACT, "uri": "s3://m/a"}),
        ("artifact", {**ARTIFACT, "formats": ["Onnx", "Onnx", "Onnx"]}),
        ("artifact", {**ARTIFACT, "formats": ["Pickle"]}),
        (
            "artifact",
            {**ARTIFACT, "signature": {"inputs": [{**TENSOR, "shape": [0]}], "outputs": []}},
        ),
    ],
)
def test_what_the_api_server_would_not_store_is_not_taken(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        Termination.read(json.dumps({**ENDED, field: value}))


@pytest.mark.parametrize(
    "time",
    ["2026-03-01T12:00:00Z", "2026-03-01T12:00:00.123456Z", "2026-03-01T12:00:00+02:00"],
)
def test_times_as_kubernetes_writes_them(time: str) -> None:
    assert Termination.read(json.dumps({**ENDED, "time": time})).time == time


class TestSize:
    """Last words have 4,096 bytes, and the record of an artifact has to leave through them."""

    @staticmethod
    def artifact(tensors: int, metrics: int = 0) -> Json:
        names = [f"tensor_{'x' * 100}_{i}" for i in range(tensors)]
        signature = {"inputs": [{**TENSOR, "name": name} for name in names], "outputs": [TENSOR]}
        told = {f"metric_{i}": "0.123456" for i in range(metrics)}
        return {**ARTIFACT, "signature": signature, "metrics": told}

    def test_a_record_that_is_too_large_is_refused_before_it_is_published(self) -> None:
        with pytest.raises(ValidationError, match="fewer or shorter names of tensors and metrics"):
            PublishedArtifact.model_validate(self.artifact(30))

    def test_a_usual_one_is_far_from_it(self) -> None:
        usual = PublishedArtifact.model_validate(self.artifact(4, 8))
        assert len(usual.model_dump_json(by_alias=True)) < ARTIFACT_LIMIT / 2

    def test_the_largest_fits_together_with_the_longest_checkpoint(self) -> None:
        # What a writer cannot leave out; message and progress give way.
        fits = next(n for n in range(30, 0, -1) if _valid(self.artifact(n, 1)))
        longest = 2**53 - 1
        checkpoint = CheckpointStatus(
            step=longest,
            uri="pvc://" + "x" * (CheckpointStatus.model_fields["uri"].metadata[0].max_length - 6),
            time="2026-03-01T12:00:00.123456789+00:00",
            bytes=longest,
        )
        words = Termination(
            outcome=Outcome.REQUIREMENT_NOT_MET,
            rank=longest,
            exit_code=-(2**31),
            time="2026-03-01T12:00:00.123456789+00:00",
            first_step=longest,
            checkpoint=checkpoint,
            artifact=PublishedArtifact.model_validate(self.artifact(fits, 1)),
        )
        slack = ARTIFACT_LIMIT - len(
            words.artifact.model_dump_json(by_alias=True, exclude_none=True)
        )
        size = len(words.model_dump_json(by_alias=True, exclude_none=True).encode())
        assert size + slack <= TERMINATION_LIMIT


def _valid(artifact: Json) -> bool:
    try:
        PublishedArtifact.model_validate(artifact)
    except ValidationError:
        return False
    return True


def test_permanent_outcomes_are_those_that_a_restart_would_repeat() -> None:
    retried = {
        Outcome.SUCCEEDED,
        Outcome.INTERRUPTED,
        Outcome.PROCESS_FAILED,
        Outcome.PEER_LOST,
        Outcome.ARTIFACT_CORRUPT,
        Outcome.LOAD_FAILED,
    }
    assert set(Outcome) - PERMANENT == retried
    assert contract.EXIT_RETRY != contract.EXIT_PERMANENT
