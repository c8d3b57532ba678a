"""Measuring a model on held-out data, exactly: every process its own part, each sample once."""

from collections.abc import Iterator
from typing import Annotated, Any

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from torchyard.api.trainingjob import MetricName
from torchyard_trainer.data.split import Rows
from torchyard_trainer.errors import TaskInvalid
from torchyard_trainer.parallel.group import Group
from torchyard_trainer.settings import reason
from torchyard_trainer.stop import Stop
from torchyard_trainer.task import Batch, Dataset, Task

LOSS = "loss"
METRICS = TypeAdapter(Annotated[list[MetricName], Field(max_length=32)])


def evaluate(
    task: Task[Any],
    model: nn.Module,
    dataset: Dataset,
    rows: Rows,
    group: Group,
    batch_size: int,
    stop: Stop,
) -> dict[str, float] | None:
    """Means over all `rows` of the loss and of the task's metrics, the same on every process.

    Collective. None where some process was asked to stop meanwhile.
    """
    model.eval()
    with torch.inference_mode():
        names = _names(task, model, dataset, rows, group)
        sums: dict[str, float] = dict.fromkeys([LOSS, *names], 0.0)
        for part in _parts(rows[group.rank :: group.world], batch_size):
            if stop.requested:
                break
            batch = to_device(dataset.batch(part), group.device)
            output = model(*batch.inputs)
            sums[LOSS] += task.loss(output, batch.target).item() * part.size
            values = task.metrics(output, batch.target)
            for name in names:
                sums[name] += _total(name, values[name], part.size)
    model.train()
    *totals, interrupted = group.sum([*sums.values(), float(stop.requested)])
    if interrupted:
        return None
    return {name: total / rows.size for name, total in zip(sums, totals, strict=True)}


def _names(
    task: Task[Any], model: nn.Module, dataset: Dataset, rows: Rows, group: Group
) -> list[str]:
    """The task's metrics, learnt from one sample: a process may have no part of its own."""
    batch = to_device(dataset.batch(rows[:1]), group.device)
    names = sorted(set(task.metrics(model(*batch.inputs), batch.target)) - {LOSS})
    try:
        METRICS.validate_python([LOSS, *names])
    except ValidationError as error:
        raise TaskInvalid(f"metrics: {names}: {reason(error)}") from None
    return names


def _parts(rows: Rows, size: int) -> Iterator[Rows]:
    for start in range(0, rows.size, size):
        yield rows[start : start + size]


def _total(name: str, values: Tensor, samples: int) -> float:
    if values.shape != (samples,):
        raise TaskInvalid(
            f"metrics: {name} has the shape {list(values.shape)}; one value for each of the "
            f"{samples} samples is needed"
        )
    return values.double().sum().item()


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`; itself where it is there already."""
    if device.type == "cpu":
        return batch
    return Batch(
        tuple(tensor.to(device, non_blocking=True) for tensor in batch.inputs),
        batch.target.to(device, non_blocking=True),
    )
