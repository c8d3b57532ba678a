"""Conditions: a transition time moves when the status does, and only then."""

from datetime import timedelta

import pytest

from tests.unit.core.builders import START, at
from torchyard.api.base import Condition
from torchyard.core.conditions import Fact, find, holds, update


def told(
    *facts: Fact, stored: list[Condition] | None = None, seconds: float = 0.0
) -> list[Condition]:
    now = START + timedelta(seconds=seconds)
    return update(stored or [], facts, now=now, generation=int(seconds))


def test_a_first_fact_begins_now() -> None:
    (condition,) = told(Fact("Ready", True, "Serving", "all well"))
    assert condition.wire() == {
        "type": "Ready",
        "status": "True",
        "reason": "Serving",
        "message": "all well",
        "lastTransitionTime": at(0),
        "observedGeneration": 0,
    }


@pytest.mark.parametrize(
    ("now", "moved"),
    [
        (Fact("Ready", True, "Serving"), False),
        (Fact("Ready", True, "Otherwise", "another message"), False),
        (Fact("Ready", False, "Serving"), True),
        (Fact("Ready", None, "Serving"), True),
    ],
)
def test_only_another_status_is_a_transition(now: Fact, moved: bool) -> None:
    stored = told(Fact("Ready", True, "Serving"))
    (condition,) = told(now, stored=stored, seconds=9)
    assert condition.last_transition_time == at(9 if moved else 0)
    assert (condition.reason, condition.message) == (now.reason, now.message)
    assert condition.observed_generation == 9


def test_what_no_fact_speaks_of_stays_as_it_was_and_where_it_was() -> None:
    stored = told(Fact("A", True, "R"), Fact("B", True, "R"))
    later = told(Fact("C", True, "R"), Fact("A", False, "R"), stored=stored, seconds=5)
    assert [condition.type for condition in later] == ["A", "B", "C"]
    assert later[1] == stored[1]


def test_a_message_that_is_too_long_is_cut() -> None:
    (condition,) = told(Fact("Ready", True, "R", "x" * 10_000))
    assert len(condition.message) == 4096


def test_reading() -> None:
    stored = told(Fact("A", True, "R"), Fact("B", False, "R"), Fact("C", None, "R"))
    assert [holds(stored, name) for name in "ABCD"] == [True, False, False, False]
    assert find(stored, "D") is None
