"""The last words of a worker: which rank is to blame, in at most 4,096 bytes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchyard.api.contract import (
    EXIT_PERMANENT,
    EXIT_RETRY,
    PERMANENT,
    TERMINATION_LIMIT,
    Outcome,
    Termination,
    WorkerProgress,
)
from torchyard_trainer.log import timestamp

MESSAGE_LIMIT = 1024


@dataclass(frozen=True)
class End:
    """How one rank ended."""

    rank: int
    exit_code: int
    """As a shell gives it: 128 + n for signal n."""
    time: float
    """When it was noticed, in seconds since the epoch."""
    word: Termination | None = None
    """What the rank itself said, if it could."""
    dismissed: bool = False
    """The supervisor killed it because another rank had failed."""


def cut(text: str, limit: int = MESSAGE_LIMIT) -> str:
    """`text` in at most `limit` characters; the middle is what gets lost."""
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]}...{text[-half:]}"


def verdict(ends: Sequence[End], progress: WorkerProgress | None) -> Termination:
    """One word for the worker out of the ends of all its ranks.

    A rank that failed by itself is to blame before one that was interrupted, and that one
    before those that merely lost a peer; among equals the first one.
    """
    if all(end.exit_code == 0 for end in ends):
        return min(ends, key=lambda end: end.rank).word or Termination(outcome=Outcome.SUCCEEDED)
    failed = [end for end in ends if end.exit_code != 0]
    blamed = min(failed, key=lambda end: (end.dismissed, _guilt(end), end.time))
    if blamed.word is not None and blamed.word.outcome is not Outcome.SUCCEEDED:
        return blamed.word
    return Termination(
        outcome=Outcome.PROCESS_FAILED,
        message=_how(blamed),
        rank=blamed.rank,
        exit_code=blamed.exit_code,
        time=timestamp(blamed.time),
        first_step=progress.first_step if progress else None,
        progress=progress.progress if progress else None,
        checkpoint=progress.checkpoint if progress else None,
    )


def _guilt(end: End) -> int:
    match end.word.outcome if end.word else None:
        case Outcome.PEER_LOST:
            return 2
        case Outcome.INTERRUPTED:
            return 1
        case _:
            return 0


def _how(end: End) -> str:
    if end.exit_code > 128:
        return f"rank {end.rank} was ended by signal {end.exit_code - 128}"
    return f"rank {end.rank} left with exit code {end.exit_code} and without a word"


def exit_code(termination: Termination) -> int:
    """What the supervisor's own exit code says to those who cannot read the message."""
    match termination.outcome:
        case Outcome.SUCCEEDED:
            return 0
        case Outcome.INTERRUPTED | Outcome.PEER_LOST:
            return EXIT_RETRY
        case outcome:
            return EXIT_PERMANENT if outcome in PERMANENT else 1


def encode(termination: Termination) -> bytes:
    """JSON of at most TERMINATION_LIMIT bytes.

    What is only for people gives way first. Outcome and artifact, which the contract bounds,
    always fit.
    """
    smaller: list[dict[str, Any]] = [
        {"message": cut(termination.message)},
        {"message": cut(termination.message, 256)},
        {"message": cut(termination.message, 64)},
        {"progress": None},
        {"checkpoint": None},
    ]
    text = b""
    for update in smaller:
        termination = termination.model_copy(update=update)
        text = termination.model_dump_json(by_alias=True, exclude_none=True).encode()
        if len(text) <= TERMINATION_LIMIT:
            break
    return text


def write(path: Path, termination: Termination) -> None:
    """Leave the message where the kubelet reads it, a file that cannot be replaced by renaming."""
    path.write_bytes(encode(termination))
