"""Where artifacts live: `pvc://claim/path` and `file:///path`.

A URI names a directory (for data: a file) and has no query, no fragment and no `..`, so that what
it names can be read off it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from torchyard.artifact.errors import UriInvalid

MAX_URI = 2048
CLAIM = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
SEGMENT = re.compile(r"[^/\\\x00-\x1f\x7f?#]{1,255}")


@dataclass(frozen=True, slots=True)
class PvcUri:
    """A path (without a leading slash; empty for the root) inside a PersistentVolumeClaim."""

    claim: str
    path: str

    def __str__(self) -> str:
        return f"pvc://{self.claim}/{self.path}".rstrip("/")

    def child(self, *segments: str) -> PvcUri:
        """The URI of something below this one."""
        return PvcUri(self.claim, "/".join(_segments(str(self), [self.path, *segments])))

    def below(self, mount: Path) -> Path:
        """The local path when the claim is mounted at `mount`."""
        return mount / self.path


@dataclass(frozen=True, slots=True)
class FileUri:
    """An absolute path on this machine."""

    path: str

    def __str__(self) -> str:
        return f"file://{self.path}"

    def child(self, *segments: str) -> FileUri:
        """The URI of something below this one."""
        return FileUri("/" + "/".join(_segments(str(self), [self.path.strip("/"), *segments])))


Uri = PvcUri | FileUri


def parse_uri(uri: str) -> Uri:
    """Read an artifact URI; raises UriInvalid saying what would work."""
    if len(uri) > MAX_URI:
        raise UriInvalid(f"the URI has {len(uri)} characters; at most {MAX_URI} are allowed")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        raise UriInvalid(f"{uri!r} has no scheme; write pvc://claim/path or file:///path")
    match scheme:
        case "pvc":
            claim, _, path = rest.partition("/")
            if not CLAIM.fullmatch(claim):
                raise UriInvalid(
                    f"{uri!r} names no claim; write pvc://claim/path, "
                    "with the name of a PersistentVolumeClaim"
                )
            return PvcUri(claim, "/".join(_segments(uri, [path.strip("/")])))
        case "file":
            if not rest.startswith("/"):
                raise UriInvalid(f"{uri!r} is not absolute; write file:///path, with three slashes")
            return FileUri("/" + "/".join(_segments(uri, [rest.strip("/")])))
        case _:
            raise UriInvalid(
                f"the scheme {scheme!r} of {uri!r} is not supported; pvc:// and file:// are"
            )


def _segments(uri: str, parts: list[str]) -> list[str]:
    segments = [segment for part in parts if part for segment in part.split("/")]
    for segment in segments:
        if segment in (".", "..") or not SEGMENT.fullmatch(segment):
            raise UriInvalid(
                f"{uri!r} holds the segment {segment!r}; segments are plain names "
                "without '..', backslash, '?', '#' and control characters"
            )
    return segments
