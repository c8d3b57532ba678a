"""What the three resources are made of: base models, bounded types, CEL rules, conditions.

Python reads the models, the API server reads the CRDs that `crd.py` makes of them: one truth.
Specs forbid unknown fields (the server prunes them, a local run must name them); statuses
ignore them, so that an older operator reads what a newer one wrote.
"""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


def rule(expression: str, message: str, **more: str) -> dict[str, str]:
    """One `x-kubernetes-validations` entry; `message` names the field and the cure."""
    return {"rule": expression, "message": message, **more}


def rules(*entries: dict[str, str]) -> dict[str, Any]:
    """`json_schema_extra` that carries CEL rules."""
    return {"x-kubernetes-validations": list(entries)}


def exactly_one(*fields: str) -> dict[str, str]:
    """The rule of a union with typed members."""
    count = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in fields)
    return rule(f"{count} == 1", f"give exactly one of {', '.join(fields)}")


def at_most_one(*fields: str) -> dict[str, str]:
    """The rule of an optional union."""
    count = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in fields)
    return rule(f"{count} <= 1", f"give at most one of {', '.join(fields)}")


def immutable(field: str) -> dict[str, Any]:
    """A field that keeps its first value."""
    return rules(rule("self == oldSelf", f"{field} is immutable: create a new resource instead"))


class SpecModel(BaseModel):
    """A part of a spec: immutable in Python, camelCase on the wire, unknown fields refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )

    def wire(self) -> dict[str, Any]:
        """The JSON of this part as Kubernetes stores it: without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class StatusModel(BaseModel):
    """A part of a status: like a spec, but unknown fields are ignored."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )

    def wire(self) -> dict[str, Any]:
        """The JSON of this part as Kubernetes stores it: without unset fields."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def _quantity(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value


QUANTITY_PATTERN = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))"
    r"(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)

Quantity = Annotated[
    str,
    BeforeValidator(_quantity),
    StringConstraints(pattern=QUANTITY_PATTERN, max_length=64),
    Field(json_schema_extra={"x-kubernetes-int-or-string": True}),
]
"""A Kubernetes quantity such as `500m`, `2` or `4Gi`; a YAML number is taken as written."""

DnsLabel = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", max_length=63)
]
ResourceName = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Text = Annotated[str, StringConstraints(max_length=1024)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Image = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
ClaimUri = Annotated[
    str,
    StringConstraints(
        pattern=r"^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/[A-Za-z0-9._=-]+)*/?$", max_length=1024
    ),
]
"""`pvc://<claim>/<path>`: a path inside a PersistentVolumeClaim of the same namespace."""
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, max_length=40)]

NO_DOT_DOT = "!self.split('/').exists(part, part == '..')"


class ConditionStatus(StrEnum):
    """The three answers of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(StatusModel):
    """A standard Kubernetes condition."""

    type: ShortText = Field(description="What this condition is about, in CamelCase.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: ShortText = Field(description="One CamelCase word that a program can act on.")
    message: Annotated[str, StringConstraints(max_length=32768)] = Field(
        description="A sentence for people."
    )
    last_transition_time: Timestamp = Field(description="When `status` last changed.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="The generation of the spec that this speaks of."
    )


CONDITIONS: dict[str, Any] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
}


class ObjectMeta(BaseModel):
    """The part of `metadata` that decisions read."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")

    name: str
    namespace: str
    uid: str
    generation: int = 1
    resource_version: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
