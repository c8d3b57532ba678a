"""Lists: the whole truth at the start, and now and then a comparison with it.

A watch that had to list anew tells what is there, never what has gone meanwhile; whoever only
watches keeps such ghosts for ever. A sweep lists names and versions of a kind: what was known
before the list was asked for and is not in it is gone, and what no watch delivers is fetched.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from torchyard import names
from torchyard.core.world import Object
from torchyard.engine.client import Client
from torchyard.engine.feed import Feed
from torchyard.engine.metrics import Metrics
from torchyard.engine.queue import Queue
from torchyard.engine.resources import CHILDREN, WATCHED, Key, Manifest, Resource, key_of
from torchyard.engine.store import Store
from torchyard.errors import TorchyardError

SOON_SECONDS: Final = 2.0
"""Until after a watch has begun anew: it then delivers what the list would have to fetch."""

RETRY_SECONDS: Final = 30.0

GRACE_SECONDS: Final = 1.0
"""How far a watch may be behind a list without being wrong."""

SELECTOR: Final = f"{names.MANAGED_BY}={names.MANAGER}"

_log = logging.getLogger(__name__)


def selector(resource: Resource) -> str:
    """Children are told by our label; our own kinds are all of interest."""
    if resource.kind == "EndpointSlice":
        # Those of a job's workers change with every pod and decide nothing.
        return f"{SELECTOR},{names.SERVICE}"
    return SELECTOR if resource in CHILDREN else ""


class Sweeper:
    """Lists every watched kind, in one namespace or several or all."""

    def __init__(
        self,
        client: Client,
        store: Store,
        feed: Feed,
        metrics: Metrics,
        namespaces: Sequence[str],
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._store = store
        self._feed = feed
        self._metrics = metrics
        self._namespaces: Sequence[str | None] = namespaces or (None,)
        self._interval = interval
        self._clock = clock
        self._queue: Queue[Resource] = Queue(clock)
        self._swept = dict.fromkeys(WATCHED, clock())

    def age(self) -> float:
        """Seconds since the kind that has waited longest was compared with the truth."""
        return self._clock() - min(self._swept.values())

    async def load(self) -> None:
        """Everything there is, before the first decision: a missing pod is not a deleted one."""
        for resource in WATCHED:
            async for item in self._listed(resource, metadata_only=False):
                self._feed.seen(item)
            self._sweep_later(resource)

    def soon(self, resource: Resource) -> None:
        """A watch of this kind begins anew."""
        self._queue.add(resource, SOON_SECONDS)

    async def run(self) -> None:
        """Sweep for ever; a failure only postpones."""
        await self._queue.run(1, self._attempt)

    async def _attempt(self, resource: Resource) -> None:
        try:
            await self._sweep(resource)
        except TorchyardError as error:
            _log.warning("could not list %s: %s", resource.plural, error)
            self._queue.add(resource, min(self._interval, RETRY_SECONDS))

    async def _sweep(self, resource: Resource) -> None:
        before = dict(self._store.of_kind(resource.kind))
        present: dict[Key, Manifest] = {}
        async for item in self._listed(resource, metadata_only=True):
            present[key_of(item)] = item
        for key, known in before.items():
            if key not in present and self._unchanged(key, known):
                self._correct(resource, "ghost")
                self._feed.gone(key)
        if news := [item for item in present.values() if self._store.is_news(item)]:
            await asyncio.sleep(GRACE_SECONDS)
            await self._fetch(resource, [item for item in news if self._store.is_news(item)])
        self._sweep_later(resource)

    async def _fetch(self, resource: Resource, items: Sequence[Manifest]) -> None:
        for item in items:
            self._correct(resource, "missed")
            if (found := await self._client.get(key_of(item))) is not None:
                self._feed.seen(found)

    async def _listed(self, resource: Resource, *, metadata_only: bool) -> AsyncIterator[Manifest]:
        chosen = selector(resource)
        for namespace in self._namespaces:
            async for item in self._client.list(
                resource, namespace, chosen, metadata_only=metadata_only
            ):
                yield item

    def _unchanged(self, key: Key, known: Object) -> bool:
        """Whether nothing was learnt of the object since the list was asked for."""
        return self._store.get(key) is known

    def _sweep_later(self, resource: Resource) -> None:
        self._swept[resource] = self._clock()
        self._queue.add(resource, self._interval)

    def _correct(self, resource: Resource, what: str) -> None:
        self._metrics.corrections.labels(resource.kind, what).inc()
