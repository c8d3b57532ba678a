"""A job until its workers run: first start, suspension before it, creation, what it waits for."""

from dataclasses import replace

import pytest

from tests.unit.core.builders import (
    PENDING,
    RELEASE,
    RUNNING,
    SUCCEEDED,
    JobStory,
    PodState,
    a_job,
    at,
    condition,
    pod,
    status_of,
    unschedulable,
    waiting,
    written,
)
from torchyard.api.trainingjob import Phase
from torchyard.core.plan import Apply, Create
from torchyard.core.trainingjob import CONFIG_LIMIT


def test_the_first_attempt_is_on_record_before_anything_is_made() -> None:
    decision = a_job(workers=2).decide()
    status = status_of(decision)
    assert decision.again
    assert not decision.actions
    assert [attempt.number for attempt in status.attempts] == [0]
    assert not status.attempts[0].pods_created
    assert status.phase is Phase.STARTING
    assert status.image == RELEASE.trainer_image
    assert status.start_time == at(0)
    assert condition(decision, "Accepted") == ("True", "Valid")
    assert condition(decision, "Started") == ("False", "CreatingWorkers")


def test_the_image_of_the_spec_comes_before_that_of_the_release() -> None:
    assert status_of(a_job(image="mine:1").decide()).image == "mine:1"


def test_then_the_surroundings_are_made_and_after_them_the_pods() -> None:
    decision = a_job(workers=2).then().decide()
    kinds = [action.manifest["kind"] for action in decision.actions if not hasattr(action, "name")]
    assert kinds == ["NetworkPolicy", "Service", "Pod", "Pod"]
    assert [type(action) for action in decision.actions] == [Apply, Apply, Create, Create]
    assert written(decision) == ["create Pod reviews-a0-w0", "create Pod reviews-a0-w1"]
    assert status_of(decision).attempts[0].pods_created
    assert decision.wake is None
    assert not decision.again


def test_only_what_is_missing_is_made_after_a_crash() -> None:
    story = a_job(workers=3).then().pods(RUNNING, None, PENDING)
    assert written(story.decide()) == ["create Pod reviews-a0-w1"]


def test_a_pod_that_goes_before_all_were_made_is_made_again() -> None:
    story = a_job(workers=2).then().pods(None, RUNNING)
    assert written(story.decide()) == ["create Pod reviews-a0-w0"]


def test_nothing_is_made_once_all_pods_were_there() -> None:
    story = a_job(workers=2).attempt(0).pods(RUNNING, RUNNING)
    assert written(story.decide()) == []


def test_a_namesakes_pods_are_not_seen() -> None:
    story = a_job(workers=1).then()
    story = replace(story, world_pods=(pod(0, RUNNING, owner="another-uid"),))
    assert written(story.decide()) == ["create Pod reviews-a0-w0"]


@pytest.mark.parametrize(
    ("name", "states", "phase", "started"),
    [
        ("none there yet", (PENDING, PENDING), Phase.STARTING, None),
        ("one of two", (RUNNING, PENDING), Phase.STARTING, None),
        ("both", (RUNNING, RUNNING), Phase.RUNNING, ("True", "WorkersRunning")),
        ("one through already", (RUNNING, SUCCEEDED), Phase.RUNNING, ("True", "WorkersRunning")),
    ],
)
def test_started(
    name: str, states: tuple[PodState, ...], phase: Phase, started: tuple[str, str] | None
) -> None:
    decision = a_job(workers=2).attempt(0).pods(*states).decide()
    assert status_of(decision).phase is phase
    assert condition(decision, "Started") == started


def test_workers_are_counted() -> None:
    counts = status_of(
        a_job(workers=4).attempt(0).pods(PENDING, RUNNING, RUNNING, SUCCEEDED).decide()
    ).workers
    assert counts is not None
    assert (counts.desired, counts.running, counts.succeeded, counts.failed) == (4, 2, 1, 0)


def test_the_address_of_worker_0_is_polled_while_it_runs() -> None:
    story = a_job(workers=2).attempt(0)
    assert story.pods(PENDING, RUNNING).decide().poll is None
    assert story.pods(RUNNING, PENDING).decide().poll == "10.0.0.7:8081"
    six = PodState({**RUNNING.status, "podIP": "fd00::7"})
    assert story.pods(six, PENDING).decide().poll == "[fd00::7]:8081"
    assert story.pods(RUNNING, PENDING).decide().wake == 10


