"""A server inside the test's own process and event loop, with a real model behind a gate."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from tests.unit.server import artifacts
from tests.unit.server.client import eventually
from torchyard_server import listener, loading
from torchyard_server.app import App, Served
from torchyard_server.batching import Batcher, Tensors
from torchyard_server.config import Config
from torchyard_server.connection import Connection
from torchyard_server.lifecycle import Lifecycle, Phase
from torchyard_server.listener import Listener, bind
from torchyard_server.metrics import Metrics
from torchyard_server.model import Model

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # as the real program does; before the first import

INFER = "/v2/models/digits/infer"


def features(*rows: Sequence[float]) -> dict[str, object]:
    """A request for the numeric model."""
    entry = {"name": "features", "datatype": "FP32", "shape": [len(rows), 4], "data": list(rows)}
    return {"inputs": [entry]}


ROW = features([1, 2, 3, 4])


class Gate:
    """A model that computes only while the gate is open, and tells when it was entered."""

    def __init__(self, infer: Callable[[Tensors], Tensors]) -> None:
        self._infer = infer
        self._open = threading.Event()
        self._entered = threading.Event()
        self._open.set()
        self.batches: list[int] = []

    def __call__(self, inputs: Tensors) -> Tensors:
        self.batches.append(len(inputs["features"]))
        self._entered.set()
        assert self._open.wait(60)
        return self._infer(inputs)

    def close(self) -> None:
        self._entered.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 60)


@dataclass
class Server:
    port: int
    app: App
    batcher: Batcher
    listener: Listener
    lifecycle: Lifecycle
    gate: Gate
    metrics: Metrics
    model: Model = field(repr=False)

    @property
    def connections(self) -> set[Connection]:
        """The connections that are open."""
        return cast("set[Connection]", self.listener._state.connections)

    def load(self) -> None:
        self.app.served = Served(self.model, self.batcher)
        self.lifecycle.advance(Phase.READY)

    async def waiting(self, count: int) -> None:
        """Return when exactly `count` requests wait."""
        await eventually(lambda: self.batcher.waiting == count)

    def metric(self, line: str) -> float:
        """The value of a series, 0 where it does not exist yet."""
        for each in self.metrics.exposition().decode().splitlines():
            name, _, value = each.rpartition(" ")
            if name == line:
                return float(value)
        return 0.0


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The event loop of the real server, for the tests of this folder."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Any]]:
    """Starts the server; keyword arguments change the configuration."""
    monkeypatch.setattr(listener, "HANDSHAKE_SECONDS", 0)  # each test ends with a drain
    servers: list[Server] = []

    async def start(*, loaded: bool = True, **changes: Any) -> Server:
        manifest = artifacts.numeric_artifact(tmp_path)
        config = dataclasses.replace(
            Config(tmp_path, "digits", "3", host="127.0.0.1", port=0), **changes
        )
        model = loading.load(tmp_path, manifest.digest, 1, 4, lambda phase: None)[1]
        gate, lifecycle, metrics = Gate(model.infer), Lifecycle(), Metrics()
        batcher = Batcher(
            gate,
            batched=True,
            max_rows=config.batch_max_size,
            max_waiting=config.limit_queue,
            observe=metrics.batch_size.observe,
        )
        batcher.start()
        app = App(config, lifecycle, metrics)
        bound = bind(config.host, config.port)
        listening = Listener(app, bound)
        await listening.start()
        port = bound.getsockname()[1]
        server = Server(port, app, batcher, listening, lifecycle, gate, metrics, model)
        servers.append(server)
        if loaded:
            server.load()
        return server

    yield start
    for server in servers:
        server.gate.open()
        server.lifecycle.advance(Phase.DRAINING)
        async with asyncio.timeout(60):
            await server.listener.drain(0)
        server.batcher.stop()


@pytest.fixture
async def server(start: Callable[..., Any]) -> Server:
    started: Server = await start()
    return started
