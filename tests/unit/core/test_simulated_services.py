"""Services in a simulated cluster: rollouts and edits in any order, crashes at any write.

Whatever happens, clients who have once been served go on being served, and when the accidents are
over the version that is asked for serves and nothing else is left.
"""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.builders import DIGEST, Json
from tests.unit.core.services import contents, signature
from tests.unit.core.simulator import (
    Cluster,
    Fault,
    Operator,
    Step,
    scripts,
    settings_for,
    step,
)
from torchyard import names
from torchyard.api.modelservice import ModelServiceStatus
from torchyard.core import servers
from torchyard.core.conditions import holds
from torchyard.core.plan import Decision

NAME = "sentiment"
KINDS = ("ModelService", "ModelVersion", "Deployment", "Pod", "Service", "EndpointSlice")
CONTROLLERS = ("kubelet", "start", "scale", "route")
FAULTS = st.none() | st.builds(
    Fault, st.integers(0, 5), st.sampled_from(["before", "after", "lost"])
)
INDEX = st.integers(0, 5)
GOOD, BROKEN, INCOMPATIBLE, WITHOUT_ONNX = (1, 2), 3, 4, 5
VERSIONS = (*GOOD, BROKEN, INCOMPATIBLE, WITHOUT_ONNX)


def revision_of(pod: Json) -> str:
    return str(pod["metadata"]["labels"][names.REVISION])


def leaving(item: Json) -> bool:
    return "deletionTimestamp" in item["metadata"]


