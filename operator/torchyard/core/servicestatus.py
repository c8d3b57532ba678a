"""What a ModelService says of itself: rollout, conditions, versions, one phase for people."""

from torchyard.api.modelservice import (
    Endpoints,
    ModelServiceStatus,
    Phase,
    RolloutPhase,
    RolloutStatus,
    VersionState,
    VersionStatus,
)
from torchyard.artifact.signature import Compatibility
from torchyard.core import blocked, conditions, gate, rollout, servers
from torchyard.core.clock import seconds_since, stamp
from torchyard.core.conditions import Fact
from torchyard.core.gate import Gate
from torchyard.core.rollout import View
from torchyard.core.world import Problem, ServiceWorld

_MESSAGE_LIMIT = 1024
_VERSIONS_KEPT = 16


def under_way(world: ServiceWorld, view: View, closed: Gate | None) -> RolloutStatus | None:
    """The rollout, from the moment it is decided on until nothing is left of the old version."""
    stored = world.service.status.rollout
    if closed is not None or view.target is None or view.revision is None:
        return None
    moved = view.stable == view.revision
    strength = view.strength(view.revision)
    leftovers = view.leftovers(candidate=True)
    # A service that only lost servers, or is being scaled, is not rolling out.
    if moved and not leftovers and (strength.complete or stored is None):
        return None
    same = stored is not None and stored.revision == view.revision
    started = stored.started_at if stored is not None and same else stamp(world.now)
    if moved and strength.complete:
        phase, message = RolloutPhase.DRAINING, f"{', '.join(leftovers)} drains"
    elif strength.complete:
        phase, message = RolloutPhase.SWITCHING, "endpoints follow"
    else:
        phase, message = _starting(world, view, started)
    return RolloutStatus(
        phase=phase,
        version=view.target.spec.version,
        revision=view.revision,
        started_at=started,
        message=message[:_MESSAGE_LIMIT],
    )


def _starting(world: ServiceWorld, view: View, started: str) -> tuple[RolloutPhase, str]:
    ready = view.strength(view.revision).ready
    message = f"{ready} of {view.wanted} servers of {view.revision} are ready"
    phase, limit = RolloutPhase.STARTING, world.service.spec.rollout.progress_deadline_seconds
    if seconds_since(started, world.now) >= limit:
        phase = RolloutPhase.STALLED
        message += f" after {limit} s (rollout.progressDeadlineSeconds)"
    reason = rollout.trouble(rollout.pods_of(world, view.revision or ""))
    return phase, f"{message}: {reason}" if reason else message


def status(
    world: ServiceWorld, view: View, closed: Gate | None, moving: RolloutStatus | None
) -> ModelServiceStatus:
    """The whole status."""
    service, stored = world.service, world.service.status
    stable = view.strength(view.stable)
    version = stored.version
    if view.stable is not None and stable.ready:
        version = servers.version_number(view.stable) or version
    facts = _facts(world, view, closed, moving)
    chosen = servers.selector(service, view.stable) if view.stable else {}
    return stored.model_copy(
        update={
            "observed_generation": service.metadata.generation,
            "phase": _phase(view, facts, moving, version),
            "conditions": conditions.update(
                stored.conditions, facts, now=world.now, generation=service.metadata.generation
            ),
            "version": version,
            "replicas": stable.replicas,
            "ready_replicas": stable.ready,
            "selector": ",".join(f"{key}={value}" for key, value in chosen.items()),
            "versions": _versions(view),
            "rollout": moving,
            "endpoints": Endpoints(
                url=f"http://{service.metadata.name}.{service.metadata.namespace}.svc"
            ),
        }
    )


def refused(
    world: ServiceWorld, status: ModelServiceStatus, problem: Problem
) -> ModelServiceStatus:
    """The API server would not do what was decided: say so, and try again later."""
    message, reason = blocked.explain(problem), problem.reason or "Refused"
    facts = [Fact("Ready", False, reason, message), Fact("Progressing", False, reason, message)]
    phase = status.phase
    # These ask for a person; the others may pass.
    if blocked.category(problem) == "Spec" or reason == "NameConflict":
        facts += [Fact("Accepted", False, reason, message), Fact("Stalled", True, reason, message)]
        phase = Phase.STALLED
    updated = conditions.update(
        status.conditions, facts, now=world.now, generation=world.service.metadata.generation
    )
    return status.model_copy(update={"conditions": updated, "phase": phase})


def _facts(
    world: ServiceWorld, view: View, closed: Gate | None, moving: RolloutStatus | None
) -> list[Fact]:
    facts = [
        Fact("Accepted", True, "Valid", "the service can be run as it is written"),
        _servable(view),
    ]
    if closed is not None:
        return [*facts, *_gated(closed)]
    facts += _compatible(world, view)
    pods = rollout.pods_of(world, view.revision or "")
    corrupt = rollout.corrupt(pods) if not view.strength(view.revision).ready else None
    facts.append(_verified(view, corrupt))
    if moving is None:
        return [*facts, *_settled(view)]
    return [*facts, *_moving(moving, corrupt)]


