"""What is known of the gang of an attempt: its pods, what they report, and their last words."""

from collections.abc import Iterable

from torchyard import names
from torchyard.api.contract import Outcome, PublishedArtifact, Termination, WorkerProgress
from torchyard.api.trainingjob import Attempt, CheckpointStatus, Progress, Resume, WorkerCounts
from torchyard.core.clock import seconds_since
from torchyard.core.failure import termination
from torchyard.core.objects import label
from torchyard.core.world import JobWorld, Object


def counts(world: JobWorld) -> WorkerCounts:
    """The phases of the current attempt's pods, counted."""
    attempt = world.job.status.attempts[-1] if world.job.status.attempts else None
    phases = [phase(pod) for pod in pods_of(world, attempt)] if attempt else []
    return WorkerCounts(
        desired=world.job.spec.workers.count,
        running=phases.count("Running"),
        succeeded=phases.count("Succeeded"),
        failed=phases.count("Failed"),
    )


def remaining_seconds(world: JobWorld) -> float | None:
    """Seconds until deadlines.activeSeconds; None without one."""
    limit, status = world.job.spec.deadlines.active_seconds, world.job.status
    if limit is None:
        return None
    running = seconds_since(status.attempts[-1].start_time, world.now)
    return limit - (status.active_seconds or 0) - running


def _heard(world: JobWorld) -> WorkerProgress | None:
    """What worker 0 said last, if it speaks of the current attempt."""
    said, attempt = world.progress, world.job.status.attempt
    return said if said is not None and said.attempt == attempt else None


def _last_words(world: JobWorld) -> Iterable[Termination]:
    for pod in world.pods:
        if number(pod) == world.job.status.attempt and label(pod, names.WORKER) == "0":
            said = termination(pod)
            if said is not None:
                yield said


def progress(world: JobWorld) -> Progress | None:
    """The newest progress: last words, else what was heard, else what is stored."""
    for said in _last_words(world):
        if said.progress is not None:
            return said.progress
    heard, stored = _heard(world), world.job.status
    if heard is None:
        return stored.progress
    resumes = world.job.spec.checkpoint.resume is Resume.LATEST
    if resumes and stored.checkpoint and heard.progress.step < stored.checkpoint.step:
        return stored.progress  # it has not loaded its checkpoint yet
    return heard.progress


def last_step(world: JobWorld) -> int | None:
    """The last step that was heard of."""
    newest = progress(world)
    return newest.step if newest is not None else None


def checkpoint(world: JobWorld) -> CheckpointStatus | None:
    """The newest checkpoint ever reported: it never goes back."""
    heard = _heard(world)
    candidates: list[CheckpointStatus | None] = [
        world.job.status.checkpoint,
        heard.checkpoint if heard is not None else None,
        *(said.checkpoint for said in _last_words(world)),
    ]
    known = [candidate for candidate in candidates if candidate is not None]
    # The first of equals stays: a report that repeats the stored step changes nothing.
    return max(known, key=lambda found: found.step, default=None)


def artifact(pods: tuple[Object, ...]) -> PublishedArtifact | None:
    """What worker 0 has published."""
    for pod in pods:
        said = termination(pod)
        if said is not None and said.outcome is Outcome.SUCCEEDED and said.artifact:
            return said.artifact
    return None


def address(pods: tuple[Object, ...]) -> str | None:
    """Where worker 0 answers, while it runs."""
    for pod in pods:
        ip = pod.get("status", {}).get("podIP")
        if label(pod, names.WORKER) == "0" and phase(pod) == "Running" and ip:
            return f"{ip}:{names.STATUS_PORT}"
    return None


def pods_of(world: JobWorld, attempt: Attempt) -> tuple[Object, ...]:
    """The pods of an attempt."""
    return tuple(pod for pod in world.pods if number(pod) == attempt.number)


def number(pod: Object) -> int:
    """The attempt that a pod belongs to; -1 for a label that is no number."""
    text = label(pod, names.ATTEMPT)
    return int(text) if text.isdigit() else -1


def phase(pod: Object) -> str:
    """The phase of a pod; one without a status is Pending."""
    return str(pod.get("status", {}).get("phase", "Pending"))
