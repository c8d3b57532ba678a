"""The status of a TrainingJob: the stored one with what changed, and when a write may wait."""

from collections.abc import Iterable
from dataclasses import replace

from torchyard.api.trainingjob import Attempt, Phase, TrainingJobStatus
from torchyard.core import conditions, gang
from torchyard.core.conditions import Fact
from torchyard.core.plan import Decision
from torchyard.core.world import JobWorld

PROGRESS_SECONDS = 10.0
"""How old a running job's progress may be, and so how often it is written."""

ATTEMPTS_KEPT = 10

ACCEPTED = Fact("Accepted", True, "Valid", "the job can be run as it is written")
SUSPENDED = Fact("Suspended", True, "SuspendRequested", "spec.suspend is true; no worker runs")
RESUMED = Fact("Suspended", False, "Resumed", "workers may run")
NOT_STALLED = Fact("Stalled", False, "Valid", "nothing is in the way")


def status(
    world: JobWorld, phase: Phase, facts: Iterable[Fact] = (), **changes: object
) -> TrainingJobStatus:
    """The stored status with a phase, conditions and what else changed."""
    stored, generation = world.job.status, world.job.metadata.generation
    return stored.model_copy(
        update={
            "phase": phase,
            "conditions": conditions.update(
                stored.conditions, facts, now=world.now, generation=generation
            ),
            "observed_generation": generation,
            "workers": gang.counts(world),
            **changes,
        }
    )


def going(world: JobWorld) -> list[Fact]:
    """That the job may run, and nothing of what has been said against it holds any more."""
    said = {condition.type for condition in world.job.status.conditions}
    return [ACCEPTED, *(fact for fact in (RESUMED, NOT_STALLED) if fact.type in said)]


def with_attempt(world: JobWorld, attempt: Attempt) -> list[Attempt]:
    """The attempts on record with this one as the last: put in its place, or added."""
    others = [known for known in world.job.status.attempts if known.number != attempt.number]
    return [*others, attempt][-ATTEMPTS_KEPT:]


def unhurried(world: JobWorld, decision: Decision) -> Decision:
    """Lets a status wait that says nothing new but how far the job is.

    A gang of pods starts one by one, and each would cost a write.
    """
    stored, said = world.job.status, decision.status
    if world.written is None or not isinstance(said, TrainingJobStatus):
        return decision
    rest = PROGRESS_SECONDS - (world.now - world.written).total_seconds()
    if rest <= 0 or said == stored or _essence(said) != _essence(stored):
        return decision
    wake = rest if decision.wake is None else min(rest, decision.wake)
    return replace(decision, status=stored, wake=wake)


def _essence(said: TrainingJobStatus) -> TrainingJobStatus:
    attempts = [attempt.model_copy(update={"first_step": None}) for attempt in said.attempts]
    return said.model_copy(
        update={"progress": None, "checkpoint": None, "workers": None, "attempts": attempts}
    )
