"""What a user may say about the pods of a job or a service.

A typed subset of a pod template: whoever may create a TrainingJob must not thereby be able to
run any pod (host paths, privileged containers, foreign service accounts or Secrets).
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from torchyard.api.base import (
    LabelValue,
    ObjectName,
    Quantity,
    SpecModel,
    rule,
    rules,
)

LabelKey = Annotated[str, StringConstraints(min_length=1, max_length=317)]

_DEVICE = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_KNOWN_RESOURCES = rule(
    "self.all(key, key in ['cpu', 'memory', 'ephemeral-storage'] || "
    "key.startsWith('hugepages-') || key.contains('/'))",
    "resources are cpu, memory, ephemeral-storage, hugepages-<size> or <domain>/<device>",
)


class Resources(SpecModel):
    """Compute resources of one pod's main container, as in a pod."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.requests) || !has(self.limits) || self.requests.all(key, "
                "!(key in self.limits) || quantity(string(self.requests[key]))"
                ".compareTo(quantity(string(self.limits[key]))) <= 0)",
                "resources.requests must not exceed resources.limits",
            )
        )
    )

    requests: dict[LabelKey, Quantity] | None = Field(
        default=None,
        max_length=16,
        description="What the pod is guaranteed, e.g. `cpu: 500m`.",
        json_schema_extra=rules(_KNOWN_RESOURCES),
    )
    limits: dict[LabelKey, Quantity] | None = Field(
        default=None,
        max_length=16,
        description="What the pod may use at most.",
        json_schema_extra=rules(_KNOWN_RESOURCES),
    )


class Accelerator(SpecModel):
    """Devices of one pod, as a device plugin advertises them."""

    resource: Annotated[str, StringConstraints(pattern=_DEVICE, max_length=253)] = Field(
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

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
                "tolerations: give a key, or operator: Exists for every key",
            ),
            rule(
                "!has(self.value) || self.value == '' || !has(self.operator) || "
                "self.operator == 'Equal'",
                "tolerations: a value goes with operator: Equal only",
            ),
            rule(
                "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
                "tolerations: tolerationSeconds goes with effect: NoExecute only",
            ),
        )
    )

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

    name: ObjectName = Field(description="Its name.")


def _keys(field: str) -> dict[str, str]:
    return rule(
        "self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?"
        "[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
        f"{field}: a key is a name of at most 63 letters, digits, '-', '_' and '.', with a DNS "
        "prefix and '/' before it if you like",
    )


def _unreserved(field: str) -> dict[str, str]:
    return rule(
        "!self.exists(key, key.startsWith('torchyard.dev/'))",
        f"{field}: keys that start with torchyard.dev/ are reserved; choose another prefix",
    )


class PodTemplate(SpecModel):
    """What may be added to the pods."""

    labels: dict[LabelKey, LabelValue] | None = Field(
        default=None,
        max_length=32,
        description="More labels. `torchyard.dev/` is reserved.",
        json_schema_extra=rules(_keys("labels"), _unreserved("labels")),
    )
    annotations: dict[LabelKey, Annotated[str, StringConstraints(max_length=4096)]] | None = Field(
        default=None,
        max_length=32,
        description="More annotations. `torchyard.dev/` is reserved.",
        json_schema_extra=rules(_keys("annotations"), _unreserved("annotations")),
    )
    node_selector: dict[LabelKey, LabelValue] | None = Field(
        default=None,
        max_length=32,
        description="Labels that a node must carry.",
        json_schema_extra=rules(_keys("nodeSelector")),
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
    priority_class_name: ObjectName | None = Field(
        default=None, description="The PriorityClass of the pods."
    )
    runtime_class_name: ObjectName | None = Field(
        default=None, description="The RuntimeClass of the pods, where GPUs need one."
    )
