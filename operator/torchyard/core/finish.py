"""The end of a TrainingJob: success, failure, and what is cleaned up afterwards."""

from torchyard.api.trainingjob import Attempt, Phase
from torchyard.core import gang, jobstatus, registration
from torchyard.core.clock import seconds_since, stamp
from torchyard.core.conditions import Fact
from torchyard.core.objects import being_deleted, delete
from torchyard.core.plan import Create, Decision, Delete
from torchyard.core.world import JobWorld

FINISHED_PODS_SECONDS = 3600.0
"""How long the pods of a finished job stay for their logs."""


def succeed(world: JobWorld, attempt: Attempt) -> Decision:
    """Registers what was published, once, and closes the job."""
    job, output = world.job, world.job.spec.output
    if output is None:
        return _complete(world, None)
    known = registration.registered(job, world.versions)
    if known is not None:
        return _complete(world, known.metadata.name)
    artifact = gang.artifact(gang.pods_of(world, attempt))
    if artifact is None:
        message = "worker 0 succeeded but did not say what it has published"
        return fail(world, ("ArtifactUnknown", message))
    number = registration.next_number(world.versions)
    if number is None:
        message = f"there is no number left for a version of {output.model}"
        return fail(world, ("VersionsExhausted", message))
    manifest = registration.record(job, output.model, artifact, number)
    create = Create(manifest, "the artifact is published")
    return _complete(world, manifest["metadata"]["name"], create)


def _complete(
    world: JobWorld,
    version: str | None,
    create: Create | None = None,
) -> Decision:
    told = "the training is complete; "
    told += f"the model is registered as {version}" if version else "nothing is published"
    status = jobstatus.status(
        world,
        Phase.SUCCEEDED,
        [*jobstatus.going(world), Fact("Complete", True, "Trained", told)],
        completion_time=stamp(world.now),
        model_version=version,
        blocked_by=None,
    )
    return Decision(status, (create,) if create else (), wake=_rest(world, 0.0))


def fail(world: JobWorld, verdict: tuple[str, str]) -> Decision:
    """Closes the job with a reason."""
    reason, message = verdict
    status = jobstatus.status(
        world,
        Phase.FAILED,
        [
            Fact("Failed", True, reason, message),
            # What health tools read: it will not go on by itself.
            Fact("Stalled", True, reason, message),
        ],
        completion_time=stamp(world.now),
        blocked_by=None,
    )
    return Decision(status, wake=_rest(world, 0.0))


def clean_up(world: JobWorld) -> Decision:
    """A finished job: its pods go after an hour, itself after its time to live."""
    job = world.job
    age = seconds_since(job.status.completion_time or stamp(world.now), world.now)
    ttl = job.spec.ttl_seconds_after_finished
    if ttl is not None and age >= ttl:
        meta = job.metadata
        why = f"ttlSecondsAfterFinished of {ttl} s is over"
        return Decision(None, (Delete("TrainingJob", meta.namespace, meta.name, meta.uid, why),))
    deletes = tuple(
        delete("Pod", pod, "the job is finished")
        for pod in world.pods
        if (age >= FINISHED_PODS_SECONDS or not gang.over(pod)) and not being_deleted(pod)
    )
    status = jobstatus.status(
        world, job.status.phase or Phase.SUCCEEDED, workers=job.status.workers
    )
    return Decision(status, deletes, wake=_rest(world, age))


def _rest(world: JobWorld, age: float) -> float | None:
    """Seconds until the pods, or the job itself, may go."""
    waits = []
    if (ttl := world.job.spec.ttl_seconds_after_finished) is not None:
        waits.append(ttl - age)
    if world.pods and age < FINISHED_PODS_SECONDS:
        waits.append(FINISHED_PODS_SECONDS - age)
    return min(waits, default=None)
