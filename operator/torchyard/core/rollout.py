"""Where a service stands between two versions, told from what is there.

Traffic goes where the client-facing Service points: that revision is *stable*. What the spec
asks for is the *target*. While they differ the target is the *candidate*: it is brought to
full strength beside the stable one, then the Service is pointed at it, then, once no endpoint
leads to the old servers any more, those go.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torchyard import names
from torchyard.api.contract import Outcome, Termination
from torchyard.api.modelservice import RolloutPhase, VersionState
from torchyard.api.modelversion import ModelVersion
from torchyard.core import lastwords, registration, servers
from torchyard.core.objects import being_deleted, condition, label, named, owned
from torchyard.core.world import Object, ServiceWorld


@dataclass(frozen=True)
class Strength:
    """How many servers a Deployment has."""

    replicas: int = 0
    ready: int = 0
    complete: bool = False
    """All that are wanted are made from the newest template and available."""


@dataclass(frozen=True)
class View:
    """One look at a service."""

    target: ModelVersion | None
    revision: str | None
    """Of the target."""
    stable: str | None
    """The revision in traffic; None before the first one, or if its Deployment is gone."""
    deployments: Mapping[str, Object]
    """Those that are ours and not being deleted, by revision."""
    wanted: int
    """Servers that the spec asks for."""

    def strength(self, revision: str | None) -> Strength:
        """The strength of a revision; none at all if it has no Deployment."""
        deployment = self.deployments.get(revision or "")
        if deployment is None:
            return Strength()
        status, meta = deployment.get("status", {}), deployment["metadata"]
        replicas, ready = int(status.get("replicas", 0)), int(status.get("readyReplicas", 0))
        current = status.get("observedGeneration", 0) >= meta.get("generation", 0)
        updated = int(status.get("updatedReplicas", 0)) == replicas == self.wanted
        available = int(status.get("availableReplicas", 0)) >= self.wanted
        return Strength(replicas, ready, current and updated and available)

    def parts(self, candidate: bool) -> list[str]:
        """The revisions that play a part: the one in traffic, then the one that is asked for."""
        asked_for = self.revision if candidate else None
        found = (self.stable, asked_for)
        return list(dict.fromkeys(revision for revision in found if revision is not None))

    def leftovers(self, candidate: bool) -> list[str]:
        """Revisions that have servers and play no part any more."""
        return sorted(set(self.deployments).difference(self.parts(candidate)))


def look(world: ServiceWorld) -> View:
    """Takes stock."""
    service = world.service
    target = registration.resolve(service.spec.model, world.versions)
    ours = (
        item
        for item in world.deployments
        if owned(service.metadata, item) and not being_deleted(item)
    )
    view = View(
        target=target,
        revision=None if target is None else servers.revision(service, target),
        stable=None,
        deployments={
            revision: item
            for item in ours
            if servers.version_number(revision := servers.revision_of(item))
        },
        wanted=1 if service.spec.replicas is None else service.spec.replicas,
    )
    return replace(view, stable=_stable(world, view))


def _stable(world: ServiceWorld, view: View) -> str | None:
    """Where traffic goes: what the Service selects, unless somebody else made it select that."""
    service, selected = world.service, _selected(world)
    recorded = next(
        (v.revision for v in service.status.versions if v.state is VersionState.STABLE), None
    )
    if recorded not in view.deployments:
        return selected if selected in view.deployments else None
    # That traffic is about to move is on record before it does. Whatever else the Service
    # selects, somebody has edited it by hand, and it is put right.
    moving = service.status.rollout
    if moving is None or moving.phase is not RolloutPhase.SWITCHING:
        return recorded
    moved = moving.revision == selected and selected in view.deployments
    return selected if moved else recorded


def _selected(world: ServiceWorld) -> str | None:
    meta = world.service.metadata
    return servers.in_traffic(named(meta.name, meta, world.services))


def routed(world: ServiceWorld) -> set[str]:
    """The revisions that endpoints of the client-facing Service lead to."""
    pods = {pod["metadata"]["name"]: label(pod, names.REVISION) for pod in world.pods}
    reached = (
        (endpoint.get("targetRef") or {}).get("name", "")
        for item in world.slices
        for endpoint in item.get("endpoints") or ()
    )
    return {pods[name] for name in reached if name in pods}


def removable(world: ServiceWorld, view: View, candidate: bool) -> list[str]:
    """The leftovers that no request can reach any more.

    After the Service has been moved, its endpoints follow a little later. So nothing goes while
    the Service itself has to be put right, while the stable revision has servers and no endpoint
    leads to it, or while a leftover may have servers that are not known yet.
    """
    reached, selected = routed(world), _selected(world)
    if view.stable != selected or (view.strength(view.stable).ready and selected not in reached):
        return []
    return [
        revision
        for revision in view.leftovers(candidate)
        if revision not in reached
        and len(pods_of(world, revision)) >= view.strength(revision).replicas
    ]


def pods_of(world: ServiceWorld, revision: str) -> list[Object]:
    """The servers of a revision."""
    return [pod for pod in world.pods if label(pod, names.REVISION) == revision]


def last_words(pods: list[Object]) -> Iterator[Termination]:
    """What servers said when they refused to serve, whether they wait to be restarted or not."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses") or ():
            for state in ("state", "lastState"):
                said = lastwords.of(container.get(state, {}).get("terminated") or {})
                if said is not None:
                    yield said


def corrupt(pods: list[Object]) -> str | None:
    """The message of a server that found its artifact altered."""
    said = last_words(pods)
    return next((w.message for w in said if w.outcome is Outcome.ARTIFACT_CORRUPT), None)


def trouble(pods: list[Object]) -> str | None:
    """Why servers do not become ready, in the words of whoever knows best."""
    for said in last_words(pods):
        return f"{said.outcome}: {said.message}"
    for pod in pods:
        name, scheduled = pod["metadata"]["name"], condition(pod, "PodScheduled")
        if scheduled.get("status") == "False":
            return f"{name}: {scheduled.get('message', 'cannot be scheduled')}"
        for container in pod.get("status", {}).get("containerStatuses") or ():
            waiting = container.get("state", {}).get("waiting") or {}
            if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
                return f"{name}: {waiting['reason']}: {waiting.get('message', '')}"
    return None
