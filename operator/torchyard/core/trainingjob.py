"""What becomes of a TrainingJob: a function from what is there to writes and a status.

A job goes through attempts. An attempt is begun by putting its number on record, then making
its pods; it is ended by putting the cause on record, then deleting what still runs. Only when
nothing of it runs any more (the devices are free) does the next attempt begin or the verdict
fall. Every step is told from the stored status and the pods alone, so the operator may be
killed between any two writes.
"""

from collections.abc import Iterable
from dataclasses import replace

from torchyard import names
from torchyard.api.trainingjob import Attempt, Phase, TrainingJobStatus
from torchyard.core import (
    attempts,
    blocked,
    conditions,
    failure,
    finish,
    gang,
    jobstatus,
    workers,
)
from torchyard.core.attempts import SUCCEEDED, SUSPENDED
from torchyard.core.clock import stamp
from torchyard.core.conditions import Fact
from torchyard.core.jobstatus import ACCEPTED, PROGRESS_SECONDS
from torchyard.core.objects import being_deleted, delete, named, owned, uid
from torchyard.core.plan import Action, Apply, Create, Decision
from torchyard.core.world import JobWorld, Object, Problem

CONFIG_LIMIT = 100_000
"""Bytes of configuration: Linux takes 128 KiB in one environment variable."""


def decide(world: JobWorld) -> Decision:
    """The next step of a job."""
    ours = tuple(pod for pod in world.pods if owned(world.job.metadata, pod))
    world = replace(world, pods=ours)
    return jobstatus.unhurried(world, _decide(world))


def _decide(world: JobWorld) -> Decision:
    status = world.job.status
    attempt = status.attempts[-1] if status.attempts else None
    newest = max((gang.number(pod) for pod in world.pods), default=-1)
    if world.job.metadata.deletion_timestamp:
        return Decision(status=None)  # the garbage collector follows the owner references
    if finished(status):
        return finish.clean_up(world)
    if world.problem:
        return _refused(world, world.problem)
    if newest > (attempt.number if attempt else -1):
        return Decision(attempts.adopted(world, newest, _image(world)), again=True)
    if attempt is None:
        return _first_start(world)
    if attempt.end_time is not None:
        return _after(world, attempt)
    ended = attempts.ending(world, attempt)
    return _run(world, attempt) if ended is None else _end(world, ended)


def finished(status: TrainingJobStatus) -> bool:
    """Whether the verdict has fallen."""
    return any(conditions.holds(status.conditions, word) for word in ("Complete", "Failed"))


# Before the first attempt -----------------------------------------------------------------


def _first_start(world: JobWorld) -> Decision:
    size = len(workers.config_json(world.job, 0, ""))
    if size > CONFIG_LIMIT:
        return _reject(world, size)
    if world.job.spec.suspend:
        facts = [ACCEPTED, jobstatus.SUSPENDED]
        return Decision(jobstatus.status(world, Phase.SUSPENDED, facts, blocked_by=None))
    waiting = Fact("Started", False, "CreatingWorkers", "the workers are being created")
    status = attempts.begun(
        world, 0, Phase.STARTING, [waiting], image=_image(world), start_time=stamp(world.now)
    )
    return Decision(status, again=True)


def _reject(world: JobWorld, size: int) -> Decision:
    """A spec that the CRD lets through and no worker could be told."""
    message = (
        f"the spec is {size} bytes as JSON, workers take {CONFIG_LIMIT}: put large "
        "task.entrypoint.arguments into a file beside the data"
    )
    facts = _rejection("SpecTooLarge", message)
    obstacle = blocked.since(world, "Spec", "SpecTooLarge", message)
    return Decision(jobstatus.status(world, Phase.PENDING, facts, blocked_by=obstacle))


def _image(world: JobWorld) -> str:
    return world.job.spec.image or world.release.trainer_image


# During an attempt ------------------------------------------------------------------------


def _run(world: JobWorld, attempt: Attempt) -> Decision:
    """Makes what is missing of the gang, then follows its progress."""
    count, pods = world.job.spec.workers.count, gang.pods_of(world, attempt)
    actions = [*_surroundings(world), *_older(world, attempt)]
    if held := _held_by_others(world, attempt):
        # A write of ours that came late: two workers of one rank never run at once.
        return Decision(world.job.status, tuple(actions), wake=_patience(world, held))
    actions += _missing(world, attempt, pods)
    running = sum(gang.phase(pod) == "Running" for pod in pods)
    started = running + sum(gang.phase(pod) == "Succeeded" for pod in pods) == count
    facts = jobstatus.going(world)
    if started:
        told = "the worker has started" if count == 1 else f"all {count} workers have started"
        facts.append(Fact("Started", True, "WorkersRunning", told))
    there = attempt.model_copy(
        update={"pods_created": True, "first_step": gang.first_step(world, attempt)}
    )
    status = jobstatus.status(
        world,
        Phase.RUNNING if started else Phase.STARTING,
        facts,
        attempts=jobstatus.with_attempt(world, there),
        checkpoint=gang.checkpoint(world),
        progress=gang.progress(world),
        blocked_by=None if started else blocked.of_pods(world, pods),
    )
    wake = _next_look(world, attempt, bool(running))
    return Decision(status, tuple(actions), wake=wake, poll=gang.address(pods))


