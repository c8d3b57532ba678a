"""The processes of pods, as the machine that is the node sees them."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUPERVISOR = "-m torchyard_trainer"
RANK = "-m torchyard_trainer.rank"
OPERATOR = "torchyard operator"


@dataclass(frozen=True)
class Process:
    """A process inside a pod."""

    pid: int
    command: str

    def kill(self) -> None:
        """`kill -9`."""
        os.kill(self.pid, signal.SIGKILL)


def processes(pod: dict[str, Any]) -> list[Process]:
    """All processes of a pod, told by the cgroup that carries its uid."""
    cgroup, found = f"pod{pod['metadata']['uid']}", []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if cgroup not in (folder / "cgroup").read_text():
                continue
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        found.append(Process(int(folder.name), command))
    return sorted(found, key=lambda process: process.pid)


def process(pod: dict[str, Any], ending: str) -> Process:
    """The one process of a pod whose command line ends in `ending`."""
    there = processes(pod)
    found = [process for process in there if process.command.endswith(ending)]
    assert len(found) == 1, f"{len(found)} of {ending!r} in {[p.command for p in there]}"
    return found[0]
