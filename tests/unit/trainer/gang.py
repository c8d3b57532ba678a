"""Real workers as local processes: supervisors with their ranks, meeting on the loopback."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torchyard.api.contract import Outcome, Termination, WorkerProgress
from torchyard_trainer.checkpoint.shelf import Name, Shelf

DEADLINE = 150.0  # two busy cores take their time to import torch


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(what: str, check: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """The first true answer of `check`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := check():
            return answer
        time.sleep(0.05)
    raise TimeoutError(f"not within {seconds:g} s: {what}")


@dataclass
class Worker:
    """One supervisor."""

    index: int
    process: "subprocess.Popen[bytes]"
    port: int
    termination_log: Path
    output: Path

    def wait(self) -> int:
        return self.process.wait(DEADLINE)

    def get(self, path: str) -> tuple[int, bytes]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return answer.status, answer.read()

    def progress(self) -> WorkerProgress | None:
        with contextlib.suppress(OSError):
            _, body = self.get("/progress")
            return WorkerProgress.model_validate_json(body) if body else None
        return None

    def step(self) -> int:
        progress = self.progress()
        return progress.progress.step if progress else -1

    @property
    def termination(self) -> Termination:
        text = self.termination_log.read_bytes()
        assert len(text) <= 4096
        return Termination.model_validate_json(text)

    @property
    def logs(self) -> str:
        return self.output.read_text()

    def ranks(self) -> list[int]:
        """Process ids of the rank processes, in the order in which they were started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@dataclass
class Job:
    """A training job: what all its attempts have in common, and where its files are."""

    root: Path
    task: Mapping[str, Any]
    data: Path
    workers: int = 1
    processes: int = 1
    spec: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def shelf(self) -> Shelf:
        return Shelf(self.root / "checkpoints", 0)

    @property
    def checkpoints(self) -> list[Name]:
        return self.shelf.whole()

    def artifact(self, attempt: int = 0) -> Path:
        return self.root / "output" / str(attempt)

    def config(self, attempt: int, port: int) -> dict[str, Any]:
        return {
            "contractVersion": 1,
            "job": {"namespace": "default", "name": "job", "uid": "uid"},
            "attempt": attempt,
            "spec": {
                "task": self.task,
                "data": {"uri": "pvc://data/rows.csv"},
                "workers": {"count": self.workers, "processesPerWorker": self.processes},
                "output": {"model": "model", "uri": "pvc://models"},
                **self.spec,
            },
            "rendezvous": f"127.0.0.1:{port}",
            "dataPath": str(self.data),
            "outputPath": str(self.artifact(attempt)),
            "outputUri": f"pvc://models/model/uid-{attempt}",
            "checkpointPath": str(self.root / "checkpoints"),
            "checkpointUri": "pvc://models/.checkpoints/uid",
        }

    @contextlib.contextmanager
    def attempt(self, number: int = 0) -> Iterator[list[Worker]]:
        """Start all workers; whatever is left of them at the end is killed."""
        config = json.dumps(self.config(number, free_port()))
        workers = [self._start(config, number, index) for index in range(self.workers)]
        try:
            yield workers
        finally:
            for worker in workers:
                worker.process.kill()
                worker.process.wait()

    def run(self, number: int = 0) -> list[Worker]:
        """An attempt that is left alone until it ends."""
        with self.attempt(number) as workers:
            for worker in workers:
                worker.wait()
            return workers

    def succeed(self, number: int = 0) -> Termination:
        workers = self.run(number)
        for worker in workers:
            assert worker.process.returncode == 0, worker.logs
            assert worker.termination.outcome is Outcome.SUCCEEDED
        return workers[0].termination

    def _start(self, config: str, attempt: int, index: int) -> Worker:
        port = free_port()
        name = f"worker-{attempt}-{index}"
        self.root.mkdir(parents=True, exist_ok=True)
        output = self.root / f"{name}.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "torchyard_trainer"],
                env={
                    **os.environ,
                    "TORCHYARD_CONFIG": config,
                    "TORCHYARD_WORKER": str(index),
                    "TORCHYARD_STATUS_ADDRESS": f"127.0.0.1:{port}",
                    "TORCHYARD_TERMINATION_LOG": str(self.root / f"{name}.json"),
                    "GLOO_SOCKET_IFNAME": "lo",
                    **self.environment,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return Worker(index, process, port, self.root / f"{name}.json", output)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
