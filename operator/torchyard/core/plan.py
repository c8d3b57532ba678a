"""What a decision asks for: a few writes, then one status, then perhaps to be woken.

A reconcile carries out `actions` in order and stops at the first refusal, then writes `status`
if it differs from the stored one. What must be on record before the first destructive write
(an attempt's number, a rollout's target) is therefore a decision of its own: a status without
actions, and `again`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torchyard.api.base import StatusModel


@dataclass(frozen=True)
class Create:
    """POST: pods and records, which are never changed afterwards."""

    manifest: Mapping[str, Any]
    why: str


@dataclass(frozen=True)
class Apply:
    """Server-side apply of the whole owned set.

    `uid` is that of the observed object: the write is forced, and a stranger re-created under
    the name answers 409. Without it the object is new to us and the write is not forced.
    """

    manifest: Mapping[str, Any]
    uid: str | None
    why: str


@dataclass(frozen=True)
class Delete:
    """DELETE with a UID precondition; the garbage collector follows owner references."""

    kind: str
    namespace: str
    name: str
    uid: str
    why: str


Action = Create | Apply | Delete


@dataclass(frozen=True)
class Decision:
    """The outcome of looking at a world."""

    status: StatusModel | None
    """The whole status as it should be; None where the resource is about to go."""
    actions: tuple[Action, ...] = ()
    wake: float | None = None
    """Seconds until the decision may change although nothing happens. None: never."""
    again: bool = False
    """Decide once more at once: this decision only put an intent on record."""
    poll: str | None = None
    """`host:port` of a worker to be asked for its progress before the next decision."""
