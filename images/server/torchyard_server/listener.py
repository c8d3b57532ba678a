"""The listening socket, its connections, and how both end without losing a request."""

from __future__ import annotations

import asyncio
import socket
import time
from email.utils import formatdate
from typing import Any, cast

from uvicorn.config import Config as UvicornConfig
from uvicorn.server import ServerState

from torchyard_server.connection import KEEP_ALIVE_SECONDS, WRITE_SECONDS, Connection
from torchyard_server.errors import ConfigInvalid
from torchyard_server.newcomers import turn_away

BACKLOG = 2048
HANDSHAKE_SECONDS = 0.2
LINGER_SECONDS = 1.0
POLL_SECONDS = 0.01


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; an empty host means all addresses. Raises ConfigInvalid."""
    try:
        if not host and socket.has_dualstack_ipv6():
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigInvalid(
            f"port {port} of {host or 'all addresses'} cannot be opened: {error}"
        ) from None


class Listener:
    """Serves an ASGI application on a bound socket until `drain` has returned."""

    def __init__(self, app: Any, bound: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._socket = bound
        self._state = ServerState()
        self._config = UvicornConfig(
            app,
            loop="none",
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._config.load()
        self._tick()

    async def start(self) -> None:
        """Accept connections from now on."""
        self._server = await self._loop.create_server(self._connect, sock=self._socket)

    async def drain(self, accept_seconds: float) -> None:
        """Go on accepting for `accept_seconds`, then end once every request has its answer.

        From its begin on, the application asks callers to close; who sends requests all the time
        has done so when the listener closes. Connections opened since then, whose request is still
        on its way, have some time to bring it; the rest has been idle for long and is closed.
        """
        await asyncio.sleep(accept_seconds)
        turn_away(self._socket)
        await asyncio.sleep(HANDSHAKE_SECONDS)
        await self._stop_accepting()
        patience = self._loop.time() + LINGER_SECONDS
        while connections := cast("set[Connection]", self._state.connections):
            now = self._loop.time()
            for connection in [each for each in connections if not each.busy]:
                if now > patience + WRITE_SECONDS:
                    connection.transport.abort()  # its peer does not read the last answer
                elif now > patience:
                    connection.transport.close()
            await asyncio.sleep(POLL_SECONDS)
        self._clock.cancel()

    async def _stop_accepting(self) -> None:
        """Close the socket, but serve whoever the kernel has let in already.

        Closing resets the connections in the kernel's queue, so they are taken out at the last
        moment. There is no await between the two.
        """
        accepted = []
        try:
            while True:
                accepted.append(self._socket.accept()[0])
        except OSError:
            self._server.close()
        for connection in accepted:
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(self._connect, connection)

    def _connect(self) -> Connection:
        return Connection(self._config, self._state, {}, self._loop)

    def _tick(self) -> None:
        """Keep the Date header of all answers right."""
        date = formatdate(time.time(), usegmt=True).encode()
        self._state.default_headers = [(b"date", date)]
        self._clock = self._loop.call_later(1.0, self._tick)
