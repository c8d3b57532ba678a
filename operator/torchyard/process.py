"""One operator process from start to end.

It stands by until the Lease is its own, lists everything, then watches and reconciles until it
is told to stop or any part of it ends: then the whole process does, and is started afresh.
"""

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from contextlib import AsyncExitStack
from typing import Any, Final

import aiohttp

from torchyard import handlers
from torchyard.config import Settings
from torchyard.engine import schema
from torchyard.engine.client import Client, meter
from torchyard.engine.connection import Connection
from torchyard.engine.controllers import CONTROLLERS
from torchyard.engine.events import Events
from torchyard.engine.feed import Feed
from torchyard.engine.health import Health
from torchyard.engine.lease import Lease
from torchyard.engine.loop import Loop
from torchyard.engine.metrics import Metrics
from torchyard.engine.poller import Poller
from torchyard.engine.queue import Queue
from torchyard.engine.resources import OWNERS, Key
from torchyard.engine.sensors import Sensors
from torchyard.engine.store import Store
from torchyard.engine.sweep import Sweeper
from torchyard.errors import Ended

WORKERS: Final = 16
POLLERS: Final = 32

WATCH_SECONDS: Final = 660.0
"""Age at which a watch is certainly lost: twice what the API server allows, and some."""
START_SECONDS: Final = 300.0
"""Until every kind is watched."""
QUEUE_SECONDS: Final = 600.0
"""Until a due key has found a worker."""

_STOP_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = 1.0

_log = logging.getLogger(__name__)


