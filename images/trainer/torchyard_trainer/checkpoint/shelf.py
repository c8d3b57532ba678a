"""The directory of a job's checkpoints: names, manifests, verification and clean-up.

Each checkpoint is a directory `a<attempt>-s<step>`. It exists from the moment its manifest is
there, which is written last and names size and sha256 of every file, so a half-written one does
not exist, whatever killed its writer. The newest one is that of the newest attempt, then that of
the most steps: whatever a straggler of an older attempt still writes never wins.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from torchyard_trainer.log import timestamp

MANIFEST = "manifest.json"
FORMAT_VERSION = 1
NAME = re.compile(r"a(\d{4,})-s(\d{8,})")

logger = logging.getLogger(__name__)


class CheckpointCorrupt(Exception):
    """`file` of a checkpoint is missing, altered or unreadable."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file


@dataclass(frozen=True, order=True)
class Name:
    """Attempt and optimizer steps done; later ones are greater."""

    attempt: int
    step: int

    def __str__(self) -> str:
        return f"a{self.attempt:04d}-s{self.step:08d}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The reverse of str(); None for a directory that is none of ours."""
        found = NAME.fullmatch(text)
        name = cls(int(found[1]), int(found[2])) if found else None
        return name if str(name) == text else None


@dataclass(frozen=True)
class File:
    """A file of a checkpoint: `path` relative to it, `size` in bytes, `sha256` in hexadecimal."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a whole checkpoint holds."""

    attempt: int
    step: int
    time: str
    data_digest: str
    """The data whose order `step` counts in."""
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(file.size for file in self.files)

    def to_json(self) -> bytes:
        """JSON that carries its own hash: a flipped bit in it does not go unnoticed either."""
        content = {"formatVersion": FORMAT_VERSION, **asdict(self)}
        return _canonical({**content, "sha256": hashlib.sha256(_canonical(content)).hexdigest()})

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises CheckpointCorrupt."""
        try:
            content: dict[str, Any] = json.loads(text)
            promised = content.pop("sha256")
            if hashlib.sha256(_canonical(content)).hexdigest() != promised:
                raise CheckpointCorrupt(MANIFEST, "its content does not match its own sha256")
            if content.pop("formatVersion") != FORMAT_VERSION:
                raise CheckpointCorrupt(MANIFEST, "was written by another release")
            files = tuple(File(**file) for file in content.pop("files"))
            return cls(**content, files=files)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise CheckpointCorrupt(MANIFEST, f"is not a manifest: {error}") from None


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


class Shelf:
    """All checkpoints of a job. Only rank 0 writes manifests, verifies and cleans up."""

    def __init__(self, root: Path, attempt: int) -> None:
        self.root = root
        self.attempt = attempt

    def directory(self, name: Name) -> Path:
        """Where a checkpoint is, or will be."""
        return self.root / str(name)

    def whole(self) -> list[Name]:
        """Checkpoints that have a manifest, newest first."""
        return sorted((name for name, _ in self._present(finished=True)), reverse=True)

    def verified(self) -> Iterator[tuple[Name, Manifest]]:
        """Checkpoints whose every file is as it was written, newest first.

        A log line names the culprit of each one that is passed over.
        """
        for name in self.whole():
            try:
                yield name, self.verify(name)
            except CheckpointCorrupt as error:
                logger.warning("checkpoint %s is corrupt, taking the one before: %s", name, error)

    def verify(self, name: Name) -> Manifest:
        """Check every file of a checkpoint; raises CheckpointCorrupt."""
        directory = self.directory(name)
        try:
            manifest = Manifest.from_json((directory / MANIFEST).read_bytes())
        except OSError as error:
            raise CheckpointCorrupt(MANIFEST, f"cannot be read: {error.strerror}") from None
        if (manifest.attempt, manifest.step) != (name.attempt, name.step):
            raise CheckpointCorrupt(MANIFEST, "belongs to another checkpoint")
        for file in manifest.files:
            try:
                found = _describe(directory, file.path)
            except OSError as error:
                raise CheckpointCorrupt(file.path, f"cannot be read: {error.strerror}") from None
            if found != file:
                raise CheckpointCorrupt(
                    file.path,
                    f"has {found.size} bytes and sha256 {found.sha256[:12]}, the manifest says "
                    f"{file.size} and {file.sha256[:12]}",
                )
        return manifest

    def seal(self, name: Name, paths: Iterable[str], data_digest: str) -> Manifest:
        """Write the manifest over the files at `paths`: from now on the checkpoint exists.

        Raises FileNotFoundError where one is missing. They are not looked for, because a
        directory that others write to over the network may be listed as it was before.
        """
        directory = self.directory(name)
        files = tuple(_describe(directory, path) for path in sorted(paths))
        manifest = Manifest(name.attempt, name.step, timestamp(time.time()), data_digest, files)
        write_durably(directory / MANIFEST, manifest.to_json())
        _sync(self.root)
        return manifest

    def prune(self, keep: int) -> None:
        """Remove all but the newest `keep` whole checkpoints."""
        for name in self.whole()[keep:]:
            self._remove(name)

    def sweep(self) -> None:
        """Remove what older attempts left half-written.

        What has no manifest and is of this attempt may be in the making; what is of a newer one
        means that this process is the straggler.
        """
        for name, _ in self._present(finished=False):
            if name.attempt < self.attempt:
                self._remove(name)

    def _present(self, *, finished: bool) -> Iterator[tuple[Name, Path]]:
        if not self.root.is_dir():
            return
        for path in self.root.iterdir():
            name = Name.parse(path.name)
            if name is not None and (path / MANIFEST).is_file() == finished:
                yield name, path

    def _remove(self, name: Name) -> None:
        directory = self.directory(name)
        # First the manifest: a directory that is half removed must not exist either.
        (directory / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(directory, ignore_errors=True)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, so that it outlives a power cut."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _describe(directory: Path, path: str) -> File:
    with (directory / path).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return File(path, file.tell(), digest)
