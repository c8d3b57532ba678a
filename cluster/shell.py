"""Running programs to their end."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import ClusterError

_TAIL = 3000


def run(
    *command: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float | None = None,
    cure: str = "",
) -> str:
    """Return the standard output of `command`; a failure carries the end of its output."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]}: no such program", cure) from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words)}: no answer in {timeout} s", cure) from error
    if done.returncode:
        output = (done.stdout + done.stderr).strip()[-_TAIL:]
        raise ClusterError(f"{' '.join(words)} ended with {done.returncode}:\n{output}", cure)
    return done.stdout


def succeeds(*command: str | Path, timeout: float | None = None) -> bool:
    """Tell whether `command` ends well."""
    try:
        run(*command, timeout=timeout)
    except ClusterError:
        return False
    return True


def found(program: str) -> bool:
    """Tell whether `program` is on the path, or where Debian puts administrators' programs."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return shutil.which(program, path=path) is not None
