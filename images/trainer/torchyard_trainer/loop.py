"""The training loop: steps, beats, checkpoints, an evaluation at the end of every epoch."""

import logging
import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from torchyard.api.trainingjob import Optimization
from torchyard_trainer import optimization
from torchyard_trainer.checkpoint.keeper import Keeper
from torchyard_trainer.data.order import Order, share
from torchyard_trainer.data.split import Rows
from torchyard_trainer.errors import Interrupted, TaskInvalid
from torchyard_trainer.evaluation import evaluate, to_device
from torchyard_trainer.parallel.group import Group
from torchyard_trainer.parallel.layout import plain
from torchyard_trainer.pulse import Pulse
from torchyard_trainer.report import Reporter, decimals
from torchyard_trainer.stop import Stop
from torchyard_trainer.task import Dataset, Learnt, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Material:
    """What is trained on, the same in every process."""

    task: Task[Any]
    learnt: Learnt
    dataset: Dataset
    order: Order
    held_out: Rows
    data_digest: str


class Loop:
    """One attempt's way from its first step to the last."""

    def __init__(
        self,
        spec: Optimization,
        material: Material,
        module: nn.Module,
        optimizer: Optimizer,
        group: Group,
        keeper: Keeper,
        reporter: Reporter,
        stop: Stop,
    ) -> None:
        self._spec = spec
        self._material = material
        self._order = material.order
        self._module = module  # the model, spread over the processes
        self._optimizer = optimizer
        self._group = group
        self._keeper = keeper
        self._reporter = reporter
        self._stop = stop
        self._step = 0
        # On the device, because reading it waits for the device.
        self._loss_sum = torch.zeros((), device=group.device)
        self._samples = 0

    def run(self, first: int) -> dict[str, float]:
        """Train from step `first` to the end; returns the metrics of the finished model.

        Raises Interrupted once a checkpoint is written after SIGTERM, and TaskInvalid where the
        loss is no number any more.
        """
        self._step = first
        metrics: dict[str, float] | None = None
        permutation = self._permutation()
        pulse = Pulse(self._group, first)
        self._reporter.restart_clock()
        self._module.train()
        while self._step < self._order.total_steps:
            self._advance(self._order.batch(permutation, self._step))
            epoch_ends = self._step % self._order.steps_per_epoch == 0
            if epoch_ends or pulse.due(self._step):
                self._beat(pulse)
            elif self._keeper.due(self._step):
                self._save()
            if self._step == self._order.total_steps:
                self._save()
            if epoch_ends:
                metrics = self._evaluate()
                permutation = self._permutation()
        self._keeper.settle()
        return metrics or self._evaluate()

    def _permutation(self) -> Rows:
        return self._order.epoch(self._step // self._order.steps_per_epoch)

    def _advance(self, batch: Rows) -> None:
        """One optimizer step on this process's share of a global batch."""
        mine = share(batch, self._group.rank, self._group.world)
        seed(self._spec.seed, self._step, self._group.rank)
        samples = to_device(self._material.dataset.batch(mine.rows), self._group.device)
        loss = self._material.task.loss(self._module(*samples.inputs), samples.target)
        (loss * mine.weight).backward()  # type: ignore[no-untyped-call]
        optimization.clip(self._module.parameters(), self._spec.gradient_clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._step += 1
        if mine.weight:
            self._loss_sum += loss.detach() * mine.rows.size
            self._samples += mine.rows.size

    def _beat(self, pulse: Pulse) -> None:
        beat = pulse.beat(
            self._step,
            self._loss_sum.item(),
            self._samples,
            stop=self._stop.requested,
            save=self._keeper.overdue(),
        )
        self._loss_sum.zero_()
        self._samples = 0
        if not math.isfinite(beat.loss):
            raise TaskInvalid(
                f"the loss is {beat.loss} at step {self._step}: lower "
                "optimization.optimizer.learningRate or set optimization.gradientClip"
            )
        epoch = self._order.epoch_of(self._step - 1)
        self._reporter.advance(self._step, epoch, beat.samples, beat.loss)
        if beat.stop:
            self._leave()
        if beat.save or self._keeper.due(self._step):
            self._save()

    def _evaluate(self) -> dict[str, float]:
        metrics = evaluate(
            self._material.task,
            plain(self._module),
            self._material.dataset,
            self._material.held_out,
            self._group,
            self._spec.batch_size,
            self._stop,
        )
        if metrics is None:
            self._leave()
        self._reporter.metrics(metrics)
        self._reporter.restart_clock()
        if self._group.leads:
            shown = ", ".join(f"{name} {value}" for name, value in decimals(metrics).items())
            where = {"step": self._step}
            logger.info("held-out data after step %d: %s", self._step, shown, extra=where)
        return metrics

    def _save(self) -> None:
        self._keeper.save(
            self._step,
            plain(self._module),
            self._optimizer,
            self._material.learnt,
            self._material.data_digest,
        )

    def _leave(self) -> NoReturn:
        self._save()
        self._keeper.settle()
        raise Interrupted(f"asked to stop at step {self._step} of {self._order.total_steps}")


def seed(*numbers: int) -> None:
    """Seed torch's generators, of every device, with a function of `numbers`.

    What a step draws depends on seed, step and rank alone. So no generator's state has to be
    kept, and a resumed training draws what an uninterrupted one would have drawn.
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    torch.manual_seed(int(state[0]))
