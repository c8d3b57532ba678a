"""Structured logs: one JSON object a line on standard output."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import orjson

logger = logging.getLogger("torchyard.server")


class JsonFormatter(logging.Formatter):
    """One record as JSON; `extra={"fields": {…}}` adds members."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; whatever a caller sent cannot break out of it."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def configure() -> None:
    """Send every logger of the process to standard output as JSON."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # uvicorn warns once for every malformed request: noise that a stranger can make at will.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
