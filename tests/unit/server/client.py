"""A plain HTTP/1.1 client that shows exactly what the server does with a connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def closing(self) -> bool:
        return self.headers.get("connection") == "close"


class Client:
    """One connection, opened on entry."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.writer.close()

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    def post(self, path: str, body: bytes, *headers: str) -> None:
        """Send a request without waiting for its answer."""
        lines = [f"POST {path} HTTP/1.1", "host: test", f"content-length: {len(body)}", *headers]
        self.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def receive(self) -> Response:
        """The next answer; raises EOFError where the connection ends instead."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in head[1:] if line)
        headers = {name.lower(): value for name, value in pairs}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Response(int(head[0].split(" ")[1]), headers, body)

    async def ask(self, path: str, document: object, *headers: str) -> Response:
        """POST JSON and wait for the answer."""
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.post(path, body, *headers)
        return await self.receive()

    async def get(self, path: str, method: str = "GET") -> Response:
        self.send(f"{method} {path} HTTP/1.1\r\nhost: test\r\n\r\n".encode())
        if method == "HEAD":
            head = await self.reader.readuntil(b"\r\n\r\n")
            return Response(int(head.split(b" ")[1]), {}, b"")
        return await self.receive()

    async def send_for_ever(self, data: bytes) -> None:
        """Send without end; raises ConnectionError when the server has had enough."""
        async with asyncio.timeout(60):
            while True:
                self.send(data)
                await self.writer.drain()
                await asyncio.sleep(0)  # drain alone does not let the event loop run

    async def closed(self) -> bytes:
        """What comes until the server closes."""
        return await self.reader.read()


async def eventually(condition: Callable[[], bool]) -> None:
    """Return when a condition that other threads or processes bring about is true."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  (nobody there to set an event)
            await asyncio.sleep(0.001)


async def get(port: int, path: str, method: str = "GET") -> Response:
    async with Client(port) as client:
        return await client.get(path, method)


async def ask(port: int, path: str, document: object, *headers: str) -> Response:
    async with Client(port) as client:
        return await client.ask(path, document, *headers)
