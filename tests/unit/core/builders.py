"""Worlds for decisions about jobs: `a_job(workers=2).attempt(0).pods(RUNNING, FAILED)`."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from torchyard import names
from torchyard.api.contract import Termination, WorkerProgress
from torchyard.api.modelversion import ModelVersion
from torchyard.api.trainingjob import TrainingJob, TrainingJobStatus
from torchyard.core import workers
from torchyard.core.clock import stamp
from torchyard.core.conditions import find
from torchyard.core.plan import Action, Apply, Create, Decision, Delete
from torchyard.core.trainingjob import decide
from torchyard.core.world import JobWorld, Object, Problem, Release

Json = dict[str, Any]

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RELEASE = Release(
    trainer_image="registry.example/trainer@sha256:1",
    server_image="registry.example/server@sha256:1",
    operator_namespace="torchyard-system",
    operator_labels={"app.kubernetes.io/name": "torchyard"},
)
UID = "11111111-1111-1111-1111-111111111111"
DIGEST = "sha256:" + "a" * 64
SIGNATURE: Json = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


def at(seconds: float) -> str:
    """A moment after START, as Kubernetes writes it."""
    return stamp(START + timedelta(seconds=seconds))


# Pod statuses ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class PodState:
    """What a test says of one pod."""

    status: Json
    deleted: float | None = None
    """When its deletion was asked for, in seconds after START."""
    grace: int = 60

    def deleting(self, asked: float = 0.0, grace: int = 60) -> Self:
        return replace(self, deleted=asked, grace=grace)


PENDING = PodState({"phase": "Pending"})
RUNNING = PodState(
    {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "containerStatuses": [{"name": "worker", "state": {"running": {}}}],
    }
)


def waiting(reason: str, message: str = "") -> PodState:
    state = {"waiting": {"reason": reason, "message": message}}
    containers = [{"name": "worker", "image": "registry.example/missing", "state": state}]
    return PodState({"phase": "Pending", "containerStatuses": containers})


def unschedulable(message: str, reason: str = "Unschedulable") -> PodState:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return PodState({"phase": "Pending", "conditions": [scheduled]})


def says(outcome: str, **more: Any) -> str:
    """A termination message."""
    return Termination(outcome=outcome, **more).model_dump_json(by_alias=True, exclude_none=True)


def ended(exit_code: int, message: str = "", finished: float = 0.0, reason: str = "") -> PodState:
    """A pod whose container has left."""
    terminated: Json = {"exitCode": exit_code, "finishedAt": at(finished)}
    terminated["reason"] = reason or ("Error" if exit_code else "Completed")
    if message:
        terminated["message"] = message
    return PodState(
        {
            "phase": "Failed" if exit_code else "Succeeded",
            "containerStatuses": [{"name": "worker", "state": {"terminated": terminated}}],
        }
    )


def failed(
    outcome: str | None = None, exit_code: int = 1, at_: float = 0.0, **more: Any
) -> PodState:
    message = "" if outcome is None else says(outcome, time=at(at_), **more)
    return ended(exit_code, message, at_)


def gone(reason: str, message: str = "") -> PodState:
    """A pod that the kubelet or a controller has failed without a word of its container."""
    return PodState({"phase": "Failed", "reason": reason, "message": message})


SUCCEEDED = ended(0, says("Succeeded"))
FAILED = failed("ProcessFailed", message="ValueError: no")


def artifact(attempt: int = 0, **more: Any) -> Json:
    return {
        "uri": f"pvc://models/reviews/{UID}-{attempt}",
        "digest": DIGEST,
        "sizeBytes": 5_000,
        "formats": ["SafeTensors", "Onnx"],
        "signature": SIGNATURE,
        "metrics": {"accuracy": "0.81"},
        "dataDigest": "sha256:" + "d" * 64,
        **more,
    }


def published(attempt: int = 0, **more: Any) -> PodState:
    return ended(0, says("Succeeded", artifact=artifact(attempt), **more))


def pod(
    index: int,
    state: PodState = PENDING,
    attempt: int = 0,
    *,
    job: str = "reviews",
    uid: str | None = None,
    owner: str = UID,
) -> Json:
    name = names.worker_pod(job, attempt, index)
    metadata: Json = {
        "name": name,
        "namespace": "team",
        "uid": uid or f"pod-{name}",
        "labels": {
            names.JOB: job,
            names.JOB_UID: owner,
            names.ATTEMPT: str(attempt),
            names.WORKER: str(index),
        },
        "ownerReferences": [{"kind": "TrainingJob", "name": job, "uid": owner, "controller": True}],
    }
    if state.deleted is not None:
        metadata["deletionTimestamp"] = at(state.deleted + state.grace)
        metadata["deletionGracePeriodSeconds"] = state.grace
    return {
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": f"node-{index}"},
        "status": state.status,
    }


def version(
    number: int, model: str = "reviews", *, job_uid: str = "", alias: str = "", **spec: Any
) -> ModelVersion:
    labels = {names.MODEL: model}
    if job_uid:
        labels[names.JOB_UID] = job_uid
    if alias:
        labels[names.alias_label(alias)] = ""
    return ModelVersion.model_validate(
        {
            "metadata": {
                "name": names.model_version(model, number),
                "namespace": "team",
                "uid": f"mv-{model}-{number}",
                "labels": labels,
            },
            "spec": {
                "model": model,
                "version": number,
                "artifact": {
                    "uri": f"pvc://models/{model}/{number}",
                    "digest": DIGEST,
                    "sizeBytes": 1,
                    "formats": ["Onnx"],
                },
                "signature": SIGNATURE,
                **spec,
            },
        }
    )


# Jobs ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class JobStory:
    """A job and what is around it; every method returns the story with one thing more."""

    spec: Json = field(default_factory=dict)
    status: Json = field(default_factory=dict)
    metadata: Json = field(default_factory=dict)
    world_pods: tuple[Object, ...] = ()
    versions: tuple[ModelVersion, ...] = ()
    seconds: float = 0.0
    rest: Json = field(default_factory=dict)

    def with_spec(self, **more: Any) -> Self:
        return replace(self, spec={**self.spec, **more})

    def with_status(self, **more: Any) -> Self:
        return replace(self, status={**self.status, **more})

    def publishing(self, model: str = "reviews", **more: Any) -> Self:
        return self.with_spec(output={"model": model, "uri": "pvc://models", **more})

    def attempt(self, number: int = 0, start: float = 0.0, **more: Any) -> Self:
        """One more attempt on record; its pods are there unless `podsCreated` says otherwise."""
        begun = {"number": number, "startTime": at(start), "podsCreated": True, **more}
        attempts = [*self.status.get("attempts", []), begun]
        return self.with_status(attempt=number, attempts=attempts)

    def ended(self, cause: str, at_: float = 0.0, **more: Any) -> Self:
        """The last attempt has ended."""
        *others, last = self.status["attempts"]
        return self.with_status(
            attempts=[*others, {**last, "endTime": at(at_), "cause": cause, **more}]
        )

    def pods(self, *states: PodState | None, attempt: int | None = None) -> Self:
        """Pods of an attempt, the last one unless told; None stands for one that is not there."""
        number = self.status["attempts"][-1]["number"] if attempt is None else attempt
        made = tuple(pod(i, state, number) for i, state in enumerate(states) if state is not None)
        return replace(self, world_pods=(*self.world_pods, *made))

    def registered(self, *versions: ModelVersion) -> Self:
        return replace(self, versions=(*self.versions, *versions))

    def condition(self, type_: str, status: str = "True", reason: str = "Told") -> Self:
        told = {"type": type_, "status": status, "reason": reason, "message": ""}
        known = [*self.status.get("conditions", []), {**told, "lastTransitionTime": at(0)}]
        return self.with_status(conditions=known)

    def after(self, seconds: float) -> Self:
        """That many seconds after START."""
        return replace(self, seconds=seconds)

    def hearing(self, step: int, attempt: int = 0, **more: Any) -> Self:
        """What worker 0 answers."""
        told = {"attempt": attempt, "progress": {"step": step}, **more}
        return replace(self, rest={**self.rest, "progress": WorkerProgress.model_validate(told)})

    def refused(self, code: int, reason: str, message: str = "", kind: str = "Pod") -> Self:
        problem = Problem(kind, "reviews-a0-w0", code, reason, message)
        return replace(self, rest={**self.rest, "problem": problem})

    def written(self, seconds: float) -> Self:
        return replace(self, rest={**self.rest, "written": START + timedelta(seconds=seconds)})

    @property
    def job(self) -> TrainingJob:
        metadata = {"name": "reviews", "namespace": "team", "uid": UID, **self.metadata}
        return TrainingJob.model_validate(
            {"metadata": metadata, "spec": self.spec, "status": self.status}
        )

    @property
    def world(self) -> JobWorld:
        return JobWorld(
            job=self.job,
            now=START + timedelta(seconds=self.seconds),
            release=RELEASE,
            pods=self.world_pods,
            versions=self.versions,
            **self.rest,
        )

    def decide(self) -> Decision:
        return decide(self.world)

    def then(self, seconds: float | None = None) -> Self:
        """The story once the decision's status is stored; its writes are left to the test."""
        status = status_of(self.decide())
        later = replace(self, status=status.wire())
        return later if seconds is None else later.after(seconds)


