"""Long-lived processes, known by process id *and* command line.

A process id alone may belong to a stranger after a crash or a reboot. So the exact command line is
kept next to it, and a process counts as ours only while /proc shows that same command line.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cluster import cache, files

_PROC = Path("/proc")
# Nothing of the caller's environment: a cluster must not depend on who started it.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
# The shell writes its process id and becomes the program: the record exists before the program
# runs, so that not even a starter killed at the wrong moment loses track of it.
_RECORD_AND_BECOME = 'echo $$ >"$0" && exec "$@"'


@dataclass(frozen=True)
class Program:
    """What to run: `inputs` are what it reads at its start besides its command line."""

    name: str
    command: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    enter: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Changes when a running process would have to be replaced."""
        return cache.key([*self.command, *self.inputs, *self.enter])


class Processes:
    """The processes of one cluster, recorded in `records`, logging to `logs`."""

    def __init__(self, records: Path, logs: Path) -> None:
        self._records = records
        self._logs = logs

    def names(self) -> list[str]:
        """Return the names of everything that was started and not stopped."""
        return sorted(path.stem for path in self._records.glob("*.json"))

    def log(self, name: str) -> Path:
        """Return where a process logs to."""
        return self._logs / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """Return the id of a running process of ours."""
        record = self._record(name)
        try:
            pid = int((self._records / f"{name}.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if record and command_line(pid) == record["command"] else None

    def current(self, program: Program) -> bool:
        """Tell whether exactly this program runs."""
        record = self._record(program.name)
        return (
            bool(record)
            and record["fingerprint"] == program.fingerprint
            and self.pid(program.name) is not None
        )

    def start(self, program: Program) -> None:
        """Start a program in a session of its own."""
        self._logs.mkdir(parents=True, exist_ok=True)
        pid_file = self._records / f"{program.name}.pid"
        pid_file.unlink(missing_ok=True)
        record = {"command": program.command, "fingerprint": program.fingerprint}
        files.write(self._records / f"{program.name}.json", json.dumps(record))
        shell = ("sh", "-c", _RECORD_AND_BECOME, str(pid_file))
        with self.log(program.name).open("ab") as output:
            # --fork: it is a child of init from the start, which also reaps it.
            subprocess.run(
                ["setsid", "--fork", *program.enter, *shell, *program.command],
                env=_ENVIRONMENT,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=True,
            )

    def stop(self, names: Iterable[str], seconds: float) -> None:
        """Ask all of them to end at the same time; kill those that take longer than `seconds`."""
        names = list(names)
        for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 30.0)):
            for name in names:
                if pid := self.pid(name):
                    send(pid, number)
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and any(self.pid(name) for name in names):
                time.sleep(0.05)
        for name in names:
            if self.pid(name) is None:
                for suffix in ("json", "pid"):
                    (self._records / f"{name}.{suffix}").unlink(missing_ok=True)

    def started(self, name: str) -> float | None:
        """Return when a running process was started, in seconds of Unix time."""
        pid = self.pid(name)
        try:
            ticks = start_ticks((_PROC / str(pid) / "stat").read_text()) if pid else None
        except OSError:
            return None
        if ticks is None:
            return None
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return booted + ticks / os.sysconf("SC_CLK_TCK")

    def _record(self, name: str) -> dict[str, object]:
        try:
            record: dict[str, object] = json.loads((self._records / f"{name}.json").read_text())
        except (OSError, ValueError):
            return {}
        return record


def command_line(pid: int) -> list[str]:
    """Return the command line of a process; empty when it is gone or only waits to be reaped."""
    try:
        content = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return content.decode(errors="surrogateescape").split("\0")[:-1]


def start_ticks(stat: str) -> int:
    """Return the start time in /proc/PID/stat, in clock ticks since boot."""
    # The name, in parentheses, may itself hold spaces and parentheses.
    return int(stat.rpartition(")")[2].split()[19])


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def inside(kind: str, namespace: Path) -> list[int]:
    """Return the processes whose namespace of `kind` (net, mnt) is the one kept at `namespace`."""
    try:
        wanted = namespace.stat()
    except OSError:
        return []
    found = []
    for path in _PROC.glob("[0-9]*"):
        try:
            own = (path / "ns" / kind).stat()
        except OSError:
            continue
        if (own.st_dev, own.st_ino) == (wanted.st_dev, wanted.st_ino):
            found.append(int(path.name))
    return found


def kill_all(pids: Iterable[int]) -> None:
    """Kill processes at once."""
    for pid in pids:
        send(pid, signal.SIGKILL)
