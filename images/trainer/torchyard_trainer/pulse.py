"""The gang's heartbeat: every half second or so the processes agree on what comes next.

Agreeing costs a message round. Instead of one at every step there is one every n steps, and rank
0 says each time how many steps the next n is, from the pace it sees. So all processes stop at the
same step, within about a second of a SIGTERM to any of them.
"""

import math
import time
from dataclasses import dataclass

from torchyard_trainer.parallel.group import Group

PERIOD_SECONDS = 0.5


@dataclass(frozen=True)
class Beat:
    """What all processes know after a beat."""

    loss: float
    """Mean training loss of all samples since the last beat."""
    samples: float
    """Samples of all processes since then."""
    stop: bool
    """Some process was asked to stop."""
    save: bool
    """Rank 0 wants a checkpoint."""


class Pulse:
    """When the next beat is due, and the beat itself."""

    def __init__(self, group: Group, step: int) -> None:
        self._group = group
        self._next = step + 1
        self._since = (time.monotonic(), step)

    def due(self, step: int) -> bool:
        """Whether a beat is due after `step` steps; the same on every process."""
        return step >= self._next

    def beat(self, step: int, loss_sum: float, samples: int, *, stop: bool, save: bool) -> Beat:
        """Exchange sums and wishes. Collective."""
        lead = float(self._group.leads)
        loss, total, stops, saves, stride = self._group.sum(
            [loss_sum, samples, float(stop), lead * save, lead * self._stride(step)]
        )
        self._next = step + round(stride)
        self._since = (time.monotonic(), step)
        return Beat(loss / total if total else math.nan, total, stops > 0, saves > 0)

    def _stride(self, step: int) -> int:
        began, first = self._since
        pace = (time.monotonic() - began) / max(step - first, 1)
        return max(1, math.floor(PERIOD_SECONDS / max(pace, 1e-6)))
