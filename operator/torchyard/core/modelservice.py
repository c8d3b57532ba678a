"""What becomes of a ModelService: a function from what is there to writes and a status.

A rollout's target is put on record first. Then, each step told from what is observed: the
candidate's Deployment, the Service pointed at it when it is at full strength, the old
Deployment deleted when no endpoint leads to it. A newer spec pre-empts whatever is under way;
nothing waits for a broken version to become healthy.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torchyard import names
from torchyard.api.modelservice import (
    Endpoints,
    ModelServiceStatus,
    Phase,
    RolloutPhase,
    RolloutStatus,
    VersionState,
    VersionStatus,
)
from torchyard.api.modelversion import ModelVersion
from torchyard.api.trainingjob import Format
from torchyard.artifact.signature import Compatibility
from torchyard.core import blocked, conditions, rollout, servers
from torchyard.core.clock import seconds_since, stamp
from torchyard.core.compatibility import differences
from torchyard.core.conditions import Fact
from torchyard.core.objects import named, uid
from torchyard.core.plan import Action, Apply, Decision, Delete
from torchyard.core.rollout import View
from torchyard.core.world import ServiceWorld

_MESSAGE_LIMIT = 1024


@dataclass(frozen=True)
class Gate:
    """Why the target may not be rolled out; `final` if only a person can change that."""

    reason: str
    message: str
    final: bool


def decide(world: ServiceWorld) -> Decision:
    """The next step of a service."""
    service = world.service
    if service.metadata.deletion_timestamp:
        return Decision(status=None)  # the garbage collector follows the owner references
    view = rollout.look(world)
    gate = _gate(world, view)
    under_way = _under_way(world, view, gate)
    status = _status(world, view, gate, under_way)
    if world.problem:
        return Decision(_refused(world, status))
    if _is_news(service.status.rollout, under_way):
        return Decision(status, again=True)
    actions = tuple(_actions(world, view, gate))
    return Decision(status, actions, wake=_deadline(world, under_way))


# What may be rolled out ---------------------------------------------------------------------


def _gate(world: ServiceWorld, view: View) -> Gate | None:
    """What stands before the target, if anything does."""
    reference, target = world.service.spec.model, view.target
    if target is None:
        return Gate("VersionNotFound", _not_found(world), final=False)
    name = target.metadata.name
    if Format.ONNX not in target.spec.artifact.formats:
        message = (
            f"ModelVersion {name} contains {', '.join(target.spec.artifact.formats)}; serving "
            f"needs Onnx: train it with Onnx among output.formats, or choose another version"
        )
        return Gate("FormatNotServed", message, final=True)
    serving = _serving(world)
    policy = world.service.spec.rollout.compatibility
    if serving is None or serving.spec.version == target.spec.version:
        return None
    found = differences(serving, target, policy)
    if not found:
        return None
    message = (
        f"{name} does not keep what {serving.metadata.name} promises ({policy}): "
        f"{'; '.join(found)}. Choose a compatible version of {reference.name} or set "
        "rollout.compatibility"
    )
    return Gate("SignatureIncompatible", message, final=True)


def _serving(world: ServiceWorld) -> ModelVersion | None:
    """The version that clients have come to rely on: the last one that answered."""
    number = world.service.status.version
    return next((v for v in world.versions if v.spec.version == number), None)


def _not_found(world: ServiceWorld) -> str:
    reference = world.service.spec.model
    if reference.version is not None:
        name = names.model_version(reference.name, reference.version)
        return f"there is no ModelVersion {name} in this namespace yet"
    if reference.alias == "latest":
        return f"there is no ModelVersion of {reference.name} in this namespace yet"
    label = names.alias_label(reference.alias or "")
    return f"no ModelVersion of {reference.name} carries the label {label} yet"


# What is done -------------------------------------------------------------------------------


def _actions(world: ServiceWorld, view: View, gate: Gate | None) -> Iterator[Action]:
    """Surroundings, servers, traffic, and at last what is not needed any more."""
    service = world.service
    guards = names.servers(service.metadata.name)
    yield Apply(servers.policy(service), uid(named(guards, world.policies)), "one open port")
    yield Apply(servers.budget(service), uid(named(guards, world.budgets)), "drains in turn")
    if view.stable is not None and view.stable != view.revision:
        yield from _deployment(world, view, view.stable, "the version in traffic")
    if gate is None and view.revision is not None:
        yield from _deployment(world, view, view.revision, "the version that is asked for")
    traffic = _traffic(view, gate)
    if traffic is not None:
        client_facing = named(service.metadata.name, world.services)
        manifest = servers.client_service(service, traffic)
        yield Apply(manifest, uid(client_facing), f"traffic goes to {traffic}")
    yield from _removals(world, view, gate)


def _traffic(view: View, gate: Gate | None) -> str | None:
    """The revision that the client-facing Service should select."""
    if gate is not None or view.revision is None:
        return view.stable
    if view.stable is None or view.strength(view.revision).complete:
        return view.revision
    return view.stable


def _deployment(world: ServiceWorld, view: View, revision: str, why: str) -> Iterator[Action]:
    observed = view.deployments.get(revision)
    number = servers.version_number(revision)
    version = next((v for v in world.versions if v.spec.version == number), None)
    manifest = servers.deployment(world.service, version, revision, observed, world.release)
    if manifest is not None:
        yield Apply(manifest, uid(observed), why)


def _removals(world: ServiceWorld, view: View, gate: Gate | None) -> Iterator[Action]:
    """Deployments that play no part any more, once no request can reach them."""
    routed = rollout.routed(world)
    if view.wanted and view.stable not in routed:
        return  # the endpoints have not followed the Service yet
    for revision in view.leftovers(candidate=gate is None):
        if revision not in routed:
            meta = view.deployments[revision]["metadata"]
            why = f"{revision} is neither in traffic nor asked for"
            yield Delete("Deployment", meta["namespace"], meta["name"], meta["uid"], why)


# What is said -------------------------------------------------------------------------------


def _under_way(world: ServiceWorld, view: View, gate: Gate | None) -> RolloutStatus | None:
    """The rollout, from the moment it is decided on until nothing is left of the old version."""
    stored = world.service.status.rollout
    if gate is not None or view.target is None or view.revision is None:
        return None
    moved = view.stable == view.revision
    strength = view.strength(view.revision)
    leftovers = view.leftovers(candidate=True)
    if moved and strength.complete and not leftovers:
        return None
    if moved and stored is None and not leftovers:
        return None  # a settled service that lost servers or is being scaled
    same = stored is not None and stored.revision == view.revision
    started = stored.started_at if stored is not None and same else stamp(world.now)
    if moved and strength.complete:
        phase, message = RolloutPhase.DRAINING, f"{', '.join(leftovers)} drains"
    elif not moved and strength.complete:
        phase, message = RolloutPhase.SWITCHING, "endpoints follow"
    else:
        phase = RolloutPhase.STARTING
        message = f"{strength.ready} of {view.wanted} servers of {view.revision} are ready"
        reason = rollout.trouble(rollout.pods_of(world, view.revision))
        limit = world.service.spec.rollout.progress_deadline_seconds
        if seconds_since(started, world.now) >= limit:
            phase = RolloutPhase.STALLED
            message += f" after {limit} s (rollout.progressDeadlineSeconds)"
        message += f": {reason}" if reason else ""
    return RolloutStatus(
        phase=phase,
        version=view.target.spec.version,
        revision=view.revision,
        started_at=started,
        message=message[:_MESSAGE_LIMIT],
    )


def _is_news(stored: RolloutStatus | None, now: RolloutStatus | None) -> bool:
    """Whether a target has to be put on record before anything is done about it."""
    if now is None:
        return False
    return stored is None or stored.revision != now.revision


def _deadline(world: ServiceWorld, under_way: RolloutStatus | None) -> float | None:
    """When time alone will stall the rollout."""
    if under_way is None or under_way.phase is not RolloutPhase.STARTING:
        return None
    limit = world.service.spec.rollout.progress_deadline_seconds
    return max(0.1, limit - seconds_since(under_way.started_at, world.now))


def _status(
    world: ServiceWorld, view: View, gate: Gate | None, under_way: RolloutStatus | None
) -> ModelServiceStatus:
    service, stored = world.service, world.service.status
    stable = view.strength(view.stable)
    version = stored.version
    if view.stable is not None and stable.ready:
        version = servers.version_number(view.stable) or version
    facts = _facts(world, view, gate, under_way)
    chosen = view.stable and servers.selector(service, view.stable)
    return stored.model_copy(
        update={
            "observed_generation": service.metadata.generation,
            "phase": _phase(view, facts, under_way, version),
            "conditions": conditions.update(
                stored.conditions,
                facts,
                now=world.now,
                generation=service.metadata.generation,
            ),
            "version": version,
            "replicas": stable.replicas,
            "ready_replicas": stable.ready,
            "selector": ",".join(f"{key}={value}" for key, value in (chosen or {}).items()),
            "versions": _versions(view),
            "rollout": under_way,
            "endpoints": Endpoints(
                url=f"http://{service.metadata.name}.{service.metadata.namespace}.svc"
            ),
        }
    )


def _facts(
    world: ServiceWorld, view: View, gate: Gate | None, under_way: RolloutStatus | None
) -> list[Fact]:
    stable = view.strength(view.stable)
    facts = [
        Fact("Accepted", True, "Valid", "the service can be run as it is written"),
        _servable(view),
    ]
    if gate is not None:
        facts += [
            Fact("Ready", False, gate.reason, gate.message),
            Fact("Progressing", False, gate.reason, gate.message),
            Fact("Stalled", gate.final, gate.reason, gate.message),
        ]
        if gate.reason == "SignatureIncompatible":
            facts.append(Fact("SignatureCompatible", False, gate.reason, gate.message))
        return facts
    facts.append(_compatible(world, view))
    pods = rollout.pods_of(world, view.revision or "")
    corrupt = rollout.corrupt(pods) if not view.strength(view.revision).ready else None
    facts.append(_verified(view, corrupt))
    if under_way is None:
        complete = stable.complete
        told = f"{stable.ready} of {view.wanted} servers are ready"
        return [
            *facts,
            Fact("Ready", complete, "Serving" if complete else "ServersMissing", told),
            Fact("Progressing", False, "RolledOut", "the version that is asked for serves"),
            Fact("Stalled", False, "RolledOut", "nothing is in the way"),
        ]
    message = under_way.message or ""
    overdue = under_way.phase is RolloutPhase.STALLED
    stalled = Fact("Stalled", False, "RollingOut", message)
    if corrupt is not None:
        stalled = Fact("Stalled", True, "ArtifactCorrupt", corrupt)
    elif overdue:
        stalled = Fact("Stalled", True, "ProgressDeadlineExceeded", message)
    return [
        *facts,
        Fact("Ready", False, "RollingOut", message),
        Fact("Progressing", not overdue, stalled.reason, message),
        stalled,
    ]


def _servable(view: View) -> Fact:
    stable = view.strength(view.stable)
    if stable.ready:
        return Fact("Servable", True, "ServersReady", f"{view.stable} answers")
    return Fact("Servable", False, "NoServerReady", "no server answers")


def _compatible(world: ServiceWorld, view: View) -> Fact:
    policy = world.service.spec.rollout.compatibility
    serving = _serving(world)
    if policy is Compatibility.NONE:
        return Fact("SignatureCompatible", True, "NotChecked", "rollout.compatibility is None")
    if serving is None or view.target is None:
        return Fact("SignatureCompatible", True, "FirstVersion", "there is nothing to keep to")
    told = f"{view.target.metadata.name} keeps what {serving.metadata.name} promises ({policy})"
    return Fact("SignatureCompatible", True, "Compatible", told)


def _verified(view: View, corrupt: str | None) -> Fact:
    if corrupt is not None:
        return Fact("ArtifactVerified", False, "ArtifactCorrupt", corrupt)
    if view.strength(view.revision).ready:
        told = "every file has the digest that the manifest names"
        return Fact("ArtifactVerified", True, "DigestsMatch", told)
    return Fact("ArtifactVerified", None, "Verifying", "no server has loaded the artifact yet")


def _phase(
    view: View, facts: list[Fact], under_way: RolloutStatus | None, version: int | None
) -> Phase:
    known = {fact.type: fact for fact in facts}
    if known["Stalled"].holds:
        return Phase.STALLED
    if known["Ready"].reason == "VersionNotFound":
        return Phase.PENDING
    if under_way is not None:
        return Phase.STARTING if version is None else Phase.ROLLING_OUT
    if not view.wanted:
        return Phase.STOPPED
    return Phase.READY if known["Ready"].holds else Phase.DEGRADED


def _versions(view: View) -> list[VersionStatus]:
    result = []
    for revision in sorted(view.deployments, key=servers.version_number):
        state = VersionState.DRAINING
        if revision == view.stable:
            state = VersionState.STABLE
        elif revision == view.revision:
            state = VersionState.CANDIDATE
        strength = view.strength(revision)
        result.append(
            VersionStatus(
                version=servers.version_number(revision) or 1,
                revision=revision,
                replicas=strength.replicas,
                ready=strength.ready,
                state=state,
            )
        )
    return result[-16:]


def _refused(world: ServiceWorld, status: ModelServiceStatus) -> ModelServiceStatus:
    """The API server would not do what was decided: say so, and try again later."""
    assert world.problem is not None  # noqa: S101 - the caller looked
    message = blocked.explain(world.problem)
    facts = [
        Fact("Ready", False, world.problem.reason, message),
        Fact("Progressing", False, world.problem.reason, message),
    ]
    if world.problem.reason == "NameConflict":
        facts.append(Fact("Accepted", False, "NameConflict", message))
    updated = conditions.update(
        status.conditions, facts, now=world.now, generation=world.service.metadata.generation
    )
    return status.model_copy(update={"conditions": updated})
