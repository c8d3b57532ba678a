"""TrainingJob: train a model on a gang of worker pods and register what comes out."""

from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from torchyard.api.base import (
    CONDITIONS,
    Condition,
    Count,
    ExitCode,
    FileUri,
    FolderUri,
    Image,
    ModelName,
    ObjectMeta,
    ShortText,
    SpecModel,
    StatusModel,
    Text,
    Timestamp,
    at_most_one,
    exactly_one,
    rule,
    rules,
)
from torchyard.api.pods import Accelerator, PodTemplate, Resources

Column = Annotated[str, StringConstraints(min_length=1, max_length=253)]


class TextClassifier(SpecModel):
    """Embedding, LSTM and a linear layer that classify a whole text."""

    vocabulary: int = Field(
        default=20_000, ge=16, le=1_000_000, description="Tokens in the vocabulary that is learnt."
    )
    embedding: int = Field(default=100, ge=1, le=16_384, description="Width of the embedding.")
    hidden: int = Field(default=256, ge=1, le=16_384, description="Width of the LSTM.")
    layers: int = Field(default=2, ge=1, le=16, description="Layers of the LSTM.")
    classes: int = Field(default=2, ge=2, le=10_000, description="Classes that are told apart.")
    max_tokens: int = Field(
        default=128, ge=1, le=8_192, description="Tokens of a text that are read; the rest is cut."
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Share of activations dropped while training."
    )
    text_column: Column = Field(default="text", description="Column of the data with the text.")
    label_column: Column = Field(default="label", description="Column of the data with the class.")


class MlpClassifier(SpecModel):
    """Fully connected layers with ReLU that classify rows of numbers."""

    hidden: list[Annotated[int, Field(ge=1, le=65_536)]] = Field(
        default=[128, 128],
        max_length=16,
        description="Widths of the hidden layers, from the input on.",
    )
    classes: int = Field(default=10, ge=2, le=10_000, description="Classes that are told apart.")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Share of activations dropped while training."
    )
    label_column: Column = Field(
        default="label", description="Column with the class; every other column is a feature."
    )


class Entrypoint(SpecModel):
    """A Task class of yours, in an image of yours."""

    object: Annotated[
        str,
        StringConstraints(
            pattern=r"^[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*$", max_length=253
        ),
    ] = Field(description="Where the class is: `package.module:Class`.")
    arguments: dict[str, Any] = Field(
        default={},
        description="Keyword arguments of the class, free-form.",
        json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
    )


class Task(SpecModel):
    """What is trained: exactly one member."""

    model_config = ConfigDict(
        json_schema_extra=rules(exactly_one("textClassifier", "mlpClassifier", "entrypoint"))
    )

    text_classifier: TextClassifier | None = Field(
        default=None, description="Classify texts: embedding, LSTM, linear."
    )
    mlp_classifier: MlpClassifier | None = Field(
        default=None, description="Classify rows of numbers: fully connected layers."
    )
    entrypoint: Entrypoint | None = Field(
        default=None, description="Your own Task class; needs `image`."
    )


class Data(SpecModel):
    """What is learnt from."""

    uri: FileUri = Field(
        description="The CSV file: `pvc://<claim>/<path>`, a claim of the same namespace."
    )
    validation: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="Share of the rows that is held out, by their content: the same rows every "
        "time. Metrics are measured on them.",
    )


class Parallelism(SpecModel):
    """How model and data are spread over the processes."""

    replicate: int | None = Field(
        default=None,
        ge=1,
        le=16_384,
        description="Replicas of the model that each train on their own part of a batch (DDP). "
        "Unset: every process holds one.",
    )


class Workers(SpecModel):
    """The gang of pods."""

    count: int = Field(default=1, ge=1, le=1_024, description="Worker pods.")
    processes_per_worker: int = Field(
        default=1, ge=1, le=16, description="Torch processes in each pod."
    )
    accelerator: Accelerator | None = Field(
        default=None, description="Devices of each pod. None: train on the CPU, over gloo."
    )
    resources: Resources | None = Field(default=None, description="CPU and memory of each pod.")
    template: PodTemplate | None = Field(
        default=None, description="More about the pods: labels, node selector, tolerations, …"
    )


