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
from torchyard.api.contract import EXIT_PERMANENT, PERMANENT
from torchyard.api.trainingjob import Attempt, Phase, TrainingJobStatus
from torchyard.core import blocked, conditions, failure, gang, registration, workers
from torchyard.core.clock import seconds_since, stamp
from torchyard.core.conditions import Fact
from torchyard.core.objects import being_deleted, named, owned, uid
from torchyard.core.plan import Action, Apply, Create, Decision, Delete
from torchyard.core.world import JobWorld, Object

POLL_SECONDS = 10.0
"""How old a running job's progress may be, and so how often its status may be written."""

FINISHED_PODS_SECONDS = 3600.0
"""How long the pods of a finished job stay for their logs."""

ATTEMPTS_KEPT = 10

CONFIG_LIMIT = 100_000
"""Bytes of configuration: Linux takes 128 KiB in one environment variable."""

_ACCEPTED = Fact("Accepted", True, "Valid", "the job can be run as it is written")
REJECTION = ("Accepted", "Stalled")

SUCCEEDED, SUSPENDED, DEADLINE = "Succeeded", "Suspended", "DeadlineExceeded"


def decide(world: JobWorld) -> Decision:
    """The next step of a job."""
    world = replace(world, pods=tuple(p for p in world.pods if owned(world.job.metadata, p)))
    status = world.job.status
    if world.job.metadata.deletion_timestamp:
        return Decision(status=None)  # the garbage collector follows the owner references
    if finished(status):
        return _clean_up(world)
    if world.problem:
        return _refused(world)
    if status.attempt is None:
        return _first_start(world)
    attempt = status.attempts[-1]
    if attempt.end_time is not None:
        return _after(world, attempt)
    end = _ending(world, attempt)
    if end is not None:
        return _end(world, end)
    return _run(world, attempt)


def finished(status: TrainingJobStatus) -> bool:
    """Whether the verdict has fallen."""
    return conditions.holds(status.conditions, "Complete") or conditions.holds(
        status.conditions, "Failed"
    )


# Before the first attempt -----------------------------------------------------------------


def _first_start(world: JobWorld) -> Decision:
    size = len(workers.config_json(world.job, 0, ""))
    if size > CONFIG_LIMIT:
        return _reject(world, size)
    if world.job.spec.suspend:
        return Decision(_status(world, Phase.SUSPENDED, [_ACCEPTED, _suspended(True)]))
    status = _status(
        world,
        Phase.STARTING,
        [
            _ACCEPTED,
            Fact("Started", False, "CreatingWorkers", "the workers are being created"),
        ],
        image=world.job.spec.image or world.release.trainer_image,
        start_time=stamp(world.now),
    )
    return Decision(_begin(world, status, number=0), again=True)


def _reject(world: JobWorld, size: int) -> Decision:
    """A spec that the CRD lets through and no worker could be told."""
    message = (
        f"the spec is {size} bytes as JSON, workers take {CONFIG_LIMIT}: put large "
        "task.entrypoint.arguments into a file beside the data"
    )
    facts = [Fact(name, name == "Stalled", "SpecTooLarge", message) for name in REJECTION]
    status = _status(
        world,
        Phase.PENDING,
        facts,
        blocked_by=blocked.since(world, "Spec", "SpecTooLarge", message),
    )
    return Decision(status)


def _begin(world: JobWorld, status: TrainingJobStatus, number: int) -> TrainingJobStatus:
    """Puts the number of an attempt on record; its pods come with the next decision."""
    attempt = Attempt(
        number=number,
        start_time=stamp(world.now),
        first_step=status.checkpoint.step if status.checkpoint else 0,
    )
    kept = [*status.attempts, attempt][-ATTEMPTS_KEPT:]
    return status.model_copy(update={"attempt": number, "attempts": kept, "blocked_by": None})


# During an attempt ------------------------------------------------------------------------


def _ending(world: JobWorld, attempt: Attempt) -> Attempt | None:
    """The attempt with its end, if it has come to one."""
    spec = world.job.spec
    pods = gang.pods_of(world, attempt)
    ended = attempt.model_copy(
        update={"end_time": stamp(world.now), "last_step": gang.last_step(world)}
    )
    count = spec.workers.count
    if len(pods) == count and all(gang.phase(pod) == "Succeeded" for pod in pods):
        return ended.model_copy(update={"cause": SUCCEEDED})
    if spec.suspend:
        return ended.model_copy(
            update={"cause": SUSPENDED, "message": "spec.suspend was set to true"}
        )
    remaining = gang.remaining_seconds(world)
    if remaining is not None and remaining <= 0:
        message = f"deadlines.activeSeconds of {spec.deadlines.active_seconds} s is over"
        return ended.model_copy(update={"cause": DEADLINE, "message": message})
    failures = failure.of_attempt(pods, count, attempt.pods_created)
    if not failures or not failure.settled(failures, world.now):
        return None
    first = failures[0]
    return ended.model_copy(
        update={
            "cause": first.cause,
            "message": first.message or None,
            "worker": first.worker,
            "rank": first.rank,
            "node": first.node,
            "exit_code": first.exit_code,
        }
    )


