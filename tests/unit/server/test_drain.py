"""SIGTERM loses nothing: not what is computed, not what is on its way, not what still arrives."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.unit.server import artifacts
from tests.unit.server.client import Client, Response, ask, eventually, get
from tests.unit.server.conftest import INFER, ROW, Server
from tests.unit.server.process import ServerProcess, eventually_status
from torchyard_server import listener
from torchyard_server.lifecycle import Phase

Start = Callable[..., Any]


@dataclass
class Load:
    """Callers that keep their connection, and change it when they are asked to, or always."""

    port: int
    keep: bool
    answered: int = 0
    closing: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)

    async def caller(self, number: int) -> None:
        """Ask until no connection is accepted any more, as when a Service has dropped the pod."""
        think = random.Random(number)
        while not self.failures:
            try:
                client = await Client(self.port).__aenter__()
            except ConnectionRefusedError:
                self.refused += 1
                return
            try:
                while True:
                    await asyncio.sleep(think.random() * 0.01)
                    if self._count(await client.ask(INFER, ROW)).closing or not self.keep:
                        break
            except (OSError, EOFError) as error:
                self.failures.append(repr(error))
            finally:
                client.writer.close()

    def _count(self, response: Response) -> Response:
        if response.status != 200:
            self.failures.append(f"{response.status} {response.body!r}")
        self.answered += 1
        self.closing += response.closing
        return response


async def refused(port: int) -> None:
    async with asyncio.timeout(60):
        while True:
            await get(port, "/v2")


@pytest.mark.parametrize("seconds", [0, 0.5])
@pytest.mark.parametrize("keep", [True, False], ids=["keep-alive", "new connections"])
async def test_no_request_fails_while_the_server_ends(
    tmp_path: Path, seconds: float, keep: bool
) -> None:
    artifacts.numeric_artifact(tmp_path)
    async with ServerProcess(tmp_path, "digits", DRAIN_SECONDS=seconds) as server:
        load = Load(await server.ready(), keep)
        callers = [asyncio.create_task(load.caller(number)) for number in range(32)]
        await eventually(lambda: load.answered > 500)
        assert load.closing == 0
        server.terminate()
        assert await server.exit_code() == 0
        async with asyncio.timeout(60):
            await asyncio.gather(*callers)
    assert load.failures == []
    assert load.refused == 32  # each of them met the end
    if keep:
        assert load.closing >= 32  # and none before it was told to go


async def test_while_it_drains_it_is_not_ready_but_answers(tmp_path: Path) -> None:
    artifacts.numeric_artifact(tmp_path)
    async with ServerProcess(tmp_path, "digits", DRAIN_SECONDS="2") as server:
        port = await server.ready()
        server.terminate()
        await eventually_status(port, "/v2/health/ready", 503)
        response = await get(port, "/v2/health/ready")
        assert response.json() == {"error": "the server is draining"}
        assert response.closing
        assert (await get(port, "/v2/health/live")).status == 200
        response = await ask(port, INFER, ROW)
        assert response.status == 200
        assert response.closing
        assert await server.exit_code() == 0


async def test_what_is_computed_is_waited_for(start: Start) -> None:
    server: Server = await start()
    server.gate.close()
    first = asyncio.create_task(ask(server.port, INFER, ROW))
    await server.gate.entered()
    waiting = [asyncio.create_task(ask(server.port, INFER, ROW)) for _ in range(3)]
    await server.waiting(3)
    server.lifecycle.advance(Phase.DRAINING)
    draining = asyncio.create_task(server.listener.drain(0))
    await asyncio.sleep(listener.LINGER_SECONDS + 0.2)  # longer than the idle are waited for
    assert not draining.done()
    server.gate.open()
    for task in [first, *waiting]:
        response = await task
        assert response.status == 200
        assert response.closing
    async with asyncio.timeout(60):
        await draining


async def test_a_connection_whose_request_is_on_its_way_is_waited_for(server: Server) -> None:
    async with Client(server.port) as client, Client(server.port) as slow:
        slow.send(b"GET /v2 HTTP/1.1\r\n")
        await eventually(lambda: len(server.connections) == 2)
        server.lifecycle.advance(Phase.DRAINING)
        draining = asyncio.create_task(server.listener.drain(0))
        with pytest.raises(ConnectionRefusedError):
            await refused(server.port)
        response = await client.ask(INFER, ROW)
        assert response.status == 200
        assert response.closing
        await asyncio.sleep(listener.LINGER_SECONDS + 0.2)
        slow.send(b"\r\n")  # headers that have begun are waited for longer than silence
        assert (await slow.receive()).closing
        async with asyncio.timeout(60):
            await draining


async def test_silent_connections_are_closed_in_the_end(server: Server) -> None:
    async with Client(server.port) as used, Client(server.port) as unused:
        assert (await used.ask(INFER, ROW)).status == 200
        server.lifecycle.advance(Phase.DRAINING)
        async with asyncio.timeout(60):
            await server.listener.drain(0)
        assert await used.closed() == b""
        assert await unused.closed() == b""


async def test_connections_that_only_the_kernel_has_accepted_are_served(server: Server) -> None:
    # Nothing here lets the event loop run, so it does not see these connections.
    body = b'{"inputs":[{"name":"features","datatype":"FP32","shape":[1,4],"data":[1,2,3,4]}]}'
    head = b"POST %b HTTP/1.1\r\nhost: t\r\ncontent-length: %d\r\n\r\n" % (
        INFER.encode(),
        len(body),
    )
    callers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(20)]
    for caller in callers:
        caller.sendall(head + body)
    server.lifecycle.advance(Phase.DRAINING)
    await server.listener._stop_accepting()
    async with asyncio.timeout(60):
        await server.listener.drain(0)
    for caller in callers:
        with caller:
            answer = caller.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close\r\n" in answer


async def test_an_answer_before_the_end_of_the_body_is_not_lost(server: Server) -> None:
    # Closing with unread data resets the connection and destroys the answer on its way.
    server.lifecycle.advance(Phase.DRAINING)
    async with Client(server.port) as client:
        client.send(b"POST /nowhere HTTP/1.1\r\nhost: t\r\ncontent-length: 1000000\r\n\r\n")
        for _ in range(10):
            client.send(b"x" * 100_000)
            await asyncio.sleep(0.01)
        response = await client.receive()
        assert response.status == 404
        assert response.closing
        assert await client.closed() == b""
