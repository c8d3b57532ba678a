"""What a Dockerfile asks for: its build arguments, and the files it copies."""

import os
import re
import shutil
from pathlib import Path

from cluster import cache, shell

# Layers must not depend on when a file was checked out.
MODIFIED = 946684800


def arguments(dockerfile: str) -> list[str]:
    """Return the names of a Dockerfile's build arguments."""
    return list(dict.fromkeys(re.findall(r"^ARG\s+(\w+)", dockerfile, re.MULTILINE)))


def copied(dockerfile: str) -> list[str]:
    """Return the paths that a Dockerfile takes from its context."""
    found: list[str] = []
    joined = dockerfile.replace("\\\n", " ")
    for line in re.findall(r"^(?:COPY|ADD)\s+(.+)$", joined, re.MULTILINE):
        words = line.split()
        if not any(word.startswith("--from=") for word in words):
            found += [word for word in words if not word.startswith("--")][:-1]
    return list(dict.fromkeys(found))


def files(repository: Path, sources: list[str]) -> list[Path]:
    """Return the files below `sources` that git tracks or would track: no caches, no secrets."""
    if not sources:
        return []
    listing = shell.run(
        *("git", "-C", repository, "ls-files", "--cached", "--others", "--exclude-standard", "-z"),
        *("--", *sources),
    )
    paths = {repository / name for name in listing.split("\0") if name}
    return sorted(path for path in paths if path.is_file())


def key(repository: Path, paths: list[Path], *others: str) -> str:
    """Return what identifies the content, names and modes of files, and other strings."""
    parts: list[str | bytes] = list(others)
    for path in paths:
        parts += [f"{path.relative_to(repository)} {os.access(path, os.X_OK)}", path.read_bytes()]
    return cache.key(parts)


def stage(repository: Path, paths: list[Path], target: Path) -> None:
    """Copy files to a build context of their own."""
    for path in paths:
        copy = target / path.relative_to(repository)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
        os.utime(copy, (MODIFIED, MODIFIED))
    for folder in [path for path in target.rglob("*") if path.is_dir()]:
        os.utime(folder, (MODIFIED, MODIFIED))
