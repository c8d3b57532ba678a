"""Which rows are held out: a function of a row's content and nothing else."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchyard_trainer.errors import DataInvalid

Rows = NDArray[np.int64]
"""Numbers of rows, in ascending order unless said otherwise."""


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to measure on; together all rows, each once."""

    training: Rows
    held_out: Rows


def split(keys: Iterable[bytes], share: float) -> Split:
    """Hold out about `share` of the rows, by the hash of their keys.

    The same content is on the same side in every run, whatever the seed, the order of the rows
    or what was appended since; rows that are equal are on one side. Raises DataInvalid where a
    side would be empty.
    """
    limit = int(share * 2**64)
    held = np.fromiter((_point(key) < limit for key in keys), np.bool_)
    result = Split(np.flatnonzero(~held), np.flatnonzero(held))
    if not result.training.size or not result.held_out.size:
        raise DataInvalid(
            f"of {held.size} rows {result.held_out.size} are held out (data.validation {share:g}) "
            f"and {result.training.size} are left to learn from; both need at least one"
        )
    return result


def _point(key: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
