"""What becomes of a ModelService: a function from what is there to writes and a status.

A rollout's target is put on record first. Then, each step told from what is observed: the
candidate's Deployment; when it is at full strength, that traffic moves is put on record and the
Service pointed at it; the old Deployment deleted when no endpoint leads to it. A newer spec
pre-empts whatever is under way; nothing waits for a broken version to become healthy.
"""

from collections.abc import Iterator

from torchyard import names
from torchyard.api.modelservice import RolloutPhase, RolloutStatus
from torchyard.core import gate, rollout, servers, servicestatus
from torchyard.core.clock import seconds_since
from torchyard.core.gate import Gate
from torchyard.core.objects import delete, named, uid
from torchyard.core.plan import Action, Apply, Decision
from torchyard.core.rollout import View
from torchyard.core.world import ServiceWorld


def decide(world: ServiceWorld) -> Decision:
    """The next step of a service."""
    if world.service.metadata.deletion_timestamp:
        return Decision(status=None)  # the garbage collector follows the owner references
    view = rollout.look(world)
    closed = gate.closed(world, view)
    moving = servicestatus.under_way(world, view, closed)
    status = servicestatus.status(world, view, closed, moving)
    if world.problem:
        return Decision(servicestatus.refused(world, status, world.problem))
    if _is_news(world.service.status.rollout, moving):
        return Decision(status, again=True)
    actions = tuple(_actions(world, view, closed))
    return Decision(status, actions, wake=_deadline(world, moving))


def _is_news(stored: RolloutStatus | None, now: RolloutStatus | None) -> bool:
    """Whether it has to be on record before anything is done: another target, or traffic moves."""
    if now is None:
        return False
    if stored is None or stored.revision != now.revision:
        return True
    return now.phase is RolloutPhase.SWITCHING and stored.phase is not RolloutPhase.SWITCHING


def _deadline(world: ServiceWorld, moving: RolloutStatus | None) -> float | None:
    """When time alone will stall the rollout."""
    if moving is None or moving.phase is not RolloutPhase.STARTING:
        return None
    limit = world.service.spec.rollout.progress_deadline_seconds
    return limit - seconds_since(moving.started_at, world.now)


def _actions(world: ServiceWorld, view: View, closed: Gate | None) -> Iterator[Action]:
    """Surroundings, servers, traffic, and at last what is not needed any more."""
    service, meta = world.service, world.service.metadata
    guards, candidate = names.servers(meta.name), closed is None
    yield Apply(servers.policy(service), uid(named(guards, meta, world.policies)), "one open port")
    yield Apply(servers.budget(service), uid(named(guards, meta, world.budgets)), "drains in turn")
    for revision in view.parts(candidate):
        yield from _deployment(world, view, revision)
    traffic = _traffic(view, candidate)
    if traffic is not None:
        client_facing = named(meta.name, meta, world.services)
        manifest = servers.client_service(service, traffic)
        yield Apply(manifest, uid(client_facing), f"traffic goes to {traffic}")
    for revision in rollout.removable(world, view, candidate):
        why = f"{revision} is neither in traffic nor asked for"
        yield delete("Deployment", view.deployments[revision], why)


def _deployment(world: ServiceWorld, view: View, revision: str) -> Iterator[Action]:
    observed = view.deployments.get(revision)
    number = servers.version_number(revision)
    version = next((v for v in world.versions if v.spec.version == number), None)
    manifest = servers.deployment(world.service, version, revision, observed, world.release)
    if manifest is not None:
        stable = revision == view.stable
        why = "the version in traffic" if stable else "the version that is asked for"
        yield Apply(manifest, uid(observed), why)


def _traffic(view: View, candidate: bool) -> str | None:
    """The revision that the client-facing Service should select."""
    if not candidate or view.revision is None:
        return view.stable
    if view.stable is None or view.strength(view.revision).complete:
        return view.revision
    return view.stable