def _gated(closed: Gate) -> list[Fact]:
    facts = [
        Fact("Ready", False, closed.reason, closed.message),
        Fact("Progressing", False, closed.reason, closed.message),
        Fact("Stalled", closed.final, closed.reason, closed.message),
    ]
    if closed.reason == gate.INCOMPATIBLE:
        facts.append(Fact("SignatureCompatible", False, closed.reason, closed.message))
    return facts


def _settled(view: View) -> list[Fact]:
    stable = view.strength(view.stable)
    told = f"{stable.ready} of {view.wanted} servers are ready"
    return [
        Fact("Ready", stable.complete, "Serving" if stable.complete else "ServersMissing", told),
        Fact("Progressing", False, "RolledOut", "the version that is asked for serves"),
        Fact("Stalled", False, "RolledOut", "nothing is in the way"),
    ]


def _moving(moving: RolloutStatus, corrupt: str | None) -> list[Fact]:
    message = moving.message or ""
    stalled = Fact("Stalled", False, "RollingOut", message)
    if corrupt is not None:
        stalled = Fact("Stalled", True, "ArtifactCorrupt", corrupt)
    elif moving.phase is RolloutPhase.STALLED:
        stalled = Fact("Stalled", True, "ProgressDeadlineExceeded", message)
    return [
        Fact("Ready", False, stalled.reason, message),
        Fact("Progressing", not stalled.holds, stalled.reason, message),
        stalled,
    ]


def _servable(view: View) -> Fact:
    if view.strength(view.stable).ready:
        number = servers.version_number(view.stable or "")
        return Fact("Servable", True, "ServersReady", f"version {number} answers")
    return Fact("Servable", False, "NoServerReady", "no server answers")


def _compatible(world: ServiceWorld, view: View) -> list[Fact]:
    """How the target stands to the version before it; what was said of that stays."""
    policy, number = world.service.spec.rollout.compatibility, world.service.status.version
    serving = gate.answered(world)
    if policy is Compatibility.NONE:
        return [Fact("SignatureCompatible", True, "NotChecked", "rollout.compatibility is None")]
    if number is None or view.target is None:
        told = "no version has answered before this one"
        return [Fact("SignatureCompatible", True, "FirstVersion", told)]
    if serving is None:
        told = f"version {number}, which answered last, has no record any more"
        return [Fact("SignatureCompatible", None, "RecordMissing", told)]
    if serving.spec.version == view.target.spec.version:
        return []
    told = f"{view.target.metadata.name} keeps what {serving.metadata.name} promises ({policy})"
    return [Fact("SignatureCompatible", True, "Compatible", told)]


def _verified(view: View, corrupt: str | None) -> Fact:
    if corrupt is not None:
        return Fact("ArtifactVerified", False, "ArtifactCorrupt", corrupt)
    if view.strength(view.revision).ready:
        told = "every file has the digest that the manifest names"
        return Fact("ArtifactVerified", True, "DigestsMatch", told)
    return Fact("ArtifactVerified", None, "Verifying", "no server has loaded the artifact yet")


def _phase(
    view: View, facts: list[Fact], moving: RolloutStatus | None, version: int | None
) -> Phase:
    known = {fact.type: fact for fact in facts}
    if known["Stalled"].holds:
        return Phase.STALLED
    if known["Ready"].reason == gate.NOT_FOUND:
        return Phase.PENDING
    if moving is not None:
        return Phase.STARTING if version is None else Phase.ROLLING_OUT
    if not view.wanted:
        return Phase.STOPPED
    return Phase.READY if known["Ready"].holds else Phase.DEGRADED


def _versions(view: View) -> list[VersionStatus]:
    parts = view.parts(candidate=True)
    # The stable revision must not be forgotten, however many others there are.
    kept = sorted(view.deployments, key=lambda revision: (revision in parts, _order(revision)))
    return [_version(view, revision) for revision in sorted(kept[-_VERSIONS_KEPT:], key=_order)]


def _order(revision: str) -> tuple[int, str]:
    return servers.version_number(revision), revision


def _version(view: View, revision: str) -> VersionStatus:
    state = VersionState.DRAINING
    if revision == view.stable:
        state = VersionState.STABLE
    elif revision == view.revision:
        state = VersionState.CANDIDATE
    strength = view.strength(revision)
    return VersionStatus(
        version=servers.version_number(revision),
        revision=revision,
        replicas=strength.replicas,
        ready=strength.ready,
        state=state,
    )
