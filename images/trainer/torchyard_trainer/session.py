"""One rank's life, from its device to the published artifact."""

import logging
import re
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from torchyard.api.contract import Outcome, PublishedArtifact, Termination, WorkerConfig
from torchyard.api.trainingjob import Output
from torchyard_trainer import optimization, tasks
from torchyard_trainer.channel import Sender
from torchyard_trainer.checkpoint.keeper import Keeper
from torchyard_trainer.data.order import Order
from torchyard_trainer.data.split import split
from torchyard_trainer.errors import RequirementNotMet, TrainerError
from torchyard_trainer.export.publish import Publication
from torchyard_trainer.log import timestamp
from torchyard_trainer.loop import Loop, Material, seed
from torchyard_trainer.parallel import devices, layout
from torchyard_trainer.parallel.group import Group, join
from torchyard_trainer.report import Reporter, decimal
from torchyard_trainer.settings import Place
from torchyard_trainer.stop import Stop
from torchyard_trainer.task import Samples, Task
from torchyard_trainer.termination import cut

# What gloo says in a survivor when a peer goes away is a plain RuntimeError that names its source.
GLOO = re.compile(r"\bgloo/|\[enforce fail at .*gloo")

logger = logging.getLogger(__name__)


class Session:
    """The work of one rank process."""

    def __init__(self, config: WorkerConfig, place: Place, sender: Sender, stop: Stop) -> None:
        self._config = config
        self._place = place
        self._stop = stop
        self._reporter = Reporter(sender if place.local == 0 else None, config.attempt)

    def run(self) -> Termination:
        """Train, check, publish; returns how it ended, whatever happened."""
        try:
            artifact = self._work()
        except Exception as error:  # noqa: BLE001 - a user's task may raise anything
            return self._explain(error)
        return self._termination(Outcome.SUCCEEDED, artifact=artifact)

    def _work(self) -> PublishedArtifact | None:
        config, spec = self._config, self._config.spec
        device = devices.claim(spec.workers.accelerator, self._place)
        task = tasks.load(spec.task)
        group = join(config, self._place, device, self._stop)
        samples = task.open(Path(config.data_path))
        keeper = Keeper(config, group, self._reporter.checkpoint)
        material = self._prepare(task, samples, group, keeper)
        self._stop.check()
        model = self._model(material, device)
        optimizer = optimization.build(model.parameters(), spec.optimization)
        checkpoint = keeper.restore(model, optimizer)
        first = checkpoint.step if checkpoint else 0
        order = material.order
        self._reporter.begin(
            first, order.total_steps, order.epoch_of(first), checkpoint if group.leads else None
        )
        group.await_all(self._stop)
        module = layout.spread(model, group.mesh)
        loop = Loop(
            spec.optimization,
            material,
            module,
            optimizer,
            group,
            keeper,
            self._reporter,
            self._stop,
        )
        metrics = loop.run(first)
        if spec.output is None:
            return None
        check_requirements(spec.output, metrics)
        publication = Publication(config, spec.output, samples, material, model.cpu(), metrics)
        return deliver(publication, group)

    def _prepare(self, task: Task[Any], samples: Samples, group: Group, keeper: Keeper) -> Material:
        spec = self._config.spec
        parts = split(samples.keys, spec.data.validation)
        learnt = None
        if group.leads:
            learnt = keeper.look(samples.digest) or task.learn(samples, parts.training)
        shared = group.share(learnt)
        if group.leads:
            sizes = parts.training.size, parts.held_out.size
            logger.info("%d samples to learn from, %d held out", *sizes)
        optimum = spec.optimization
        return Material(
            task=task,
            learnt=shared,
            dataset=task.dataset(samples, shared),
            order=Order(parts.training, optimum.batch_size, optimum.seed, optimum.epochs),
            held_out=parts.held_out,
            data_digest=samples.digest,
        )

    def _model(self, material: Material, device: torch.device) -> nn.Module:
        seed(self._config.spec.optimization.seed)
        return material.task.model(material.learnt).to(device)

    def _explain(self, error: Exception) -> Termination:
        outcome = classify(error)
        logger.error("%s: %s", outcome, error, exc_info=error)
        message = str(error)
        if not isinstance(error, TrainerError):
            lost = outcome is Outcome.PEER_LOST
            message = f"{'another process went away' if lost else type(error).__name__}: {error}"
        return self._termination(outcome, message=cut(message.strip()))

    def _termination(self, outcome: Outcome, **more: Any) -> Termination:
        newest = self._reporter.newest
        failed = outcome is not Outcome.SUCCEEDED
        return Termination(
            outcome=outcome,
            rank=self._place.rank if failed else None,
            exit_code=1 if failed else None,
            time=timestamp(time.time()) if failed else None,
            first_step=newest.first_step,
            progress=newest.progress if newest.first_step is not None else None,
            checkpoint=newest.checkpoint,
            **more,
        )


def deliver(publication: Publication, group: Group) -> PublishedArtifact | None:
    """Publish on rank 0 while the others wait; all end well, or none does. Collective.

    SIGTERM is too late now: whoever left would only make the others do all this again.
    """
    artifact = publication.publish() if group.leads else None
    group.await_all(Stop())
    # Rank 0 keeps the store: it may leave only when nobody needs that any more.
    group.sum([0.0])
    return artifact


def check_requirements(output: Output, metrics: dict[str, float]) -> None:
    """Raises RequirementNotMet naming the first bar that a metric does not clear."""
    for bar in output.require or []:
        value = metrics.get(bar.metric)
        if value is None:
            raise RequirementNotMet(
                f"there is no metric {bar.metric}; there are {', '.join(sorted(metrics))}"
            )
        if bar.at_least is not None and not value >= bar.at_least:
            raise RequirementNotMet(
                f"{bar.metric} {decimal(value)} is below atLeast {bar.at_least:g}"
            )
        if bar.at_most is not None and not value <= bar.at_most:
            raise RequirementNotMet(
                f"{bar.metric} {decimal(value)} is above atMost {bar.at_most:g}"
            )


def classify(error: Exception) -> Outcome:
    """The outcome that an exception stands for."""
    if isinstance(error, TrainerError):
        return error.outcome
    if isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError) and GLOO.search(str(error))
    ):
        return Outcome.PEER_LOST
    return Outcome.PROCESS_FAILED
