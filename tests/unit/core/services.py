"""Worlds for decisions about services: `a_service(version=2).deployed(1).traffic(1)`."""

import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Self

from tests.unit.core.builders import DIGEST, RELEASE, START, Json, at, version
from torchyard import names
from torchyard.api.modelservice import ModelService, ModelServiceStatus
from torchyard.api.modelversion import ModelVersion
from torchyard.core import servers
from torchyard.core.modelservice import decide
from torchyard.core.plan import Decision
from torchyard.core.world import Object, Problem, Release, ServiceWorld

UID = "22222222-2222-2222-2222-222222222222"
OWNER = {"kind": "ModelService", "name": "sentiment", "uid": UID, "controller": True}


@dataclass(frozen=True)
class ServiceStory:
    """A service and what is around it; every method returns the story with one thing more."""

    spec: Json = field(default_factory=dict)
    status: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    versions: tuple[ModelVersion, ...] = ()
    deployments: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()
    selected: str | None = None
    endpoints: tuple[str, ...] = ()
    seconds: float = 0.0
    rest: Json = field(default_factory=dict)
    release: Release = RELEASE

    def with_spec(self, **more: Any) -> Self:
        return replace(self, spec={**self.spec, **more})

    def asking(self, number: int) -> Self:
        return self.with_spec(model={"name": "reviews", "version": number})

    def asking_alias(self, alias: str) -> Self:
        return self.with_spec(model={"name": "reviews", "alias": alias})

    def with_status(self, **more: Any) -> Self:
        return replace(self, status={**self.status, **more})

    def known(self, *versions: ModelVersion | int) -> Self:
        made = tuple(version(v) if isinstance(v, int) else v for v in versions)
        return replace(self, versions=(*self.versions, *made))

    def forgetting(self, number: int) -> Self:
        return replace(self, versions=tuple(v for v in self.versions if v.spec.version != number))

    def revision(self, number: int) -> str:
        wanted = next((v for v in self.versions if v.spec.version == number), None)
        return servers.revision(self.service, wanted or version(number))

    def deployed(
        self, number: int, ready: int | None = None, replicas: int | None = None, **meta: Any
    ) -> Self:
        """A Deployment of a version, complete unless told otherwise, and its pods."""
        wanted = self.service.spec.replicas
        replicas = (1 if wanted is None else wanted) if replicas is None else replicas
        ready = replicas if ready is None else ready
        revision = self.revision(number)
        known = next((v for v in self.versions if v.spec.version == number), version(number))
        made = servers.deployment(self.service, known, revision, None, self.release)
        assert made is not None
        made = json.loads(json.dumps(made))
        made["spec"]["replicas"] = replicas
        made["metadata"] |= {
            "uid": f"dep-{revision}",
            "generation": 1,
            "ownerReferences": [OWNER],
            **meta,
        }
        made["status"] = {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        others = tuple(d for d in self.deployments if servers.revision_of(d) != revision)
        pods = tuple(server(revision, index) for index in range(replicas))
        kept = tuple(p for p in self.pods if p["metadata"]["labels"][names.REVISION] != revision)
        return replace(self, deployments=(*others, made), pods=(*kept, *pods))

    def traffic(self, number: int, *, recorded: bool = True, routed: bool = True) -> Self:
        """The Service selects this version; endpoints and record have followed unless not."""
        revision = self.revision(number)
        story = replace(self, selected=revision)
        if recorded:
            story = story.recorded(number)
        return story.routed(number) if routed else story

    def recorded(self, number: int) -> Self:
        """The status says that this version is the stable one, and that it has answered."""
        stable = {"version": number, "revision": self.revision(number), "state": "Stable"}
        return self.with_status(version=number, versions=[stable])

    def routed(self, *numbers: int) -> Self:
        """Endpoints lead to the servers of these versions."""
        wanted = {self.revision(number) for number in numbers}
        reached = tuple(
            p["metadata"]["name"]
            for p in self.pods
            if p["metadata"]["labels"][names.REVISION] in wanted
        )
        return replace(self, endpoints=reached)

    def rolling(self, number: int, since: float = 0.0, phase: str = "Starting") -> Self:
        """A rollout to this version is on record."""
        moving = {"phase": phase, "version": number, "revision": self.revision(number)}
        return self.with_status(rollout={**moving, "startedAt": at(since)})

    def saying(self, number: int, message: str, state: str = "lastState") -> Self:
        """A server of the version has left these last words."""
        ended = {"terminated": {"exitCode": 1, "message": message}}
        return self.server_status(number, {"containerStatuses": [{"name": "server", state: ended}]})

    def server_status(self, number: int, status: Json) -> Self:
        revision = self.revision(number)
        pods = tuple(
            {**p, "status": status} if p["metadata"]["labels"][names.REVISION] == revision else p
            for p in self.pods
        )
        return replace(self, pods=pods)

    def after(self, seconds: float) -> Self:
        return replace(self, seconds=seconds)

    def refused(self, code: int, reason: str, message: str = "") -> Self:
        problem = Problem("Deployment", "sentiment-v2", code, reason, message)
        return replace(self, rest={**self.rest, "problem": problem})

    @property
    def service(self) -> ModelService:
        metadata = {"name": "sentiment", "namespace": "team", "uid": UID, **self.metadata}
        return ModelService.model_validate(
            {"metadata": metadata, "spec": self.spec, "status": self.status}
        )

    @property
    def world(self) -> ServiceWorld:
        client_facing: tuple[Object, ...] = ()
        if self.selected is not None:
            chosen = {names.SERVICE: "sentiment", names.REVISION: self.selected}
            meta = {"name": "sentiment", "uid": "svc", "ownerReferences": [OWNER]}
            client_facing = ({"kind": "Service", "metadata": meta, "spec": {"selector": chosen}},)
        reached = [{"targetRef": {"kind": "Pod", "name": name}} for name in self.endpoints]
        return ServiceWorld(
            service=self.service,
            now=START + timedelta(seconds=self.seconds),
            release=self.release,
            versions=self.versions,
            deployments=self.deployments,
            pods=self.pods,
            services=client_facing,
            slices=({"metadata": {"name": "sentiment-x"}, "endpoints": reached or None},),
            **self.rest,
        )

    def decide(self) -> Decision:
        return decide(self.world)

    def then(self, seconds: float | None = None) -> Self:
        later = replace(self, status=said(self.decide()).wire())
        return later if seconds is None else later.after(seconds)


def a_service(asked: int = 1, replicas: int | None = 2, **spec: Any) -> ServiceStory:
    scale = {} if replicas is None else {"replicas": replicas}
    return ServiceStory(spec={"model": {"name": "reviews", "version": asked}, **scale, **spec})


def server(revision: str, index: int) -> Json:
    labels = {names.SERVICE: "sentiment", names.REVISION: revision}
    name = f"sentiment-{revision}-{index}"
    return {"kind": "Pod", "metadata": {"name": name, "uid": name, "labels": labels}, "status": {}}


def said(decision: Decision) -> ModelServiceStatus:
    assert isinstance(decision.status, ModelServiceStatus)
    return decision.status


def writes(decision: Decision, story: ServiceStory) -> list[str]:
    """Writes that concern versions, without those that would change nothing."""
    by_name = {d["metadata"]["name"]: d for d in story.deployments}
    lines = []
    for action in decision.actions:
        manifest = getattr(action, "manifest", None)
        if manifest is None:
            number = servers.version_number(servers.revision_of(by_name[action.name]))
            lines.append(f"delete v{number}")
        elif manifest["kind"] == "Service":
            chosen = manifest["spec"]["selector"][names.REVISION]
            if chosen != story.selected:
                lines.append(f"traffic v{servers.version_number(chosen)}")
        elif manifest["kind"] == "Deployment":
            there = by_name.get(manifest["metadata"]["name"])
            number = servers.version_number(servers.revision_of(manifest))
            if there is None:
                lines.append(f"create v{number}")
            elif there["spec"]["template"] != manifest["spec"]["template"]:
                lines.append(f"render v{number}")
            elif there["spec"]["replicas"] != manifest["spec"]["replicas"]:
                lines.append(f"scale v{number} to {manifest['spec']['replicas']}")
    return lines


def signature(**outputs: list[int]) -> Json:
    """A signature with these outputs."""
    return {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": shape} for name, shape in outputs.items()
        ],
    }


def contents(*formats: str) -> Json:
    """The artifact of a version with these formats."""
    return {"uri": "pvc://models/x", "digest": DIGEST, "sizeBytes": 1, "formats": list(formats)}
