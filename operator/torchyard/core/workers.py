"""The children of a TrainingJob: worker pods, their headless Service, their NetworkPolicy."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from torchyard import names
from torchyard.api.contract import (
    CHECKPOINT_MOUNT,
    CONFIG_VARIABLE,
    DATA_MOUNT,
    OUTPUT_MOUNT,
    JobIdentity,
    WorkerConfig,
)
from torchyard.api.trainingjob import TrainingJob
from torchyard.core.objects import (
    claim_of,
    container_security,
    dns_egress,
    environment,
    metadata,
    pod_extras,
    pod_metadata,
    pod_security,
    resources,
)
from torchyard.core.world import Release

GRACE_SECONDS = 60
"""How long a worker may take to write a checkpoint and leave."""

CONTAINER = "worker"

_KIND = "TrainingJob"
_OUTPUT, _CHECKPOINTS, _DATA = "output", "checkpoints", "data"


def config(job: TrainingJob, attempt: int, image: str) -> WorkerConfig:
    """What the workers of an attempt are told."""
    meta, spec = job.metadata, job.spec
    data_path = claim_of(spec.data.uri)[1]
    output_uri = checkpoint_uri = None
    if spec.output:
        base = spec.output.uri.rstrip("/")
        output_uri = f"{base}/{spec.output.model}/{meta.uid}-{attempt}"
        checkpoint_uri = f"{base}/.checkpoints/{meta.uid}"
    if spec.checkpoint.uri:
        checkpoint_uri = f"{spec.checkpoint.uri.rstrip('/')}/{meta.uid}"
    leader = f"{_hostname(attempt, 0)}.{names.workers(meta.name)}"
    return WorkerConfig(
        job=JobIdentity(namespace=meta.namespace, name=meta.name, uid=meta.uid),
        attempt=attempt,
        # What is said about pods is for the operator, and may be as large as all the rest.
        spec=spec.model_copy(
            update={"workers": spec.workers.model_copy(update={"template": None})}
        ),
        image=image,
        rendezvous=f"{leader}:{names.RENDEZVOUS_PORT}",
        data_path=f"{DATA_MOUNT}/{data_path}",
        output_uri=output_uri,
        output_path=output_uri and f"{OUTPUT_MOUNT}/{claim_of(output_uri)[1]}",
        checkpoint_uri=checkpoint_uri,
        checkpoint_path=checkpoint_uri and f"{CHECKPOINT_MOUNT}/{claim_of(checkpoint_uri)[1]}",
    )


def config_json(job: TrainingJob, attempt: int, image: str) -> str:
    """The configuration as it travels in the environment."""
    return _json(config(job, attempt, image))


def _json(told: WorkerConfig) -> str:
    return json.dumps(told.wire(), separators=(",", ":"))


def pods(
    job: TrainingJob, attempt: int, indexes: Iterable[int], release: Release
) -> Iterator[tuple[int, dict[str, Any]]]:
    """These workers of an attempt; what is the same for all of them is made once."""
    image = job.status.image or job.spec.image or release.trainer_image
    told = config(job, attempt, image)
    text = _json(told)
    for index in indexes:
        yield index, _pod(job, told, text, index, release)


def _pod(
    job: TrainingJob, told: WorkerConfig, text: str, index: int, release: Release
) -> dict[str, Any]:
    workers, attempt = job.spec.workers, told.attempt
    own = {
        CONFIG_VARIABLE: text,
        "TORCHYARD_WORKER": str(index),
        "HOME": "/tmp",  # noqa: S108 - an emptyDir of the pod's own
        "TMPDIR": "/tmp",  # noqa: S108
    }
    volumes, mounts = _volumes(job, told)
    labels = {
        names.MANAGED_BY: names.MANAGER,
        names.APP_NAME: "torchyard-worker",
        names.APP_INSTANCE: job.metadata.name,
        names.JOB: job.metadata.name,
        names.JOB_UID: job.metadata.uid,
        names.ATTEMPT: str(attempt),
        names.WORKER: str(index),
    }
    meta = metadata(_KIND, job.metadata, names.worker_pod(job.metadata.name, attempt, index), {})
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**meta, **pod_metadata(workers.template, labels)},
        "spec": {
            **pod_extras(workers.template),
            "restartPolicy": "Never",
            "hostname": _hostname(attempt, index),
            "subdomain": names.workers(job.metadata.name),
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": pod_security(),
            "containers": [
                {
                    "name": CONTAINER,
                    "image": told.image,
                    "imagePullPolicy": release.image_pull_policy,
                    "command": ["python", "-m", "torchyard_trainer"],
                    "env": environment(own, workers.template),
                    "ports": [
                        {"name": "status", "containerPort": names.STATUS_PORT},
                        {"name": "rendezvous", "containerPort": names.RENDEZVOUS_PORT},
                    ],
                    "resources": resources(workers.resources, workers.accelerator),
                    "securityContext": container_security(),
                    # A supervisor that was killed leaves no message: its last log lines do.
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        },
    }


def service(job: TrainingJob) -> dict[str, Any]:
    """Host names for the workers, before they are ready: rendezvous makes them so."""
    labels = {names.JOB: job.metadata.name}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(_KIND, job.metadata, names.workers(job.metadata.name), labels),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {names.JOB_UID: job.metadata.uid},
            "ports": [
                {
                    "name": "rendezvous",
                    "port": names.RENDEZVOUS_PORT,
                    "targetPort": names.RENDEZVOUS_PORT,
                    "protocol": "TCP",
                }
            ],
        },
    }


def policy(job: TrainingJob, release: Release) -> dict[str, Any]:
    """Workers talk to each other, to DNS, and answer the operator; nothing else."""
    peers = {"podSelector": {"matchLabels": {names.JOB_UID: job.metadata.uid}}}
    operator = {
        "namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": release.operator_namespace}
        },
        "podSelector": {"matchLabels": dict(release.operator_labels)},
    }
    labels = {names.JOB: job.metadata.name}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(_KIND, job.metadata, names.workers(job.metadata.name), labels),
        "spec": {
            **peers,
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [peers]},
                {
                    "from": [operator],
                    "ports": [{"protocol": "TCP", "port": names.STATUS_PORT}],
                },
            ],
            "egress": [{"to": [peers]}, dns_egress()],
        },
    }


def _hostname(attempt: int, index: int) -> str:
    # The attempt is part of the name: a cached address of a dead pod is never mistaken.
    return f"a{attempt}-w{index}"


def _volumes(
    job: TrainingJob, told: WorkerConfig
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """One volume a claim, however many of data, output and checkpoints live on it."""
    uses = [(_DATA, job.spec.data.uri, DATA_MOUNT, True)]
    if told.output_uri:
        uses.append((_OUTPUT, told.output_uri, OUTPUT_MOUNT, False))
    if told.checkpoint_uri:
        uses.append((_CHECKPOINTS, told.checkpoint_uri, CHECKPOINT_MOUNT, False))
    claims: dict[str, str] = {}
    mounts: list[dict[str, Any]] = []
    for use, uri, path, read_only in uses:
        volume = claims.setdefault(claim_of(uri)[0], use)
        mounts.append({"name": volume, "mountPath": path, "readOnly": read_only})
    volumes: list[dict[str, Any]] = [
        {"name": volume, "persistentVolumeClaim": {"claimName": claim}}
        for claim, volume in claims.items()
    ]
    volumes.append({"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}})
    mounts.append({"name": "tmp", "mountPath": "/tmp"})  # noqa: S108
    workers = job.spec.workers
    if workers.accelerator or workers.processes_per_worker > 1:
        # NCCL and gloo pass data between processes of a pod through shared memory; the
        # runtime's default of 64 MiB makes them fail in mid-training.
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": "2Gi"}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    return volumes, mounts
