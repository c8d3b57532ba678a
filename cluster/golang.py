"""A Go toolchain: the machine's own when it is new enough, else the one from PyPI."""

import functools
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from cluster import pypi, shell
from cluster.errors import ClusterError


@dataclass(frozen=True)
class Toolchain:
    """A `go` command and what it calls itself."""

    go: Path
    version: str


def required(go_mod: str) -> tuple[int, ...]:
    """Return the Go version that a go.mod file asks for."""
    match = re.search(r"^go ([0-9.]+)$", go_mod, re.MULTILINE)
    if not match:
        raise ClusterError("go.mod has no go line")
    return _numbers(match[1])


def reported(output: str) -> tuple[int, ...]:
    """Return the version in the output of `go version`; empty when it names none."""
    match = re.search(r"\bgo([0-9]+\.[0-9]+(?:\.[0-9]+)?)", output)
    return _numbers(match[1]) if match else ()


@functools.cache
def toolchain(needed: tuple[int, ...]) -> Toolchain:
    """Return a toolchain of at least version `needed`."""
    if found := shutil.which("go"):
        # GOTOOLCHAIN=local: a go command that would download its successor is not new enough.
        version = shell.run(found, "version", env={"GOTOOLCHAIN": "local"}).strip()
        if reported(version) >= needed:
            return Toolchain(Path(found), version)
    go = pypi.go()
    return Toolchain(go, shell.run(go, "version", env={"GOTOOLCHAIN": "local"}).strip())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