class ServiceStory:
    """One service, five versions of its model, and an operator that may die at every write."""

    def __init__(self, replicas: int, asked: int) -> None:
        self.cluster = Cluster()
        self.serving = False
        """Clients are being served, and nobody but the operator may end that."""
        self.tampered = False
        for number in VERSIONS:
            self._register(number)
        spec = {
            "model": {"name": "reviews", "version": asked},
            "replicas": replicas,
            "rollout": {"progressDeadlineSeconds": 50},
        }
        self.cluster.create({"kind": "ModelService", "metadata": {"name": NAME}, "spec": spec})
        self.operator = Operator(self.cluster, "ModelService", NAME)
        self.operator.watch_delete = self._deployment_deleted

    # Calm, but for what is slow ---------------------------------------------------------------

    def go_on(self, rounds: int, slow: str | None = None, fault: Fault | None = None) -> None:
        """A few rounds in which everything moves; every reconcile may end in the same fault."""
        for _ in range(rounds):
            for kind in KINDS:
                if kind != slow:
                    self.operator.view.deliver(kind)
            self._reconcile(fault)
            self._controllers(slow)

    # What the operator does ------------------------------------------------------------------

    def reconcile(self, fault: Fault | None) -> None:
        self._reconcile(fault)

    def restart(self) -> None:
        self.operator.restart()

    def deliver(self, kind: str, most: int) -> None:
        self.operator.view.deliver(kind, most)

    # What the cluster does -------------------------------------------------------------------

    def wait(self, seconds: int) -> None:
        self.cluster.seconds += seconds

    def deployment_controller(self, index: int) -> None:
        if found := self.cluster.of_kind("Deployment"):
            self._scale(found[index % len(found)])

    def start(self, index: int) -> None:
        starting = [p for p in self.cluster.of_kind("Pod") if not self._ready(p) and not leaving(p)]
        if starting:
            self._start(starting[index % len(starting)])

    def endpoint_controller(self) -> None:
        self._route()

    def kubelet(self, index: int) -> None:
        if gone := [p for p in self.cluster.of_kind("Pod") if leaving(p)]:
            self.cluster.remove(gone[index % len(gone)])

    def kill_a_starting_server(self, index: int) -> None:
        starting = [p for p in self.cluster.of_kind("Pod") if not self._ready(p)]
        if starting:
            self.cluster.delete("Pod", starting[index % len(starting)]["metadata"]["name"])

    # What people do -----------------------------------------------------------------------------

    def ask_for(self, number: int) -> None:
        self._edit(model={"name": "reviews", "version": number})

    def scale(self, replicas: int) -> None:
        self._edit(replicas=replicas)
        if not replicas:
            self.serving = False

    def run_otherwise(self, cpu: str) -> None:
        self._edit(server={"resources": {"limits": {"cpu": cpu}}})

    def choose_policy(self, policy: str) -> None:
        self._edit(rollout={"progressDeadlineSeconds": 50, "compatibility": policy})

    def forget_or_register(self, number: int) -> None:
        found = self.cluster.get("ModelVersion", f"reviews-v{number}")
        if found is None:
            self._register(number)
        else:
            self.cluster.remove(found)

    def edit_the_service(self, index: int) -> None:
        found = self.cluster.get("Service", NAME)
        if found is None:
            return
        there = [servers.revision_of(d) for d in self.cluster.of_kind("Deployment")]
        chosen = [*there, "nonsense"][index % (len(there) + 1)]
        selector = {**found["spec"]["selector"], names.REVISION: chosen}
        self.cluster.change(found, spec={**found["spec"], "selector": selector})
        self.serving, self.tampered = False, True

    def edit_a_record(self, index: int, record: str) -> None:
        if found := self.cluster.of_kind("Deployment"):
            chosen = found[index % len(found)]
            metadata = {**chosen["metadata"], "annotations": {names.POD_TEMPLATE: record}}
            self.cluster.change(chosen, metadata=metadata)

    # What never happens -----------------------------------------------------------------------

    def clients_are_served(self) -> None:
        ready = [p for p in self._pods(self._selected()) if self._ready(p) and not leaving(p)]
        reached = [p for p in self._reached() if self._ready(p) and not leaving(p)]
        if self.serving:
            assert ready, f"the Service selects {self._selected()}, which has no ready server"
            assert reached, "no endpoint leads to a ready server"
        self.tampered = self.tampered and not self._edit_is_over()
        # Only from here on is an outage the operator's fault.
        undisturbed = not self.tampered and self._nobody_wants_none()
        self.serving = bool(ready and reached) and undisturbed

    def _traffic_moved(self) -> None:
        number = servers.version_number(self._selected() or "")
        assert number != WITHOUT_ONNX, "a version that cannot be served gets traffic"
        known = self._status()
        if number == INCOMPATIBLE and known.version is not None and not self.tampered:
            policy = self._service()["spec"]["rollout"].get("compatibility", "Backward")
            viewed = self.operator.view.get("ModelService", NAME) or {"spec": {"rollout": {}}}
            as_seen = viewed["spec"]["rollout"].get("compatibility", "Backward")
            record = self.cluster.get("ModelVersion", f"reviews-v{known.version}")
            excused = "None" in (policy, as_seen) or record is None
            assert excused or known.version == number, "a gated version gets traffic"

    def _deployment_deleted(self, item: Json) -> None:
        if item["kind"] != "Deployment" or self.tampered:
            return
        reached = {revision_of(pod) for pod in self._reached()}
        assert servers.revision_of(item) not in reached, "servers go that endpoints lead to"

    # And in the end -----------------------------------------------------------------------------

    def settle(self) -> None:
        """The accidents are over, and everything happens in its turn."""
        if self.cluster.get("ModelVersion", "reviews-v1") is None:
            self._register(1)
        rollout = {"progressDeadlineSeconds": 50, "compatibility": "None"}
        self._edit(model={"name": "reviews", "version": 1}, rollout=rollout)
        for _ in range(60):
            self.operator.view.deliver_all()
            writes = self.cluster.writes
            decision = self._reconcile(None)
            moved = self._controllers(None)
            idle = decision is not None and not decision.again and self.cluster.writes == writes
            if idle and not moved:
                break
        else:
            raise AssertionError("the service does not come to rest")
        self._rests()

    def _reconcile(self, fault: Fault | None) -> Decision | None:
        before = self._selected()
        decision = self.operator.reconcile(fault)
        if self._selected() != before:
            self._traffic_moved()
        self.clients_are_served()
        return decision

    def _controllers(self, slow: str | None) -> bool:
        """Everything that is not the operator, but for one that is slow; whether anything moved."""
        version = len(self.cluster.history)
        for pod in self.cluster.of_kind("Pod"):
            if leaving(pod) and slow != "kubelet":
                self.cluster.remove(pod)
            elif not self._ready(pod) and slow != "start":
                self._start(pod)
        for found in self.cluster.of_kind("Deployment"):
            if slow != "scale":
                self._scale(found)
            self.clients_are_served()
        if slow != "route":
            self._route()
        self.clients_are_served()
        return len(self.cluster.history) != version

    def _rests(self) -> None:
        wanted = self._service()["spec"]["replicas"]
        status = self._status()
        assert servers.version_number(self._selected() or "") == 1
        assert [servers.revision_of(d) for d in self.cluster.of_kind("Deployment")] == [
            self._selected()
        ]
        assert holds(status.conditions, "Ready")
        assert not holds(status.conditions, "Stalled")
        assert holds(status.conditions, "Servable") is bool(wanted)
        assert status.rollout is None
        assert status.ready_replicas == wanted
        writes = self.cluster.writes
        for _ in range(3):
            self.operator.view.deliver_all()
            decision = self.operator.reconcile()
            assert decision is not None
            assert decision.wake is None
        assert self.cluster.writes == writes, "a service at rest is written"

    # Helpers --------------------------------------------------------------------------------------

    def _service(self) -> Json:
        found = self.cluster.get("ModelService", NAME)
        assert found is not None
        return found

    def _status(self) -> ModelServiceStatus:
        return ModelServiceStatus(**self._service().get("status", {}))

    def _edit(self, **parts: Any) -> None:
        self.cluster.change(self._service(), spec={**self._service()["spec"], **parts})

    def _selected(self) -> str | None:
        found = self.cluster.get("Service", NAME)
        return None if found is None else str(found["spec"]["selector"][names.REVISION])

    def _pods(self, revision: str | None) -> list[Json]:
        return [pod for pod in self.cluster.of_kind("Pod") if revision_of(pod) == revision]

    @staticmethod
    def _ready(pod: Json) -> bool:
        return bool(pod.get("status", {}).get("ready"))

    def _start(self, pod: Json) -> None:
        if servers.version_number(revision_of(pod)) != BROKEN:
            self.cluster.change(pod, status={"phase": "Running", "ready": True})

    def _reached(self) -> list[Json]:
        found = self.cluster.get("EndpointSlice", NAME)
        reached = [e["targetRef"]["name"] for e in (found or {}).get("endpoints") or ()]
        pods = (self.cluster.get("Pod", name) for name in reached)
        return [pod for pod in pods if pod is not None]

    def _edit_is_over(self) -> bool:
        """The operator knows the Service and its endpoints as they are, and they agree."""
        for kind in ("Service", "EndpointSlice"):
            if self.operator.view.get(kind, NAME) != self.cluster.get(kind, NAME):
                return False
        return {revision_of(pod) for pod in self._reached()} == {self._selected()}

    def _nobody_wants_none(self) -> bool:
        """Neither the spec, nor the operator's view of it, nor a Deployment is at 0."""
        seen = self.operator.view.get("ModelService", NAME) or self._service()
        there = [d["spec"]["replicas"] for d in self.cluster.of_kind("Deployment")]
        return all([self._service()["spec"]["replicas"], seen["spec"]["replicas"], *there])

    def _scale(self, deployment: Json) -> None:
        """The Deployment controller: the youngest go first, those that are not ready before."""
        revision = servers.revision_of(deployment)
        pods = [pod for pod in self._pods(revision) if not leaving(pod)]
        wanted = deployment["spec"]["replicas"]
        for _ in range(wanted - len(pods)):
            self._make_pod(deployment, revision)
        order = {pod["metadata"]["uid"]: index for index, pod in enumerate(self.cluster.created)}
        oldest = sorted(pods, key=lambda pod: (not self._ready(pod), order[pod["metadata"]["uid"]]))
        for pod in oldest[wanted:]:
            self.cluster.delete("Pod", pod["metadata"]["name"])
        pods = [pod for pod in self._pods(revision) if not leaving(pod)]
        ready = sum(self._ready(pod) for pod in pods)
        status = {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(pods),
            "readyReplicas": ready,
            "availableReplicas": ready,
        }
        self.cluster.change(deployment, status=status)

    def _make_pod(self, deployment: Json, revision: str) -> None:
        metadata = {
            "name": f"{deployment['metadata']['name']}-{len(self.cluster.created)}",
            "labels": deployment["spec"]["template"]["metadata"]["labels"],
            "ownerReferences": [
                {"kind": "ReplicaSet", "uid": deployment["metadata"]["uid"], "controller": True}
            ],
        }
        assert metadata["labels"][names.REVISION] == revision
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}}
        self.cluster.create(pod)

    def _route(self) -> None:
        """The EndpointSlice controller."""
        selected = self._selected()
        if selected is None:
            return
        pods = [p for p in self._pods(selected) if not leaving(p)]
        endpoints = [
            {
                "targetRef": {"kind": "Pod", "name": pod["metadata"]["name"]},
                "conditions": {"ready": self._ready(pod)},
            }
            for pod in pods
        ]
        found = self.cluster.get("EndpointSlice", NAME)
        if found is None:
            metadata = {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}}
            made = {"kind": "EndpointSlice", "metadata": metadata, "endpoints": endpoints}
            self.cluster.create(made)
        else:
            self.cluster.change(found, endpoints=endpoints)

    def _register(self, number: int) -> None:
        outputs = {"z": [-1, 9]} if number == INCOMPATIBLE else {"y": [-1, 2]}
        formats = ["SafeTensors"] if number == WITHOUT_ONNX else ["Onnx"]
        spec = {
            "model": "reviews",
            "version": number,
            "artifact": {**contents(*formats), "uri": f"pvc://models/{number}", "digest": DIGEST},
            "signature": signature(**outputs),
        }
        metadata = {"name": f"reviews-v{number}", "labels": {}}
        self.cluster.create({"kind": "ModelVersion", "metadata": metadata, "spec": spec})


