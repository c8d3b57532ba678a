"""The life of the server: verify → load → warm up → ready → drain.

    VERIFYING ─▶ LOADING ─▶ WARMING ─▶ READY ─▶ DRAINING
        └───────────┴──────────┴────────────────────▲

Phases only move forward. Whether the server is ready, and why not, is read off the phase alone.
"""

from __future__ import annotations

from enum import IntEnum


class Phase(IntEnum):
    """Where the server is; later phases have higher numbers."""

    VERIFYING = 0
    LOADING = 1
    WARMING = 2
    READY = 3
    DRAINING = 4


_REASONS = {
    Phase.VERIFYING: "the artifact is being verified",
    Phase.LOADING: "the model is being loaded",
    Phase.WARMING: "the model is warming up",
    Phase.DRAINING: "the server is draining",
}


class Lifecycle:
    """The present phase. Only the event loop's thread touches it."""

    def __init__(self) -> None:
        self.phase = Phase.VERIFYING

    def advance(self, phase: Phase) -> bool:
        """Enter `phase` unless it lies behind; says whether it was entered.

        A model that finishes loading while the server drains must not make it ready again.
        """
        if phase <= self.phase:
            return False
        self.phase = phase
        return True

    @property
    def ready(self) -> bool:
        """Whether new traffic should be sent here."""
        return self.phase is Phase.READY

    @property
    def draining(self) -> bool:
        """Whether callers are asked to go elsewhere, though all that arrives is still answered."""
        return self.phase is Phase.DRAINING

    @property
    def reason(self) -> str:
        """Why the server is not ready; empty when it is."""
        return _REASONS.get(self.phase, "")