class TestTooLarge:
    """A spec that no worker could be told."""

    story = a_job(
        image="mine:1",
        task={"entrypoint": {"object": "a:B", "arguments": {"x": "y" * CONFIG_LIMIT}}},
    )

    def test_is_rejected_with_the_cure(self) -> None:
        decision = self.story.decide()
        assert condition(decision, "Accepted") == ("False", "SpecTooLarge")
        assert condition(decision, "Stalled") == ("True", "SpecTooLarge")
        assert not decision.actions
        assert not decision.again
        assert decision.wake is None
        assert "file beside the data" in status_of(decision).blocked_by.message

    def test_says_so_once(self) -> None:
        later = self.story.then(60)
        assert later.decide().status == later.job.status


class TestSuspendedFromTheStart:
    """No attempt is begun."""

    story = a_job(suspend=True)

    def test_waits(self) -> None:
        decision = self.story.decide()
        assert status_of(decision).phase is Phase.SUSPENDED
        assert condition(decision, "Suspended") == ("True", "SuspendRequested")
        assert status_of(decision).attempts == []
        assert not decision.actions
        assert decision.wake is None

    def test_begins_when_it_is_let_go(self) -> None:
        decision = self.story.then(60).with_spec(suspend=False).decide()
        assert [attempt.number for attempt in status_of(decision).attempts] == [0]
        assert condition(decision, "Suspended") == ("False", "Resumed")
        assert status_of(decision).start_time == at(60)


class TestBlockedBy:
    """Why the workers do not run yet, and the cure."""

    @pytest.mark.parametrize(
        ("state", "category", "reason", "says"),
        [
            (unschedulable("0/3 nodes: no GPU"), "Scheduling", "Unschedulable", "0/3 nodes"),
            (
                unschedulable('persistentvolumeclaim "data" not found'),
                "Volume",
                "Unschedulable",
                "not found",
            ),
            (unschedulable("", reason="SchedulingGated"), "Scheduling", "SchedulingGated", ""),
            (waiting("ErrImagePull", "no such image"), "Image", "ErrImagePull", "no such image"),
            (waiting("ImagePullBackOff"), "Image", "ImagePullBackOff", "registry.example/missing"),
            (
                waiting("CreateContainerConfigError", "no such volume"),
                "Container",
                "CreateContainerConfigError",
                "no such volume",
            ),
        ],
    )
    def test_is_told(self, state: PodState, category: str, reason: str, says: str) -> None:
        blocked = status_of(a_job(workers=2).attempt(0).pods(RUNNING, state).decide()).blocked_by
        assert blocked is not None
        assert (blocked.category, blocked.reason) == (category, reason)
        assert blocked.message.startswith("reviews-a0-w1: ")
        assert says in blocked.message

    @pytest.mark.parametrize("state", [PENDING, waiting("ContainerCreating"), RUNNING])
    def test_is_silent_about_what_takes_its_time(self, state: PodState) -> None:
        assert status_of(a_job(workers=1).attempt(0).pods(state).decide()).blocked_by is None

    def test_keeps_the_time_while_the_message_changes(self) -> None:
        story = a_job().attempt(0)
        first = story.pods(unschedulable("0/3 nodes")).then(30)
        first = replace(first, world_pods=()).pods(unschedulable("0/4 nodes"))
        blocked = status_of(first.decide()).blocked_by
        assert blocked is not None
        assert (blocked.since, blocked.message) == (at(0), "reviews-a0-w0: 0/4 nodes")

    def test_goes_when_the_workers_run(self) -> None:
        story = a_job().attempt(0).pods(unschedulable("0/3 nodes")).then(30)
        story = replace(story, world_pods=()).pods(RUNNING)
        assert status_of(story.decide()).blocked_by is None


