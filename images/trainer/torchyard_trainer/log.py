"""Structured logs: one JSON object a line on standard output."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One line a record: time, level, message, then `context`, then the record's extras."""

    def __init__(self, context: dict[str, Any]) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        """The record as JSON on one line; a traceback is the field `exception`."""
        extras = {name: value for name, value in vars(record).items() if name not in RESERVED}
        line: dict[str, Any] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **self._context,
            **extras,
        }
        if record.exc_info and record.exc_info[1]:
            line["exception"] = "".join(traceback.format_exception(record.exc_info[1]))
        return json.dumps(line, ensure_ascii=False, default=str)


def setup(**context: Any) -> None:
    """Log to standard output, with `context` (such as rank=1) in every line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter(context))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.captureWarnings(True)


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC, as Kubernetes writes times."""
    return (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
