"""A reverse proxy between the operator and the API server that does harm on request.

It numbers the operator's writes (Events and Leases apart), and can kill the operator before or
after the n-th of them, lose an answer, answer instead of the API server, or let watches stall.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

from torchyard.engine.connection import Connection

_HOP = {"connection", "content-length", "host", "keep-alive", "transfer-encoding"}
_HOP |= {"content-encoding", "accept-encoding"}
_WRITES = {"POST", "PUT", "PATCH", "DELETE"}


@dataclass(frozen=True)
class Write:
    """One write of the operator."""

    method: str
    path: str

    def __str__(self) -> str:
        parts = self.path.split("/")
        inside = "/".join(parts[parts.index("namespaces") + 2 :])
        return f"{self.method} {inside}"


@dataclass
class Fault:
    """What happens to the n-th write from now on, counted from 1."""

    write: int
    kind: str
    """`before`: killed, not forwarded. `after`: forwarded, then killed. `lost`: no answer."""

    def __str__(self) -> str:
        return f"{self.kind} write {self.write}"


Answer = Callable[[str, str], tuple[int, str] | None]


@dataclass
class FaultProxy:
    """Plain HTTP on the near side, so that tests need no second certificate."""

    upstream: Connection
    kill: Callable[[], None]
    writes: list[Write] = field(default_factory=list)
    watches: int = 0
    fault: Fault | None = None
    answer: Answer | None = None
    port: int = 0

    def __post_init__(self) -> None:
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._streams: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self.upstream.tls or False, limit=0),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    def written(self, namespace: str) -> list[str]:
        """What the operator wrote in one namespace; it may still be busy in others."""
        return [str(write) for write in self.writes if f"/namespaces/{namespace}/" in write.path]

    def arm(self, fault: Fault | None) -> None:
        """Forget what was written, and do this to the n-th write from now on."""
        self.writes.clear()
        self.fault = fault

    def stall_watches(self) -> None:
        """Events are kept back; connections stay."""
        self._flowing.clear()

    def expire_watches(self) -> None:
        """What was kept back is lost: each watch ends in 410 Gone, as after a compaction."""
        for stream in self._streams:
            stream.cancel()
        self._flowing.set()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self.answer and (instead := self.answer(request.method, request.path)):
            return web.Response(status=instead[0], text=instead[1], content_type="application/json")
        fault = self._count(request)
        if fault == "before":
            self.kill()
            return self._hang_up(request)
        try:
            return await self._forward(request, body, fault)
        except aiohttp.ClientConnectionError:
            return self._hang_up(request)  # as the API server has, or was never there

    async def _forward(
        self, request: web.Request, body: bytes, fault: str | None
    ) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        async with self._session.request(
            request.method,
            self.upstream.server + request.path_qs,
            data=body or None,
            headers=headers,
        ) as response:
            if request.query.get("watch") == "true" and response.status == 200:
                return await self._stream(request, response)
            content = await response.read()
        if fault == "after":
            self.kill()
        if fault in ("after", "lost"):
            return self._hang_up(request)
        kept = {k: v for k, v in response.headers.items() if k.lower() not in _HOP}
        return web.Response(status=response.status, body=content, headers=kept)

    def _count(self, request: web.Request) -> str | None:
        place = request.path
        if request.method not in _WRITES or "/leases" in place or "/events" in place:
            return None
        self.writes.append(Write(request.method, place))
        fault = self.fault
        if fault is None or len(self.writes) != fault.write:
            return None
        self.fault = None
        return fault.kind

    def _hang_up(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)

    async def _stream(
        self, request: web.Request, upstream: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        self.watches += 1
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        relay = asyncio.create_task(self._relay(upstream, response))
        self._streams.add(relay)
        try:
            await asyncio.wait([relay])
            if relay.cancelled():
                gone = '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}'
                await response.write(gone.encode() + b"\n")
        except (ConnectionError, asyncio.CancelledError):
            relay.cancel()
            raise
        finally:
            self._streams.discard(relay)
        return response

    async def _relay(self, upstream: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
        try:
            async for chunk in upstream.content.iter_any():
                await self._flowing.wait()
                await response.write(chunk)
        except (aiohttp.ClientError, ConnectionError):
            return
