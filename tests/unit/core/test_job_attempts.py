"""How attempts end, what they free, and whether another one follows."""

from dataclasses import replace

import pytest

from tests.unit.core.builders import (
    FAILED,
    PENDING,
    RUNNING,
    SUCCEEDED,
    UID,
    JobStory,
    PodState,
    a_job,
    at,
    condition,
    ended,
    failed,
    pod,
    published,
    says,
    status_of,
    unschedulable,
    version,
    written,
)
from torchyard.api.contract import PERMANENT
from torchyard.api.trainingjob import Phase


def last(story: JobStory) -> dict[str, object]:
    """The last attempt that the decision puts on record."""
    return status_of(story.decide()).attempts[-1].wire()


class TestEnd:
    """The end is on record before anything is deleted."""

    def test_a_failure(self) -> None:
        story = a_job(workers=2).attempt(0).pods(RUNNING, failed("ProcessFailed", rank=1)).after(90)
        decision = story.decide()
        assert decision.again
        assert not decision.actions
        assert status_of(decision).phase is Phase.RESTARTING
        assert last(story) == {
            "number": 0,
            "startTime": at(0),
            "podsCreated": True,
            "endTime": at(90),
            "cause": "ProcessFailed",
            "worker": 1,
            "rank": 1,
            "node": "node-1",
            "exitCode": 1,
        }
        assert status_of(decision).active_seconds == 90

    def test_a_failure_before_all_pods_were_made(self) -> None:
        story = a_job(workers=3).attempt(0, podsCreated=False).pods(RUNNING, FAILED)
        assert last(story)["cause"] == "ProcessFailed"

    def test_a_lost_peer_is_waited_for(self) -> None:
        story = a_job(workers=2).attempt(0).pods(failed("PeerLost", at_=5), RUNNING)
        waiting = story.after(8).decide()
        assert status_of(waiting).attempts[-1].end_time is None
        assert waiting.wake == 7
        assert last(story.after(15))["cause"] == "PeerLost"

    def test_a_lost_peer_is_blamed_at_once_when_nobody_is_left(self) -> None:
        story = (
            a_job(workers=2).attempt(0).pods(failed("PeerLost", at_=5), failed("PeerLost", at_=6))
        )
        assert last(story.after(6))["cause"] == "PeerLost"

    def test_what_was_in_the_way_before_does_not_stay(self) -> None:
        story = a_job(workers=2).attempt(0).pods(RUNNING, unschedulable("no GPU")).then(5)
        assert story.job.status.blocked_by is not None
        decision = story.with_spec(suspend=True).decide()
        assert status_of(decision).attempts[-1].cause == "Suspended"
        assert status_of(decision).blocked_by is None

    def test_success_comes_before_suspension_and_deadline(self) -> None:
        story = a_job(suspend=True, deadlines={"activeSeconds": 10}).attempt(0).pods(SUCCEEDED)
        assert last(story.after(99))["cause"] == "Succeeded"

    def test_success_needs_every_worker(self) -> None:
        story = a_job(workers=2).attempt(0).pods(SUCCEEDED, RUNNING)
        assert status_of(story.decide()).phase is Phase.RUNNING

    def test_a_succeeded_pod_that_somebody_deletes_costs_the_attempt(self) -> None:
        assert last(a_job(workers=2).attempt(0).pods(SUCCEEDED, None))["cause"] == "PodDeleted"


