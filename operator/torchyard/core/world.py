"""What a decision may look at: one resource, its children, what is around it, and the time.

Children are plain JSON as the API server gave it, trimmed by the engine of what no decision
reads (managed fields). Decisions never change them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from torchyard.api.contract import WorkerProgress
from torchyard.api.modelservice import ModelService
from torchyard.api.modelversion import ModelVersion
from torchyard.api.trainingjob import TrainingJob

Object = Mapping[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True)
class Release:
    """What the installed release fills in where a spec says nothing.

    Resolved once an attempt or revision and recorded there, so that a newer release restarts
    nothing.
    """

    trainer_image: str
    server_image: str
    operator_namespace: str
    operator_labels: Mapping[str, str]
    image_pull_policy: str = "IfNotPresent"


@dataclass(frozen=True)
class Problem:
    """A write that the API server refused and that a retry alone will not mend."""

    kind: str
    name: str
    code: int
    reason: str
    message: str


@dataclass(frozen=True)
class JobWorld:
    """All that a decision about a TrainingJob depends on."""

    job: TrainingJob
    now: datetime
    release: Release
    pods: tuple[Object, ...] = ()
    services: tuple[Object, ...] = ()
    policies: tuple[Object, ...] = ()
    versions: tuple[ModelVersion, ...] = ()
    """Every ModelVersion of the job's output model, whoever made it."""
    progress: WorkerProgress | None = None
    """What worker 0 said last, while it runs."""
    written: datetime | None = None
    """When this job's status was written last, as far as this process knows."""
    problem: Problem | None = None
    """The refusal that ended the previous reconcile, if one did."""


@dataclass(frozen=True)
class ServiceWorld:
    """All that a decision about a ModelService depends on."""

    service: ModelService
    now: datetime
    release: Release
    versions: tuple[ModelVersion, ...] = ()
    """Every ModelVersion of the model that is served."""
    deployments: tuple[Object, ...] = ()
    pods: tuple[Object, ...] = ()
    services: tuple[Object, ...] = ()
    slices: tuple[Object, ...] = ()
    """EndpointSlices of the client-facing Service."""
    budgets: tuple[Object, ...] = ()
    policies: tuple[Object, ...] = ()
    problem: Problem | None = None
