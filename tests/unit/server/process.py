"""The real server as a process of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.unit.server.client import get


class ServerProcess:
    """`python -m torchyard_server` on a free port of the loopback interface."""

    def __init__(self, directory: Path, model: str = "reviews", **variables: object) -> None:
        self.termination_log = directory.with_name(directory.name + ".termination")
        self._environ = {
            **os.environ,
            "TORCHYARD_MODEL_DIR": str(directory),
            "TORCHYARD_MODEL_NAME": model,
            "TORCHYARD_HOST": "127.0.0.1",
            "TORCHYARD_PORT": "0",
            "TORCHYARD_DRAIN_SECONDS": "0",
            "TORCHYARD_TERMINATION_LOG": str(self.termination_log),
            **{f"TORCHYARD_{name}": str(value) for name, value in variables.items()},
        }
        self._environ.pop("ORT_DISABLE_TELEMETRY", None)  # it must see to that itself
        self.logs: list[dict[str, Any]] = []

    async def __aenter__(self) -> ServerProcess:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "torchyard_server", env=self._environ, stdout=PIPE, stderr=PIPE
        )
        self._listening: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read(self._process))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reading

    @property
    def pid(self) -> int:
        return self._process.pid

    def open_files(self) -> list[str]:
        links = Path(f"/proc/{self.pid}/fd").iterdir()
        return [str(link.readlink()) for link in links]

    async def port(self) -> int:
        """The port, as soon as it is open."""
        async with asyncio.timeout(60):
            return await asyncio.shield(self._listening)

    async def ready(self) -> int:
        """The port, as soon as the server is ready."""
        port = await self.port()
        await eventually_status(port, "/v2/health/ready", 200)
        return port

    def terminate(self, number: int = signal.SIGTERM) -> None:
        self._process.send_signal(number)

    async def exit_code(self) -> int:
        async with asyncio.timeout(60):
            code = await self._process.wait()
            await self._reading
            return code

    def last_words(self) -> Any:
        return json.loads(self.termination_log.read_text())

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        async for line in process.stdout:
            self.logs.append(json.loads(line))
            if self.logs[-1]["message"] == "listening":
                self._listening.set_result(self.logs[-1]["port"])
        assert await process.stderr.read() == b""
        if not self._listening.done():
            self._listening.cancel()


async def eventually_status(port: int, path: str, status: int) -> None:
    """Ask again and again, as a probe does, until the answer is this one."""
    async with asyncio.timeout(60):
        while (await get(port, path)).status != status:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def metrics(port: int) -> dict[str, float]:
    response = await get(port, "/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.body.decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}
