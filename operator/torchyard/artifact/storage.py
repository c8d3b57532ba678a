"""Artifacts in a local directory: publish once, verify always.

A directory is an artifact from the moment its manifest is there, and the manifest is written last.
So a half-written artifact does not exist, whatever killed its writer, also on storage where only
single files appear atomically.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from torchyard.artifact import manifest as manifests
from torchyard.artifact.errors import (
    ArtifactCorrupt,
    ArtifactExists,
    ArtifactMissing,
    ManifestInvalid,
)
from torchyard.artifact.manifest import File, Format, Manifest

CHUNK = 2**20
THREADS = 4

Sink = Callable[[memoryview], object]


def describe(directory: Path, path: str, kind: Format) -> File:
    """Measure and hash one file of `directory`, for a manifest to be written."""
    with _opened(directory, path) as source:
        size, sha256 = _hash(source, _nowhere)
    return File(path, kind, size, sha256)


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Put the canonical manifest into `directory`, whole or not at all, and durably.

    Raises ManifestInvalid where the manifest breaks its contract.
    """
    text = manifest.to_json()
    Manifest.from_json(text)
    with _replacing(directory / manifests.FILE_NAME) as target:
        _write(target, memoryview(text))
    _sync_directory(directory)


def read_manifest(directory: Path, expected_digest: str | None) -> Manifest:
    """Read the manifest alone; None accepts any digest.

    Raises ArtifactMissing, ManifestInvalid, or ArtifactCorrupt where the digest is another.
    """
    if not directory.is_dir():
        raise ArtifactMissing(f"{directory} is not a directory; mount the artifact there")
    if not os.path.lexists(directory / manifests.FILE_NAME):
        raise ArtifactMissing(
            f"{directory} holds no {manifests.FILE_NAME}; publishing it has not "
            "finished, or it is another directory"
        )
    with _opened(directory, manifests.FILE_NAME) as source, _stream(source) as stream:
        manifest = Manifest.from_json(stream.read(manifests.MAX_BYTES + 1))
    if expected_digest is not None and manifest.digest != expected_digest:
        raise ArtifactCorrupt(
            manifests.FILE_NAME,
            f"its digest is {manifest.digest}, but {expected_digest} was promised",
        )
    return manifest


def verify(directory: Path, expected_digest: str | None) -> Manifest:
    """Check the manifest's digest and size and hash of every file it names.

    Files that the manifest does not name are never read and do not matter. Raises what
    `read_manifest` raises, and ArtifactCorrupt with the first bad file in the manifest's order.
    """
    manifest = read_manifest(directory, expected_digest)
    _each(lambda file: _transfer(directory, file, _nowhere), manifest.files)
    return manifest


def verify_file(directory: Path, file: File) -> None:
    """Check one file against the manifest's entry; raises ArtifactCorrupt."""
    _transfer(directory, file, _nowhere)


def read_file(directory: Path, file: File) -> bytes:
    """The content of one file, which is exactly what was verified; raises ArtifactCorrupt.

    Whoever loads from these bytes, instead of opening the path again, cannot be handed another file
    between verification and loading.
    """
    with _opened(directory, file.path) as source, _stream(source) as stream:
        _check_size(file, source)
        content = stream.read(file.size)
    _check_hash(file, hashlib.sha256(content).hexdigest())
    return content


def publish(directory: Path, target: Path) -> Manifest:
    """Copy the artifact in `directory`, manifest last, to `target`, verifying what is copied.

    A complete artifact with the same digest at `target` is success, so a publisher that was killed
    simply publishes again; what a killed one left is overwritten. Returns the manifest. Raises
    ArtifactExists where `target` is complete and different, and whatever `verify` raises.
    """
    manifest = read_manifest(directory, None)
    if os.path.lexists(target / manifests.FILE_NAME):
        return _same(manifest, target)
    target.mkdir(parents=True, exist_ok=True)
    _each(lambda file: _copy(directory, file, target), manifest.files)
    for folder in {(target / file.path).parent for file in manifest.files} | {target.parent}:
        _sync_directory(folder)
    write_manifest(target, manifest)
    return manifest


