"""uvicorn's HTTP/1.1 protocol with the bounds that it lacks.

uvicorn leaves three things to the peer's good will: how long a request's headers take, how many
bytes they have, and how long an answer is read. Each would let a stranger hold memory for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

KEEP_ALIVE_SECONDS = 620
"""Longer than clients and proxies keep idle connections, so that it is they who close them.
A server that closes first races with the next request, and that request is lost."""

HEADER_SECONDS = 15.0
WRITE_SECONDS = 30.0
MAX_HEADER_BYTES = 64 * 1024
MAX_UNREAD_BYTES = 64 * 2**20
MAX_CONNECTIONS = 2048


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_headers = False
        self._progress = False
        self._unproductive = 0
        self._unread = 0

    @property
    def busy(self) -> bool:
        """Whether a request has begun here whose answer has not been written."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return self._in_headers or (cycle is not None and not cycle.response_complete)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; refuse when there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        self.timeout_keep_alive_task = self.loop.call_later(
            KEEP_ALIVE_SECONDS, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        super().connection_lost(exc)
        # uvicorn leaves its timer running after an error.
        self._unset_keepalive_if_required()
        self._stop_header_timer()
        self._stop_write_timer()

    def data_received(self, data: bytes) -> None:
        """Parse; give up on headers (or trailers) that have no end in bytes or in time."""
        if self.transport.is_closing():
            return
        self._progress = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._unproductive = 0 if self._progress else self._unproductive + len(data)
        if self._unproductive > MAX_HEADER_BYTES:
            self._refuse(b"431 Request Header Fields Too Large", "the headers are too large")
        elif self._in_headers and self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_SECONDS, self._headers_late)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers = self._progress = True
        self._unread = 0

    def on_headers_complete(self) -> None:
        """The headers are there."""
        self._in_headers = False
        self._progress = True
        self._stop_header_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body; of one that was answered before its end, only so much is skipped."""
        self._progress = True
        super().on_body(body)
        if self.cycle.response_complete:
            self._unread += len(body)
            if self._unread > MAX_UNREAD_BYTES:
                self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, in the form of all other errors."""
        self._refuse(b"400 Bad Request", msg)

    def pause_writing(self) -> None:
        """The peer reads more slowly than we answer: it has so much time."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The peer reads again."""
        super().resume_writing()
        self._stop_write_timer()

    def _headers_late(self) -> None:
        self._refuse(b"408 Request Timeout", "the headers took too long")

    def _refuse(self, status: bytes, message: str) -> None:
        """Answer without a request, and close, unless another answer is being written."""
        if not self.transport.is_closing():
            cycle = cast("RequestResponseCycle | None", self.cycle)
            if cycle is None or cycle.response_complete:
                body = orjson.dumps({"error": message})
                self.transport.write(
                    b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nconnection: close\r\n"
                    b"content-length: %d\r\n\r\n%b" % (status, len(body), body)
                )
            self.transport.close()

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
