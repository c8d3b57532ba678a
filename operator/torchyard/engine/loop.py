"""The loop: a key from the queue, a decision, its writes, one status, and when to look again."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pydantic import ValidationError

from torchyard.api.base import Condition, StatusModel
from torchyard.core.conditions import Fact, update
from torchyard.core.difference import merge_patch
from torchyard.core.plan import Decision
from torchyard.core.world import Object, Problem, Release
from torchyard.engine.apply import Applier, Refusal
from torchyard.engine.client import Client
from torchyard.engine.controllers import Controller, Moment, first_fault
from torchyard.engine.events import Events
from torchyard.engine.feed import Feed
from torchyard.engine.logs import about
from torchyard.engine.metrics import Metrics
from torchyard.engine.poller import Poller
from torchyard.engine.queue import Queue, backoff
from torchyard.engine.resources import Key
from torchyard.engine.store import Store
from torchyard.errors import Outdated, Unavailable

REST_SECONDS: Final = 0.25
"""After a write, events gather for a moment: a gang of pods starts with a burst of them."""

PATIENCE: Final = 10
"""Reconciles in a row that all had something to do, until somebody seems to undo it."""

_log = logging.getLogger(__name__)


@dataclass
class _Track:
    """What is remembered of a key between reconciles. Nothing of it is needed to go on."""

    generation: int | None = None
    failures: int = 0
    busy: int = 0
    rests_until: float = 0.0


class Loop:
    """Reconciles keys: several at a time, each of them once at a time."""

    def __init__(
        self,
        *,
        client: Client,
        store: Store,
        feed: Feed,
        queue: Queue[Key],
        poller: Poller,
        events: Events,
        metrics: Metrics,
        release: Release,
        controllers: Mapping[str, Controller],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._store = store
        self._feed = feed
        self._applier = Applier(client, store, feed)
        self._queue = queue
        self._poller = poller
        self._events = events
        self._metrics = metrics
        self._release = release
        self._controllers = controllers
        self._clock = clock
        self._tracks: dict[Key, _Track] = {}

    def wake(self, key: Key) -> None:
        """Something that concerns this key has changed."""
        track, observed = self._tracks.get(key), self._store.get(key)
        if track is None:
            self._queue.add(key)
        elif observed is not None and _generation(observed) != track.generation:
            # A newer spec waits for nothing that went wrong with the older one.
            self._tracks[key] = _Track()
            self._queue.add(key)
        else:
            self._queue.add(key, track.rests_until - self._clock())

    async def run(self, width: int) -> None:
        """Reconciles due keys, so many at a time, until the queue is closed."""
        await self._queue.run(width, self._handle)

    async def _handle(self, key: Key) -> None:
        if (delay := await self._attempt(key)) is not None:
            self._queue.add(key, delay)

    async def _attempt(self, key: Key) -> float | None:
        """Reconciles a key; whatever goes wrong delays this key and no other."""
        start, outcome, at_least = self._clock(), "done", 0.0
        try:
            delay = await self._reconcile(key)
        except Outdated as error:
            outcome = "outdated"
            _log.debug("decides again: %s", error, extra=about(key))
        except Refusal as error:
            outcome = "refused"
            _log.warning("refused: %s", error, extra=about(key, reason=error.problem.reason))
        except Unavailable as error:
            outcome, at_least = "unavailable", error.retry_after
            _log.warning("tries again: %s", error, extra=about(key))
        except Exception:  # noqa: BLE001 - a bug met by one key must not stop the others
            outcome = "error"
            _log.exception("reconcile failed", extra=about(key))
        self._metrics.reconciles.labels(key.kind, outcome).inc()
        self._metrics.reconcile_seconds.labels(key.kind).observe(self._clock() - start)
        if outcome == "done":
            return delay
        return self._failed(key, at_least)

    async def _reconcile(self, key: Key) -> float | None:
        """One look at a resource: decide, act, say so. Returns when to look again."""
        observed = self._store.get(key)
        if observed is None:
            self._forget(key)
            return None
        self._track(key).generation = _generation(observed)
        try:
            decision = self._decide(key, observed, None)
        except ValidationError as error:
            await self._reject(key, observed, error)
            return None
        try:
            changed = await self._applier.carry_out(key, decision.actions)
        except Refusal as refusal:
            # Only the status of this decision is of use: it tells what is in the way.
            decision = self._decide(key, observed, refusal.problem)
            await self._tell(key, observed, decision.status)
            raise
        await self._tell(key, observed, decision.status)
        self._poller.aim(key, decision.poll)
        return self._next_look(key, decision, changed)

    def _decide(self, key: Key, observed: Object, problem: Problem | None) -> Decision:
        moment = Moment(
            store=self._store,
            now=datetime.now(UTC),
            release=self._release,
            progress=self._poller.newest(key),
            problem=problem,
        )
        return self._controllers[key.kind](observed, moment)

    async def _tell(self, key: Key, observed: Object, status: StatusModel | None) -> None:
        """Writes the status if it says anything new, and Events of what changed in it."""
        stored = observed.get("status") or {}
        if status is None or status.wire() in (stored, type(status)(**stored).wire()):
            return
        await self._write_status(key, observed, status.wire())

    async def _write_status(self, key: Key, observed: Object, status: Mapping[str, Any]) -> None:
        patch = merge_patch(observed.get("status") or {}, status)
        try:
            written = await self._client.patch_status(observed, patch)
        except Outdated:
            # The watch would tell in a moment; this is sooner.
            if (found := await self._client.get(key)) is None:
                self._feed.gone(key)
            else:
                self._feed.seen(found)
            raise
        self._store.put(written)
        self._events.tell(written, observed)
        self._track(key).rests_until = self._clock() + REST_SECONDS

    async def _reject(self, key: Key, observed: Object, error: ValidationError) -> None:
        """The resource cannot be read. Only a person can change that: there is no retry."""
        fault = first_fault(error)
        self._metrics.reconciles.labels(key.kind, "invalid").inc()
        _log.warning("invalid: %s", fault, extra=about(key))
        if error.errors()[0]["loc"][0] != "status":
            status = rejection(observed, fault, datetime.now(UTC))
            if status != observed.get("status"):
                await self._write_status(key, observed, status)

    def _next_look(self, key: Key, decision: Decision, changed: bool) -> float | None:
        track = self._track(key)
        track.failures = 0
        if not changed and not decision.again:
            track.busy = 0
            return decision.wake
        track.busy += 1
        if track.busy <= PATIENCE:
            track.rests_until = self._clock() + REST_SECONDS
            return 0.0
        if track.busy == PATIENCE + 1:
            _log.warning("every decision is undone at once; slowing down", extra=about(key))
        delay = backoff(track.busy - PATIENCE)
        track.rests_until = self._clock() + delay
        return delay

    def _failed(self, key: Key, at_least: float) -> float:
        track = self._track(key)
        delay = backoff(track.failures)
        track.failures += 1
        # What happens meanwhile is looked at sooner, but at most once a second, and not before
        # the API server wants to hear of us again.
        track.rests_until = self._clock() + max(at_least, min(delay, 1.0))
        return max(at_least, delay)

    def _track(self, key: Key) -> _Track:
        return self._tracks.setdefault(key, _Track())

    def _forget(self, key: Key) -> None:
        self._tracks.pop(key, None)
        self._poller.forget(key)


def _generation(observed: Object) -> int:
    found: int = observed["metadata"].get("generation", 1)
    return found


def rejection(observed: Object, fault: str, now: datetime) -> dict[str, Any]:
    """The stored status, and conditions that name the field and say that it will not go on."""
    stored = observed.get("status") or {}
    generation = _generation(observed)
    conditions = update(
        [Condition(**item) for item in stored.get("conditions", ())],
        [
            Fact("Accepted", False, "SpecInvalid", fault),
            Fact("Stalled", True, "SpecInvalid", fault),
        ],
        now=now,
        generation=generation,
    )
    return {
        **stored,
        "conditions": [item.wire() for item in conditions],
        "observedGeneration": generation,
    }
