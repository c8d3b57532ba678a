"""Request bodies, read within bounds: each alone, and all together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torchyard_server.errors import Overloaded, RequestError

Receive = Callable[[], Awaitable[dict[str, Any]]]

DISCARD_SECONDS = 5.0


class Disconnected(Exception):
    """The caller left before it was answered."""


class Memory:
    """The bytes that all bodies together may take."""

    def __init__(self, limit: int) -> None:
        self.free = limit

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """A share that grows with one body and is given back at the end."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.free += lease.held


class Lease:
    """What one body holds of the memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.held = 0

    def grow(self, count: int) -> None:
        """Take `count` bytes more; raises Overloaded where there are not as many."""
        if count > self._memory.free:
            raise Overloaded("the bodies of other requests take all the room; try again")
        self._memory.free -= count
        self.held += count


class Body:
    """The body of one request, as it arrives."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._complete = False

    async def read(self, announced: int | None, limit: int, lease: Lease) -> bytes:
        """All of it; `announced` is the Content-Length, if there is one.

        Raises RequestError 413 beyond `limit` bytes, Overloaded, or Disconnected.
        """
        if announced is not None and announced > limit:
            raise _too_large(limit)
        chunks: list[bytes] = []
        size = 0
        while not self._complete:
            chunk = await self._next()
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            lease.grow(len(chunk))
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def discard(self, at_most: int) -> None:
        """Skip what is left of it, but not more than `at_most` bytes, nor for long.

        Raises Disconnected.
        """
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                while not self._complete and at_most > 0:
                    at_most -= len(await self._next())
        except TimeoutError:
            return

    async def disconnected(self) -> None:
        """Return when the caller leaves. For use after `read`."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        self._complete = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk


def _too_large(limit: int) -> RequestError:
    return RequestError(413, f"the body is larger than {limit} bytes; send smaller batches")
