"""Jobs in a simulated cluster: any order of events, crashes at any write, late watches.

Whatever happens, certain things never do; and when the accidents are over, every job comes to an
end or to rest, and costs nothing from then on.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.builders import DIGEST, SIGNATURE, Json, artifact, at, ended, says
from tests.unit.core.simulator import (
    Cluster,
    Fault,
    Operator,
    Step,
    overdue,
    scripts,
    settings_for,
    step,
)
from torchyard import names
from torchyard.api.contract import WorkerProgress
from torchyard.api.trainingjob import TrainingJobStatus
from torchyard.core.plan import Create, Decision

NAME = "reviews"
WATCHED = ("TrainingJob", "Pod", "Service", "NetworkPolicy", "ModelVersion")
FAULTS = st.none() | st.builds(
    Fault, st.integers(0, 2) | st.integers(0, 7), st.sampled_from(["before", "after", "lost"])
)
INDEX = st.integers(0, 5)
OUTCOMES = ("ProcessFailed", "PeerLost", "Interrupted", "ConfigInvalid", None)


def running(pod: Json) -> bool:
    return pod.get("status", {}).get("phase", "Pending") in ("Pending", "Running")


class JobStory:
    """One job, its pods' lives, and an operator that may die at every write."""

    def __init__(
        self, workers: int, restarts: int, output: bool, ttl: int | None, deadline: int | None
    ) -> None:
        self.cluster = Cluster()
        self.pod_names: dict[str, bool] = {}
        self.steps = 0
        self.terminal: Json | None = None
        spec: Json = {
            "task": {"mlpClassifier": {}},
            "data": {"uri": "pvc://data/train.csv"},
            "workers": {"count": workers},
            "failurePolicy": {"maxRestarts": restarts},
            "suspend": False,
        }
        if output:
            spec["output"] = {"model": "reviews", "uri": "pvc://models"}
        if ttl is not None:
            spec["ttlSecondsAfterFinished"] = ttl
        if deadline is not None:
            spec["deadlines"] = {"activeSeconds": deadline}
        self.cluster.create({"kind": "TrainingJob", "metadata": {"name": NAME}, "spec": spec})
        self.operator = Operator(self.cluster, "TrainingJob", NAME)
        self.operator.watch_status = self._status_written

    # Calm, but for what is slow ---------------------------------------------------------------

    def go_on(self, rounds: int, slow: str | None = None, fault: Fault | None = None) -> None:
        """A few rounds in which everything moves; every reconcile may end in the same fault."""
        for _ in range(rounds):
            for kind in WATCHED:
                if kind != slow:
                    self.operator.view.deliver(kind)
            self._reconcile(fault)
            if slow != "kubelet":
                self._kubelets(end=False)
            self.check()

    # What the operator does ------------------------------------------------------------------

    def reconcile(self, fault: Fault | None, order: int) -> None:
        self.operator.order = order
        self._reconcile(fault)

    def restart(self) -> None:
        self.operator.restart()

    def deliver(self, kind: str, most: int) -> None:
        self.operator.view.deliver(kind, most)

    # What the cluster does -------------------------------------------------------------------

    def wait(self, seconds: int) -> None:
        self.cluster.seconds += seconds

    def fail(self, index: int, outcome: str | None, step: int) -> None:
        if (pod := self._some(index)) is not None:
            saved = {"step": step, "uri": "pvc://c/x", "time": at(0), "bytes": 1}
            told = (
                ""
                if outcome is None
                else says(outcome, time=at(self.cluster.seconds), checkpoint=saved)
            )
            self.become(pod, ended(78 if outcome == "ConfigInvalid" else 1, told).status)

    def run(self, index: int) -> None:
        if (pod := self._some(index)) is not None:
            self.become(pod, {"phase": "Running", "podIP": "10.0.0.1"})

    def succeed(self, index: int) -> None:
        if (pod := self._some(index)) is not None:
            self.end_well(pod)

    def delete(self, index: int) -> None:
        if pods := self.cluster.of_kind("Pod"):
            self.cluster.delete("Pod", pods[index % len(pods)]["metadata"]["name"])

    def kubelet(self, index: int) -> None:
        """A pod that is being deleted is gone."""
        leaving = [p for p in self.cluster.of_kind("Pod") if "deletionTimestamp" in p["metadata"]]
        if leaving:
            self._vanish(leaving[index % len(leaving)])

    def say(self, step: int) -> None:
        """Worker 0 is heard."""
        job = self._status()
        if job.attempts:
            saved = {"step": step, "uri": "pvc://c/x", "time": at(0), "bytes": 1}
            told = {"attempt": job.attempts[-1].number, "progress": {"step": step}}
            self.operator.progress = WorkerProgress.model_validate({**told, "checkpoint": saved})

    def another_version_goes(self) -> None:
        others = [v for v in self.cluster.of_kind("ModelVersion") if not self._mine(v)]
        if others:
            self.cluster.remove(others[0])

    def another_job_registers(self) -> None:
        taken = [v["spec"]["version"] for v in self.cluster.of_kind("ModelVersion")]
        if len(taken) < 4 and not self.cluster.refuses:
            self._register(max(taken, default=0) + 1)

    def refuse(self, refused: str | None) -> None:
        self.cluster.refuses = {refused: (403, "Forbidden")} if refused else {}

    # What people do -----------------------------------------------------------------------------

    def suspend(self) -> None:
        job = self.cluster.get("TrainingJob", NAME)
        if job is not None:
            spec = {**job["spec"], "suspend": not job["spec"]["suspend"]}
            self.cluster.change(job, spec=spec)

    # What never happens -----------------------------------------------------------------------

    def no_two_workers_of_one_rank(self) -> None:
        seen: dict[str, str] = {}
        for pod in self.cluster.of_kind("Pod"):
            labels = pod["metadata"]["labels"]
            if running(pod) and not self._lost(pod):
                other = seen.setdefault(labels[names.WORKER], labels[names.ATTEMPT])
                assert other == labels[names.ATTEMPT], "two attempts hold devices"

    def no_verdict_while_a_worker_runs(self) -> None:
        if self.terminal is not None:
            left = [p for p in self.cluster.of_kind("Pod") if running(p) and not self._lost(p)]
            assert not left, "a worker outlives the verdict"

    def at_most_one_version(self) -> None:
        mine = [v for v in self.cluster.of_kind("ModelVersion") if self._mine(v)]
        assert len(mine) <= 1, "registered twice"

    def _status_written(self, before: Json, after: Json) -> None:
        old, new = TrainingJobStatus(**before), TrainingJobStatus(**after)
        verdicts = [c for c in after["conditions"] if c["type"] in ("Complete", "Failed")]
        assert len(verdicts) <= 1
        if self.terminal is not None:
            assert verdicts == [self.terminal], "a verdict changes"
        self.terminal = verdicts[0] if verdicts else None
        assert old.checkpoint is None or new.checkpoint is not None
        if old.checkpoint and new.checkpoint:
            assert new.checkpoint.step >= old.checkpoint.step, "a checkpoint goes back"
        job = self.cluster.get("TrainingJob", NAME)
        assert job is not None
        assert new.restarts <= job["spec"]["failurePolicy"]["maxRestarts"]
        self._restarts_are_counted(old, new)

    @staticmethod
    def _restarts_are_counted(old: TrainingJobStatus, new: TrainingJobStatus) -> None:
        if not old.attempts or new.attempts[-1].number == old.attempts[-1].number:
            assert new.restarts == old.restarts
            return
        last = old.attempts[-1]
        assert new.attempts[-1].number == last.number + 1
        assert last.end_time is not None, "an attempt begins while the last one is open"
        assert new.restarts == old.restarts + (last.cause != "Suspended")

    def _reconcile(self, fault: Fault | None) -> Decision | None:
        created = len(self.cluster.created)
        decision = self.operator.reconcile(fault)
        # A pod's name is used once, unless it went before all of its gang were there.
        for pod in self.cluster.created[created:]:
            if pod["kind"] == "Pod":
                name = pod["metadata"]["name"]
                assert self.pod_names.get(name, True), f"{name} is made a second time"
                self.pod_names[name] = False
        return decision

    # And in the end -----------------------------------------------------------------------------

    def settle(self) -> None:
        """The accidents are over, and everything happens in its turn."""
        self.cluster.refuses = {}
        job = self.cluster.get("TrainingJob", NAME)
        if job is not None and job["spec"]["suspend"]:
            self.cluster.change(job, spec={**job["spec"], "suspend": False})
        for _ in range(60):
            self.operator.view.deliver_all()
            writes = self.cluster.writes
            decision = self._reconcile(None)
            self.check()
            moved = self._kubelets(end=True)
            if self.cluster.get("TrainingJob", NAME) is None:
                return  # its time to live is over
            if decision is None or decision.again or self.cluster.writes != writes or moved:
                continue
            if decision.wake is None:
                break
            self.cluster.seconds += max(decision.wake, 0.1)
        else:
            raise AssertionError("the job does not come to rest")
        self._rests()

    def check(self) -> None:
        self.no_two_workers_of_one_rank()
        self.no_verdict_while_a_worker_runs()
        self.at_most_one_version()

    def _kubelets(self, end: bool) -> bool:
        """Pods come and go as they should, and end if they may; whether anything moved."""
        moved = False
        pods = self.cluster.of_kind("Pod")
        for pod in pods:
            if "deletionTimestamp" in pod["metadata"]:
                self._vanish(pod)
                moved = True
            elif pod.get("status", {}).get("phase", "Pending") == "Pending":
                self.become(pod, {"phase": "Running", "podIP": "10.0.0.1"})
                moved = True
        if end and not moved:
            for pod in pods:
                if running(pod):
                    self.end_well(pod)
                    moved = True
        return moved

    def _rests(self) -> None:
        job = self.cluster.get("TrainingJob", NAME)
        assert job is not None
        assert self.terminal is not None, "neither success nor failure"
        status = self._status()
        if self.terminal["type"] == "Complete" and "output" in job["spec"]:
            assert status.model_version is not None
            assert self.cluster.get("ModelVersion", status.model_version) is not None
        writes = self.cluster.writes
        for _ in range(3):
            self.operator.view.deliver_all()
            decision = self.operator.reconcile()
            assert decision is not None
            assert decision.wake is None
            assert not decision.again
            assert not [a for a in decision.actions if isinstance(a, Create)]
        assert self.cluster.writes == writes, "a job at rest is written"

    # Helpers --------------------------------------------------------------------------------------

    def _status(self) -> TrainingJobStatus:
        job = self.cluster.get("TrainingJob", NAME)
        return TrainingJobStatus(**(job.get("status", {}) if job else {}))

    def _mine(self, version: Json) -> bool:
        job = self.cluster.get("TrainingJob", NAME)
        label = version["metadata"]["labels"].get(names.JOB_UID)
        return job is not None and bool(label == job["metadata"]["uid"])

    def _some(self, index: int) -> Json | None:
        pods = [pod for pod in self.cluster.of_kind("Pod") if running(pod)]
        return pods[index % len(pods)] if pods else None

    def become(self, pod: Json, status: Any) -> None:
        self.cluster.change(pod, status=status)

    def end_well(self, pod: Json) -> None:
        labels = pod["metadata"]["labels"]
        more: Json = {}
        if labels[names.WORKER] == "0":
            more["artifact"] = artifact(int(labels[names.ATTEMPT]))
        self.become(pod, ended(0, says("Succeeded", **more)).status)

    def _vanish(self, pod: Json) -> None:
        attempt = int(pod["metadata"]["labels"][names.ATTEMPT])
        known = [a for a in self._status().attempts if a.number == attempt]
        if known and not known[0].pods_created:
            self.pod_names[pod["metadata"]["name"]] = True
        self.cluster.remove(pod)

    def _lost(self, pod: Json) -> bool:
        """Its node has not been heard of for so long that nobody waits for it."""
        if not overdue(self.cluster, pod):
            return False
        self.cluster.seconds -= 60
        late = overdue(self.cluster, pod)
        self.cluster.seconds += 60
        return late

    def _register(self, number: int) -> None:
        self.cluster.create(
            {
                "kind": "ModelVersion",
                "metadata": {"name": f"reviews-v{number}", "labels": {names.JOB_UID: "another"}},
                "spec": {
                    "model": "reviews",
                    "version": number,
                    "artifact": {
                        "uri": "pvc://models/x",
                        "digest": DIGEST,
                        "sizeBytes": 1,
                        "formats": ["Onnx"],
                    },
                    "signature": SIGNATURE,
                },
            }
        )


