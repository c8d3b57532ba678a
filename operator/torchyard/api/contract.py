"""What operator and pods tell each other: versioned JSON, both directions.

The operator hands a worker its configuration in the environment variable TORCHYARD_CONFIG. A
worker answers `GET /progress` on the status port with `WorkerProgress` while it runs and
leaves `Termination` as its container's termination message when it ends, whatever ended it.
A server leaves `Termination`, too, when it refuses an artifact.

Readers ignore fields that they do not know, at any depth, and writers only ever add some, so
operator and pods of neighbouring releases understand each other; `contractVersion` changes when
that no longer holds. What a pod says may come from anybody's image, so it is bounded like a
resource: whatever passes here, the API server takes into a status or a record.
"""

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from torchyard.api.base import ClaimUri, Count, Digest, ExitCode, StatusModel, Text, Timestamp
from torchyard.api.modelversion import Signature
from torchyard.api.trainingjob import (
    CheckpointStatus,
    DecimalText,
    Format,
    MetricName,
    Progress,
    TrainingJobSpec,
)

CONTRACT_VERSION: Final = 1
CONFIG_VARIABLE: Final = "TORCHYARD_CONFIG"
TERMINATION_LIMIT: Final = 4096  # bytes; the kubelet cuts a longer message
ARTIFACT_LIMIT: Final = 3072  # bytes of it, for what a ModelVersion is made of

DATA_MOUNT: Final = "/torchyard/data"
OUTPUT_MOUNT: Final = "/torchyard/output"
CHECKPOINT_MOUNT: Final = "/torchyard/checkpoints"

EXIT_RETRY: Final = 75  # EX_TEMPFAIL: stopped at a checkpoint on request; start me again
EXIT_PERMANENT: Final = 78  # EX_CONFIG: the same would happen again; see the outcome


class Outcome(StrEnum):
    """How a worker, or a server that never served, ended."""

    SUCCEEDED = "Succeeded"
    INTERRUPTED = "Interrupted"  # SIGTERM: checkpoint written, left
    PROCESS_FAILED = "ProcessFailed"  # a rank raised, or a signal killed it
    PEER_LOST = "PeerLost"  # another worker went away: not the one to blame
    CONFIG_INVALID = "ConfigInvalid"
    DATA_INVALID = "DataInvalid"
    TASK_INVALID = "TaskInvalid"
    ACCELERATOR_MISSING = "AcceleratorMissing"
    REQUIREMENT_NOT_MET = "RequirementNotMet"
    EXPORT_FAILED = "ExportFailed"
    ARTIFACT_CORRUPT = "ArtifactCorrupt"
    LOAD_FAILED = "LoadFailed"


PERMANENT: Final = frozenset(
    {
        Outcome.CONFIG_INVALID,
        Outcome.DATA_INVALID,
        Outcome.TASK_INVALID,
        Outcome.ACCELERATOR_MISSING,
        Outcome.REQUIREMENT_NOT_MET,
        Outcome.EXPORT_FAILED,
    }
)
"""Outcomes that a restart would only repeat."""


class Message(StatusModel):
    """One side's word to the other."""

    contract_version: int = Field(default=CONTRACT_VERSION, ge=1)

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """Reads what the other side wrote; raises ValidationError."""
        # Parts of a spec refuse unknown fields, but here they come from another release.
        return cls.model_validate_json(text, extra="ignore")


class JobIdentity(StatusModel):
    """The TrainingJob that a worker belongs to."""

    namespace: str
    name: str
    uid: str


class WorkerConfig(Message):
    """Operator to worker. The worker's own index comes from TORCHYARD_WORKER."""

    job: JobIdentity
    attempt: int = Field(ge=0)
    spec: TrainingJobSpec
    image: str = ""
    rendezvous: str = Field(description="host:port where worker 0 keeps the store.")
    data_path: str = Field(description="The data, as mounted.")
    output_path: str | None = Field(
        default=None, description="Directory for this attempt's artifact, as mounted."
    )
    output_uri: ClaimUri | None = Field(
        default=None, description="The same directory, as the record will name it."
    )
    checkpoint_path: str | None = Field(
        default=None, description="Directory for the job's checkpoints, as mounted."
    )
    checkpoint_uri: ClaimUri | None = Field(
        default=None, description="The same directory, as the status will name it."
    )


class WorkerProgress(Message):
    """Worker 0 to operator, while it runs."""

    contract_version: int = Field(default=CONTRACT_VERSION, ge=1, le=CONTRACT_VERSION)
    attempt: int = Field(ge=0)
    first_step: Count | None = None
    progress: Progress
    checkpoint: CheckpointStatus | None = None


class PublishedArtifact(StatusModel):
    """What a ModelVersion needs to know of a published artifact."""

    uri: ClaimUri
    digest: Digest
    size_bytes: Count
    formats: list[Format] = Field(min_length=1, max_length=2)
    signature: Signature
    metrics: dict[MetricName, DecimalText] = Field(default_factory=dict, max_length=32)
    data_digest: Digest | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        size = len(self.model_dump_json(by_alias=True, exclude_none=True).encode())
        if size > ARTIFACT_LIMIT:
            raise ValueError(
                f"the record of an artifact takes {size} bytes as JSON and has to leave through a "
                f"termination message, with room for {ARTIFACT_LIMIT}: use fewer or shorter names "
                "of tensors and metrics"
            )
        return self


class Termination(Message):
    """A container's last words, at most 4,096 bytes."""

    contract_version: int = Field(default=CONTRACT_VERSION, ge=1, le=CONTRACT_VERSION)
    outcome: Outcome
    message: Annotated[str, StringConstraints(max_length=1024)] = ""
    rank: Count | None = None
    exit_code: ExitCode | None = None
    time: Timestamp | None = Field(default=None, description="When the first rank failed.")
    first_step: Count | None = None
    progress: Progress | None = None
    checkpoint: CheckpointStatus | None = None
    artifact: PublishedArtifact | None = None
    file: Text | None = Field(default=None, description="The file that is corrupt.")
