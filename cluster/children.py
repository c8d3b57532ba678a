"""Processes that live no longer than this one."""

import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The kernel ends a child when the *thread* that started it ends (PR_SET_PDEATHSIG), and callers may
# well start theirs from a short-lived one. This thread lives as long as the process.
_starter = ThreadPoolExecutor(1, "children")


class Child:
    """A program started here, with its output in a file."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self.log = log
        # A session of its own keeps the Ctrl-C of a terminal for the parent.
        line = ["setpriv", "--pdeathsig", "KILL", "--", *command]
        with log.open("ab") as output:
            self.process = _starter.submit(
                subprocess.Popen,
                line,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            ).result()

    def running(self) -> bool:
        """Tell whether it has not ended."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it at once and reap it."""
        self.process.kill()
        self.process.wait()


def tail(log: Path, characters: int = 2000) -> str:
    """Return the end of a log."""
    try:
        return log.read_text(errors="replace")[-characters:]
    except FileNotFoundError:
        return ""