class TestRefused:
    """What the API server would not do is said, and nothing else is lost."""

    story = a_job(workers=2).then()

    @pytest.mark.parametrize(
        ("code", "reason", "message", "category", "final"),
        [
            (403, "Forbidden", "exceeded quota: gpus, requested: 1", "Quota", False),
            (403, "Forbidden", "no verb create", "Permission", False),
            (409, "NameConflict", "exists already", "Conflict", True),
            (409, "Conflict", "try again", "Conflict", False),
            (422, "Invalid", "spec.containers[0].image: required", "Spec", True),
            (404, "NotFound", "namespace", "Cluster", False),
            (403, "", "no reason given", "Permission", False),
        ],
    )
    def test_is_told(
        self, code: int, reason: str, message: str, category: str, final: bool
    ) -> None:
        decision = self.story.refused(code, reason, message).decide()
        status = status_of(decision)
        assert not decision.actions
        assert decision.wake is None
        assert status.attempts == self.story.job.status.attempts
        assert status.blocked_by is not None
        assert (status.blocked_by.category, status.blocked_by.reason) == (
            category,
            reason or "Refused",
        )
        assert "reviews-a0-w0" in status.blocked_by.message
        accepted = condition(decision, "Accepted")
        assert accepted == (("False", reason) if final else ("True", "Valid"))
        assert (condition(decision, "Stalled") == ("True", reason)) is final

    def test_says_the_same_at_the_second_refusal(self) -> None:
        refused = self.story.refused(403, "Forbidden", "exceeded quota")
        later = replace(refused.then(30), rest=refused.rest)
        assert later.decide().status == later.job.status

    def test_is_forgotten_when_it_is_over(self) -> None:
        story = self.story.refused(409, "NameConflict", "exists").then(30)
        over = replace(story, rest={}).pods(RUNNING, RUNNING).decide()
        assert status_of(over).blocked_by is None
        assert condition(over, "Accepted") == ("True", "Valid")
        assert condition(over, "Stalled") == ("False", "Valid")

    def test_a_name_conflict_tells_the_cure(self) -> None:
        decision = self.story.refused(409, "NameConflict").decide()
        told = status_of(decision).blocked_by
        assert told is not None
        assert "remove it or choose another name" in told.message


class TestAdopted:
    """Pods whose attempt is not on record: the record is old, or somebody has wiped it."""

    def test_an_attempt_without_record_is_taken_as_it_is(self) -> None:
        story = a_job(workers=2)
        story = replace(story, world_pods=(pod(0, RUNNING, 3), pod(1, RUNNING, 3)))
        decision = story.decide()
        assert decision.again
        assert not decision.actions
        status = status_of(decision)
        assert (status.attempt, status.attempts[-1].number) == (3, 3)
        assert status.attempts[-1].pods_created
        settled = story.then(5)
        assert written(settled.decide()) == []
        assert status_of(settled.decide()).phase is Phase.RUNNING

    def test_its_missing_pods_count_as_deleted(self) -> None:
        story = replace(a_job(workers=2), world_pods=(pod(0, RUNNING, 3),)).then(5)
        assert status_of(story.decide()).attempts[-1].cause == "PodDeleted"

    def test_an_older_record_makes_and_deletes_nothing(self) -> None:
        story = a_job(workers=2).attempt(0, podsCreated=False)
        story = replace(story, world_pods=(pod(0, RUNNING, 1), pod(1, RUNNING, 1)))
        decision = story.decide()
        assert decision.again
        assert not decision.actions

    def test_a_label_that_is_no_number_is_no_attempt(self) -> None:
        stray = pod(0, RUNNING, 0)
        stray["metadata"]["labels"]["torchyard.dev/attempt"] = "9" * 60
        story = replace(a_job(), world_pods=(stray,))
        assert status_of(story.decide()).attempt == 0


class TestLateWrites:
    """A pod of an older attempt that turns up when the next one has begun."""

    def story(self, state: PodState) -> JobStory:
        return (
            a_job(workers=1)
            .attempt(0)
            .ended("PodDeleted")
            .attempt(1, podsCreated=False)
            .pods(state, attempt=0)
        )

    def test_goes_before_anything_else_is_made(self) -> None:
        assert written(self.story(RUNNING).decide()) == ["delete Pod reviews-a0-w0"]

    def test_holds_the_attempt_until_it_is_gone(self) -> None:
        story = self.story(RUNNING.deleting(0)).after(5)
        decision = story.decide()
        assert written(decision) == []
        assert decision.status == story.job.status
        assert decision.wake == 60 + 60 - 5

    def test_holds_it_no_longer_once_its_node_counts_as_lost(self) -> None:
        decision = self.story(RUNNING.deleting(0)).after(120).decide()
        assert written(decision) == ["create Pod reviews-a1-w0"]

    def test_is_kept_for_its_logs_when_it_is_over(self) -> None:
        assert written(self.story(SUCCEEDED).decide()) == ["create Pod reviews-a1-w0"]

    def test_goes_with_the_record_of_its_attempt(self) -> None:
        story = a_job(workers=1).attempt(7).pods(RUNNING).pods(SUCCEEDED, attempt=3)
        assert written(story.decide()) == ["delete Pod reviews-a3-w0"]
