"""Progress lines with the seconds since the start of the command."""

import sys
import time

_START = time.monotonic()


def say(message: str) -> None:
    """Print one line of progress; standard output stays free for results."""
    print(f"{time.monotonic() - _START:7.1f}s  {message}", file=sys.stderr, flush=True)