class TestFreeing:
    """Everything that holds devices goes; logs stay."""

    story = a_job(workers=4).attempt(0).ended("ProcessFailed", 5)

    def test_survivors_are_deleted(self) -> None:
        story = self.story.pods(RUNNING, FAILED, PENDING, SUCCEEDED)
        assert written(story.decide()) == ["delete Pod reviews-a0-w0", "delete Pod reviews-a0-w2"]

    def test_a_worker_that_has_ended_keeps_its_pod_and_its_log(self) -> None:
        # The kubelet tells of the container first, and of the pod when nothing of it is left.
        ending = replace(FAILED, status={**FAILED.status, "phase": "Running"})
        story = self.story.pods(RUNNING.deleting(0), ending, FAILED, FAILED)
        decision = story.decide()
        assert not decision.actions
        assert len(status_of(decision).attempts) == 1, "its devices are not free yet"

    def test_nothing_is_deleted_twice(self) -> None:
        story = self.story.pods(RUNNING.deleting(0), FAILED, PENDING, FAILED)
        assert written(story.decide()) == ["delete Pod reviews-a0-w2"]

    def test_nothing_else_happens_while_something_is_left(self) -> None:
        story = self.story.pods(RUNNING.deleting(0), FAILED, None, FAILED).after(10)
        decision = story.decide()
        assert not decision.actions
        assert not decision.again
        assert len(status_of(decision).attempts) == 1
        assert decision.wake == 110

    def test_a_pod_on_a_lost_node_holds_nothing_for_ever(self) -> None:
        story = self.story.pods(RUNNING.deleting(0, grace=30), FAILED, None, FAILED)
        assert len(status_of(story.after(89).decide()).attempts) == 1
        assert len(status_of(story.after(91).decide()).attempts) == 2

    def test_the_next_attempt_begins_when_all_are_gone(self) -> None:
        story = self.story.pods(None, FAILED, None, SUCCEEDED).after(20)
        decision = story.decide()
        status = status_of(decision)
        assert decision.again
        assert not decision.actions
        assert [attempt.number for attempt in status.attempts] == [0, 1]
        assert (status.attempt, status.restarts, status.phase) == (1, 1, Phase.RESTARTING)
        assert not status.attempts[1].pods_created
        assert status.workers is not None
        assert status.workers.failed == 0

    def test_then_its_pods_are_made_beside_the_failed_ones(self) -> None:
        story = self.story.pods(None, FAILED, None, FAILED).then(20)
        assert written(story.decide()) == [f"create Pod reviews-a1-w{i}" for i in range(4)]

    def test_of_many_attempts_the_newest_ten_are_kept(self) -> None:
        story = a_job(failurePolicy={"maxRestarts": 50}).with_status(restarts=19)
        for number in range(20):
            story = story.attempt(number).ended("ProcessFailed")
        story = story.with_status(attempts=story.status["attempts"][-10:])
        kept = status_of(story.decide()).attempts
        assert [attempt.number for attempt in kept] == list(range(11, 21))


class TestBudget:
    """failurePolicy.maxRestarts counts restarts after failures, and nothing else."""

    @staticmethod
    def story(most: int, restarts: int, cause: str = "ProcessFailed", **more: object) -> JobStory:
        return (
            a_job(failurePolicy={"maxRestarts": most})
            .with_status(restarts=restarts)
            .attempt(restarts)
            .ended(cause, 5, worker=0, message="boom", **more)
        )

    @pytest.mark.parametrize(
        ("most", "restarts", "fails"),
        [(3, 0, False), (3, 2, False), (3, 3, True), (0, 0, True), (1, 5, True)],
    )
    def test_is_used_up(self, most: int, restarts: int, fails: bool) -> None:
        decision = self.story(most, restarts).decide()
        failed = condition(decision, "Failed")
        assert failed == (("True", "MaxRestartsExceeded") if fails else None)
        assert status_of(decision).restarts == (restarts if fails else restarts + 1)

    def test_the_verdict_names_the_last_failure(self) -> None:
        decision = self.story(0, 0).decide()
        told = next(c for c in status_of(decision).conditions if c.type == "Failed").message
        assert "ProcessFailed on worker 0: boom" in told
        assert "maxRestarts of 0" in told
        assert condition(decision, "Stalled") == ("True", "MaxRestartsExceeded")
        assert status_of(decision).phase is Phase.FAILED
        assert status_of(decision).completion_time == at(0)

    @pytest.mark.parametrize("cause", sorted(PERMANENT))
    def test_what_a_restart_would_repeat_uses_none(self, cause: str) -> None:
        assert condition(self.story(3, 0, cause).decide(), "Failed") == ("True", cause)

    def test_the_permanent_exit_code_is_enough(self) -> None:
        decision = self.story(3, 0, exitCode=78).decide()
        assert condition(decision, "Failed") == ("True", "ProcessFailed")

    def test_raising_it_before_the_verdict_helps(self) -> None:
        story = self.story(1, 1).with_spec(failurePolicy={"maxRestarts": 2})
        assert status_of(story.decide()).restarts == 2

    def test_raising_it_after_the_verdict_does_not(self) -> None:
        story = self.story(1, 1).then(5).with_spec(failurePolicy={"maxRestarts": 9})
        assert condition(story.decide(), "Failed") == ("True", "MaxRestartsExceeded")

    def test_a_suspension_costs_none(self) -> None:
        status = status_of(self.story(0, 0, "Suspended").decide())
        assert (status.restarts, status.attempt) == (0, 1)


