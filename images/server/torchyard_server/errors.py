"""What goes wrong, and who is told.

StartError         the process cannot serve: termination message and exit code
├── ConfigInvalid      the environment is wrong
├── ArtifactRefused    the artifact is missing, invalid or altered
└── LoadFailed         the files are as promised, but they cannot be served
RequestError       the caller is told: HTTP status and {"error": …}
└── Overloaded         503 with Retry-After
"""

from __future__ import annotations

import os

RETRY_AFTER_SECONDS = 1


class StartError(Exception):
    """The server cannot serve. `outcome` is what the operator reads, `exit_code` what it sees."""

    outcome: str
    exit_code: int

    def __init__(self, message: str, file: str | None = None) -> None:
        super().__init__(message)
        self.file = file


class ConfigInvalid(StartError):
    """A variable of the environment is missing or wrong."""

    outcome = "ConfigInvalid"
    exit_code = os.EX_CONFIG


class ArtifactRefused(StartError):
    """The artifact is not what was promised; `file` names the culprit."""

    outcome = "ArtifactCorrupt"
    exit_code = os.EX_DATAERR


class LoadFailed(StartError):
    """The artifact is intact, but this server cannot serve it."""

    outcome = "LoadFailed"
    exit_code = os.EX_SOFTWARE


class RequestError(Exception):
    """An answer other than success; the message is for the caller."""

    def __init__(self, status: int, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()):
        super().__init__(message)
        self.status = status
        self.headers = headers


class Overloaded(RequestError):
    """There is no room now, but there may be soon."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message, ((b"retry-after", b"%d" % RETRY_AFTER_SECONDS),))
