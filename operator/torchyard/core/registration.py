"""ModelVersions: the record of a published artifact, and which one a reference means."""

from typing import Any

from torchyard import names
from torchyard.api.contract import PublishedArtifact
from torchyard.api.modelservice import ModelReference
from torchyard.api.modelversion import (
    LAST_VERSION,
    Artifact,
    DataLineage,
    JobReference,
    Lineage,
    ModelVersion,
    ModelVersionSpec,
)
from torchyard.api.trainingjob import TrainingJob

LATEST = "latest"


def registered(job: TrainingJob, versions: tuple[ModelVersion, ...]) -> ModelVersion | None:
    """The version that this job registered before, found by its uid rather than its name."""
    uid = job.metadata.uid
    return next((v for v in versions if v.metadata.labels.get(names.JOB_UID) == uid), None)


def next_number(versions: tuple[ModelVersion, ...]) -> int | None:
    """The number after the highest one; None if that is the last there is."""
    number = 1 + max((v.spec.version for v in versions), default=0)
    return number if number <= LAST_VERSION else None


def record(
    job: TrainingJob, model: str, artifact: PublishedArtifact, number: int
) -> dict[str, Any]:
    """The ModelVersion of a job's artifact. It has no owner: it outlives its job."""
    spec = ModelVersionSpec(
        model=model,
        version=number,
        artifact=Artifact(
            uri=artifact.uri,
            digest=artifact.digest,
            size_bytes=artifact.size_bytes,
            formats=artifact.formats,
        ),
        signature=artifact.signature,
        metrics=artifact.metrics or None,
        lineage=Lineage(
            training_job=JobReference(name=job.metadata.name, uid=job.metadata.uid),
            data=DataLineage(uri=job.spec.data.uri, digest=artifact.data_digest),
            image=job.status.image,
        ),
    )
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": names.model_version(model, number),
            "namespace": job.metadata.namespace,
            "labels": {
                names.MANAGED_BY: names.MANAGER,
                names.MODEL: model,
                names.JOB: job.metadata.name,
                names.JOB_UID: job.metadata.uid,
            },
        },
        "spec": spec.wire(),
    }


def resolve(reference: ModelReference, versions: tuple[ModelVersion, ...]) -> ModelVersion | None:
    """The version that a service asks for; None while there is no such version.

    An alias that several versions carry means the newest of them; `latest` needs no label.
    """
    if reference.version is not None:
        return next((v for v in versions if v.spec.version == reference.version), None)
    label = names.alias_label(reference.alias or LATEST)
    candidates = [v for v in versions if reference.alias == LATEST or label in v.metadata.labels]
    return max(candidates, key=lambda v: v.spec.version, default=None)