class OptimizerName(StrEnum):
    """The optimizers of torch that are offered."""

    ADAM = "Adam"
    ADAM_W = "AdamW"
    SGD = "SGD"


class Optimizer(SpecModel):
    """How parameters follow their gradients."""

    name: OptimizerName = Field(default=OptimizerName.ADAM, description="The algorithm.")
    learning_rate: float = Field(default=1e-3, gt=0, le=100, description="Step size.")
    weight_decay: float = Field(
        default=0.0, ge=0, le=1, description="Decoupled for AdamW, L2 for the others."
    )
    momentum: float = Field(default=0.0, ge=0, lt=1, description="Of SGD; the others ignore it.")


class Optimization(SpecModel):
    """The course of the training."""

    epochs: int = Field(default=10, ge=1, le=100_000, description="Passes over the data.")
    batch_size: int = Field(
        default=64,
        ge=1,
        le=1_048_576,
        description="Samples a step over all processes together, whatever the layout.",
    )
    optimizer: Optimizer = Field(default=Optimizer(), description="Algorithm and step size.")
    gradient_clip: float | None = Field(
        default=None, gt=0, description="Largest norm of all gradients together. Unset: no limit."
    )
    seed: int = Field(
        default=0, ge=0, le=2**31 - 1, description="Of initial weights and of the data's order."
    )


class Resume(StrEnum):
    """Where a restarted attempt begins."""

    LATEST = "Latest"
    NEVER = "Never"


class Checkpoint(SpecModel):
    """When and where the state of the training is kept."""

    model_config = ConfigDict(json_schema_extra=rules(at_most_one("everySteps", "everySeconds")))

    uri: FolderUri | None = Field(
        default=None,
        description="Where: `pvc://<claim>/<path>`. Unset: beside the output, in `.checkpoints`.",
    )
    every_steps: int | None = Field(
        default=None, ge=1, le=10**9, description="Optimizer steps between two checkpoints."
    )
    every_seconds: int | None = Field(
        default=None,
        ge=1,
        le=86_400,
        description="Seconds between two checkpoints; 300 when everySteps is not given either.",
    )
    keep: int = Field(default=3, ge=1, le=100, description="Newest checkpoints that are kept.")
    resume: Resume = Field(
        default=Resume.LATEST,
        description="A restarted attempt begins at the newest whole checkpoint (Latest) or anew "
        "(Never).",
    )


class FailurePolicy(SpecModel):
    """What happens when a worker fails."""

    max_restarts: int = Field(
        default=3,
        ge=0,
        le=1_000,
        description="Restarts of the whole gang before the job fails. Suspending costs none.",
    )


class Deadlines(SpecModel):
    """When to give up."""

    active_seconds: int | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description="Seconds from the first start, suspended time excluded, until the job fails.",
    )


class Format(StrEnum):
    """What an artifact may contain."""

    SAFE_TENSORS = "SafeTensors"
    ONNX = "Onnx"


MetricName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.]*$", max_length=63)]
DecimalText = Annotated[str, StringConstraints(max_length=32)]
"""A number as text: statuses and records carry no floats."""


class Requirement(SpecModel):
    """A bar that the trained model must clear before it is published."""

    model_config = ConfigDict(json_schema_extra=rules(exactly_one("atLeast", "atMost")))

    metric: MetricName = Field(description="A metric of the task on held-out data: accuracy, loss.")
    at_least: float | None = Field(default=None, description="The smallest value that passes.")
    at_most: float | None = Field(default=None, description="The largest value that passes.")


class Output(SpecModel):
    """Where the trained model goes."""

    model: ModelName = Field(
        description="The model that a version is registered of: `<model>-v<n>`."
    )
    uri: FolderUri = Field(
        description="Where artifacts are published: `pvc://<claim>/<path>`. Each gets a directory "
        "`<model>/<job uid>-<attempt>` of its own."
    )
    formats: list[Format] = Field(
        default=[Format.SAFE_TENSORS, Format.ONNX],
        min_length=1,
        max_length=2,
        description="What the artifact contains. Serving needs Onnx.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    require: list[Requirement] | None = Field(
        default=None,
        max_length=16,
        description="Bars on held-out data; a model below one is not published, the job fails.",
    )