STARTS = st.builds(ServiceStory, replicas=st.integers(1, 2), asked=st.sampled_from(GOOD))
SCRIPTS = scripts(
    step(
        "go_on",
        rounds=st.integers(1, 5),
        slow=st.sampled_from([None, None, None, *KINDS, *CONTROLLERS]),
        fault=st.none() | FAULTS,
    ),
    step("reconcile", fault=FAULTS),
    step("restart"),
    step("deliver", kind=st.sampled_from(KINDS), most=st.integers(1, 4)),
    step("wait", seconds=st.sampled_from([1, 20, 60])),
    step("deployment_controller", index=INDEX),
    step("start", index=INDEX),
    step("endpoint_controller"),
    step("kubelet", index=INDEX),
    step("kill_a_starting_server", index=INDEX),
    step("ask_for", number=st.sampled_from([*GOOD, *VERSIONS])),
    step("scale", replicas=st.integers(0, 3)),
    step("run_otherwise", cpu=st.sampled_from(["1", "2"])),
    step("choose_policy", policy=st.sampled_from(["Backward", "Strict", "None"])),
    step("forget_or_register", number=st.sampled_from(VERSIONS)),
    step("edit_the_service", index=INDEX),
    step("edit_a_record", index=INDEX, record=st.sampled_from(["", "{}", "not json"])),
)


@given(STARTS, st.integers(0, 6), SCRIPTS)
@settings_for(examples=45)
def test_services(story: ServiceStory, warm: int, script: list[Step]) -> None:
    story.go_on(rounds=warm)
    for name, arguments in script:
        getattr(story, name)(**arguments)
        story.clients_are_served()
    story.settle()