def _same(manifest: Manifest, target: Path) -> Manifest:
    try:
        present = read_manifest(target, None)
    except ManifestInvalid as error:
        raise ArtifactExists(
            f"{target} holds an unreadable artifact ({error}); remove it, or publish elsewhere"
        ) from error
    if present.digest != manifest.digest:
        raise ArtifactExists(
            f"{target} already holds {present.digest}, which is not "
            f"{manifest.digest}; publish elsewhere"
        )
    return verify(target, manifest.digest)


def _copy(directory: Path, file: File, target: Path) -> None:
    path = target / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with _replacing(path) as descriptor:
        _transfer(directory, file, lambda chunk: _write(descriptor, chunk))


def _each(work: Callable[[File], None], files: Iterable[File]) -> None:
    """Do `work` for all files, several at a time: hashing and file I/O run without the GIL."""
    with ThreadPoolExecutor(THREADS, "artifact") as pool:
        deque(pool.map(work, files), maxlen=0)


def _transfer(directory: Path, file: File, sink: Sink) -> None:
    """Stream one file into `sink` and raise ArtifactCorrupt unless it is what the manifest says."""
    with _opened(directory, file.path) as source:
        _check_size(file, source)
        _, sha256 = _hash(source, sink)
    _check_hash(file, sha256)


def _check_size(file: File, source: int) -> None:
    size = os.fstat(source).st_size
    if size != file.size:
        raise ArtifactCorrupt(file.path, f"has {size} bytes, but the manifest says {file.size}")


def _check_hash(file: File, sha256: str) -> None:
    if sha256 != file.sha256:
        raise ArtifactCorrupt(file.path, f"sha256 is {sha256}, but the manifest says {file.sha256}")


def _hash(source: int, sink: Sink) -> tuple[int, str]:
    size, digest = 0, hashlib.sha256()
    for chunk in _chunks(source):
        digest.update(chunk)
        sink(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def _chunks(source: int) -> Iterator[memoryview]:
    """What is left of an open file; each chunk is overwritten by the next."""
    buffer = memoryview(bytearray(CHUNK))
    while count := os.readv(source, [buffer]):
        yield buffer[:count]


def _stream(source: int) -> BinaryIO:
    return open(source, "rb", closefd=False)


def _nowhere(chunk: memoryview) -> None:
    """A sink for those who want the hash alone."""


def _write(descriptor: int, chunk: memoryview) -> None:
    while chunk:
        chunk = chunk[os.write(descriptor, chunk) :]


@contextmanager
def _opened(directory: Path, path: str) -> Iterator[int]:
    """A descriptor of a plain file of the artifact; raises ArtifactCorrupt where there is none."""
    try:
        descriptor = _open(directory, path)
    except FileNotFoundError:
        raise ArtifactCorrupt(path, "is missing") from None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR):
            raise
        raise ArtifactCorrupt(
            path,
            "is reached through a link, or through a file in place of a "
            "directory; artifacts hold plain files only",
        ) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArtifactCorrupt(path, "is not a plain file")
        yield descriptor
    finally:
        os.close(descriptor)


def _open(directory: Path, path: str) -> int:
    """Open `path` below `directory` without following any link.

    Each name is opened relative to the directory before it, so that nobody can slip a link in
    between looking and opening. O_NONBLOCK keeps a FIFO from blocking the reader for ever.
    """
    *folders, name = path.split("/")
    base = os.O_RDONLY | os.O_CLOEXEC
    descriptor = os.open(directory, base | os.O_DIRECTORY)
    for step, flags in [*((folder, os.O_DIRECTORY) for folder in folders), (name, os.O_NONBLOCK)]:
        above = descriptor
        try:
            descriptor = os.open(step, base | os.O_NOFOLLOW | flags, dir_fd=above)
        finally:
            os.close(above)
    return descriptor


@contextmanager
def _replacing(path: Path) -> Iterator[int]:
    """A descriptor of a new file that takes the place of `path` when all went well, durably."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        yield descriptor
        os.fsync(descriptor)
        os.close(descriptor)
        descriptor = -1
        temporary.replace(path)
    except BaseException:
        if descriptor >= 0:
            os.close(descriptor)
        temporary.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable, where the file system knows how."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
