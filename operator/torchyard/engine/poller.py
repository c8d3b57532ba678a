"""Asks the workers of running jobs for their progress, beside the reconciles and not in them.

A worker that does not answer costs its own job some news and nobody anything else.
"""

import json
import logging
import time
from collections.abc import Callable
from typing import Final

import aiohttp
from pydantic import ValidationError

from torchyard.api.contract import WorkerProgress
from torchyard.engine.queue import Queue
from torchyard.engine.resources import Key

INTERVAL_SECONDS: Final = 10.0
_TIMEOUT_SECONDS: Final = 2.0
_LIMIT: Final = 64 * 1024

_log = logging.getLogger(__name__)


class Poller:
    """The newest progress of each job that is aimed at, at most every ten seconds."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        wake: Callable[[Key], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._session = session
        self._wake = wake
        self._queue: Queue[Key] = Queue(clock)
        self._targets: dict[Key, str] = {}
        self._newest: dict[Key, WorkerProgress] = {}

    def aim(self, key: Key, target: str | None) -> None:
        """Ask `host:port` now and then every ten seconds; None: ask no more."""
        if target is None:
            self._targets.pop(key, None)
        elif self._targets.get(key) != target:
            self._targets[key] = target
            self._queue.add(key)

    def newest(self, key: Key) -> WorkerProgress | None:
        """What the job's worker said last."""
        return self._newest.get(key)

    def forget(self, key: Key) -> None:
        """The job is gone."""
        self._queue.discard(key)
        self._targets.pop(key, None)
        self._newest.pop(key, None)

    async def run(self, width: int) -> None:
        """Ask for ever, so many workers at a time."""
        await self._queue.run(width, self._poll)

    async def _poll(self, key: Key) -> None:
        target = self._targets.get(key)
        if target is None:
            return
        answer = await self._ask(target)
        if key not in self._targets:
            return
        if answer is not None and answer != self._newest.get(key):
            self._newest[key] = answer
            self._wake(key)
        self._queue.add(key, INTERVAL_SECONDS)

    async def _ask(self, target: str) -> WorkerProgress | None:
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        try:
            # A worker is the user's code: it must not send the operator anywhere else.
            async with self._session.get(
                f"http://{target}/progress", timeout=timeout, allow_redirects=False
            ) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(8192):
                    body += chunk
                    if len(body) > _LIMIT:
                        raise ValueError(f"more than {_LIMIT} bytes")
                if response.status != 200:
                    raise ValueError(f"answered {response.status}")
            return WorkerProgress.model_validate(json.loads(body))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, ValidationError) as error:
            _log.debug("no progress from %s: %r", target, error)
            return None
