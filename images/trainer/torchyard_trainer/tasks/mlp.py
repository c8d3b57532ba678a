"""mlpClassifier: rows of numbers to classes, by fully connected layers with ReLU."""

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchyard.api.trainingjob import MlpClassifier
from torchyard.artifact import Architecture, Datatype, Labels, Scale, Signature
from torchyard.artifact import Tensor as TensorSpec
from torchyard_trainer.data.split import Rows
from torchyard_trainer.data.table import NumberTable, read_numbers
from torchyard_trainer.task import Batch, Dataset, Interface, Learnt, Requests, Samples
from torchyard_trainer.tasks import labels
from torchyard_trainer.tasks.labels import Classification

SCALE = "scale.json"


class RowSamples(Samples):
    """Rows of numbers with a label each."""

    def __init__(self, table: NumberTable, known: list[str]) -> None:
        self.features = table.features
        self.labels = table.labels
        self.known = known
        self.digest = table.digest

    @property
    def keys(self) -> Iterable[bytes]:
        """The numbers of each row; `1` and `1.0` are the same."""
        return (row.tobytes() for row in self.features)

    def requests(self, rows: Rows) -> Requests:
        """The input `features`."""
        return {"features": self.features[rows]}


class RowDataset(Dataset):
    """Scaled rows, float32 [samples, features]."""

    def __init__(self, features: Tensor, target: Tensor) -> None:
        self._features, self._target = features, target

    def batch(self, rows: Rows) -> Batch:
        """The rows and their classes."""
        index = torch.as_tensor(rows)
        return Batch((self._features[index],), self._target[index])


class MlpClassification(Classification[RowSamples]):
    """The task behind `task.mlpClassifier`."""

    def __init__(self, spec: MlpClassifier) -> None:
        self._spec = spec

    def open(self, path: Path) -> RowSamples:
        """Read the CSV file: one column of labels, all others numbers."""
        table = read_numbers(path, self._spec.label_column)
        known = labels.classes(self._spec.label_column, table.labels, self._spec.classes)
        return RowSamples(table, known)

    def learn(self, samples: RowSamples, rows: Rows) -> Learnt:
        """The classes, and mean and standard deviation of every feature."""
        features = samples.features[rows].astype(np.float64)
        deviation = features.std(axis=0)
        # A constant feature is left as it is.
        scale = {
            "mean": features.mean(axis=0).tolist(),
            "scale": np.where(deviation > 0, deviation, 1.0).tolist(),
        }
        return {labels.LABELS: labels.dump(samples.known), SCALE: json.dumps(scale).encode()}

    def dataset(self, samples: RowSamples, learnt: Learnt) -> RowDataset:
        """All rows, scaled."""
        scale = _scale(learnt)
        features = (samples.features - np.array(scale.mean)) / np.array(scale.scale)
        return RowDataset(
            torch.from_numpy(features.astype(np.float32)),
            labels.targets(samples.labels, labels.parse(learnt)),
        )

    def model(self, learnt: Learnt) -> nn.Module:
        """Linear and ReLU in turn, float32 [samples, features] to scores [samples, classes]."""
        return build(self._widths(learnt), self._spec.dropout)

    def interface(self, learnt: Learnt) -> Interface:
        """`features` to `probabilities` and `label`."""
        scale = _scale(learnt)
        inputs = (TensorSpec("features", Datatype.FP32, (-1, len(scale.mean))),)
        outputs = (
            TensorSpec("probabilities", Datatype.FP32, (-1, self._spec.classes)),
            TensorSpec("label", Datatype.BYTES, (-1,)),
        )
        return Interface(
            Signature(inputs, outputs),
            preprocessing=(scale,),
            postprocessing=(Labels("probabilities", "label", labels.parse(learnt)),),
        )

    def architecture(self, learnt: Learnt) -> Architecture:
        """The widths of all layers."""
        return Architecture("mlpClassifier", {"widths": [*self._widths(learnt)]})

    def _widths(self, learnt: Learnt) -> list[int]:
        return [len(_scale(learnt).mean), *self._spec.hidden, self._spec.classes]


def build(widths: Sequence[int], dropout: float) -> nn.Sequential:
    """The model with these widths, from the features to the classes."""
    layers: list[nn.Module] = []
    for width, following in pairwise(widths):
        if layers:
            layers += [nn.ReLU(), nn.Dropout(dropout)] if dropout else [nn.ReLU()]
        layers.append(nn.Linear(width, following))
    return nn.Sequential(*layers)


def _scale(learnt: Learnt) -> Scale:
    values: dict[str, NDArray[np.float64]] = json.loads(learnt[SCALE])
    return Scale("features", "scaled", tuple(values["mean"]), tuple(values["scale"]))
