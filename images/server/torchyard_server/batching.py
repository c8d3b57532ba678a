"""Batches form from whatever waits while the previous batch runs. There is no timer.

One runner thread takes the oldest waiting request and all later ones that fit behind it, up to a
number of rows, computes them as one and hands each its part. So a lone request never waits for
company, and the busier the server is, the larger its batches are. The runner is woken only when
the event loop has read everything that there is to read, so that requests which arrive together
are computed together.

`submit` and `drop` belong to the event loop, `run_next` to the runner; the queue between them has
one lock. What a request gets is a future of the event loop, which is also how it is withdrawn:
a request whose future is done is not computed any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from torchyard_server.errors import Overloaded, RequestError
from torchyard_server.logs import logger
from torchyard_server.protocol.datatypes import Array

Tensors = Mapping[str, Array]
Infer = Callable[[Tensors], Tensors]


@dataclass(slots=True, eq=False)
class Item:
    """One waiting request. Items with equal, not None, `key` may share a batch."""

    inputs: Tensors
    rows: int
    key: tuple[tuple[int, ...], ...] | None
    future: asyncio.Future[Tensors]


Outcome = tuple[Item, Tensors | Exception]


@dataclass(slots=True)
class _Queue:
    """The waiting requests, oldest first. A dict, because any of them may be withdrawn."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    items: dict[Item, None] = field(default_factory=dict)
    stopping: bool = False


class Batcher:
    """The queue and its runner. `max_rows` bounds a batch, `max_waiting` the queue."""

    def __init__(
        self,
        infer: Infer,
        *,
        batched: bool,
        max_rows: int,
        max_waiting: int,
        observe: Callable[[int], None],
    ) -> None:
        """`infer` computes all outputs from all inputs; with `batched`, row by row along axis 0.

        `observe` is told the rows of each batch that was computed, in the runner's thread.
        """
        self._infer = infer
        self._batched = batched
        self._max_rows = max_rows
        self._max_waiting = max_waiting
        self._observe = observe
        self._queue = _Queue()
        self._waking = False
        self._thread = threading.Thread(target=self._run, name="runner", daemon=True)

    @property
    def waiting(self) -> int:
        """How many requests wait; those being computed do not count."""
        return len(self._queue.items)

    def start(self) -> None:
        """Start the runner."""
        self._thread.start()

    def stop(self) -> None:
        """Let the runner end once nothing waits any more."""
        with self._queue.changed:
            self._queue.stopping = True
            self._queue.changed.notify()

    def submit(self, inputs: Tensors, rows: int) -> Item:
        """Queue a request; its future will hold the outputs. Raises Overloaded when full."""
        key = tuple(array.shape[1:] for array in inputs.values()) if self._batched else None
        loop = asyncio.get_running_loop()
        item = Item(inputs, rows, key, loop.create_future())
        with self._queue.changed:
            if len(self._queue.items) >= self._max_waiting:
                raise Overloaded(f"{self._max_waiting} requests are waiting already; try again")
            self._queue.items[item] = None
        if not self._waking:
            self._waking = True
            loop.call_soon(self._wake)
        return item

    def drop(self, item: Item) -> None:
        """Withdraw a request that nobody waits for any more; without effect once it was taken."""
        item.future.cancel()
        with self._queue.changed:
            self._queue.items.pop(item, None)

    def run_next(self) -> bool:
        """Wait for work and compute one batch; False when stopped and nothing is left."""
        with self._queue.changed:
            while not self._queue.items:
                if self._queue.stopping:
                    return False
                self._queue.changed.wait()
            batch = self._take()
        if batch:
            _deliver(self._compute(batch))
        return True

    def _wake(self) -> None:
        """Wake the runner after the event loop has read all requests that are there to be read."""
        self._waking = False
        with self._queue.changed:
            self._queue.changed.notify()

    def _run(self) -> None:
        while self.run_next():
            pass

    def _take(self) -> list[Item]:
        """Remove the oldest item and those behind it that fit into its batch, in order."""
        batch: list[Item] = []
        rows = 0
        for item in list(self._queue.items):
            if item.future.done():
                del self._queue.items[item]
            elif not batch or (
                item.key is not None
                and item.key == batch[0].key
                and rows + item.rows <= self._max_rows
            ):
                del self._queue.items[item]
                batch.append(item)
                rows += item.rows
                if rows >= self._max_rows:
                    break
        return batch

    def _compute(self, batch: Sequence[Item]) -> list[Outcome]:
        try:
            results = self._infer(_merge(batch))
            self._observe(sum(item.rows for item in batch))
            return _split(batch, results)
        except Exception as error:  # noqa: BLE001  (the runner outlives whatever a model raises)
            if len(batch) == 1:
                return [(batch[0], error)]
        # One bad request must not fail its neighbours: find it by computing each alone.
        outcomes: list[Outcome] = []
        for item in batch:
            if not item.future.done():
                outcomes += self._compute([item])
        return outcomes


def _merge(batch: Sequence[Item]) -> Tensors:
    if len(batch) == 1:
        return batch[0].inputs
    return {name: np.concatenate([item.inputs[name] for item in batch]) for name in batch[0].inputs}


def _split(batch: Sequence[Item], results: Tensors) -> list[Outcome]:
    if len(batch) == 1:
        return [(batch[0], results)]
    total = sum(item.rows for item in batch)
    for name, array in results.items():
        if array.shape[0] != total:
            raise ValueError(f"output {name!r} has {array.shape[0]} rows for a batch of {total}")
    outcomes: list[Outcome] = []
    start = 0
    for item in batch:
        stop = start + item.rows
        outcomes.append((item, {name: array[start:stop] for name, array in results.items()}))
        start = stop
    return outcomes


def _deliver(outcomes: list[Outcome]) -> None:
    """Hand the results to the event loop: one wake-up for the whole batch."""
    for _, result in outcomes:
        if isinstance(result, Exception) and not isinstance(result, RequestError):
            logger.error("the model failed", exc_info=result)
    loop = outcomes[0][0].future.get_loop() if outcomes else None
    if loop is not None:
        with suppress(RuntimeError):  # the loop has ended, so nobody waits any more
            loop.call_soon_threadsafe(_resolve, outcomes)


def _resolve(outcomes: list[Outcome]) -> None:
    for item, result in outcomes:
        if item.future.done():
            continue  # its caller left, or its time is over
        if isinstance(result, RequestError):
            item.future.set_exception(result)
        elif isinstance(result, Exception):
            item.future.set_exception(RequestError(500, "the model failed; see the server's log"))
        else:
            item.future.set_result(result)
