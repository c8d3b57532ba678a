"""The work queue: which key is due when, and never twice at a time.

A key is in the queue at most once, at the earliest time that anybody asked for. While a worker
has it, it may be added again but is handed out only after `done`. Failures of a key delay that
key alone.
"""

import asyncio
import contextlib
import heapq
import random
import time
from collections.abc import Awaitable, Callable
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

    async def run(self, width: int, handle: Callable[[K], Awaitable[None]]) -> None:
        """Hands out due keys, so many at a time, until the queue is closed and all have ended.

        One task waits for all of them: workers that wait each for themselves would all wake up
        for every key.
        """
        slots = asyncio.Semaphore(width)
        running: set[asyncio.Task[None]] = set()

        async def work(key: K) -> None:
            try:
                await handle(key)
            finally:
                self.done(key)
                slots.release()

        try:
            while True:
                await slots.acquire()
                if (key := await self._next()) is None:
                    break
                task = asyncio.create_task(work(key))
                running.add(task)
                task.add_done_callback(running.discard)
            if running:
                await asyncio.wait(running)
        finally:
            for task in running:
                task.cancel()

    def close(self) -> None:
        """Hand out nothing more."""
        self._closed = True
        self._changed.set()

    async def _next(self) -> K | None:
        """Waits for the next due key; None once the queue is closed."""
        while not self._closed:
            if (key := self.pop()) is not None:
                return key
            self._changed.clear()
            pause = self._heap[0][0] - self._clock() if self._heap else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._changed.wait()
        return None

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
