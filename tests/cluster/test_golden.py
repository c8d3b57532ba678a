"""What a person reads at each phase of a job and of a service, compared with tests/golden/."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from demo.kube import CommandError, holds, wait
from tests.cluster import golden
from tests.cluster.stage import SECONDS, Stage, manifests, not_failed

KINDS = "trainingjobs,modelversions,modelservices"
NOWHERE = {"nodeSelector": {"kubernetes.io/hostname": "nowhere"}}

Json = dict[str, Any]


@dataclass
class Album:
    """What kubectl printed, by the name of the scene."""

    stage: Stage
    scenes: dict[str, str] = field(default_factory=dict)

    def take(self, scene: str, resource: str, *conditions: str, moving: bool = False) -> None:
        """The tables, the description of one resource, and waiting for some conditions."""
        commands = [f"get {KINDS}", f"describe {resource}"]
        commands += [f"wait {resource} --for=condition={c} --timeout=1s" for c in conditions]
        printed = "\n".join(self._run(command) for command in commands)
        known = {
            self.stage.images["trainer"]: "<the trainer image>",
            self.stage.images["server"]: "<the server image>",
        }
        self.scenes[scene] = golden.normal(printed, known, moving=moving)

    def _run(self, command: str) -> str:
        try:
            printed = self.stage.kube.run(*command.split())
        except CommandError as error:
            printed = str(error).partition(": ")[2] + "\n"
        return f"$ kubectl {command}\n{printed}"


JOBS = ("starting", "running", "suspended", "failed", "succeeded")
SERVICES = ("starting", "ready", "rolling-out", "stalled")


@pytest.fixture(scope="module")
def album(stage: Stage) -> Album:
    """One story that goes through all phases, photographed at each."""
    album = Album(stage)
    stage.bring_digits()
    _waiting_job(album)
    _paced_job(album)
    _wrong_job(album)
    _digits(album)
    return album


def _waiting_job(album: Album) -> None:
    stage = album.stage
    with stage.watch("trainingjob", "waiting") as history:
        stage.kube.apply(stage.paced("waiting", workers={"count": 2, "template": NOWHERE}))
        history.until("blocked", lambda job: job.get("status", {}).get("blockedBy"), SECONDS)
    _told(stage, "TrainingJob", "waiting", "Valid")
    album.take("trainingjob-starting", "trainingjob/waiting", "Accepted", "Started")
    _delete(stage, "trainingjob", "waiting")


def _paced_job(album: Album) -> None:
    stage = album.stage
    stage.hold("paced")
    with stage.watch("trainingjob", "paced") as history:
        stage.kube.apply(stage.paced("paced"))
        history.until("its second epoch", _second_epoch, SECONDS, not_failed)
        album.take("trainingjob-running", "trainingjob/paced", "Started", "Complete", moving=True)
        stage.patch("trainingjob", "paced", suspend=True)
        history.until("suspended", lambda job: holds(job, "Suspended"), SECONDS, not_failed)
        _told(stage, "TrainingJob", "paced", "SuspendRequested")
        history.until("no workers", _no_workers, SECONDS)
        album.take("trainingjob-suspended", "trainingjob/paced", "Suspended", moving=True)
    _delete(stage, "trainingjob", "paced")


def _wrong_job(album: Album) -> None:
    stage = album.stage
    task = {"mlpClassifier": {"labelColumn": "kind"}}
    with stage.watch("trainingjob", "wrong") as history:
        stage.kube.apply(stage.paced("wrong", task=task, workers={"count": 1}))
        history.until("failed", lambda job: holds(job, "Failed"), SECONDS)
    _told(stage, "TrainingJob", "wrong", "DataInvalid")
    album.take("trainingjob-failed", "trainingjob/wrong", "Failed", "Complete")
    _delete(stage, "trainingjob", "wrong")


def _digits(album: Album) -> None:
    """The digits examples as they are, but for the service's first start and its rollout."""
    stage = album.stage
    stage.example("digits/train.yaml")
    with stage.watch("trainingjob", "digits") as history:
        history.until("complete", lambda job: holds(job, "Complete"), SECONDS, not_failed)
    _told(stage, "TrainingJob", "digits", "Trained")
    album.take("trainingjob-succeeded", "trainingjob/digits", "Complete")
    album.take("modelversion", "modelversion/digits-v1")
    (service,) = manifests("digits/service.yaml")
    with stage.watch("modelservice", "digits") as history:
        nowhere: Json = {**service["spec"], "server": {"template": NOWHERE}}
        stage.kube.apply({**service, "spec": nowhere})
        history.until("starting", _waits_for_a_node, SECONDS)
        album.take("modelservice-starting", "modelservice/digits", "Accepted", "Ready")
        _delete(stage, "modelservice", "digits")

        stage.example("digits/service.yaml")
    with stage.watch("modelservice", "digits") as history:
        history.until("ready", lambda s: holds(s, "Ready"), SECONDS)
        _told(stage, "ModelService", "digits", "Serving")
        album.take("modelservice-ready", "modelservice/digits", "Servable", "Ready")

        stage.kube.apply({**service, "spec": nowhere})
        history.until("rolling out", _waits_for_a_node, SECONDS)
        album.take("modelservice-rolling-out", "modelservice/digits", "Progressing", "Ready")

        stage.patch("modelservice", "digits", rollout={"progressDeadlineSeconds": 1})
        history.until("stalled", lambda s: holds(s, "Stalled"), SECONDS)
        _told(stage, "ModelService", "digits", "ProgressDeadlineExceeded")
        album.take("modelservice-stalled", "modelservice/digits", "Stalled", "Servable", "Ready")


def _second_epoch(job: Json) -> bool:
    status = job.get("status", {})
    return status.get("progress", {}).get("epoch", 0) > 1 and "checkpoint" in status


def _no_workers(job: Json) -> bool:
    """The pods of a suspended job have been counted once more when they were gone."""
    return holds(job, "Suspended") and job["status"]["workers"]["failed"] == 0


def _waits_for_a_node(service: Json) -> bool:
    rollout = service.get("status", {}).get("rollout") or {}
    return "node" in rollout.get("message", "")


def _told(stage: Stage, kind: str, name: str, reason: str) -> None:
    """Waits for an Event: they come a moment after the status."""
    wait(
        f"the Event {reason}",
        lambda: True if reason in {e["reason"] for e in stage.events(kind, name)} else None,
        SECONDS,
    )


def _delete(stage: Stage, kind: str, name: str) -> None:
    stage.kube.run("delete", kind, name, "--cascade=foreground", timeout=SECONDS)


@pytest.mark.parametrize("phase", JOBS)
def test_a_job_reads_well(album: Album, phase: str) -> None:
    golden.compare(f"trainingjob-{phase}", album.scenes[f"trainingjob-{phase}"])


def test_a_version_reads_well(album: Album) -> None:
    golden.compare("modelversion", album.scenes["modelversion"])


@pytest.mark.parametrize("phase", SERVICES)
def test_a_service_reads_well(album: Album, phase: str) -> None:
    golden.compare(f"modelservice-{phase}", album.scenes[f"modelservice-{phase}"])


@pytest.mark.parametrize("kind", ["trainingjob", "modelversion", "modelservice"])
def test_a_spec_explains_itself(stage: Stage, kind: str) -> None:
    printed = stage.kube.run("explain", f"{kind}.spec")
    lines = [line.rstrip() for line in printed.splitlines()]
    golden.compare(f"explain-{kind}-spec", "\n".join(lines) + "\n")