def _surroundings(world: JobWorld) -> Iterable[Action]:
    """Service and NetworkPolicy, before the first pod that needs them."""
    meta = world.job.metadata
    name = names.workers(meta.name)
    policy, service = workers.policy(world.job, world.release), workers.service(world.job)
    yield Apply(policy, uid(named(name, meta, world.policies)), "workers are closed to others")
    yield Apply(service, uid(named(name, meta, world.services)), "workers find each other by name")


def _older(world: JobWorld, attempt: Attempt) -> Iterable[Action]:
    """Pods of older attempts: none may run, and logs are kept as long as the attempt's record."""
    oldest = world.job.status.attempts[0].number
    for pod in world.pods:
        number = gang.number(pod)
        stale = number < oldest or (number != attempt.number and not gang.over(pod))
        if stale and not being_deleted(pod):
            yield delete("Pod", pod, f"a pod of attempt {number}, not of {attempt.number}")


def _held_by_others(world: JobWorld, attempt: Attempt) -> list[Object]:
    return [pod for pod in gang.alive(world) if gang.number(pod) != attempt.number]


def _missing(world: JobWorld, attempt: Attempt, pods: tuple[Object, ...]) -> list[Create]:
    """Pods that have never been made: once all were there, a missing one has been deleted."""
    if attempt.pods_created:
        return []
    there = {pod["metadata"]["name"] for pod in pods}
    name = world.job.metadata.name
    wanted = [
        index
        for index in range(world.job.spec.workers.count)
        if names.worker_pod(name, attempt.number, index) not in there
    ]
    return [
        Create(manifest, f"worker {index} of attempt {attempt.number}")
        for index, manifest in workers.pods(world.job, attempt.number, wanted, world.release)
    ]


def _next_look(world: JobWorld, attempt: Attempt, running: bool) -> float | None:
    """When time alone may change something: progress, a deadline, a failure still unblamed."""
    times = [PROGRESS_SECONDS] if running else []
    if (blame := attempts.settles_in(world, attempt)) is not None:
        times.append(blame)
    if (remaining := gang.remaining_seconds(world)) is not None:
        times.append(remaining)
    return min(times, default=None)


def _end(world: JobWorld, ended: Attempt) -> Decision:
    """Puts the end of the attempt on record, before anything of it is deleted."""
    recorded = attempts.on_record(world, ended)
    if ended.cause == SUCCEEDED and not gang.alive(world):
        return finish.succeed(recorded, ended)
    restart = attempts.verdict(world, ended) is None and ended.cause not in (SUCCEEDED, SUSPENDED)
    phase = Phase.RESTARTING if restart else Phase.STOPPING
    return Decision(jobstatus.status(recorded, phase), again=True)


# Between two attempts -------------------------------------------------------------------------


def _after(world: JobWorld, attempt: Attempt) -> Decision:
    """Frees what the ended attempt still holds; then the next attempt, or the verdict."""
    world = attempts.with_last_words(world, attempt)
    if alive := gang.alive(world):
        deletes = tuple(
            delete("Pod", pod, f"attempt {attempt.number} ended: {attempt.cause}")
            for pod in alive
            # One that has ended by itself is waited for: deleting it would take its log along.
            if not being_deleted(pod) and not failure.left(pod)
        )
        phase = world.job.status.phase or Phase.STOPPING
        return Decision(jobstatus.status(world, phase), deletes, wake=_patience(world, alive))
    if attempt.cause == SUCCEEDED:
        return finish.succeed(world, attempt)
    if (verdict := attempts.verdict(world, attempt)) is not None:
        return finish.fail(world, verdict)
    if world.job.spec.suspend:
        facts = [ACCEPTED, jobstatus.SUSPENDED]
        return Decision(jobstatus.status(world, Phase.SUSPENDED, facts, blocked_by=None))
    spent = 0 if attempt.cause == SUSPENDED else 1
    phase = Phase.RESTARTING if spent else Phase.STARTING
    restarts = world.job.status.restarts + spent
    status = attempts.begun(world, attempt.number + 1, phase, restarts=restarts)
    return Decision(status, again=True)


def _patience(world: JobWorld, pods: Iterable[Object]) -> float | None:
    """Seconds until the first of these pods that are being deleted counts as lost."""
    times = (gang.given_up_in(pod, world.now) for pod in pods)
    return min((time for time in times if time is not None), default=None)


# When a write was refused ------------------------------------------------------------------------


def _refused(world: JobWorld, problem: Problem) -> Decision:
    """The API server would not do what was decided: say so, and try again later."""
    obstacle = blocked.of_problem(world, problem)
    # These ask for a person; the others may pass.
    final = obstacle.category == "Spec" or obstacle.reason == "NameConflict"
    facts = _rejection(obstacle.reason, obstacle.message) if final else []
    phase = world.job.status.phase or Phase.PENDING
    return Decision(jobstatus.status(world, phase, facts, blocked_by=obstacle))


def _rejection(reason: str, message: str) -> list[Fact]:
    return [Fact("Accepted", False, reason, message), Fact("Stalled", True, reason, message)]
