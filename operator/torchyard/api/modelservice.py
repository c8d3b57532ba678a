"""ModelService: serve one version of a model, and move to the next without a failed request."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from torchyard.api.base import (
    CONDITIONS,
    Condition,
    DnsLabel,
    ModelName,
    ObjectMeta,
    ShortText,
    SpecModel,
    StatusModel,
    Text,
    Timestamp,
    exactly_one,
    immutable,
    rules,
)
from torchyard.api.modelversion import LAST_VERSION
from torchyard.api.pods import Accelerator, PodTemplate, Resources
from torchyard.artifact.signature import Compatibility


class ModelReference(SpecModel):
    """Which version is served: a number or an alias."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("version", "alias")))

    name: ModelName = Field(
        description="The model. Clients name it in their requests, so it stays.",
        json_schema_extra=immutable("model.name"),
    )
    version: int | None = Field(
        default=None,
        ge=1,
        le=LAST_VERSION,
        description="A fixed version: ModelVersion `<name>-v<n>`.",
    )
    alias: DnsLabel | None = Field(
        default=None,
        max_length=40,
        description="The newest version that carries the label `alias.torchyard.dev/<alias>`; "
        "`latest` is simply the newest version.",
    )


class Server(SpecModel):
    """The servers' pods."""

    resources: Resources | None = Field(default=None, description="CPU and memory of each server.")
    accelerator: Accelerator | None = Field(default=None, description="Devices of each server.")
    template: PodTemplate | None = Field(
        default=None, description="More about the pods: labels, node selector, tolerations, …"
    )


class Strategy(StrEnum):
    """How traffic moves from one version to the next."""

    ROLLING_UPDATE = "RollingUpdate"


class Rollout(SpecModel):
    """How the service moves from one version to the next."""

    strategy: Strategy = Field(
        default=Strategy.ROLLING_UPDATE,
        description="RollingUpdate: the new version is brought to full strength beside the old "
        "one, then traffic moves, then the old one drains and goes.",
    )
    compatibility: Compatibility = Field(
        default=Compatibility.BACKWARD,
        description="Backward: every request that was valid stays valid and every output that was "
        "promised is still there. Strict: the same signature. None: not checked.",
    )
    progress_deadline_seconds: int = Field(
        default=600,
        ge=1,
        le=86_400,
        description="Seconds for a new version to become ready; then the rollout is stalled and "
        "the old version goes on serving.",
    )


class ModelServiceSpec(SpecModel):
    """Which version to serve, by how many servers, and how to change it."""

    model: ModelReference = Field(description="Which version is served.")
    replicas: int | None = Field(
        default=None, ge=0, le=10_000, description="Servers. Unset: 1. `kubectl scale` sets it."
    )
    server: Server = Field(default=Server(), description="The servers' pods.")
    rollout: Rollout = Field(
        default=Rollout(), description="How the service moves to another version."
    )


class Phase(StrEnum):
    """One word for people; programs read the conditions."""

    PENDING = "Pending"
    STARTING = "Starting"
    READY = "Ready"
    ROLLING_OUT = "RollingOut"
    STALLED = "Stalled"
    DEGRADED = "Degraded"
    STOPPED = "Stopped"


class VersionState(StrEnum):
    """The part that a version plays."""

    STABLE = "Stable"
    CANDIDATE = "Candidate"
    DRAINING = "Draining"


class VersionStatus(StatusModel):
    """A version that has servers right now."""

    version: int = Field(ge=1, description="Its number.")
    revision: ShortText = Field(description="Hash of everything that its pods are made of.")
    replicas: int = Field(default=0, ge=0, description="Servers that there are.")
    ready: int = Field(default=0, ge=0, description="Servers that answer.")
    state: VersionState = Field(description="Stable, Candidate or Draining.")


class RolloutPhase(StrEnum):
    """Where a rollout is."""

    STARTING = "Starting"
    SWITCHING = "Switching"
    DRAINING = "Draining"
    STALLED = "Stalled"


class RolloutStatus(StatusModel):
    """The rollout under way."""

    phase: RolloutPhase = Field(description="Starting, Switching, Draining or Stalled.")
    version: int = Field(ge=1, description="The version that is rolled out.")
    revision: ShortText = Field(description="Its revision.")
    started_at: Timestamp = Field(description="When it was decided on.")
    message: Text | None = Field(default=None, description="What it waits for.")


class Endpoints(StatusModel):
    """Where clients call."""

    url: ShortText = Field(description="Open Inference Protocol v2 over HTTP, in the cluster.")


class ModelServiceStatus(StatusModel):
    """What is known of the service."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="The generation of the spec that this speaks of."
    )
    phase: Phase | None = Field(default=None, description="One word for people.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Accepted, Servable, Ready, Progressing, Stalled, SignatureCompatible, "
        "ArtifactVerified.",
        json_schema_extra=CONDITIONS,
    )
    version: int | None = Field(default=None, ge=1, description="The version that traffic goes to.")
    replicas: int = Field(default=0, ge=0, description="Servers of the version in traffic.")
    ready_replicas: int = Field(default=0, ge=0, description="Those of them that answer.")
    selector: str = Field(
        default="", max_length=1024, description="Label selector of the servers, for autoscalers."
    )
    versions: list[VersionStatus] = Field(
        default_factory=list, max_length=16, description="Versions that have servers right now."
    )
    rollout: RolloutStatus | None = Field(default=None, description="The rollout under way.")
    endpoints: Endpoints | None = Field(default=None, description="Where clients call.")


class ModelService(BaseModel):
    """Servers for a model: replicas, the version in traffic, and rollouts between versions."""

    model_config = ConfigDict(populate_by_name=True, extra="ignore", frozen=True)

    metadata: ObjectMeta
    spec: ModelServiceSpec
    status: ModelServiceStatus = Field(default_factory=ModelServiceStatus)