class TestDeadline:
    """deadlines.activeSeconds covers all attempts and no suspension."""

    @staticmethod
    def story(limit: int = 100, **status: object) -> JobStory:
        return a_job(deadlines={"activeSeconds": limit}).with_status(**status)

    def test_wakes_for_it(self) -> None:
        assert self.story().attempt(0).pods(PENDING).after(30).decide().wake == 70

    def test_wakes_for_progress_before_it(self) -> None:
        assert self.story().attempt(0).pods(RUNNING).after(30).decide().wake == 10

    def test_ends_the_attempt_and_the_job(self) -> None:
        story = self.story().attempt(0).pods(RUNNING).after(100)
        decision = story.decide()
        assert status_of(decision).attempts[-1].cause == "DeadlineExceeded"
        assert status_of(decision).phase is Phase.STOPPING
        story = story.then(101)
        assert written(story.decide()) == ["delete Pod reviews-a0-w0"]
        gone = replace(story, world_pods=())
        assert condition(gone.decide(), "Failed") == ("True", "DeadlineExceeded")

    def test_counts_what_ended_attempts_took(self) -> None:
        story = self.story(activeSeconds=80).attempt(1, start=200).pods(RUNNING)
        assert status_of(story.after(219).decide()).attempts[-1].end_time is None
        assert status_of(story.after(220).decide()).attempts[-1].cause == "DeadlineExceeded"

    def test_does_not_count_the_suspension_between_them(self) -> None:
        story = (
            self.story(activeSeconds=80).attempt(0).ended("Suspended", 80).with_spec(suspend=True)
        )
        assert condition(story.after(9_999).decide(), "Failed") is None

    def test_makes_no_pods_when_it_is_over_already(self) -> None:
        story = self.story(activeSeconds=100).attempt(1, start=200, podsCreated=False).after(200)
        assert status_of(story.decide()).attempts[-1].cause == "DeadlineExceeded"
        assert written(story.decide()) == []


class TestSuspension:
    """At every moment of a job's life."""

    def test_while_pods_are_being_made(self) -> None:
        story = a_job(workers=2, suspend=True).attempt(0, podsCreated=False).pods(PENDING)
        assert last(story)["cause"] == "Suspended"
        assert status_of(story.decide()).phase is Phase.STOPPING
        assert written(story.then().decide()) == ["delete Pod reviews-a0-w0"]

    def test_while_it_runs(self) -> None:
        story = a_job(workers=2, suspend=True).attempt(0).pods(RUNNING, RUNNING)
        assert last(story)["cause"] == "Suspended"
        stopping = story.then(5)
        assert written(stopping.decide()) == [
            "delete Pod reviews-a0-w0",
            "delete Pod reviews-a0-w1",
        ]
        gone = replace(stopping, world_pods=())
        decision = gone.decide()
        assert status_of(decision).phase is Phase.SUSPENDED
        assert condition(decision, "Suspended") == ("True", "SuspendRequested")
        assert decision.wake is None
        settled = gone.then(500)
        assert settled.decide().status == settled.job.status

    def test_while_a_worker_has_just_failed(self) -> None:
        story = a_job(suspend=True).attempt(0).pods(FAILED)
        assert last(story)["cause"] == "Suspended"

    def test_between_a_failure_and_the_restart(self) -> None:
        story = a_job(suspend=True).attempt(0).ended("ProcessFailed").pods(FAILED)
        decision = story.decide()
        assert status_of(decision).phase is Phase.SUSPENDED
        assert status_of(decision).restarts == 0

    def test_the_failure_before_it_counts_when_it_is_over(self) -> None:
        story = a_job().attempt(0).ended("ProcessFailed").pods(FAILED)
        story = story.with_status(phase="Suspended").condition("Suspended")
        status = status_of(story.decide())
        assert (status.restarts, status.attempt) == (1, 1)

    def test_does_not_save_a_job_whose_verdict_is_due(self) -> None:
        story = a_job(suspend=True, failurePolicy={"maxRestarts": 0}).attempt(0).ended("PodDeleted")
        assert condition(story.decide(), "Failed") == ("True", "MaxRestartsExceeded")

    def test_going_on(self) -> None:
        story = a_job().attempt(0).ended("Suspended", 50).condition("Suspended").after(80)
        decision = story.decide()
        status = status_of(decision)
        assert (status.attempt, status.phase, status.restarts) == (1, Phase.STARTING, 0)
        assert condition(decision, "Suspended") == ("False", "Resumed")

    def test_going_on_before_the_workers_were_gone(self) -> None:
        story = a_job().attempt(0).ended("Suspended", 50).pods(RUNNING.deleting(50)).after(55)
        assert len(status_of(story.decide()).attempts) == 1
        gone = replace(story, world_pods=())
        assert len(status_of(gone.decide()).attempts) == 2

    def test_after_the_end_changes_nothing(self) -> None:
        story = a_job().attempt(0).pods(SUCCEEDED).then(5)
        decision = story.with_spec(suspend=True).decide()
        assert condition(decision, "Complete") == ("True", "Trained")
        assert condition(decision, "Suspended") is None


