"""What is trained: the protocol between the trainer and a task, built in or yours.

A task says what its samples, its model and its loss are. All else is the trainer's: processes,
layout, order of the data, optimizer, checkpoints, evaluation, export and publication. In the
order in which the trainer calls it, in every process:

1. `open` reads the data. The trainer then holds out `data.validation` of the samples by their
   keys.
2. `learn` makes what must be learnt from the training samples before a model can be built, such
   as a vocabulary. Only one process of the first attempt calls it; all others, and all later
   attempts, are given the same bytes.
3. `dataset` turns the samples into tensors, `model` makes the model.
4. For every step the trainer computes `loss(model(*batch.inputs), batch.target)` and follows its
   gradient; on held-out samples also `metrics`.
5. At the end `serving(model)` is exported to ONNX, `interface` says how requests become its
   inputs, and both are tried on `requests` made of held-out samples.

A task of your own is a class that derives from `Task`, named in `task.entrypoint.object` as
`package.module:Class` and made with `task.entrypoint.arguments`. It must be deterministic: two
processes that call a method with the same arguments must get the same result. Randomness in a
model (dropout) comes from torch's generator, which the trainer seeds before every step.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray
from torch import Tensor, nn

from torchyard.artifact import Architecture, Postprocessing, Preprocessing, Signature
from torchyard_trainer.data.split import Rows

Learnt = Mapping[str, bytes]
"""Files by name (letters, digits, `.`, `_`, `-`): kept in checkpoints, shared by all processes."""

Requests = dict[str, NDArray[Any]]
"""Inputs of the signature by name, samples along the first axis; text is an array of objects
that are `str`."""


@dataclass(frozen=True)
class Batch:
    """Samples as tensors."""

    inputs: tuple[Tensor, ...]
    """The model's positional arguments, each with the samples along its first axis."""
    target: Tensor
    """What the loss compares with, samples along the first axis."""


class Samples(ABC):
    """The data as it was read: held by every process, in the same order."""

    digest: str
    """`sha256:` and the hash of what was read, in hexadecimal; it becomes part of the lineage."""

    @property
    @abstractmethod
    def keys(self) -> Iterable[bytes]:
        """The content of each sample without its label.

        Samples with equal keys are held out together or not at all, so that no model is
        measured on what it has learnt by heart.
        """

    @abstractmethod
    def requests(self, rows: Rows) -> Requests:
        """These samples as a client would send them: the inputs of the interface's signature."""


class Dataset(ABC):
    """The samples as tensors on the CPU, numbered as in `Samples`."""

    @abstractmethod
    def batch(self, rows: Rows) -> Batch:
        """The samples `rows`, at least one, in that order."""


@dataclass(frozen=True)
class Interface:
    """How a model is called once it is served; see `torchyard.artifact` for the steps.

    The tensors that are left after `preprocessing` are the positional arguments of
    `Task.serving`'s module, in order. Its results are, in order, the outputs that no step of
    `postprocessing` makes, then whatever else those steps read.
    """

    signature: Signature
    preprocessing: tuple[Preprocessing, ...] = ()
    postprocessing: tuple[Postprocessing, ...] = ()
    tokenizers: Learnt = field(default_factory=dict)
    """The files that Tokenize steps name: JSON of the `tokenizers` library."""


S = TypeVar("S", bound=Samples)


class Task(ABC, Generic[S]):
    """What is trained. Exceptions of any method end the job's attempt with their message.

    Raise `torchyard_trainer.errors.DataInvalid` for data, and `TaskInvalid` for arguments, that
    no restart would mend: the job then fails at once.
    """

    @abstractmethod
    def open(self, path: Path) -> S:
        """Read the data at `path`, the file or directory that `data.uri` names."""

    def learn(self, samples: S, rows: Rows) -> Learnt:
        """Learn from the training samples `rows` what the model or the tensors depend on."""
        return {}

    @abstractmethod
    def dataset(self, samples: S, learnt: Learnt) -> Dataset:
        """The samples, all of them, as tensors."""

    @abstractmethod
    def model(self, learnt: Learnt) -> nn.Module:
        """A new model with random weights, on the CPU, in float32."""

    @abstractmethod
    def loss(self, output: Any, target: Tensor) -> Tensor:
        """The mean loss over the samples of a batch: a scalar to be minimised."""

    def metrics(self, output: Any, target: Tensor) -> Mapping[str, Tensor]:
        """A value for each sample, [samples], by name; their means over all held-out samples are
        reported. The mean loss is reported as `loss` in any case."""
        return {}

    def serving(self, model: nn.Module) -> nn.Module:
        """The module that is exported; wraps `model` where its output is not what clients want."""
        return model

    @abstractmethod
    def interface(self, learnt: Learnt) -> Interface:
        """How the exported model is called."""

    @abstractmethod
    def architecture(self, learnt: Learnt) -> Architecture:
        """How to build the same model again; JSON only."""