def _end(world: JobWorld, ended: Attempt) -> Decision:
    """Puts the end of the attempt on record, before anything of it is deleted."""
    stored = world.job.status
    spent = (stored.active_seconds or 0) + max(0, int(seconds_since(ended.start_time, world.now)))
    restart = _verdict(world, ended) is None and ended.cause != SUSPENDED
    phase = Phase.RESTARTING if restart else Phase.STOPPING
    status = _status(
        world,
        phase,
        [],
        attempts=[*stored.attempts[:-1], ended],
        active_seconds=spent,
        checkpoint=gang.checkpoint(world),
        progress=gang.progress(world),
    )
    return Decision(status, again=True)


def _run(world: JobWorld, attempt: Attempt) -> Decision:
    """Makes what is missing of the gang, then follows its progress."""
    job, count = world.job, world.job.spec.workers.count
    pods = gang.pods_of(world, attempt)
    there = {pod["metadata"]["name"] for pod in pods}
    actions: list[Action] = [*_surroundings(world), *_stale(world, attempt)]
    for index in range(0 if attempt.pods_created else count):
        if names.worker_pod(job.metadata.name, attempt.number, index) not in there:
            manifest = workers.pod(job, attempt.number, index, world.release)
            actions.append(Create(manifest, f"worker {index} of attempt {attempt.number}"))
    running = sum(gang.phase(pod) == "Running" for pod in pods)
    started = running + sum(gang.phase(pod) == "Succeeded" for pod in pods) == count
    facts = [_ACCEPTED]
    if started:
        facts.append(Fact("Started", True, "WorkersRunning", f"all {count} workers run"))
    if conditions.find(job.status.conditions, SUSPENDED):
        facts.append(_suspended(False))
    status = _status(
        world,
        Phase.RUNNING if started else Phase.STARTING,
        facts,
        attempts=[
            *job.status.attempts[:-1],
            attempt.model_copy(update={"pods_created": True}),
        ],
        checkpoint=gang.checkpoint(world),
        progress=gang.progress(world),
        blocked_by=None if started else blocked.of_pods(world, pods),
    )
    return Decision(status, tuple(actions), wake=_next_look(world, pods), poll=gang.address(pods))


def _next_look(world: JobWorld, pods: tuple[Object, ...]) -> float | None:
    """When time alone may change something: progress, a deadline, a failure still unblamed."""
    times = []
    if any(gang.phase(pod) == "Running" for pod in pods):
        times.append(POLL_SECONDS)
    if any(gang.phase(pod) == "Failed" for pod in pods):
        times.append(1.0)
    remaining = gang.remaining_seconds(world)
    if remaining is not None:
        times.append(max(remaining, 0.1))
    return min(times, default=None)


# Between two attempts, and at the end --------------------------------------------------------


def _after(world: JobWorld, attempt: Attempt) -> Decision:
    """Frees what the ended attempt still holds; then the next attempt, or the verdict."""
    alive = [pod for pod in world.pods if gang.phase(pod) not in ("Succeeded", "Failed")]
    if alive:
        deletes = tuple(
            _delete(pod, f"attempt {attempt.number} ended: {attempt.cause}")
            for pod in alive
            if not being_deleted(pod)
        )
        return Decision(_status(world, world.job.status.phase or Phase.STOPPING, []), deletes)
    if attempt.cause == SUCCEEDED:
        return _succeed(world, attempt)
    verdict = _verdict(world, attempt)
    if verdict is not None:
        return _fail(world, verdict)
    if world.job.spec.suspend:
        return Decision(_status(world, Phase.SUSPENDED, [_suspended(True)]))
    spent = 0 if attempt.cause == SUSPENDED else 1
    phase = Phase.RESTARTING if spent else Phase.STARTING
    status = _status(world, phase, [], restarts=world.job.status.restarts + spent)
    return Decision(_begin(world, status, attempt.number + 1), again=True)


def _verdict(world: JobWorld, attempt: Attempt) -> tuple[str, str] | None:
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


