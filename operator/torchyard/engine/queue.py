"""The work queue: which key is due when, and never twice at a time.

A key is in the queue at most once, at the earliest time that anybody asked for. While a worker
has it, it may be added again but is handed out only after `done`. Failures of a key delay that
key alone.
"""

import asyncio
import heapq
import random
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

K = TypeVar("K")

BASE_SECONDS: Final = 0.2
CAP_SECONDS: Final = 60.0


def backoff(failures: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds to wait after so many failures in a row: exponential, with full jitter."""
    # The exponent is bounded because a float is not.
    return draw() * min(CAP_SECONDS, BASE_SECONDS * 2.0 ** min(failures, 16))


class Queue(Generic[K]):
    """A keyed queue with delays, for any number of workers on one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._active: set[K] = set()
        self._changed = asyncio.Event()
        self._closed = False

    def add(self, key: K, delay: float = 0.0) -> None:
        """Ask for `key` in `delay` seconds; the earliest of several wishes wins."""
        due = self._clock() + max(0.0, delay)
        if due >= self._due.get(key, float("inf")):
            return
        self._due[key] = due
        self._push(key, due)

    def discard(self, key: K) -> None:
        """Forget every wish for `key`."""
        self._due.pop(key, None)

    def pop(self) -> K | None:
        """The key that has been due longest and is with no worker; it counts as active."""
        while self._heap and self._heap[0][0] <= self._clock():
            due, _, key = heapq.heappop(self._heap)
            # An entry that an earlier wish or `discard` has overtaken is only dropped here; one
            # whose key is with a worker comes back with `done`.
            if self._due.get(key) == due and key not in self._active:
                del self._due[key]
                self._active.add(key)
                return key
        return None

    def done(self, key: K) -> None:
        """A worker is through with `key`."""
        self._active.discard(key)
        if (due := self._due.get(key)) is not None:
            self._push(key, due)

    async def get(self) -> K | None:
        """Wait for the next due key; None once the queue is closed."""
        while not self._closed:
            if (key := self.pop()) is not None:
                return key
            self._changed.clear()
            pause = self._heap[0][0] - self._clock() if self._heap else None
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    def close(self) -> None:
        """Hand out nothing more."""
        self._closed = True
        self._changed.set()

    def depth(self) -> int:
        """Keys that are due and wait for a worker."""
        now = self._clock()
        return sum(due <= now and key not in self._active for key, due in self._due.items())

    def age(self) -> float:
        """Seconds that the longest-waiting due key has been waiting."""
        waiting = [due for key, due in self._due.items() if key not in self._active]
        return max(0.0, self._clock() - min(waiting)) if waiting else 0.0

    def _push(self, key: K, due: float) -> None:
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, key))
        self._changed.set()
