"""The two kinds that are reconciled: how each is read, and how its world is gathered."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from pydantic import ValidationError

from torchyard.api.contract import WorkerProgress
from torchyard.api.modelservice import ModelService
from torchyard.api.modelversion import ModelVersion
from torchyard.api.trainingjob import TrainingJob
from torchyard.core import modelservice, trainingjob
from torchyard.core.plan import Decision
from torchyard.core.world import JobWorld, Object, Problem, Release, ServiceWorld
from torchyard.engine.resources import Key
from torchyard.engine.store import Store

_SLICE_OF: Final = "kubernetes.io/service-name"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Moment:
    """What a world is made of beside the resource itself."""

    store: Store
    now: datetime
    release: Release
    progress: WorkerProgress | None = None
    problem: Problem | None = None


class Controller(Protocol):
    """Reads an object of its kind, which may raise ValidationError, and decides about it."""

    def __call__(self, observed: Object, moment: Moment) -> Decision:
        """What should be done about this object at this moment."""


def training_job(observed: Object, moment: Moment) -> Decision:
    """Decides about a TrainingJob."""
    job = TrainingJob.model_validate(observed)
    children = _children("TrainingJob", job, moment.store)
    output = job.spec.output
    return trainingjob.decide(
        JobWorld(
            job=job,
            now=moment.now,
            release=moment.release,
            pods=children("Pod"),
            services=children("Service"),
            policies=children("NetworkPolicy"),
            versions=_versions(moment.store, job.metadata.namespace, output.model)
            if output
            else (),
            progress=moment.progress,
            problem=moment.problem,
        )
    )


def model_service(observed: Object, moment: Moment) -> Decision:
    """Decides about a ModelService."""
    service = ModelService.model_validate(observed)
    name = service.metadata.name
    children = _children("ModelService", service, moment.store)
    return modelservice.decide(
        ServiceWorld(
            service=service,
            now=moment.now,
            release=moment.release,
            versions=_versions(moment.store, service.metadata.namespace, service.spec.model.name),
            deployments=children("Deployment"),
            pods=children("Pod"),
            services=children("Service"),
            slices=tuple(
                item
                for item in children("EndpointSlice")
                if item["metadata"]["labels"].get(_SLICE_OF) == name
            ),
            budgets=children("PodDisruptionBudget"),
            policies=children("NetworkPolicy"),
            problem=moment.problem,
        )
    )


CONTROLLERS: Final[Mapping[str, Controller]] = {
    "TrainingJob": training_job,
    "ModelService": model_service,
}


def _children(
    kind: str, owner: TrainingJob | ModelService, store: Store
) -> Callable[[str], tuple[Object, ...]]:
    metadata = owner.metadata
    key = Key(kind, metadata.namespace, metadata.name)
    return lambda child: store.children(key, metadata.uid, child)


def _versions(store: Store, namespace: str, model: str) -> tuple[ModelVersion, ...]:
    return tuple(_readable(store.versions(namespace, model)))


def _readable(found: Iterator[Object]) -> Iterator[ModelVersion]:
    for item in found:
        try:
            yield ModelVersion.model_validate(item)
        except ValidationError as error:
            name = item["metadata"]["name"]
            _log.warning("ModelVersion %s is left out: %s", name, first_fault(error))


def first_fault(error: ValidationError) -> str:
    """The field that is wrong, and why."""
    fault: Mapping[str, Any] = error.errors(include_url=False, include_context=False)[0]
    field = ".".join(str(part) for part in fault["loc"])
    return f"{field}: {fault['msg']}"
