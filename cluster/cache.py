"""Things that are built once: folders named by the content of their sources."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cluster.progress import say


def root() -> Path:
    """Return the cache folder; it lies outside the repository so that every clone shares it."""
    if own := os.environ.get("TORCHYARD_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "torchyard"


def key(parts: Iterable[str | bytes | Path]) -> str:
    """Return a key for strings, bytes and the content and names of files."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            content = part.name.encode() + b"\0" + part.read_bytes()
        else:
            content = part.encode() if isinstance(part, str) else part
        # The length in front keeps ("ab", "c") and ("a", "bc") apart.
        digest.update(len(content).to_bytes(8, "big") + content)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock; the kernel frees it when the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another command, which holds {path}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def folder(kind: str, name: str, build: Callable[[Path], None]) -> Path:
    """Return the folder `kind/name`, building it first when it is missing.

    The builder fills a scratch folder that gets its name in one step: a folder that exists is
    whole, whatever interrupted an earlier build.
    """
    place = root() / kind / name
    if place.is_dir():
        return place
    with lock(root() / "locks" / f"{kind}-{name}"):
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=place.parent))
            try:
                scratch.chmod(0o755)
                build(scratch)
                scratch.rename(place)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return place
