"""Who is to blame when a gang falls apart: causes, order, patience."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.builders import (
    FAILED,
    PENDING,
    RUNNING,
    START,
    SUCCEEDED,
    PodState,
    at,
    ended,
    failed,
    gone,
    pod,
    says,
)
from torchyard.core import failure
from torchyard.core.failure import Failure


def blamed(states: Iterable[PodState | None], created: bool = True) -> Failure | None:
    wanted = list(states)
    pods = tuple(pod(i, state) for i, state in enumerate(wanted) if state is not None)
    found = failure.of_attempt(pods, len(wanted), created)
    return found[0] if found else None


def disrupted(state: PodState, reason: str) -> PodState:
    told = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": f"because of {reason}",
        "lastTransitionTime": at(3),
    }
    return PodState({**state.status, "conditions": [told]}, state.deleted, state.grace)


@dataclass(frozen=True)
class Case:
    name: str
    states: tuple[PodState | None, ...]
    cause: str | None
    worker: int | None = None
    exit_code: int | None = None
    says: str = ""
    created: bool = True


CASES = (
    Case("all run", (RUNNING, RUNNING), None),
    Case("pending is no failure", (PENDING, RUNNING), None),
    Case("success is no failure", (SUCCEEDED, RUNNING), None),
    Case("a success that is being deleted", (SUCCEEDED.deleting(), RUNNING), None),
    Case("a missing pod before all were made", (None, RUNNING), None, created=False),
    Case("a missing pod afterwards", (RUNNING, None), "PodDeleted", 1, says="worker 1 was deleted"),
    Case("a rank that raised", (RUNNING, FAILED), "ProcessFailed", 1, 1, "ValueError"),
    Case(
        "the rank's exit code, not the supervisor's",
        (ended(1, says("ProcessFailed", exit_code=139, rank=3)),),
        "ProcessFailed",
        0,
        139,
    ),
    Case(
        "the first of two",
        (failed("ProcessFailed", at_=9), failed("ProcessFailed", at_=4)),
        "ProcessFailed",
        1,
    ),
    Case(
        "a lost peer is not to blame, though it was first",
        (failed("PeerLost", at_=1), failed("ProcessFailed", at_=5)),
        "ProcessFailed",
        1,
    ),
    Case(
        "an interrupted worker is not to blame before one that failed",
        (failed("Interrupted", 75, at_=1), failed("ProcessFailed", at_=5)),
        "ProcessFailed",
        1,
    ),
    Case(
        "an interrupted worker is, before those that lost it",
        (failed("PeerLost", at_=1), failed("Interrupted", 75, at_=2)),
        "Interrupted",
        1,
        75,
    ),
    Case(
        "what a restart would repeat comes before what happened first",
        (failed("ProcessFailed", at_=1), failed("DataInvalid", 78, at_=5)),
        "DataInvalid",
        1,
    ),
    Case(
        "out of memory is what the runtime says, whatever the worker said",
        (ended(137, says("ProcessFailed"), reason="OOMKilled"),),
        "OutOfMemory",
        0,
        137,
        "raise workers.resources",
    ),
    Case("evicted by the kubelet", (gone("Evicted", "disk"),), "PodEvicted", 0, says="disk"),
    Case("node shut down", (gone("Terminated", "imminent node shutdown"),), "NodeLost", 0),
    Case("node lost", (gone("NodeLost"),), "NodeLost", 0),
    Case(
        "drained: the eviction, not the SIGTERM that followed",
        (disrupted(failed("Interrupted", 75), "EvictionByEvictionAPI"),),
        "PodEvicted",
        0,
        says="because of EvictionByEvictionAPI",
    ),
    Case(
        "preempted while it still runs",
        (disrupted(RUNNING.deleting(), "PreemptionByScheduler"), RUNNING),
        "PodEvicted",
        0,
    ),
    Case("tainted", (disrupted(RUNNING.deleting(), "DeletionByTaintManager"),), "NodeLost", 0),
    Case("deleted by hand", (RUNNING.deleting(), RUNNING), "PodDeleted", 0),
    Case("deleted before it ran", (RUNNING, PENDING.deleting()), "PodDeleted", 1),
    Case(
        "deleted by hand, after it had failed by itself",
        (failed("ProcessFailed").deleting(5), RUNNING),
        "ProcessFailed",
        0,
    ),
    Case(
        "deleted by hand, and it left at a checkpoint",
        (failed("Interrupted", 75).deleting(5), RUNNING),
        "PodDeleted",
        0,
    ),
    Case(
        "the deletion came before the crash elsewhere",
        (failed("ProcessFailed", at_=8), RUNNING.deleting(5)),
        "PodDeleted",
        1,
    ),
    Case(
        "the crash came before the deletion elsewhere",
        (failed("ProcessFailed", at_=3), RUNNING.deleting(5)),
        "ProcessFailed",
        0,
    ),
    Case(
        "a witness tells more than a gap",
        (None, failed("ProcessFailed", at_=8)),
        "ProcessFailed",
        1,
    ),
    Case("but a gap more than a lost peer", (failed("PeerLost"), None), "PodDeleted", 1),
    Case(
        "refused by the kubelet",
        (gone("UnexpectedAdmissionError", "no devices"),),
        "PodFailed",
        0,
        says="UnexpectedAdmissionError: no devices",
    ),
    Case(
        "a reason that is a word of ours is not taken for one",
        (gone("DeadlineExceeded", "activeDeadlineSeconds"),),
        "PodFailed",
        0,
        says="DeadlineExceeded: activeDeadlineSeconds",
    ),
    Case(
        "success claimed by a container that failed",
        (ended(1, says("Succeeded")),),
        "ProcessFailed",
        0,
        1,
        "exit code 1",
    ),
    Case("killed without a word", (ended(137),), "ProcessFailed", 0, 137, "exit code 137"),
    Case(
        "the tail of a log",
        (ended(1, "Traceback\n  KeyError: 'x'\n"),),
        "ProcessFailed",
        0,
        1,
        "KeyErr",
    ),
    Case(
        "the tail of a structured log",
        (ended(1, 'x\n{"level": "error", "message": "no GPU"}\n'),),
        "ProcessFailed",
        0,
        1,
        "no GPU",
    ),
    Case(
        "a log line that is JSON but no record", (ended(1, "[1, 2]"),), "ProcessFailed", 0, 1, "[1"
    ),
    Case(
        "last words that the kubelet has cut",
        (ended(78, says("ConfigInvalid", message="x" * 50)[:60]),),
        "ProcessFailed",
        0,
        78,
    ),
    Case(
        "last words of a contract that is not ours yet",
        (ended(78, says("ConfigInvalid").replace('"contractVersion":1', '"contractVersion":2')),),
        "ProcessFailed",
        0,
        78,
    ),
    Case(
        "last words with a word more than we know",
        (ended(78, says("DataInvalid").replace("{", '{"mood": "sad", ', 1)),),
        "DataInvalid",
        0,
        78,
    ),
)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_blame(case: Case) -> None:
    found = blamed(case.states, case.created)
    if case.cause is None:
        assert found is None
        return
    assert found is not None
    assert (found.cause, found.worker) == (case.cause, case.worker)
    if case.exit_code is not None:
        assert found.exit_code == case.exit_code
    assert case.says in found.message


def test_rank_and_node_of_the_first_failure_are_told() -> None:
    found = blamed([RUNNING, failed("ProcessFailed", rank=5, message="boom")])
    assert found is not None
    assert (found.rank, found.node, found.message) == (5, "node-1", "boom")


def test_a_sidecar_that_was_put_in_does_not_end_the_worker() -> None:
    injected = {"name": "proxy", "state": {"terminated": {"exitCode": 3}}}
    status = {
        **RUNNING.status,
        "containerStatuses": [injected, *RUNNING.status["containerStatuses"]],
    }
    assert blamed([PodState(status)]) is None


class TestPatience:
    """A lost peer waits for the failure behind it, but not for ever."""

    @staticmethod
    def left(*states: PodState, now: float, others: bool = True) -> float:
        pods = tuple(pod(i, state) for i, state in enumerate(states))
        found = failure.of_attempt(pods, len(states), created=True)
        return failure.patience(found, START + timedelta(seconds=now), others)

    def test_waits_while_another_worker_may_still_say_more(self) -> None:
        assert self.left(failed("PeerLost", at_=5), RUNNING, now=8) == 7

    def test_counts_from_the_first_that_was_lost(self) -> None:
        assert self.left(failed("PeerLost", at_=5), failed("PeerLost", at_=9), now=10) == 5

    def test_ends(self) -> None:
        assert self.left(failed("PeerLost", at_=5), RUNNING, now=15) == 0
        assert self.left(failed("PeerLost", at_=5), RUNNING, now=500) == 0

    def test_is_not_asked_for_when_nobody_is_left_to_speak(self) -> None:
        assert self.left(failed("PeerLost", at_=5), now=5, others=False) == 0

    def test_is_not_asked_for_by_any_other_cause(self) -> None:
        assert self.left(FAILED, RUNNING, now=0) == 0
        assert self.left(failed("Interrupted", 75), RUNNING, now=0) == 0

    def test_a_clock_that_is_ahead_is_bounded_by_the_end_of_the_others(self) -> None:
        ahead = failed("PeerLost", at_=3600)
        assert self.left(ahead, RUNNING, now=5) > failure.BLAME_SECONDS
        assert self.left(ahead, now=5, others=False) == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=8,
)
WORDS = st.fixed_dictionaries(
    {"outcome": st.sampled_from(["ProcessFailed", "PeerLost", "Succeeded", "Mood", ""])},
    optional={
        name: JSON | st.text(max_size=40)
        for name in ("time", "rank", "exitCode", "message", "progress", "checkpoint", "artifact")
    },
)


@given(st.text(max_size=60) | WORDS.map(lambda words: json.dumps(words)), st.integers(-1, 255))
def test_whatever_a_container_leaves_can_be_put_on_record(message: str, exit_code: int) -> None:
    found = blamed([ended(exit_code, message, reason="Error"), RUNNING])
    if exit_code == 0:
        assert found is None
        return
    assert found is not None
    recorded: Any = found.message.encode()
    assert len(found.message) <= 1024
    assert recorded.decode() == found.message
    assert 0 < len(found.cause) <= 253