async def run(settings: Settings, connection: Connection) -> None:
    """Returns when a signal asks for it; raises whatever else ended the process."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    metrics = Metrics()
    namespace = settings.namespace or connection.namespace
    async with AsyncExitStack() as stack:
        unfenced = await stack.enter_async_context(Client(connection, metrics, lambda: None))
        key = Key("Lease", namespace, settings.lease_name)
        lease = Lease(unfenced, key, settings.pod_name)
        client = await stack.enter_async_context(Client(connection, metrics, lease.fence))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        replica = Replica(settings, namespace, connection, client, session, metrics)
        health = Health(metrics, alive=replica.ailments, ready=replica.obstacles)
        await health.start(settings.host, settings.port)
        stack.push_async_callback(health.stop)
        await _until(stop, schema.check(client))
        await _until(stop, lease.acquire())
        if not stop.is_set():
            await replica.act(stop, lease)


class Replica:
    """The parts of an operator, wired together; idle until it acts."""

    def __init__(
        self,
        settings: Settings,
        namespace: str,
        connection: Connection,
        client: Client,
        session: aiohttp.ClientSession,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._connection = connection
        self._metrics = metrics
        self._acting_since: float | None = None
        self._store = Store()
        self._queue: Queue[Key] = Queue()
        self._feed = Feed(self._store, self._wake)
        self._poller = Poller(session, self._wake)
        self._events = Events(client, metrics, settings.pod_name)
        self._sweeper = Sweeper(
            client,
            self._store,
            self._feed,
            metrics,
            settings.watch_namespaces,
            settings.sweep_seconds,
        )
        self._sensors = Sensors(self._sweeper.soon)
        self._loop = Loop(
            client=client,
            store=self._store,
            feed=self._feed,
            queue=self._queue,
            poller=self._poller,
            events=self._events,
            metrics=metrics,
            release=settings.release(namespace),
            controllers=CONTROLLERS,
        )
        self._measure()

    async def act(self, stop: asyncio.Event, lease: Lease) -> None:
        """Everything that only the holder of the Lease does, until `stop`."""
        self._acting_since = self._clock()
        self._metrics.leader.set(1)
        keeping = asyncio.create_task(lease.keep(), name="lease")
        working: list[asyncio.Task[None]] = []
        others = [keeping]
        try:
            await _until(stop, self._sweeper.load(), others)
            working.append(asyncio.create_task(self._loop.run(WORKERS), name="loop"))
            others.append(asyncio.create_task(self._poller.run(POLLERS), name="poller"))
            others.append(asyncio.create_task(self._events.run(), name="events"))
            others.append(asyncio.create_task(self._sweeper.run(), name="sweep"))
            others.append(asyncio.create_task(self._watch(stop), name="watches"))
            await _until(stop, asyncio.Event().wait(), [*others, *working])
            _log.info("stops")
            self._queue.close()
            await asyncio.wait(working, timeout=_STOP_SECONDS)
            await asyncio.wait([asyncio.create_task(self._events.flush())], timeout=_FLUSH_SECONDS)
        finally:
            # Nothing writes any more when another replica is let in.
            await _end([keeping, *working])
            await lease.release()
            self._metrics.leader.set(0)
            await _end(others)

    def ailments(self) -> list[str]:
        """What only a restart can cure."""
        if self._acting_since is None:
            return []
        wrong = [
            f"{kind} has not been watched anew for {age:.0f} s"
            for kind, age in self._sensors.ages().items()
            if age > WATCH_SECONDS
        ]
        if self._clock() - self._acting_since > START_SECONDS:
            wrong += self.obstacles()
        if self._unswept() > 3 * self._settings.sweep_seconds + START_SECONDS:
            wrong.append(f"nothing has been listed for {self._unswept():.0f} s")
        if self._queue.age() > QUEUE_SECONDS:
            wrong.append(f"the queue has not moved for {self._queue.age():.0f} s")
        return wrong

    def obstacles(self) -> list[str]:
        """What is still to come before this replica does its part; standing by is a part, too."""
        if self._acting_since is None or self._sensors.all_open(
            len(self._settings.watch_namespaces)
        ):
            return []
        return ["not every kind is watched yet"]

    async def _watch(self, stop: asyncio.Event) -> None:
        started = asyncio.Event()
        watching = asyncio.create_task(
            handlers.watch(
                self._connection,
                self._feed,
                self._settings.watch_namespaces,
                (self._sensors.observe, meter(self._metrics)),
                started,
            )
        )
        try:
            await _until(started, asyncio.shield(watching))
            # kopf has just taken over the signals; it would end without ending the rest.
            _stop_on_signals(stop)
            _log.info("watches")
            await watching
        finally:
            await _end([watching])

    def _wake(self, key: Key) -> None:
        self._loop.wake(key)

    def _measure(self) -> None:
        gauge = self._metrics.gauge
        gauge("torchyard_queue_depth", "Keys that wait for a worker.", self._queue.depth)
        gauge(
            "torchyard_queue_age_seconds",
            "Waiting time of the key that has been due longest.",
            self._queue.age,
        )
        gauge(
            "torchyard_sweep_age_seconds",
            "Seconds since the kind that has waited longest was listed.",
            self._unswept,
        )
        self._metrics.watch_ages(self._sensors.ages)
        self._metrics.census(self._census)

    def _unswept(self) -> float:
        """Age of the oldest list; while standing by there is none, and it counts from then on."""
        acting = 0.0 if self._acting_since is None else self._clock() - self._acting_since
        return min(self._sweeper.age(), acting)

    def _census(self) -> Counter[tuple[str, str]]:
        return Counter(
            (owner.kind, (item.get("status") or {}).get("phase", "Pending"))
            for owner in OWNERS
            for item in self._store.of_kind(owner.kind).values()
        )


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _until(
    stop: asyncio.Event,
    awaited: Coroutine[Any, Any, Any] | asyncio.Future[Any],
    guards: Iterable[asyncio.Task[None]] = (),
) -> None:
    """Runs something until it ends or `stop` is set; a guard that ends before is an error."""
    task = asyncio.ensure_future(awaited)
    stopping = asyncio.create_task(stop.wait())
    guards = list(guards)
    try:
        await asyncio.wait([task, stopping, *guards], return_when=asyncio.FIRST_COMPLETED)
        for guard in guards:
            if guard.done():
                guard.result()
                raise Ended(f"{guard.get_name()} ended by itself")
        if task.done():
            task.result()
    finally:
        await _end([task, stopping])


async def _end(tasks: list[Any]) -> None:
    """Cancels what still runs and waits for it, but not for ever."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_STOP_SECONDS)
