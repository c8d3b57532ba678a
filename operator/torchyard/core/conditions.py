"""Conditions: set one, read one. The transition time moves only when the status does."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from torchyard.api.base import Condition, ConditionStatus
from torchyard.core.clock import stamp


@dataclass(frozen=True)
class Fact:
    """A condition as a decision sees it; None means that it cannot be told."""

    type: str
    holds: bool | None
    reason: str
    message: str = ""


_STATUS = {True: ConditionStatus.TRUE, False: ConditionStatus.FALSE, None: ConditionStatus.UNKNOWN}
_MESSAGE_LIMIT = 4096


def update(
    stored: Sequence[Condition], facts: Iterable[Fact], *, now: datetime, generation: int
) -> list[Condition]:
    """The stored conditions with `facts` put in; others stay as they are."""
    result = {condition.type: condition for condition in stored}
    for fact in facts:
        before = result.get(fact.type)
        status = _STATUS[fact.holds]
        moved = before is None or before.status != status
        result[fact.type] = Condition(
            type=fact.type,
            status=status,
            reason=fact.reason,
            message=fact.message[:_MESSAGE_LIMIT],
            last_transition_time=stamp(now)
            if moved or before is None
            else before.last_transition_time,
            observed_generation=generation,
        )
    return list(result.values())


def find(conditions: Iterable[Condition], type_: str) -> Condition | None:
    """The condition of a type, if there is one."""
    return next((condition for condition in conditions if condition.type == type_), None)


def holds(conditions: Iterable[Condition], type_: str) -> bool:
    """Whether the condition of a type is there and True."""
    condition = find(conditions, type_)
    return condition is not None and condition.status is ConditionStatus.TRUE
