"""What a user may say about the pods of a job or a service.

A typed subset of a pod template: whoever may create a TrainingJob must not thereby be able to
run any pod (host paths, privileged containers, foreign service accounts or Secrets).
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from torchyard.api.base import (
    DnsLabel,
    LabelValue,
    Quantity,
    ResourceName,
    SpecModel,
    rule,
    rules,
)

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]


class Resources(SpecModel):
    """Compute resources of one pod's main container, as in a pod."""

    requests: dict[LabelKey, Quantity] | None = Field(
        default=None, max_length=16, description="What the pod is guaranteed, e.g. `cpu: 500m`."
    )
    limits: dict[LabelKey, Quantity] | None = Field(
        default=None, max_length=16, description="What the pod may use at most."
    )


class Accelerator(SpecModel):
    """Devices of one pod, as a device plugin advertises them."""

    resource: ResourceName = Field(
        default="nvidia.com/gpu", description="The extended resource that is asked for."
    )
    count: int = Field(ge=1, le=64, description="Devices a pod.")


class EnvVar(SpecModel):
    """An environment variable with a literal value."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=253)] = (
        Field(description="Its name. Names that start with TORCHYARD_ are Torchyard's.")
    )
    value: Annotated[str, StringConstraints(max_length=4096)] = Field(description="Its value.")


class TolerationOperator(StrEnum):
    """How a toleration compares."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class TaintEffect(StrEnum):
    """What a taint does."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(SpecModel):
    """A taint that the pods bear, as in a pod."""

    key: Annotated[str, StringConstraints(max_length=317)] | None = Field(
        default=None, description="The taint's key; none means every key (with Exists)."
    )
    operator: TolerationOperator | None = Field(
        default=None, description="How `value` is compared; Kubernetes takes Equal when unset."
    )
    value: LabelValue | None = Field(default=None, description="The taint's value.")
    effect: TaintEffect | None = Field(
        default=None, description="The effect that is borne; none means every effect."
    )
    toleration_seconds: int | None = Field(
        default=None, ge=0, description="With NoExecute: how long the pod stays, in seconds."
    )


class LocalReference(SpecModel):
    """A Secret of the same namespace."""

    name: ResourceName = Field(description="Its name.")


def _unreserved(field: str) -> dict[str, Any]:
    return rules(
        rule(
            "!self.exists(key, key.startsWith('torchyard.dev/'))",
            f"{field}: keys that start with torchyard.dev/ are reserved; choose another prefix",
        )
    )


class PodTemplate(SpecModel):
    """What may be added to the pods."""

    labels: dict[LabelKey, LabelValue] | None = Field(
        default=None,
        max_length=32,
        description="More labels. `torchyard.dev/` is reserved.",
        json_schema_extra=_unreserved("labels"),
    )
    annotations: dict[LabelKey, Annotated[str, StringConstraints(max_length=4096)]] | None = Field(
        default=None,
        max_length=32,
        description="More annotations. `torchyard.dev/` is reserved.",
        json_schema_extra=_unreserved("annotations"),
    )
    node_selector: dict[LabelKey, LabelValue] | None = Field(
        default=None, max_length=32, description="Labels that a node must carry."
    )
    tolerations: list[Toleration] | None = Field(
        default=None, max_length=16, description="Taints that the pods bear."
    )
    env: list[EnvVar] | None = Field(
        default=None,
        max_length=64,
        description="More environment variables.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
            **rules(
                rule(
                    "!self.exists(e, e.name.startsWith('TORCHYARD_'))",
                    "env: names that start with TORCHYARD_ are reserved; choose another name",
                )
            ),
        },
    )
    image_pull_secrets: list[LocalReference] | None = Field(
        default=None, max_length=8, description="Secrets for private registries."
    )
    priority_class_name: ResourceName | None = Field(
        default=None, description="The PriorityClass of the pods."
    )
    runtime_class_name: DnsLabel | None = Field(
        default=None, description="The RuntimeClass of the pods, where GPUs need one."
    )
