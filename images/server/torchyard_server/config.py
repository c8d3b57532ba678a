"""The configuration: environment variables, read once at the start."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torchyard_server.errors import ConfigInvalid

PREFIX = "TORCHYARD_"
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
TERMINATION_LOG = Path("/dev/termination-log")


@dataclass(frozen=True)
class Config:
    """Each field is the variable TORCHYARD_<FIELD>; those without a default must be set."""

    model_dir: Path
    """The directory of the artifact; it is only read."""

    model_name: str
    """The name in the URL."""

    model_version: str = "1"
    """The version in the URL."""

    model_digest: str | None = None
    """The digest that was promised; without it the artifact is checked against itself alone."""

    host: str = ""
    """The address to listen on; empty means all of them, IPv4 and IPv6."""

    port: int = 8080
    """The port to listen on; 0 picks a free one, which the log names."""

    threads: int = 1
    """Threads that compute one batch. More than the CPU limit makes everything slower."""

    batch_max_size: int = 32
    """Rows up to which waiting requests are merged into one batch."""

    limit_rows: int = 256
    """Rows that one request may carry."""

    limit_queue: int = 256
    """Requests that may wait; those beyond are answered 503."""

    limit_body_bytes: int = 16 * 2**20
    """Bytes that one request may carry; bodies in memory never exceed four times as much."""

    limit_timeout_seconds: float = 30.0
    """Seconds from a request's headers to its answer: 408 while it is read, 504 from then on."""

    drain_seconds: float = 10.0
    """Seconds to go on accepting after SIGTERM, until no endpoint leads here any more."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Config:
        """Read the variables; raises ConfigInvalid naming the variable and the cure."""
        read = _Environ(environ)
        return cls(
            model_dir=Path(read.required("MODEL_DIR", "the directory of the artifact")),
            model_name=read.name("MODEL_NAME"),
            model_version=read.name("MODEL_VERSION", cls.model_version),
            model_digest=read.digest("MODEL_DIGEST"),
            host=read.text("HOST") or "",
            port=read.integer("PORT", cls.port, 0, 65_535),
            threads=read.integer("THREADS", cls.threads, 1, 256),
            batch_max_size=read.integer("BATCH_MAX_SIZE", cls.batch_max_size, 1, 65_536),
            limit_rows=read.integer("LIMIT_ROWS", cls.limit_rows, 1, 65_536),
            limit_queue=read.integer("LIMIT_QUEUE", cls.limit_queue, 1, 65_536),
            limit_body_bytes=read.integer("LIMIT_BODY_BYTES", cls.limit_body_bytes, 1024, 2**30),
            limit_timeout_seconds=read.seconds(
                "LIMIT_TIMEOUT_SECONDS", cls.limit_timeout_seconds, 0.001
            ),
            drain_seconds=read.seconds("DRAIN_SECONDS", cls.drain_seconds, 0.0),
        )


def termination_log(environ: Mapping[str, str]) -> Path | None:
    """Where the reason of a failed start goes, which may be that the rest is wrong.

    /dev/termination-log where that exists; TORCHYARD_TERMINATION_LOG says otherwise.
    """
    path = environ.get(PREFIX + "TERMINATION_LOG")
    if path:
        return Path(path)
    return TERMINATION_LOG if TERMINATION_LOG.exists() else None


class _Environ:
    """Typed access to the variables; an empty one counts as absent."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def text(self, name: str) -> str | None:
        return self._environ.get(PREFIX + name) or None

    def required(self, name: str, what: str) -> str:
        value = self.text(name)
        if value is None:
            raise ConfigInvalid(f"{PREFIX}{name} is not set; it names {what}")
        return value

    def name(self, name: str, default: str | None = None) -> str:
        value = (
            default
            if default is not None and self.text(name) is None
            else self.required(name, "what the URL contains")
        )
        if not NAME.fullmatch(value):
            raise ConfigInvalid(
                f"{PREFIX}{name} is {value[:64]!r}; use letters, digits, dots, dashes and "
                "underscores, because it is part of the URL"
            )
        return value

    def digest(self, name: str) -> str | None:
        value = self.text(name)
        if value is not None and not DIGEST.fullmatch(value):
            raise ConfigInvalid(
                f"{PREFIX}{name} is {value[:80]!r}; write sha256: and 64 hexadecimal digits"
            )
        return value

    def integer(self, name: str, default: int, at_least: int, at_most: int) -> int:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,10}", value) or not at_least <= int(value) <= at_most:
            # A Service called "torchyard" makes the kubelet inject TORCHYARD_PORT=tcp://….
            links = "; set enableServiceLinks: false in the pod" if "://" in value else ""
            raise ConfigInvalid(
                f"{PREFIX}{name} is {value[:64]!r}; write an integer from {at_least} "
                f"to {at_most}{links}"
            )
        return int(value)

    def seconds(self, name: str, default: float, at_least: float) -> float:
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,6})?", value) or float(value) < at_least:
            raise ConfigInvalid(
                f"{PREFIX}{name} is {value[:64]!r}; write seconds, at least {at_least:g}"
            )
        return float(value)
