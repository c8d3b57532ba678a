"""What the three resources are made of: base models, bounded types, CEL rules, conditions.

Python reads the models, the API server reads the CRDs that `crd.py` makes of them: one truth.
Specs forbid unknown fields (the server prunes them, a local run must name them); statuses
ignore them, so that an older operator reads what a newer one wrote.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
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


# No sign: nothing that is asked for here is less than nothing.
QUANTITY_PATTERN = r"^(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE][+-]?[0-9]+))?$"

_RFC3339: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII
)


def _moment(text: str) -> str:
    """What the API server takes as `date-time`: a worker's word must not spoil a status."""
    if not _RFC3339.fullmatch(text):
        raise ValueError("a time is written as 2006-01-02T15:04:05Z")
    datetime.fromisoformat(text)
    return text


Quantity = Annotated[
    str,
    StringConstraints(pattern=QUANTITY_PATTERN, max_length=64),
    BeforeValidator(_quantity),
    Field(json_schema_extra={"x-kubernetes-int-or-string": True, "minimum": 0}),
]
"""A Kubernetes quantity such as `500m`, `2` or `4Gi`; a YAML number is taken as written."""

DnsLabel = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)
]
ModelName = Annotated[
    str, StringConstraints(pattern=r"^[a-z]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=50)
]
"""A DNS label that leaves room for the number of a version."""
LabelValue = Annotated[
    str, StringConstraints(pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$", max_length=63)
]
ObjectName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", min_length=1, max_length=253),
]
"""The name of most objects: a DNS subdomain."""
Text = Annotated[str, StringConstraints(max_length=1024)]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=253)]
Image = Annotated[str, StringConstraints(pattern=r"^\S+$", min_length=1, max_length=1024)]
Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Timestamp = Annotated[
    str,
    StringConstraints(max_length=40),
    AfterValidator(_moment),
    Field(json_schema_extra={"format": "date-time"}),
]

Count = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""A number of things, within what every JSON reader keeps exact."""
ExitCode = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]

_CLAIM = r"^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
_SEGMENT = r"/[A-Za-z0-9._=-]+"
_INSIDE = rule(
    "!self.split('/').exists(part, part == '..')", "the path of a URI must not contain '..'"
)


def _inside(uri: str) -> str:
    if ".." in uri.split("/"):
        raise ValueError(_INSIDE["message"])
    return uri


ClaimUri = Annotated[
    str,
    StringConstraints(pattern=f"{_CLAIM}({_SEGMENT})*/?$", max_length=1024),
    AfterValidator(_inside),
    Field(json_schema_extra=rules(_INSIDE)),
]
"""`pvc://<claim>/<path>`: a path inside a PersistentVolumeClaim of the same namespace."""
FolderUri = Annotated[
    str,
    StringConstraints(pattern=f"{_CLAIM}({_SEGMENT})*/?$", max_length=512),
    AfterValidator(_inside),
    Field(json_schema_extra=rules(_INSIDE)),
]
"""A ClaimUri that leaves room for the names of what is put there."""
FileUri = Annotated[
    str,
    StringConstraints(pattern=f"{_CLAIM}({_SEGMENT})+$", max_length=512),
    AfterValidator(_inside),
    Field(json_schema_extra=rules(_INSIDE)),
]
"""A ClaimUri that names a file."""


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
