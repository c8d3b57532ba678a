"""What is known of the gang of an attempt: its pods, what they report, and their last words."""

from collections.abc import Iterable
from datetime import datetime

from torchyard import names
from torchyard.api.contract import Outcome, PublishedArtifact, Termination, WorkerProgress
from torchyard.api.trainingjob import Attempt, CheckpointStatus, Progress, Resume, WorkerCounts
from torchyard.core import failure
from torchyard.core.clock import seconds_since
from torchyard.core.objects import label
from torchyard.core.objects import number as label_number
from torchyard.core.world import JobWorld, Object

LOST_SECONDS = 60.0
"""How long after its grace period a pod may still be there before its node counts as lost.

A kubelet that can be reached has killed the container by then. The pod of one that cannot stays
until somebody removes the node; its attempt is over, whatever it still does: attempts share no
directory to publish in, and an old one's checkpoint never wins over a newer one's.
"""


def counts(world: JobWorld) -> WorkerCounts:
    """The phases of the current attempt's pods, counted."""
    attempts = world.job.status.attempts
    phases = [phase(pod) for pod in pods_of(world, attempts[-1])] if attempts else []
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
    said, attempts = world.progress, world.job.status.attempts
    if said is None or not attempts or said.attempt != attempts[-1].number:
        return None
    # Last words are newer than anything that was heard, and they go with the pod.
    return said if attempts[-1].end_time is None else None


def _last_words(world: JobWorld) -> Iterable[Termination]:
    attempts = world.job.status.attempts
    for pod in world.pods:
        if label(pod, names.WORKER) == "0" and attempts and number(pod) == attempts[-1].number:
            said = failure.last_words(pod)
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
    if heard.first_step is None and heard.progress.step <= start_step(world):
        return stored.progress  # it has not loaded its checkpoint yet
    return heard.progress


def first_step(world: JobWorld, attempt: Attempt) -> int | None:
    """Where the attempt began: what worker 0 says of it, else what was expected."""
    told = [word.first_step for word in (*_last_words(world), _heard(world)) if word]
    return next((step for step in told if step is not None), attempt.first_step)


def start_step(world: JobWorld) -> int:
    """Where an attempt begins that finds the newest checkpoint."""
    newest = checkpoint(world)
    resumes = world.job.spec.checkpoint.resume is Resume.LATEST
    return newest.step if resumes and newest else 0


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


def artifact(pods: Iterable[Object]) -> PublishedArtifact | None:
    """What worker 0 has published."""
    for pod in pods:
        said = failure.last_words(pod)
        if said is not None and said.outcome is Outcome.SUCCEEDED and said.artifact:
            return said.artifact
    return None


def address(pods: Iterable[Object]) -> str | None:
    """Where worker 0 answers, while it runs."""
    for pod in pods:
        ip = pod.get("status", {}).get("podIP")
        if label(pod, names.WORKER) == "0" and phase(pod) == "Running" and ip:
            return f"[{ip}]:{names.STATUS_PORT}" if ":" in ip else f"{ip}:{names.STATUS_PORT}"
    return None


def pods_of(world: JobWorld, attempt: Attempt) -> tuple[Object, ...]:
    """The pods of an attempt."""
    return tuple(pod for pod in world.pods if number(pod) == attempt.number)


def number(pod: Object) -> int:
    """The attempt that a pod belongs to; -1 for a label that is no number."""
    return label_number(pod, names.ATTEMPT)


def phase(pod: Object) -> str:
    """The phase of a pod; one without a status is Pending."""
    return str(pod.get("status", {}).get("phase", "Pending"))


def over(pod: Object) -> bool:
    """Whether no container of the pod runs or ever will."""
    return phase(pod) in ("Succeeded", "Failed")


def given_up_in(pod: Object, now: datetime) -> float | None:
    """Seconds until a pod that is being deleted counts as lost; None where nobody deletes it."""
    deadline = pod["metadata"].get("deletionTimestamp")
    return None if deadline is None else LOST_SECONDS - seconds_since(deadline, now)


def alive(world: JobWorld) -> list[Object]:
    """Pods of any attempt that hold devices, as far as anybody can tell."""
    return [
        pod
        for pod in world.pods
        if not over(pod) and ((rest := given_up_in(pod, world.now)) is None or rest > 0)
    ]
