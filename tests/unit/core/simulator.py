"""A cluster in memory, and an operator that carries out decisions in it as the engine does.

The cluster has what matters to decisions: uids, resource versions, generations, graceful deletion,
refusals, and a history from which each watch delivers as late as a test likes. The operator has
what matters to a crash: its view, which is what watches have delivered and its own writes have
answered, and which a restart lists anew. Everything happens when a test says so, one step a time.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.unit.core.builders import RELEASE, START, Json
from torchyard import names
from torchyard.api.base import StatusModel
from torchyard.api.contract import WorkerProgress
from torchyard.api.modelservice import ModelService
from torchyard.api.modelversion import ModelVersion
from torchyard.api.trainingjob import TrainingJob
from torchyard.core import modelservice, trainingjob
from torchyard.core.clock import parse, stamp
from torchyard.core.difference import differs
from torchyard.core.plan import Action, Apply, Create, Decision, Delete
from torchyard.core.world import JobWorld, Problem, ServiceWorld
from torchyard.engine.store import trimmed

NAMESPACE = "team"
Key = tuple[str, str]


class Refused(Exception):
    """The API server would not do it."""

    def __init__(self, code: int, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.problem = (code, reason, message or reason)


class Outdated(Exception):
    """What was decided on is no longer so."""


class Crash(Exception):
    """The operator's process is gone."""


class Lost(Exception):
    """A write has happened, and its answer never came."""


def key_of(item: Mapping[str, Any]) -> Key:
    return item["kind"], item["metadata"]["name"]


def controller_of(item: Mapping[str, Any]) -> Mapping[str, Any]:
    references = item["metadata"].get("ownerReferences") or ()
    return next((ref for ref in references if ref.get("controller")), {})


