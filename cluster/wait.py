"""Waiting for conditions, never for time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

from cluster.errors import ClusterError

T = TypeVar("T")


def until(
    what: str,
    condition: Callable[[], T | None],
    seconds: float,
    *,
    interval: float = 0.1,
    hint: Callable[[], str] | None = None,
) -> T:
    """Return the first truthy value of `condition`; `hint` explains a deadline that passed."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() >= deadline:
            raise ClusterError(f"{what}: not after {seconds:.0f} s", hint() if hint else "")
        time.sleep(interval)