class TrainingJobSpec(SpecModel):
    """What to train, on what, how and where to."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.task.entrypoint) || has(self.image)",
                "image: a task.entrypoint needs the image that contains its class",
            ),
            rule(
                "!has(self.parallelism) || !has(self.parallelism.replicate) || "
                "self.parallelism.replicate == "
                "self.workers.count * self.workers.processesPerWorker",
                "parallelism.replicate must equal workers.count * workers.processesPerWorker",
            ),
            rule(
                "self.optimization.batchSize % "
                "(self.workers.count * self.workers.processesPerWorker) == 0",
                "optimization.batchSize must be a multiple of workers.count * "
                "workers.processesPerWorker: every process gets an equal part",
            ),
            rule(
                "!has(self.workers.accelerator) || "
                "self.workers.accelerator.count % self.workers.processesPerWorker == 0",
                "workers.accelerator.count must be a multiple of workers.processesPerWorker: "
                "every process gets the same number of devices",
            ),
            *(
                rule(
                    f"has(self.{field}) == has(oldSelf.{field}) && "
                    f"(!has(self.{field}) || self.{field} == oldSelf.{field})",
                    f"{field} is immutable: create a new TrainingJob instead",
                )
                for field in (
                    "task",
                    "image",
                    "data",
                    "parallelism",
                    "workers",
                    "optimization",
                    "checkpoint",
                    "output",
                )
            ),
        )
    )

    task: Task = Field(description="What is trained: exactly one member.")
    image: Image | None = Field(
        default=None,
        description="Image of the workers. Unset: the trainer image of the installed release, "
        "recorded in the status when the job first starts.",
    )
    data: Data = Field(description="What is learnt from.")
    parallelism: Parallelism | None = Field(
        default=None, description="How model and data are spread over the processes."
    )
    workers: Workers = Field(default=Workers(), description="The gang of pods.")
    optimization: Optimization = Field(
        default=Optimization(), description="The course of the training."
    )
    checkpoint: Checkpoint = Field(
        default=Checkpoint(),
        description="When and where the state of the training is kept.",
    )
    failure_policy: FailurePolicy = Field(
        default=FailurePolicy(), description="What happens when a worker fails."
    )
    deadlines: Deadlines = Field(default=Deadlines(), description="When to give up.")
    suspend: bool = Field(
        default=False,
        description="True stops the workers at a checkpoint; false lets them go on from there.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=31_536_000,
        description="Seconds after its end until the job deletes itself. Unset: never. Do not set "
        "it where a GitOps tool would create the job anew.",
    )
    output: Output | None = Field(
        default=None, description="Where the trained model goes. Unset: nothing is published."
    )


class Phase(StrEnum):
    """One word for people; programs read the conditions."""

    PENDING = "Pending"
    STARTING = "Starting"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    STOPPING = "Stopping"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class BlockedBy(StatusModel):
    """Why the job is not training right now."""

    category: ShortText = Field(
        description="Spec, Scheduling, Volume, Image, Container, Quota, Permission, Conflict or "
        "Cluster."
    )
    reason: ShortText = Field(description="One CamelCase word.")
    message: Annotated[str, StringConstraints(max_length=4096)] = Field(
        description="What is in the way and the cure."
    )
    since: Timestamp = Field(description="Since when.")


class Progress(StatusModel):
    """How far the training is, at most ten seconds old."""

    step: Count = Field(default=0, description="Optimizer steps done.")
    total_steps: Count = Field(default=0, description="Optimizer steps of the whole training.")
    epoch: Count = Field(default=0, description="The epoch under way, counted from 1.")
    loss: DecimalText | None = Field(default=None, description="Mean training loss lately.")
    metrics: dict[MetricName, DecimalText] | None = Field(
        default=None, max_length=32, description="Newest metrics on held-out data."
    )
    samples_per_second: DecimalText | None = Field(
        default=None, description="Samples a second of all processes together."
    )
    eta_seconds: Count | None = Field(default=None, description="Seconds to go at this pace.")


class CheckpointStatus(StatusModel):
    """The newest whole checkpoint."""

    step: Count = Field(description="Optimizer steps that it holds.")
    uri: Annotated[str, StringConstraints(max_length=640)] = Field(description="Where it is.")
    time: Timestamp = Field(description="When it was complete.")
    bytes: Count = Field(description="Its size.")


class Attempt(StatusModel):
    """One start of the whole gang."""

    number: int = Field(ge=0, description="Counted from 0.")
    start_time: Timestamp = Field(description="When it was decided on.")
    pods_created: bool = Field(
        default=False, description="All its pods existed at once: a missing one has been deleted."
    )
    end_time: Timestamp | None = Field(default=None, description="When its end was noticed.")
    cause: ShortText | None = Field(
        default=None,
        description="Why it ended: Succeeded, Suspended, DeadlineExceeded, PodDeleted, PodEvicted, "
        "PodFailed, NodeLost, OutOfMemory, or what the worker said: ProcessFailed, Interrupted, "
        "PeerLost, or the reason of a failure that no restart would mend.",
    )
    message: Text | None = Field(default=None, description="What the worker said of it.")
    worker: int | None = Field(default=None, ge=0, description="The worker that failed first.")
    rank: Count | None = Field(default=None, description="The rank that failed first.")
    node: ShortText | None = Field(default=None, description="The node it was on.")
    exit_code: ExitCode | None = Field(
        default=None, description="Its exit code; 128 + n for signal n."
    )
    first_step: Count | None = Field(default=None, description="Step at which it began.")
    last_step: Count | None = Field(default=None, description="Last step that was heard of.")


class WorkerCounts(StatusModel):
    """Worker pods of the current attempt."""

    desired: int = Field(default=0, ge=0, description="How many there should be.")
    running: int = Field(default=0, ge=0, description="How many run.")
    succeeded: int = Field(default=0, ge=0, description="How many ended well.")
    failed: int = Field(default=0, ge=0, description="How many failed.")


class TrainingJobStatus(StatusModel):
    """What is known of the job."""

    observed_generation: int | None = Field(
        default=None, ge=0, description="The generation of the spec that this speaks of."
    )
    phase: Phase | None = Field(default=None, description="One word for people.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Accepted, Started, Complete, Failed, Stalled, Suspended.",
        json_schema_extra=CONDITIONS,
    )
    blocked_by: BlockedBy | None = Field(
        default=None, description="Why it is not training right now."
    )
    image: Image | None = Field(
        default=None, description="The image that the workers run, resolved once."
    )
    attempt: int | None = Field(
        default=None, ge=0, description="Number of the current attempt, counted from 0."
    )
    restarts: int = Field(
        default=0, ge=0, description="Restarts after failures, against failurePolicy.maxRestarts."
    )
    attempts: list[Attempt] = Field(
        default_factory=list, max_length=10, description="The newest ten attempts, oldest first."
    )
    workers: WorkerCounts | None = Field(
        default=None, description="Worker pods of the current attempt."
    )
    progress: Progress | None = Field(default=None, description="How far the training is.")
    checkpoint: CheckpointStatus | None = Field(
        default=None, description="The newest whole checkpoint; a restart goes on from there."
    )
    active_seconds: int | None = Field(
        default=None,
        ge=0,
        description="Seconds of ended attempts, against deadlines.activeSeconds.",
    )
    start_time: Timestamp | None = Field(default=None, description="When it first started.")
    completion_time: Timestamp | None = Field(default=None, description="When it ended.")
    model_version: ShortText | None = Field(
        default=None, description="The ModelVersion that was registered."
    )


class TrainingJob(BaseModel):
    """A training run: workers, data, layout, and the model version that comes out."""

    model_config = ConfigDict(populate_by_name=True, extra="ignore", frozen=True)

    metadata: ObjectMeta
    spec: TrainingJobSpec
    status: TrainingJobStatus = Field(default_factory=TrainingJobStatus)
