"""The operator as a real process, killed and started again."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp

from tests.integration.kube import until

IMAGES = {"trainer": "registry.example/trainer:1", "server": "registry.example/server:1"}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def kubeconfig(path: Path, server: str, token: str) -> Path:
    """How the operator reaches the proxy: without TLS, as its service account."""
    named = {"name": "test"}
    path.write_text(
        json.dumps(
            {
                "current-context": "test",
                "clusters": [{**named, "cluster": {"server": server}}],
                "users": [{**named, "user": {"token": token}}],
                "contexts": [{**named, "context": {"cluster": "test", "user": "test"}}],
            }
        )
    )
    return path


class OperatorProcess:
    """`python -m torchyard operator`, with a log file that outlives it."""

    def __init__(self, folder: Path, server: str, token: str, **options: str) -> None:
        self.port = free_port()
        self.log = folder / f"operator-{self.port}.log"
        self._config = kubeconfig(folder / f"kubeconfig-{self.port}", server, token)
        self._options = {
            "trainer-image": IMAGES["trainer"],
            "server-image": IMAGES["server"],
            "namespace": "torchyard-system",
            "operator-labels": "app.kubernetes.io/name=torchyard",
            "listen": f"127.0.0.1:{self.port}",
            "log-level": "debug",
            **{key.replace("_", "-"): value for key, value in options.items()},
        }
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith("TORCHYARD_")}
        flags = [f"--{key}={value}" for key, value in self._options.items()]
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "torchyard", "operator", *flags),
                env={**environ, "KUBECONFIG": str(self._config)},
                stdout=log,
                stderr=log,
            )
        self.starts += 1

    def kill(self) -> None:
        """SIGKILL, with no time for anything."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self, seconds: float = 30.0) -> int:
        assert self._process is not None
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    def ended_already(self) -> bool:
        return self._process is None or self._process.returncode is not None

    async def stop(self) -> None:
        """SIGTERM; SIGKILL if that is ignored."""
        if self._process is None or self.ended_already():
            return
        self._process.terminate()
        try:
            await self.ended()
        except TimeoutError:
            self._process.kill()
            await self.ended()
            raise

    async def ask(self, path: str) -> tuple[int, str]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}") as response,
        ):
            return response.status, await response.text()

    async def metric(self, line: str) -> float:
        """The value of one sample, by its name and labels as they are written."""
        _, text = await self.ask("/metrics")
        found = [part for part in text.splitlines() if part.startswith(f"{line} ")]
        return float(found[0].rpartition(" ")[2]) if found else 0.0

    async def is_well(self) -> bool:
        """Whether it says that it is ready: as the one that acts, or as one that stands by."""
        try:
            return (await self.ask("/readyz"))[0] == 200
        except (aiohttp.ClientError, OSError):
            return False  # not listening yet, or being started again

    async def acting(self) -> None:
        """Waits until this replica holds the Lease and every watch is open."""

        async def look() -> bool:
            return await self.is_well() and await self.metric("torchyard_leader") == 1

        await until("the operator acts", look, hint=self.tail)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]

    def tail(self) -> str:
        return "\n".join(self.log.read_text().splitlines()[-40:]) if self.log.exists() else ""