def a_job(workers: int = 1, **spec: Any) -> JobStory:
    return JobStory(
        spec={
            "task": {"mlpClassifier": {}},
            "data": {"uri": "pvc://data/train.csv"},
            "workers": {"count": workers},
            "optimization": {"batchSize": 4 * workers},
            **spec,
        }
    )


# Reading decisions -----------------------------------------------------------------------------


def status_of(decision: Decision) -> TrainingJobStatus:
    assert isinstance(decision.status, TrainingJobStatus)
    return decision.status


def condition(decision: Decision, type_: str) -> tuple[str, str] | None:
    """Status and reason of a condition."""
    found = find(decision.status.conditions, type_)
    return None if found is None else (found.status.value, found.reason)


def written(decision: Decision) -> list[str]:
    """What is written, without what stands around the workers: `create Pod x`, `delete Pod y`."""
    return [line for action in decision.actions if (line := _line(action))]


def _line(action: Action) -> str:
    match action:
        case Create(manifest):
            return f"create {manifest['kind']} {manifest['metadata']['name']}"
        case Delete(kind, _, name):
            return f"delete {kind} {name}"
        case Apply(manifest) if manifest["kind"] in ("Deployment", "Service"):
            if manifest["spec"].get("clusterIP") == "None":
                return ""
            return f"apply {manifest['kind']} {manifest['metadata']['name']}"
        case _:
            return ""


def manifests(story: JobStory, attempt: int = 0) -> list[Json]:
    """The pods of an attempt as they would be made."""
    count = story.job.spec.workers.count
    return [made for _, made in workers.pods(story.job, attempt, range(count), RELEASE)]