@dataclass
class Cluster:
    """The API server, with a clock that only tests move."""

    seconds: float = 0.0
    objects: dict[Key, Json] = field(default_factory=dict)
    history: list[tuple[Key, Json, bool]] = field(default_factory=list)
    """Each change: what it concerns, the object as it was then, and whether it went."""
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Kinds of which nothing can be created right now, and why."""
    created: list[Json] = field(default_factory=list)
    deleted: list[Json] = field(default_factory=list)
    """Objects as they were when they went."""
    writes: int = 0
    """Of the operator."""
    _version: int = 0

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def get(self, kind: str, name: str) -> Json | None:
        return self.objects.get((kind, name))

    def of_kind(self, kind: str) -> list[Json]:
        return [item for key, item in sorted(self.objects.items()) if key[0] == kind]

    def create(self, manifest: Mapping[str, Any]) -> Json:
        if manifest["kind"] in self.refuses:
            raise Refused(*self.refuses[manifest["kind"]])
        if key_of(manifest) in self.objects:
            raise Refused(409, "AlreadyExists")
        metadata = {
            **manifest["metadata"],
            "namespace": NAMESPACE,
            "uid": f"uid-{self._version + 1}",
            "generation": 1,
            "creationTimestamp": stamp(self.now),
        }
        made = self._store({**manifest, "metadata": metadata})
        self.created.append(made)
        return made

    def change(self, item: Json, **parts: Any) -> Json:
        """Replaces top-level parts of an object."""
        current = self.objects[key_of(item)]
        changed = {**current, **parts}
        if changed == current:
            return current
        if changed.get("spec") != current.get("spec"):
            generation = current["metadata"]["generation"] + 1
            changed["metadata"] = {**changed["metadata"], "generation": generation}
        return self._store(changed)

    def apply(self, manifest: Mapping[str, Any], uid: str | None) -> Json:
        current = self.get(*key_of(manifest))
        if current is None:
            if uid is not None:
                raise Outdated
            return self.create(manifest)
        if uid != current["metadata"]["uid"]:
            raise Outdated
        metadata = {**current["metadata"], **manifest["metadata"]}
        return self.change(current, **{**manifest, "metadata": metadata})

    def delete(self, kind: str, name: str, uid: str | None = None) -> None:
        """Pods go gracefully, everything else at once."""
        current = self.get(kind, name)
        if current is None:
            return
        if uid not in (None, current["metadata"]["uid"]):
            raise Outdated
        if kind == "Pod":
            if "deletionTimestamp" not in current["metadata"]:
                grace = current["spec"].get("terminationGracePeriodSeconds", 30)
                gone_by = stamp(self.now + timedelta(seconds=grace))
                told = {"deletionTimestamp": gone_by, "deletionGracePeriodSeconds": grace}
                self._store({**current, "metadata": {**current["metadata"], **told}})
            return
        self.remove(current)

    def remove(self, item: Json) -> None:
        """The object is gone, and what it owned goes, too."""
        current = self.objects.pop(key_of(item))
        self._version += 1
        self.history.append((key_of(item), current, True))
        self.deleted.append(current)
        for other in list(self.objects.values()):
            if controller_of(other).get("uid") == current["metadata"]["uid"]:
                self.delete(*key_of(other))

    def _store(self, item: Json) -> Json:
        self._version += 1
        metadata = {**item["metadata"], "resourceVersion": str(self._version)}
        stored = {**item, "metadata": metadata}
        self.objects[key_of(item)] = stored
        self.history.append((key_of(item), stored, False))
        return stored


class View:
    """What the operator knows: what watches have delivered so far, and its own writes answered."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._objects = {key: trimmed(item) for key, item in cluster.objects.items()}
        self._gone: dict[str, int] = {}
        self._cursors: dict[str, int] = {}
        self._start = len(cluster.history)

    def of_kind(self, kind: str) -> list[Json]:
        return [item for key, item in sorted(self._objects.items()) if key[0] == kind]

    def get(self, kind: str, name: str) -> Json | None:
        return self._objects.get((kind, name))

    def deliver(self, kind: str, most: int = 10**9) -> None:
        """The watch of a kind brings its next events."""
        cursor = self._cursors.get(kind, self._start)
        while cursor < len(self._cluster.history) and most > 0:
            key, item, gone = self._cluster.history[cursor]
            cursor += 1
            if key[0] == kind:
                most -= 1
                if gone:
                    self.remove(item)
                else:
                    self.put(item)
        self._cursors[kind] = cursor

    def deliver_all(self) -> None:
        for kind in {key[0] for key, _, _ in self._cluster.history}:
            self.deliver(kind)

    def put(self, item: Json) -> None:
        uid, version = item["metadata"]["uid"], int(item["metadata"]["resourceVersion"])
        known = self._objects.get(key_of(item))
        if uid in self._gone or (
            known is not None and int(known["metadata"]["resourceVersion"]) >= version
        ):
            return
        # As the engine does: what it leaves out, no decision may want to read.
        self._objects[key_of(item)] = trimmed(item)

    def remove(self, item: Json) -> None:
        self._gone[item["metadata"]["uid"]] = 1
        known = self._objects.get(key_of(item))
        if known is not None and known["metadata"]["uid"] == item["metadata"]["uid"]:
            del self._objects[key_of(item)]

    def refresh(self, key: Key) -> Json | None:
        """A GET: the truth about one object."""
        found = self._cluster.objects.get(key)
        known = self._objects.get(key)
        if known is not None and (
            found is None or found["metadata"]["uid"] != known["metadata"]["uid"]
        ):
            self.remove(known)
        if found is not None:
            self.put(found)
        return found


@dataclass(frozen=True)
class Fault:
    """What happens to the operator at its n-th write of a reconcile, counted from 0."""

    write: int
    when: str
    """`before`, `after`: the process dies; `lost`: the answer does not come."""


