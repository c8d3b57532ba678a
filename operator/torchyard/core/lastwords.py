"""What a container said as it ended: its termination message, where that is whole."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from torchyard.api.contract import Termination


def of(ended: Mapping[str, Any]) -> Termination | None:
    """The last words in a `terminated` state; None where there are none that can be read."""
    message = ended.get("message")
    return _read(message) if message else None


@lru_cache(maxsize=2048)  # they never change, and every decision looks at them again
def _read(message: str) -> Termination | None:
    try:
        return Termination.read(message)
    except ValidationError:
        return None
