"""How an attempt begins and ends, and what its end means for the job."""

from collections.abc import Iterable
from dataclasses import replace

from torchyard.api.contract import EXIT_PERMANENT, PERMANENT
from torchyard.api.trainingjob import (
    Attempt,
    Phase,
    Progress,
    TrainingJobStatus,
    WorkerCounts,
)
from torchyard.core import failure, gang, jobstatus, registration
from torchyard.core.clock import seconds_since, stamp
from torchyard.core.conditions import Fact
from torchyard.core.world import JobWorld

SUCCEEDED, SUSPENDED, DEADLINE = "Succeeded", "Suspended", "DeadlineExceeded"


def begun(
    world: JobWorld, number: int, phase: Phase, facts: Iterable[Fact] = (), **changes: object
) -> TrainingJobStatus:
    """Puts the number of an attempt on record; its pods come with the next decision."""
    step, reached = gang.start_step(world), world.job.status.progress
    return jobstatus.status(
        world,
        phase,
        [*jobstatus.going(world), *facts],
        attempt=number,
        attempts=jobstatus.with_attempt(
            world, Attempt(number=number, start_time=stamp(world.now), first_step=step)
        ),
        # What came after the checkpoint is lost, and the pace was that of the last attempt.
        progress=reached
        and reached.model_copy(
            update={"step": step, "samples_per_second": None, "eta_seconds": None}
        ),
        workers=WorkerCounts(desired=world.job.spec.workers.count),
        blocked_by=None,
        **changes,
    )


def adopted(world: JobWorld, number: int, image: str) -> TrainingJobStatus:
    """Takes an attempt for begun whose pods are there although the record knows nothing of it.

    Either the record is old, and this write is refused, or it was lost. Its pods are not made
    again: one that is missing counts as deleted.
    """
    attempt = Attempt(number=number, start_time=stamp(world.now), pods_created=True)
    return jobstatus.status(
        world,
        Phase.STARTING,
        jobstatus.going(world),
        attempt=number,
        attempts=jobstatus.with_attempt(world, attempt),
        image=world.job.status.image or image,
        start_time=world.job.status.start_time or stamp(world.now),
    )


def ending(world: JobWorld, attempt: Attempt) -> Attempt | None:
    """The attempt with its end, if it has come to one."""
    spec = world.job.spec
    pods, count = gang.pods_of(world, attempt), spec.workers.count
    if registration.registered(world.job, world.versions) or (
        len(pods) == count and all(gang.phase(pod) == "Succeeded" for pod in pods)
    ):
        # A version of this job proves that it has succeeded, even if its pods are gone by now.
        return _ended(world, attempt, SUCCEEDED)
    if spec.suspend:
        return _ended(world, attempt, SUSPENDED, "spec.suspend was set to true")
    remaining = gang.remaining_seconds(world)
    if remaining is not None and remaining <= 0:
        limit = spec.deadlines.active_seconds
        return _ended(world, attempt, DEADLINE, f"deadlines.activeSeconds of {limit} s is over")
    failures = failure.of_attempt(pods, count, attempt.pods_created)
    if not failures or failure.patience(failures, world.now, _others(world, attempt)) > 0:
        return None
    first = failures[0]
    return _ended(world, attempt, first.cause, first.message or None).model_copy(
        update={
            "worker": first.worker,
            "rank": first.rank,
            "node": first.node,
            "exit_code": first.exit_code,
        }
    )


def settles_in(world: JobWorld, attempt: Attempt) -> float | None:
    """Seconds until a failure that is known but not blamed yet ends the attempt."""
    pods = gang.pods_of(world, attempt)
    failures = failure.of_attempt(pods, world.job.spec.workers.count, attempt.pods_created)
    if not failures:
        return None
    return failure.patience(failures, world.now, _others(world, attempt))


def _others(world: JobWorld, attempt: Attempt) -> bool:
    return not all(gang.over(pod) for pod in gang.pods_of(world, attempt))


def _ended(world: JobWorld, attempt: Attempt, cause: str, message: str | None = None) -> Attempt:
    newest = gang.progress(world)
    return attempt.model_copy(
        update={
            "end_time": stamp(world.now),
            "cause": cause,
            "message": message,
            "first_step": gang.first_step(world, attempt),
            "last_step": newest.step if newest is not None else None,
        }
    )


def on_record(world: JobWorld, ended: Attempt) -> JobWorld:
    """The world as it is once the end of its attempt is on record."""
    stored = world.job.status
    spent = max(0, int(seconds_since(ended.start_time, world.now)))
    status = stored.model_copy(
        update={
            "attempts": jobstatus.with_attempt(world, ended),
            "active_seconds": (stored.active_seconds or 0) + spent,
            "checkpoint": gang.checkpoint(world),
            "progress": _at_rest(gang.progress(world), ended),
            "blocked_by": None,
        }
    )
    return replace(world, job=world.job.model_copy(update={"status": status}))


def with_last_words(world: JobWorld, ended: Attempt) -> JobWorld:
    """The world with what workers said as they left, which is after the end of their attempt.

    Those that were asked to leave wrote a checkpoint first, and their pods go with their words.
    """
    stored, newest = world.job.status, gang.progress(world)
    attempt = ended.model_copy(
        update={
            "first_step": gang.first_step(world, ended),
            "last_step": ended.last_step if newest is None else newest.step,
        }
    )
    status = stored.model_copy(
        update={
            "attempts": jobstatus.with_attempt(world, attempt),
            "checkpoint": gang.checkpoint(world),
            "progress": _at_rest(newest, ended),
        }
    )
    return replace(world, job=world.job.model_copy(update={"status": status}))


def _at_rest(progress: Progress | None, ended: Attempt) -> Progress | None:
    """How far a training is that does not go on: it has no pace, unless it has come to its end."""
    if progress is None or ended.cause == SUCCEEDED:
        return progress
    return progress.model_copy(update={"samples_per_second": None, "eta_seconds": None})


def verdict(world: JobWorld, attempt: Attempt) -> tuple[str, str] | None:
    """Reason and message of a failure that no restart mends; None where one may."""
    said = attempt.message or attempt.cause or ""
    if attempt.cause in (SUCCEEDED, SUSPENDED):
        return None
    if attempt.cause == DEADLINE:
        return DEADLINE, said
    if attempt.cause in PERMANENT or attempt.exit_code == EXIT_PERMANENT:
        return str(attempt.cause), said
    most = world.job.spec.failure_policy.max_restarts
    if world.job.status.restarts >= most:
        where = "" if attempt.worker is None else f" on worker {attempt.worker}"
        return (
            "MaxRestartsExceeded",
            f"failurePolicy.maxRestarts of {most} is used up; the last attempt ended by "
            f"{attempt.cause}{where}: {said}",
        )
    return None
