"""The last words of a server that cannot serve, for the operator to read."""

from __future__ import annotations

from pathlib import Path

import orjson

from torchyard_server.errors import StartError
from torchyard_server.logs import logger

CONTRACT_VERSION = 1
MAX_MESSAGE = 1024


def write(path: Path | None, error: StartError) -> None:
    """Write the termination message, if there is a place for it; never raises."""
    if path is None:
        return
    message: dict[str, object] = {
        "contractVersion": CONTRACT_VERSION,
        "outcome": error.outcome,
        "message": str(error)[:MAX_MESSAGE],
        "exitCode": error.exit_code,
    }
    if error.file is not None:
        message["file"] = error.file
    try:
        path.write_bytes(orjson.dumps(message))
    except OSError as problem:
        logger.warning("the termination message cannot be written: %s", problem)
