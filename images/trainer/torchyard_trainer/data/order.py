"""Which rank sees which row in which step: a function of seed, step and layout.

Every epoch is a new permutation of the training rows, cut into global batches of
`optimization.batchSize`; the last one of an epoch may be smaller. A global batch is dealt out to
the replicas like cards. So each row is seen exactly once an epoch, by one replica, whatever
their number, and the position in the data is a single number: the step. A resumed training,
also one with another number of replicas, goes on with exactly the rows that are left.
"""

from dataclasses import dataclass

import numpy as np

from torchyard_trainer.data.split import Rows


@dataclass(frozen=True)
class Share:
    """One replica's part of a global batch."""

    rows: Rows
    """Never empty: a replica that is left without a row computes on one with weight 0, because
    every replica must take part in the exchange of gradients."""
    weight: float
    """What the mean loss over `rows` is multiplied by, so that the average of all replicas'
    gradients is the gradient of the mean loss over the global batch, also an uneven one."""


@dataclass(frozen=True)
class Order:
    """The course through the training rows."""

    rows: Rows
    batch_size: int
    seed: int
    epochs: int

    @property
    def steps_per_epoch(self) -> int:
        """Global batches of one epoch."""
        return -(-self.rows.size // self.batch_size)

    @property
    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.epochs

    def epoch_of(self, step: int) -> int:
        """The epoch under way after `step` steps, counted from 1."""
        return min(step // self.steps_per_epoch + 1, self.epochs)

    def epoch(self, number: int) -> Rows:
        """All training rows in the order of epoch `number`, counted from 0."""
        return np.random.Generator(np.random.PCG64([self.seed, number])).permutation(self.rows)

    def batch(self, permutation: Rows, step: int) -> Rows:
        """The global batch that step `step` (from 0) takes from its epoch's permutation."""
        start = step % self.steps_per_epoch * self.batch_size
        return permutation[start : start + self.batch_size]


def share(batch: Rows, replica: int, replicas: int) -> Share:
    """The part of a global batch that belongs to `replica`."""
    mine = batch[replica::replicas]
    if not mine.size:
        return Share(batch[:1], 0.0)
    return Share(mine, replicas * mine.size / batch.size)
