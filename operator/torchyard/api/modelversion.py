"""ModelVersion: an immutable record of one artifact, made by a TrainingJob or by hand."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from torchyard.api.base import (
    ClaimUri,
    Count,
    Digest,
    Image,
    ModelName,
    ObjectMeta,
    ShortText,
    SpecModel,
    Text,
    rule,
    rules,
)
from torchyard.api.trainingjob import DecimalText, Format, MetricName
from torchyard.artifact.signature import MAX_DIMENSIONS, MAX_TENSORS, Datatype

LAST_VERSION = 999_999

TensorName = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]*$", min_length=1, max_length=128)
]


def _not_empty(size: int) -> int:
    if size == 0:
        raise ValueError(_SIZED["message"])
    return size


_SIZED = rule("self != 0", "shape: a dimension is a size, or -1 for any size; it is never 0")
Dimension = Annotated[
    int,
    Field(ge=-1, le=2**31 - 1, json_schema_extra=rules(_SIZED)),
    AfterValidator(_not_empty),
]


class Tensor(SpecModel):
    """A named input or output."""

    name: TensorName = Field(description="Its name in a request.")
    datatype: Datatype = Field(description="Its datatype in the Open Inference Protocol.")
    shape: list[Dimension] = Field(
        min_length=1,
        max_length=MAX_DIMENSIONS,
        description="Its dimensions; -1 is any size, the first one is the batch.",
    )


class Signature(SpecModel):
    """What the model takes and gives."""

    inputs: list[Tensor] = Field(
        min_length=1,
        max_length=MAX_TENSORS,
        description="What a request carries.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    outputs: list[Tensor] = Field(
        min_length=1,
        max_length=MAX_TENSORS,
        description="What an answer carries.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )


class Artifact(SpecModel):
    """The files of the version."""

    uri: ClaimUri = Field(description="The directory: `pvc://<claim>/<path>`.")
    digest: Digest = Field(
        description="sha256 of the canonical manifest, which names the digest of every file."
    )
    size_bytes: Count = Field(description="All files together.")
    formats: list[Format] = Field(
        min_length=1,
        max_length=2,
        description="What it contains. Serving needs Onnx.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )


class JobReference(SpecModel):
    """The TrainingJob that made the version."""

    name: ShortText = Field(description="Its name.")
    uid: ShortText = Field(description="Its uid.")


class DataLineage(SpecModel):
    """What the version was trained on."""

    uri: Text = Field(description="Where the data was.")
    digest: Digest | None = Field(default=None, description="sha256 of the data as it was read.")


class Lineage(SpecModel):
    """Where the version comes from."""

    training_job: JobReference | None = Field(default=None, description="The job that made it.")
    data: DataLineage | None = Field(default=None, description="What it was trained on.")
    image: Image | None = Field(default=None, description="The image that trained it.")


class ModelVersionSpec(SpecModel):
    """One version of a model; it never changes."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule("self == oldSelf", "a ModelVersion is immutable: register a new version instead")
        )
    )

    model: ModelName = Field(description="The model that this is a version of.")
    version: int = Field(
        ge=1, le=LAST_VERSION, description="Its number; the name is `<model>-v<n>`."
    )
    artifact: Artifact = Field(description="Its files.")
    signature: Signature = Field(description="What the model takes and gives.")
    metrics: dict[MetricName, DecimalText] | None = Field(
        default=None, max_length=32, description="Measured on held-out data, as decimal strings."
    )
    lineage: Lineage | None = Field(default=None, description="Where it comes from.")


class ModelVersion(BaseModel):
    """An immutable record: files, digest, signature, metrics and lineage of one version."""

    model_config = ConfigDict(populate_by_name=True, extra="ignore", frozen=True)

    metadata: ObjectMeta
    spec: ModelVersionSpec
