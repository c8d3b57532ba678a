"""Tasks of one's own, and what happens when they break their protocol."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unit.trainer import here
from tests.unit.trainer.gang import Job
from torchyard.api.contract import Outcome
from torchyard.api.trainingjob import MlpClassifier
from torchyard.artifact import Signature
from torchyard.artifact import Tensor as TensorSpec
from torchyard_trainer.errors import TaskInvalid
from torchyard_trainer.task import Interface, Learnt
from torchyard_trainer.tasks import entrypoint
from torchyard_trainer.tasks.mlp import MlpClassification


class Mine(MlpClassification):
    """A task of a user's, with an argument."""

    def __init__(self, hidden: list[int]) -> None:
        super().__init__(MlpClassifier(hidden=hidden))


class OneMetricForAll(Mine):
    def metrics(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"accuracy": (output.argmax(-1) == target).float().mean()}


class OddMetric(Mine):
    def metrics(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"top 1": torch.ones(len(target))}


class NotWhatWasTrained(Mine):
    """Serves something else than the dataset makes of the same rows."""

    def interface(self, learnt: Learnt) -> Interface:
        right = super().interface(learnt)
        return Interface(right.signature, (), right.postprocessing)


class Untraceable(Mine):
    def serving(self, model: nn.Module) -> nn.Module:
        class Branches(nn.Module):
            def forward(self, rows: Tensor) -> Tensor:
                if not torch.jit.is_tracing():
                    return torch.softmax(model(rows), -1)
                raise NotImplementedError("branches")

        return Branches()


class WrongSignature(Mine):
    def interface(self, learnt: Learnt) -> Interface:
        right = super().interface(learnt)
        inputs = (TensorSpec("features", right.signature.inputs[0].datatype, (-1, 3)),)
        signature = Signature(inputs, right.signature.outputs)
        return Interface(signature, right.preprocessing, right.postprocessing)


class StatefulModel(Mine):
    """A model that every call makes different."""

    def model(self, learnt: Learnt) -> nn.Module:
        class Growing(nn.Module):
            def __init__(self, inner: nn.Module) -> None:
                super().__init__()
                self.inner, self.calls = inner, 0

            def forward(self, rows: Tensor) -> Tensor:
                self.calls += 1
                scores: Tensor = self.inner(rows)
                return scores * self.calls

        return Growing(super().model(learnt))


@pytest.fixture(autouse=True)
def module() -> Any:
    """The classes above as the module `my_package.task`."""
    made = ModuleType("my_package.task")
    made.__dict__.update({name: value for name, value in globals().items() if name[0].isupper()})
    sys.modules["my_package.task"] = made
    yield made
    del sys.modules["my_package.task"]


def run(root: Path, data: Path, name: str) -> Any:
    task = {"entrypoint": {"object": f"my_package.task:{name}", "arguments": {"hidden": [16]}}}
    course = {"epochs": 1, "batchSize": 128}
    job = Job(root, task, data, spec={"image": "mine", "optimization": course})
    termination, _ = here.run(job)
    return termination, job


def test_a_task_of_ones_own(tmp_path: Path, digits: Path) -> None:
    termination, _ = run(tmp_path, digits, "Mine")
    assert termination.outcome is Outcome.SUCCEEDED
    assert termination.artifact.metrics.keys() == {"accuracy", "loss"}


@pytest.mark.parametrize(
    ("name", "outcome", "message"),
    [
        ("OneMetricForAll", Outcome.TASK_INVALID, "accuracy has the shape []; one value for each"),
        ("OddMetric", Outcome.TASK_INVALID, "metrics: ['top 1']"),
        ("NotWhatWasTrained", Outcome.EXPORT_FAILED, "ONNX: output 0 differs from the trained"),
        ("Untraceable", Outcome.EXPORT_FAILED, "cannot be exported to ONNX: branches"),
        ("WrongSignature", Outcome.TASK_INVALID, "cannot be described: manifest.json: prep"),
        ("StatefulModel", Outcome.EXPORT_FAILED, "differs from the trained model's"),
    ],
)
def test_a_task_that_breaks_its_protocol(
    tmp_path: Path, digits: Path, name: str, outcome: Outcome, message: str
) -> None:
    termination, job = run(tmp_path, digits, name)
    assert termination.outcome is outcome
    assert message in termination.message
    assert not job.artifact().exists()


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("no_such_package.task:Mine", {}, "No module named 'no_such_package'"),
        ("my_package.task:Missing", {}, "has no attribute 'Missing'"),
        ("my_package.task:Signature", {}, "is not a class derived from torchyard_trainer.task"),
        ("my_package.task:Mine", {"width": 3}, "unexpected keyword argument 'width'"),
        ("my_package.task:Mine", {}, "missing 1 required positional argument"),
    ],
)
def test_an_entrypoint_that_cannot_be_made(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskInvalid, match=message):
        entrypoint(name, arguments)


def test_scaling_is_learnt_from_the_training_rows_alone(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b,label\n1,5,x\n3,5,y\n1000,5,x\n")
    task = MlpClassification(MlpClassifier(classes=2))
    samples = task.open(path)
    learnt = task.learn(samples, np.array([0, 1]))
    (scale,) = task.interface(learnt).preprocessing
    assert scale.to_json()["mean"] == [2, 5]
    assert scale.to_json()["scale"] == [1, 1]  # a constant column is left as it is
    (rows,) = task.dataset(samples, learnt).batch(np.array([2, 0])).inputs
    assert rows.tolist() == [[998, 0], [-1, 0]]