SAVED = {"step": 40, "uri": "pvc://models/x", "time": at(3), "bytes": 9}


class TestProgress:
    """Steps, checkpoints, and what is written of them when."""

    def test_what_worker_0_says_is_told(self) -> None:
        story = a_job().attempt(0).pods(RUNNING).hearing(50, firstStep=0, checkpoint=SAVED)
        status = status_of(story.decide())
        assert status.progress is not None
        assert status.progress.step == 50
        assert status.checkpoint is not None
        assert status.checkpoint.step == 40

    def test_what_it_said_of_an_older_attempt_is_not(self) -> None:
        story = a_job().attempt(1).pods(RUNNING).hearing(50, attempt=0)
        assert status_of(story.decide()).progress is None

    def test_its_last_words_come_before_what_it_said(self) -> None:
        state = ended(1, failed_words(step=70))
        story = a_job().attempt(0).pods(state).hearing(50, firstStep=0)
        assert last(story)["lastStep"] == 70

    def test_what_it_says_as_it_leaves_a_suspended_job_is_told(self) -> None:
        saved, progress = {**SAVED, "step": 52}, {"step": 52}
        left = ended(75, says("Interrupted", progress=progress, checkpoint=saved, first_step=7))
        story = a_job(suspend=True).with_status(checkpoint=SAVED, progress={"step": 45})
        story = story.attempt(0).ended("Suspended").pods(left.deleting(0))
        status = status_of(story.decide())
        assert status.phase is Phase.SUSPENDED
        assert status.checkpoint is not None
        assert status.progress is not None
        assert (status.checkpoint.step, status.progress.step) == (52, 52)
        assert (status.attempts[-1].first_step, status.attempts[-1].last_step) == (7, 52)
        # The pod goes, and with it its words.
        later = status_of(replace(story.then(5), world_pods=()).decide())
        assert later.model_copy(update={"workers": status.workers}) == status

    def test_what_was_heard_before_its_last_words_does_not_come_back(self) -> None:
        left = ended(75, says("Interrupted", progress={"step": 52}))
        story = a_job(suspend=True).attempt(0).ended("Suspended").pods(left.deleting(0))
        gone = replace(story.then(5), world_pods=()).hearing(45, firstStep=0)
        assert status_of(gone.decide()).progress == gone.job.status.progress

    def test_a_training_that_stands_still_has_no_pace(self) -> None:
        moving = {"step": 45, "loss": "0.5", "samplesPerSecond": "99", "etaSeconds": 9}
        story = a_job(suspend=True).with_status(progress=moving).attempt(0).pods(RUNNING).then()
        progress = status_of(story.decide()).progress
        assert progress is not None
        assert progress.wire() == {"step": 45, "totalSteps": 0, "epoch": 0, "loss": "0.5"}

    def test_the_checkpoint_never_goes_back(self) -> None:
        story = a_job().with_status(checkpoint=SAVED).attempt(1).pods(RUNNING)
        story = story.hearing(20, attempt=1, firstStep=0, checkpoint={**SAVED, "step": 20})
        assert status_of(story.decide()).checkpoint == story.job.status.checkpoint

    def test_a_checkpoint_of_the_same_step_changes_nothing(self) -> None:
        story = a_job().with_status(checkpoint=SAVED).attempt(0).pods(RUNNING)
        story = story.hearing(50, firstStep=0, checkpoint={**SAVED, "time": at(9)})
        assert status_of(story.decide()).checkpoint == story.job.status.checkpoint

    @pytest.mark.parametrize(("resume", "step"), [("Latest", 40), ("Never", 0)])
    def test_a_restart_is_back_at_the_checkpoint(self, resume: str, step: int) -> None:
        story = a_job(checkpoint={"resume": resume}).with_status(
            checkpoint=SAVED, progress={"step": 63, "loss": "0.5", "etaSeconds": 9}
        )
        status = status_of(story.attempt(0).ended("ProcessFailed").decide())
        assert status.progress is not None
        assert (status.progress.step, status.progress.loss) == (step, "0.5")
        assert status.progress.eta_seconds is None
        assert status.attempts[-1].first_step == step

    def test_a_worker_that_has_not_loaded_its_checkpoint_is_not_back_at_0(self) -> None:
        story = a_job().with_status(checkpoint=SAVED, progress={"step": 40}).attempt(1)
        status = status_of(story.pods(RUNNING).hearing(0, attempt=1).decide())
        assert status.progress is not None
        assert status.progress.step == 40

    def test_a_worker_that_fell_back_to_an_older_checkpoint_is_believed(self) -> None:
        story = a_job().with_status(checkpoint=SAVED, progress={"step": 40})
        story = story.attempt(1, firstStep=40).pods(RUNNING).hearing(25, attempt=1, firstStep=20)
        status = status_of(story.decide())
        assert status.progress is not None
        assert (status.progress.step, status.attempts[-1].first_step) == (25, 20)

    def test_an_attempt_that_was_never_heard_of_got_no_further_than_its_start(self) -> None:
        story = a_job().with_status(checkpoint=SAVED, progress={"step": 63})
        story = story.attempt(0).ended("ProcessFailed").then(5)
        assert last(story.pods(FAILED))["lastStep"] == 40


