"""What a stranger can make the server hold is bounded in bytes and in time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.unit.server.client import Client, ask, eventually, get
from tests.unit.server.conftest import INFER, ROW, Server
from torchyard_server import connection

Start = Callable[..., Any]

HEAD = b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: test\r\n"
BODY = json.dumps(ROW).encode()


async def test_a_body_beyond_the_limit_by_its_announcement(start: Start) -> None:
    server: Server = await start(limit_body_bytes=1024)
    async with Client(server.port) as client:
        client.send(HEAD + b"content-length: 2000\r\n\r\n")
        response = await client.receive()  # before a byte of it was sent
        assert response.status == 413
        assert response.json()["error"].startswith("the body is larger than 1024 bytes")
        client.send(b"x" * 2000)
        assert (await client.ask(INFER, ROW)).status == 200  # the connection is still good


async def test_a_body_beyond_the_limit_without_announcement(start: Start) -> None:
    server: Server = await start(limit_body_bytes=1024)
    async with Client(server.port) as client:
        client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for _ in range(3):
            client.send(b"200\r\n" + b"x" * 512 + b"\r\n")
        assert (await client.receive()).status == 413
        client.send(b"0\r\n\r\n")
        assert (await client.ask(INFER, ROW)).status == 200


async def test_a_body_in_chunks(server: Server) -> None:
    async with Client(server.port) as client:
        client.send(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        for byte in BODY:
            client.send(b"1\r\n%c\r\n" % byte)
        client.send(b"0\r\n\r\n")
        assert (await client.receive()).status == 200


async def test_a_caller_that_asks_first_is_told_to_go_on(server: Server) -> None:
    async with Client(server.port) as client:
        client.send(HEAD + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(BODY))
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(BODY)
        assert (await client.receive()).status == 200


async def test_a_caller_that_asks_first_is_told_that_it_is_too_much(start: Start) -> None:
    server: Server = await start(limit_body_bytes=1024)
    async with Client(server.port) as client:
        client.send(HEAD + b"expect: 100-continue\r\ncontent-length: 2000\r\n\r\n")
        assert (await client.receive()).status == 413


async def test_an_endless_answered_body_ends_the_connection(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "MAX_UNREAD_BYTES", 100_000)
    server: Server = await start(limit_body_bytes=1024)
    async with Client(server.port) as client:
        client.send(HEAD + b"content-length: 100000000\r\n\r\n")
        assert (await client.receive()).status == 413
        with pytest.raises(ConnectionError):
            await client.send_for_ever(b"x" * 65_536)


async def test_bodies_together_are_bounded(start: Start) -> None:
    server: Server = await start(limit_body_bytes=65_536)  # so all together 256 KiB
    slow = [Client(server.port) for _ in range(4)]
    for client in slow:
        await client.__aenter__()
        client.send(HEAD + b"content-length: 65536\r\n\r\n" + b" " * 65_535)
    await eventually(lambda: server.app._memory.free == 4)
    response = await ask(server.port, INFER, ROW)
    assert response.status == 503
    assert "the bodies of other requests" in response.json()["error"]
    for client in slow:
        await client.__aexit__(None, None, None)
    await eventually(lambda: server.app._memory.free == 4 * 65_536)
    assert (await ask(server.port, INFER, ROW)).status == 200


async def test_a_body_that_takes_too_long(start: Start) -> None:
    server: Server = await start(limit_timeout_seconds=0.2)
    async with Client(server.port) as client:
        client.send(HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY[:-1])
        response = await client.receive()
        assert response.status == 408
        assert response.closing
        assert await client.closed() == b""
    assert server.app._memory.free == 4 * 16 * 2**20


async def test_a_caller_that_leaves_within_its_body(server: Server) -> None:
    async with Client(server.port) as client:
        client.send(HEAD + b"content-length: 100\r\n\r\n{")
    await eventually(lambda: server.metric('torchyard_server_requests_total{code="499"}') == 1)
    assert (await ask(server.port, INFER, ROW)).status == 200


async def test_headers_that_take_too_long(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.2)
    async with Client(server.port) as client:
        client.send(b"GET /v2 HTTP/1.1\r\n")

        async def trickle() -> None:
            while True:
                client.send(b"x: y\r\n")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        response = await client.receive()
        trickling.cancel()
        assert response.status == 408
        assert response.json() == {"error": "the headers took too long"}
        assert response.closing


async def test_headers_that_come_in_time_are_not_cut_off_later(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.2)
    async with Client(server.port) as client:
        for _ in range(2):
            client.send(b"GET /v2 HTTP/1.1\r\n")
            await asyncio.sleep(0.05)
            client.send(b"\r\n")
            assert (await client.receive()).status == 200
            await asyncio.sleep(0.3)


ENDLESS = {
    "one header": (b"GET /v2 HTTP/1.1\r\nx: ", b"y" * 1000),
    "many headers": (b"GET /v2 HTTP/1.1\r\n", b"x: y\r\n" * 200),
    "the path": (b"GET /", b"y" * 1000),
    "trailers": (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 200),
    "one trailer": (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\nx: ", b"y" * 1000),
    "a chunk extension": (HEAD + b"transfer-encoding: chunked\r\n\r\n1;", b"y" * 1000),
}


@pytest.mark.parametrize(("head", "part"), ENDLESS.values(), ids=ENDLESS)
async def test_what_has_no_end_ends_the_connection(
    server: Server, head: bytes, part: bytes
) -> None:
    async with Client(server.port) as client:
        client.send(head)
        with pytest.raises(ConnectionError):
            await client.send_for_ever(part)
    assert (await get(server.port, "/v2/health/live")).status == 200


async def test_too_large_headers_are_told_so(server: Server) -> None:
    async with Client(server.port) as client:
        client.send(b"GET /v2 HTTP/1.1\r\nx: ")
        await eventually(lambda: any(each.busy for each in server.connections))
        client.send(b"y" * (connection.MAX_HEADER_BYTES + 1))
        response = await client.receive()
        assert response.status == 431
        assert response.json() == {"error": "the headers are too large"}


async def test_what_is_no_http_gets_an_answer_in_the_usual_form(server: Server) -> None:
    async with Client(server.port) as client:
        client.send(b"SSH-2.0-OpenSSH\r\n\r\n")
        response = await client.receive()
        assert response.status == 400
        assert "error" in response.json()
        assert await client.closed() == b""


async def test_too_many_connections(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_CONNECTIONS", 2)
    async with Client(server.port) as one, Client(server.port) as two:
        assert (await one.get("/v2")).status == 200
        assert (await two.get("/v2")).status == 200
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await get(server.port, "/v2")
        assert (await one.get("/v2")).status == 200


async def test_a_caller_that_does_not_read_is_cut_off_unless_it_reads_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "WRITE_SECONDS", 0.1)
    async with Client(server.port) as client:
        assert (await client.get("/v2")).status == 200
        (open_connection,) = server.connections
        open_connection.pause_writing()  # as the transport does when its buffer is full
        open_connection.resume_writing()
        await asyncio.sleep(0.2)
        assert (await client.get("/v2")).status == 200
        open_connection.pause_writing()
        with suppress(ConnectionError):
            await client.closed()
    await eventually(lambda: not server.connections)


@pytest.mark.parametrize("depth", [1000, 100_000])
async def test_deep_json(server: Server, depth: int) -> None:
    nested = b'{"inputs":' + b"[" * depth + b"]" * depth + b"}"
    assert (await ask(server.port, INFER, nested)).status == 400


async def test_an_upgrade_is_not_taken(server: Server) -> None:
    async with Client(server.port) as client:
        client.send(
            b"GET /v2 HTTP/1.1\r\nhost: t\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )
        assert (await client.receive()).status == 200