class Operator:
    """Decides on its view, and carries out what was decided."""

    def __init__(self, cluster: Cluster, kind: str, name: str) -> None:
        self.cluster = cluster
        self.kind, self.name = kind, name
        self.progress: WorkerProgress | None = None
        self.order = 0
        """Turns the order of creations and deletions, which the engine does side by side."""
        self.watch_status: Callable[[Json, Json], None] = lambda before, after: None
        self.watch_delete: Callable[[Json], None] = lambda item: None
        self._fault: Fault | None = None
        self._written: datetime | None = None
        self._done = 0
        self.restart()

    def restart(self) -> None:
        """A new process, which lists everything before it decides."""
        self.view = View(self.cluster)
        self._written = None

    def reconcile(self, fault: Fault | None = None) -> Decision | None:
        """One look at the resource; None if it ended early or there is nothing to look at."""
        self._fault, self._done = fault, 0
        try:
            return self._reconcile()
        except Crash:
            self.restart()
        except Outdated:
            self.view.refresh((self.kind, self.name))
        except Lost:
            pass
        return None

    def decide(self, problem: Problem | None = None) -> Decision | None:
        observed = self.view.get(self.kind, self.name)
        if observed is None:
            return None
        job = self.kind == "TrainingJob"
        return self._job(observed, problem) if job else self._service(observed, problem)

    def _reconcile(self) -> Decision | None:
        observed = self.view.get(self.kind, self.name)
        decision = self.decide()
        if observed is None or decision is None:
            return None
        try:
            for action in self._turned(decision.actions):
                self._carry_out(action)
        except Refused as refused:
            code, reason, message = refused.problem
            refusal = self.decide(Problem("Pod", "x", code, reason, message))
            assert refusal is not None
            self._tell(observed, refusal.status)
            return None
        self._tell(observed, decision.status)
        return decision

    def _turned(self, actions: Iterable[Action]) -> list[Action]:
        result: list[Action] = []
        for kind, group in groupby(actions, type):
            some = list(group)
            turn = 0 if kind is Apply else self.order % len(some)
            result += some[turn:] + some[:turn]
        return result

    def _carry_out(self, action: Action) -> None:
        match action:
            case Create(manifest):
                self._create(manifest)
            case Apply(manifest, uid):
                self._apply(manifest, uid)
            case Delete(kind, _, name, uid):
                known = self.view.get(kind, name)
                if known is not None:
                    self.watch_delete(known)
                self._write(lambda: self.cluster.delete(kind, name, uid))
                self.view.refresh((kind, name))

    def _create(self, manifest: Mapping[str, Any]) -> None:
        try:
            self.view.put(self._write(lambda: self.cluster.create(manifest)))
        except Refused as refused:
            if refused.problem[0] != 409:
                raise
            found = self.view.refresh(key_of(manifest))
            if found is None:
                raise Outdated from None
            if self._ours(manifest, found):
                return
            if manifest["kind"] == "ModelVersion":
                self.view.deliver("ModelVersion")
                raise Outdated from None
            raise Refused(409, "NameConflict") from None

    def _apply(self, manifest: Mapping[str, Any], uid: str | None) -> None:
        if uid is None:
            found = self.view.refresh(key_of(manifest))
            if found is not None and not self._ours(manifest, found):
                raise Refused(409, "NameConflict")
            uid = found["metadata"]["uid"] if found else None
        elif (known := self.view.get(*key_of(manifest))) and differs(manifest, known) is None:
            return
        self.view.put(self._write(lambda: self.cluster.apply(manifest, uid)))

    @staticmethod
    def _ours(manifest: Mapping[str, Any], found: Json) -> bool:
        if wanted := controller_of(manifest).get("uid"):
            return bool(controller_of(found).get("uid") == wanted)
        job = manifest["metadata"]["labels"].get(names.JOB_UID)
        return bool(job == found["metadata"].get("labels", {}).get(names.JOB_UID))

    def _tell(self, observed: Json, status: StatusModel | None) -> None:
        if status is None or status.wire() == observed.get("status", {}):
            return
        current = self.cluster.get(self.kind, self.name)
        if current is None:
            raise Outdated
        if current["metadata"]["resourceVersion"] != observed["metadata"]["resourceVersion"]:
            raise Outdated

        def put() -> Json:
            self.watch_status(current.get("status", {}), status.wire())
            return self.cluster.change(current, status=status.wire())

        self.view.put(self._write(put))
        self._written = self.cluster.now

    def _write(self, write: Callable[[], Any]) -> Any:
        fault = self._fault
        here = fault is not None and fault.write == self._done
        self._done += 1
        if here and fault is not None and fault.when == "before":
            raise Crash
        answer = write()
        self.cluster.writes += 1
        if here and fault is not None:
            raise Crash if fault.when == "after" else Lost
        return answer

    def _children(self, label: str, uid: str, kind: str) -> tuple[Json, ...]:
        return tuple(
            item
            for item in self.view.of_kind(kind)
            if item["metadata"].get("labels", {}).get(label) == self.name
            and controller_of(item).get("kind") in (None, "ReplicaSet", self.kind)
            and (controller_of(item).get("kind") != self.kind or controller_of(item)["uid"] == uid)
        )

    def _versions(self, model: str) -> tuple[ModelVersion, ...]:
        return tuple(
            ModelVersion.model_validate(item)
            for item in self.view.of_kind("ModelVersion")
            if item["spec"]["model"] == model
        )

    def _job(self, observed: Json, problem: Problem | None) -> Decision:
        job = TrainingJob.model_validate(observed)
        uid, output = job.metadata.uid, job.spec.output
        return trainingjob.decide(
            JobWorld(
                job=job,
                now=self.cluster.now,
                release=RELEASE,
                pods=self._children(names.JOB, uid, "Pod"),
                services=self._children(names.JOB, uid, "Service"),
                policies=self._children(names.JOB, uid, "NetworkPolicy"),
                versions=self._versions(output.model) if output else (),
                progress=self.progress,
                written=self._written,
                problem=problem,
            )
        )

    def _service(self, observed: Json, problem: Problem | None) -> Decision:
        service = ModelService.model_validate(observed)
        uid = service.metadata.uid
        return modelservice.decide(
            ServiceWorld(
                service=service,
                now=self.cluster.now,
                release=RELEASE,
                versions=self._versions(service.spec.model.name),
                deployments=self._children(names.SERVICE, uid, "Deployment"),
                pods=self._children(names.SERVICE, uid, "Pod"),
                services=self._children(names.SERVICE, uid, "Service"),
                slices=tuple(self.view.of_kind("EndpointSlice")),
                budgets=self._children(names.SERVICE, uid, "PodDisruptionBudget"),
                policies=self._children(names.SERVICE, uid, "NetworkPolicy"),
                problem=problem,
            )
        )


def overdue(cluster: Cluster, pod: Json) -> bool:
    """Whether a pod that is being deleted should be gone by now, if its node lives."""
    deadline = pod["metadata"].get("deletionTimestamp")
    return deadline is not None and parse(deadline) <= cluster.now


# Scripts ------------------------------------------------------------------------------------------

Step = tuple[str, dict[str, Any]]


def step(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """A call of a story's method."""
    return st.tuples(st.just(name), st.fixed_dictionaries(arguments))


def scripts(
    often: st.SearchStrategy[Step], *others: st.SearchStrategy[Step]
) -> st.SearchStrategy[list[Step]]:
    """Long stories: with short ones nothing ever gets far enough to go wrong."""
    # Hypothesis would take a strategy that is given several times for one.
    weighted = [often.map(lambda step: step) for _ in range(len(others) // 2)]
    steps = st.one_of(*weighted, *others)
    return st.lists(steps, min_size=15, max_size=40)


def settings_for(examples: int) -> settings:
    """So many stories, or that many times STORIES, whatever the machine is busy with."""
    return settings(
        max_examples=examples * int(os.environ.get("STORIES", "1")),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
