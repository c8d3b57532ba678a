"""What classifiers have in common: labels, loss, accuracy and probabilities."""

import json
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from torchyard_trainer.errors import DataInvalid
from torchyard_trainer.task import Learnt, Samples, Task

LABELS = "labels.json"
LONGEST = 256  # characters of a label in a manifest

S = TypeVar("S", bound=Samples)


def classes(column: str, labels: Sequence[str], expected: int) -> list[str]:
    """The labels there are, sorted; raises DataInvalid unless there are `expected` many."""
    found = sorted(set(labels))
    if len(found) != expected:
        shown = ", ".join(repr(label[:32]) for label in found[:10])
        raise DataInvalid(
            f"column {column!r} holds {len(found)} classes ({shown}"
            f"{', …' if len(found) > 10 else ''}), but the task's `classes` is {expected}"
        )
    longest = max(map(len, found))
    if longest > LONGEST:
        raise DataInvalid(
            f"column {column!r} holds a label of {longest} characters; at most {LONGEST} fit into "
            "an artifact"
        )
    return found


def dump(labels: Sequence[str]) -> bytes:
    """The file LABELS."""
    return json.dumps(list(labels), ensure_ascii=False).encode()


def parse(learnt: Learnt) -> tuple[str, ...]:
    """The labels in the order of the model's outputs."""
    return tuple(json.loads(learnt[LABELS]))


def targets(labels: Sequence[str], known: Sequence[str]) -> Tensor:
    """The number of each row's class, int64 [rows]."""
    numbers = {label: number for number, label in enumerate(known)}
    return torch.from_numpy(np.fromiter((numbers[label] for label in labels), np.int64))


class Probabilities(nn.Module):
    """A model whose scores [samples, classes] become probabilities."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        """The softmax of the model's output."""
        return functional.softmax(self.model(*inputs), dim=-1)


class Classification(Task[S]):
    """A task whose model gives one score per class."""

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean cross entropy."""
        return functional.cross_entropy(output, target)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Accuracy: 1 where the highest score is the right class's, else 0."""
        return {"accuracy": (output.argmax(dim=-1) == target).float()}

    def serving(self, model: nn.Module) -> nn.Module:
        """The model with its scores as probabilities."""
        return Probabilities(model)