def _fail(world: JobWorld, verdict: tuple[str, str]) -> Decision:
    reason, message = verdict
    status = _status(
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
    return Decision(status, wake=FINISHED_PODS_SECONDS)


def _succeed(world: JobWorld, attempt: Attempt) -> Decision:
    """Registers what was published, once, and closes the job."""
    job, output = world.job, world.job.spec.output
    actions: tuple[Action, ...] = ()
    version, message = None, "the training is complete; nothing is published"
    if output is not None:
        artifact = gang.artifact(gang.pods_of(world, attempt))
        known = registration.registered(job, world.versions)
        if known is not None:
            version = known.metadata.name
        elif artifact is not None:
            manifest = registration.record(
                job, output.model, artifact, job.status.image, world.versions
            )
            version = manifest["metadata"]["name"]
            actions = (Create(manifest, "the artifact is published"),)
        else:
            reason = "ArtifactUnknown"
            return _fail(
                world, (reason, "worker 0 succeeded but did not say what it has published")
            )
        message = f"the model is registered as {version}"
    status = _status(
        world,
        Phase.SUCCEEDED,
        [Fact("Complete", True, "Trained", message)],
        completion_time=stamp(world.now),
        model_version=version,
        blocked_by=None,
    )
    return Decision(status, actions, wake=FINISHED_PODS_SECONDS)


def _clean_up(world: JobWorld) -> Decision:
    """A finished job: its pods go after an hour, itself after its time to live."""
    job = world.job
    age = seconds_since(job.status.completion_time or stamp(world.now), world.now)
    ttl = job.spec.ttl_seconds_after_finished
    if ttl is not None and age >= ttl:
        meta = job.metadata
        why = f"ttlSecondsAfterFinished of {ttl} s is over"
        return Decision(None, (Delete("TrainingJob", meta.namespace, meta.name, meta.uid, why),))
    gone = age >= FINISHED_PODS_SECONDS
    doomed = [
        pod
        for pod in world.pods
        if (gone or gang.phase(pod) not in ("Succeeded", "Failed")) and not being_deleted(pod)
    ]
    deletes = tuple(_delete(pod, "the job is finished") for pod in doomed)
    waits = [] if ttl is None else [ttl - age]
    if world.pods and not gone:
        waits.append(FINISHED_PODS_SECONDS - age)
    return Decision(
        _status(world, job.status.phase or Phase.SUCCEEDED, [], workers=job.status.workers),
        deletes,
        wake=min(waits, default=None),
    )


def _refused(world: JobWorld) -> Decision:
    """The API server would not do what was decided: say so, and try again later."""
    assert world.problem is not None  # noqa: S101 - the caller looked
    facts = []
    if world.problem.reason == "NameConflict":
        facts.append(Fact("Accepted", False, "NameConflict", blocked.explain(world.problem)))
    return Decision(
        _status(
            world,
            world.job.status.phase or Phase.PENDING,
            facts,
            blocked_by=blocked.of_problem(world, world.problem),
        )
    )


# What decisions are made of --------------------------------------------------------------------


def _surroundings(world: JobWorld) -> Iterable[Action]:
    """Service and NetworkPolicy, before the first pod that needs them."""
    name = names.workers(world.job.metadata.name)
    policy, service = workers.policy(world.job, world.release), workers.service(world.job)
    yield Apply(policy, uid(named(name, world.policies)), "workers are closed to others")
    yield Apply(service, uid(named(name, world.services)), "workers find each other by name")


def _stale(world: JobWorld, attempt: Attempt) -> Iterable[Action]:
    """Pods of older attempts: none may run, and logs are kept as long as the attempt's record."""
    oldest = world.job.status.attempts[0].number
    for pod in world.pods:
        number = gang.number(pod)
        over = gang.phase(pod) in ("Succeeded", "Failed")
        if number != attempt.number and not being_deleted(pod) and (not over or number < oldest):
            yield _delete(pod, f"a pod of attempt {number}, not of {attempt.number}")


def _status(
    world: JobWorld,
    phase: Phase,
    facts: Iterable[Fact],
    **changes: object,
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


def _suspended(yes: bool) -> Fact:
    if yes:
        return Fact(SUSPENDED, True, "SuspendRequested", "spec.suspend is true; no worker runs")
    return Fact(SUSPENDED, False, "Resumed", "spec.suspend is false")


def _delete(pod: Object, why: str) -> Delete:
    meta = pod["metadata"]
    return Delete("Pod", meta["namespace"], meta["name"], meta["uid"], why)
