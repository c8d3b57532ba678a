"""Progress: what the operator reads into a job's status."""

import logging
import threading
import time
from typing import Any

from torchyard.api.contract import WorkerProgress
from torchyard.api.trainingjob import CheckpointStatus, Progress
from torchyard_trainer.channel import Sender

LOG_SECONDS = 15.0
SMOOTHING = 0.3  # weight of the newest measurement in the rates

logger = logging.getLogger(__name__)


def decimal(value: float) -> str:
    """A number as a decimal string with at most six significant digits."""
    return f"{value:.6g}"


def decimals(metrics: dict[str, float]) -> dict[str, str]:
    """All metrics as decimal strings."""
    return {name: decimal(value) for name, value in metrics.items()}


class Reporter:
    """Tells the supervisor how far the training is. The checkpoint thread uses it, too.

    One rank of each worker has a sender; the others only know what they would say.
    """

    def __init__(self, sender: Sender | None, attempt: int) -> None:
        self._sender = sender
        self._lock = threading.Lock()
        self.newest = WorkerProgress(attempt=attempt, progress=Progress())
        self._last = self._logged = time.monotonic()
        self._seconds_per_step: float | None = None
        self._samples_per_second: float | None = None

    def begin(self, step: int, total: int, epoch: int, checkpoint: CheckpointStatus | None) -> None:
        """Say where this attempt begins."""
        progress = Progress(step=step, total_steps=total, epoch=epoch)
        self._send(first_step=step, progress=progress, checkpoint=checkpoint)
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leave the time until now out of the rates, which are those of training."""
        self._last = time.monotonic()

    def advance(self, step: int, epoch: int, samples: float, loss: float) -> None:
        """Training has come to `step`; since the last call `samples`, at a mean loss of `loss`."""
        now = time.monotonic()
        elapsed, self._last = max(now - self._last, 1e-9), now
        done = self.newest.progress
        if step > done.step:
            pace = elapsed / (step - done.step)
            self._seconds_per_step = _smooth(self._seconds_per_step, pace)
            self._samples_per_second = _smooth(self._samples_per_second, samples / elapsed)
        rate, pace = self._samples_per_second or 0.0, self._seconds_per_step or 0.0
        self._progress(
            step=step,
            epoch=epoch,
            loss=decimal(loss),
            samples_per_second=decimal(rate),
            eta_seconds=round((done.total_steps - step) * pace),
        )
        if self._sender is not None and now - self._logged >= LOG_SECONDS:
            self._logged = now
            text = "step %d of %d: loss %s, %.0f samples/s"
            where = {"step": step}
            logger.info(text, step, done.total_steps, decimal(loss), rate, extra=where)

    def metrics(self, metrics: dict[str, float]) -> None:
        """Held-out data has been measured."""
        self._progress(metrics=decimals(metrics))

    def checkpoint(self, checkpoint: CheckpointStatus) -> None:
        """A checkpoint is whole and durable."""
        self._send(checkpoint=checkpoint)

    def _progress(self, **update: Any) -> None:
        self._send(progress=self.newest.progress.model_copy(update=update))

    def _send(self, **update: Any) -> None:
        with self._lock:
            self.newest = self.newest.model_copy(update=update)
            if self._sender is not None:
                self._sender.send(self.newest)


def _smooth(old: float | None, new: float) -> float:
    return new if old is None else old + SMOOTHING * (new - old)