@pytest.mark.parametrize("workers", [1, 4, 16])
def test_a_job_without_accidents_costs_pods_and_eight_writes(workers: int) -> None:
    """However slowly its pods come and go: their number alone is news every ten seconds."""
    story = JobStory(workers, restarts=3, output=True, ttl=None, deadline=None)

    def look() -> None:
        story.operator.view.deliver_all()
        story.operator.reconcile()
        story.cluster.seconds += 0.25

    for _ in range(3):
        look()
    for pod in story.cluster.of_kind("Pod"):
        story.become(pod, {"phase": "Running", "podIP": "10.0.0.1"})
        look()
    for pod in story.cluster.of_kind("Pod"):
        story.end_well(pod)
        look()
    for _ in range(3):
        look()
    assert story.terminal is not None
    assert story.terminal["type"] == "Complete"
    assert story.cluster.writes <= workers + 8


STARTS = st.builds(
    JobStory,
    workers=st.integers(1, 3),
    restarts=st.integers(0, 2),
    output=st.booleans(),
    ttl=st.sampled_from([None, 60]),
    deadline=st.sampled_from([None, 200]),
)
SCRIPTS = scripts(
    step(
        "go_on",
        rounds=st.integers(1, 4),
        slow=st.sampled_from([None, None, *WATCHED, "kubelet"]),
        fault=st.none() | FAULTS,
    ),
    step("reconcile", fault=FAULTS, order=st.integers(0, 3)),
    step("restart"),
    step("deliver", kind=st.sampled_from(WATCHED), most=st.integers(1, 4)),
    step("wait", seconds=st.sampled_from([1, 7, 30, 130])),
    step("fail", index=INDEX, outcome=st.sampled_from(OUTCOMES), step=st.integers(0, 90)),
    step("run", index=INDEX),
    step("succeed", index=INDEX),
    step("delete", index=INDEX),
    step("kubelet", index=INDEX),
    step("say", step=st.integers(0, 90)),
    step("another_job_registers"),
    step("another_version_goes"),
    step("refuse", refused=st.sampled_from([None, "Pod", "ModelVersion", "Service"])),
    step("suspend"),
)


@given(STARTS, st.integers(0, 4), SCRIPTS)
@settings_for(examples=60)
def test_jobs(story: JobStory, warm: int, script: list[Step]) -> None:
    story.go_on(rounds=warm)
    for name, arguments in script:
        getattr(story, name)(**arguments)
        story.check()
    story.settle()