def failed_words(step: int) -> str:
    return f'{{"outcome": "ProcessFailed", "progress": {{"step": {step}}}}}'


class TestUnhurried:
    """Counts and progress alone are written every ten seconds at most."""

    story = a_job(workers=2).attempt(0).pods(PENDING, PENDING).then(1)

    def one_more(self) -> JobStory:
        return replace(self.story, world_pods=()).pods(RUNNING, PENDING)

    def test_a_count_waits(self) -> None:
        story = self.one_more().written(0).after(4)
        decision = story.decide()
        assert decision.status == story.job.status
        assert decision.wake == 6

    def test_and_is_written_then(self) -> None:
        decision = self.one_more().written(0).after(10).decide()
        assert status_of(decision).workers.running == 1

    def test_a_count_does_not_wait_for_a_write_that_nobody_remembers(self) -> None:
        decision = self.one_more().after(4).decide()
        assert status_of(decision).workers.running == 1

    def test_progress_waits(self) -> None:
        story = self.one_more().then(2).hearing(7, firstStep=0).written(2).after(5)
        assert story.decide().status == story.job.status
        assert status_of(story.after(12).decide()).progress is not None

    def test_news_does_not_wait(self) -> None:
        started = replace(self.story, world_pods=()).pods(RUNNING, RUNNING).written(0).after(1)
        assert status_of(started.decide()).phase is Phase.RUNNING

    def test_a_wake_that_is_due_sooner_is_kept(self) -> None:
        story = self.one_more().with_spec(deadlines={"activeSeconds": 7}).written(0).after(4)
        assert story.decide().wake == 3


def test_a_job_that_is_being_deleted_is_left_to_the_garbage_collector() -> None:
    story = a_job(workers=2).attempt(0).pods(RUNNING, FAILED)
    story = replace(story, metadata={"deletionTimestamp": at(0)})
    decision = story.decide()
    assert decision.status is None
    assert not decision.actions
    assert decision.wake is None


def test_a_registered_version_proves_success_although_the_pods_are_gone() -> None:
    story = a_job(workers=2).publishing().attempt(0).registered(version(4, job_uid=UID))
    decision = story.decide()
    assert condition(decision, "Complete") == ("True", "Trained")
    assert status_of(decision).model_version == "reviews-v4"
    assert not decision.actions


def test_a_success_waits_for_a_late_pod_of_an_older_attempt() -> None:
    story = a_job().publishing().attempt(0).ended("PodDeleted").attempt(1).pods(published(1))
    story = replace(story, world_pods=(*story.world_pods, pod(0, RUNNING, 0)))
    decision = story.decide()
    assert condition(decision, "Complete") is None
    assert status_of(decision).attempts[-1].cause == "Succeeded"
    story = story.then(5)
    assert written(story.decide()) == ["delete Pod reviews-a0-w0"]
    story = replace(story, world_pods=story.world_pods[:1])
    assert written(story.decide()) == ["create ModelVersion reviews-v1"]


@pytest.mark.parametrize("state", [RUNNING, PENDING, RUNNING.deleting(0)])
def test_no_verdict_while_a_worker_holds_devices(state: PodState) -> None:
    story = a_job(workers=2, failurePolicy={"maxRestarts": 0}).attempt(0).ended("ProcessFailed")
    assert condition(story.pods(FAILED, state).decide(), "Failed") is None
