"""A rank's session in the process of the tests: no start-up, and it can be stopped at a step."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
import torch.distributed as dist

from tests.unit.trainer.gang import Job, free_port
from torchyard.api.contract import Termination, WorkerConfig, WorkerProgress
from torchyard_trainer.channel import Message, Sender
from torchyard_trainer.session import Session
from torchyard_trainer.settings import Place
from torchyard_trainer.stop import Stop

torch.set_num_threads(1)  # as in a worker; more would spin for a core that others have


class Recorder:
    """Stands in for the channel; asks to stop once `stop_at` steps are done."""

    def __init__(self, stop: Stop, stop_at: int | None) -> None:
        self.progress: list[WorkerProgress] = []
        self._stop, self._stop_at = stop, stop_at

    def send(self, message: Message) -> None:
        assert isinstance(message, WorkerProgress)
        WorkerProgress.model_validate(message.wire())
        self.progress.append(message)
        if self._stop_at is not None and message.progress.step >= self._stop_at:
            self._stop.requested = True


@contextmanager
def no_group_left() -> Iterator[None]:
    try:
        yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def run(
    job: Job, attempt: int = 0, *, stop_at: int | None = None, **changes: Any
) -> tuple[Termination, list[WorkerProgress]]:
    """One attempt of a job with one process: how it ended, and what it reported."""
    config = WorkerConfig.model_validate({**job.config(attempt, free_port()), **changes})
    stop = Stop()
    recorder = Recorder(stop, stop_at)
    session = Session(config, Place(0, 0, 1, 1), cast(Sender, recorder), stop)
    with no_group_left():
        return session.run(), recorder.progress
