"""Where a service stands between two versions, told from what is there.

Traffic goes where the client-facing Service points: that revision is *stable*. What the spec
asks for is the *target*. While they differ the target is the *candidate*: it is brought to
full strength beside the stable one, then the Service is pointed at it, then, once no endpoint
leads to the old servers any more, those go.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from torchyard import names
from torchyard.api.contract import Outcome, Termination
from torchyard.api.modelversion import ModelVersion
from torchyard.core import registration, servers
from torchyard.core.objects import being_deleted, label, named, owned
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
        # Between a change of spec.replicas and the next write the Deployment is complete for
        # another number than the one that is wanted.
        counted = deployment.get("spec", {}).get("replicas") == self.wanted
        updated = int(status.get("updatedReplicas", 0)) == replicas == self.wanted
        available = int(status.get("availableReplicas", 0)) >= self.wanted
        return Strength(replicas, ready, current and counted and updated and available)

    def leftovers(self, candidate: bool) -> list[str]:
        """Revisions that have servers and play no part any more."""
        parts = {self.stable, self.revision if candidate else None}
        return sorted(revision for revision in self.deployments if revision not in parts)


def look(world: ServiceWorld) -> View:
    """Takes stock."""
    service = world.service
    deployments = {
        label(item, names.REVISION): item
        for item in world.deployments
        if owned(service.metadata, item) and not being_deleted(item)
    }
    target = registration.resolve(service.spec.model, world.versions)
    stable = servers.in_traffic(named(service.metadata.name, world.services))
    if stable not in deployments:
        # Somebody changed the Service by hand; the status remembers where traffic went.
        stable = next(
            (
                known.revision
                for known in service.status.versions
                if known.state == "Stable" and known.revision in deployments
            ),
            None,
        )
    return View(
        target=target,
        revision=None if target is None else servers.revision(service, target),
        stable=stable,
        deployments=deployments,
        wanted=1 if service.spec.replicas is None else service.spec.replicas,
    )


def routed(world: ServiceWorld) -> set[str]:
    """The revisions that endpoints of the client-facing Service lead to."""
    pods = {pod["metadata"]["name"]: label(pod, names.REVISION) for pod in world.pods}
    reached = (
        endpoint.get("targetRef", {}).get("name", "")
        for item in world.slices
        for endpoint in item.get("endpoints") or ()
    )
    return {pods[name] for name in reached if name in pods}


def pods_of(world: ServiceWorld, revision: str) -> list[Object]:
    """The servers of a revision."""
    return [pod for pod in world.pods if label(pod, names.REVISION) == revision]


def last_words(pods: list[Object]) -> Iterator[Termination]:
    """What servers said when they refused to serve, whether they wait to be restarted or not."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", ()):
            for state in ("state", "lastState"):
                ended = container.get(state, {}).get("terminated") or {}
                try:
                    yield Termination.model_validate_json(ended.get("message", ""))
                except ValidationError:
                    continue


def corrupt(pods: list[Object]) -> str | None:
    """The message of a server that found its artifact altered."""
    said = last_words(pods)
    return next((w.message for w in said if w.outcome is Outcome.ARTIFACT_CORRUPT), None)


def trouble(pods: list[Object]) -> str | None:
    """Why servers do not become ready, in the words of whoever knows best."""
    for said in last_words(pods):
        return f"{said.outcome}: {said.message}"
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        for condition in status.get("conditions", ()):
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                return f"{name}: {condition.get('message', 'cannot be scheduled')}"
        for container in status.get("containerStatuses", ()):
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason", "ContainerCreating") not in (
                "ContainerCreating",
                "PodInitializing",
            ):
                return f"{name}: {waiting['reason']}: {waiting.get('message', '')}"
    return None
