"""Events: of what changed, under a name that tells it once."""

from typing import Any

import pytest

from tests.unit.engine.fake import FakeClient
from tests.unit.engine.objects import custom
from torchyard.engine.events import Events, event, transitions
from torchyard.engine.metrics import Metrics

Json = dict[str, Any]


def condition(type_: str, status: str, reason: str = "Because", message: str = "so") -> Json:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        pytest.param([], [condition("Started", "True")], True, id="a new one that holds"),
        pytest.param([], [condition("Started", "False")], False, id="a new one that does not yet"),
        pytest.param([], [condition("Accepted", "False")], True, id="bad news"),
        pytest.param([], [condition("Failed", "False")], False, id="no bad news"),
        pytest.param(
            [condition("Ready", "True")], [condition("Ready", "False")], True, id="it turned"
        ),
        pytest.param(
            [condition("Ready", "False", "A")], [condition("Ready", "False", "B")], True, id="why"
        ),
        pytest.param(
            [condition("Ready", "False", "A", "1 of 2")],
            [condition("Ready", "False", "A", "2 of 2")],
            False,
            id="only the sentence changed",
        ),
        pytest.param([], [condition("Servable", "False")], False, id="nobody answers yet"),
        pytest.param(
            [condition("Servable", "True")], [condition("Servable", "False")], True, id="nor more"
        ),
        pytest.param(
            [condition("Verified", "True")], [condition("Verified", "Unknown")], False, id="?"
        ),
    ],
)
def test_what_is_told(before: list[Json], after: list[Json], told: bool) -> None:
    assert bool(transitions(before, after)) == told


def test_one_reason_is_told_once_and_as_badly_as_it_is() -> None:
    after = [
        condition("Ready", "False", "TooLate"),
        condition("Progressing", "False", "TooLate"),
        condition("Stalled", "True", "TooLate"),
        condition("Accepted", "True", "Valid"),
    ]
    before = [condition(item["type"], "Unknown") for item in after]
    told = transitions(before, after)
    assert [(item["type"], item["reason"]) for item in told] == [
        ("Stalled", "TooLate"),
        ("Accepted", "Valid"),
    ]


def test_names_grow_with_time() -> None:
    conditions = [condition("Accepted", "True"), condition("Started", "True")]
    names = []
    for version in ("9", "10", "4096"):
        job = custom("TrainingJob", "job", {})
        job["metadata"]["resourceVersion"] = version
        job["status"] = {"conditions": conditions}
        names += [event(job, item, "me")["metadata"]["name"] for item in conditions]
    assert names == sorted(names)
    assert len(set(names)) == 6


def test_the_name_is_the_same_for_the_same_news_and_another_for_others() -> None:
    job = custom("TrainingJob", "job", {})
    same = [event(job, condition("Failed", "True"), "me")["metadata"]["name"] for _ in range(2)]
    assert same[0] == same[1]
    assert event(job, condition("Failed", "False"), "me")["metadata"]["name"] != same[0]


def test_bad_news_are_warnings_and_long_ones_are_cut_by_bytes() -> None:
    job = custom("TrainingJob", "job", {})
    bad = event(job, condition("Failed", "True", message="ä" * 5000), "me" * 200)
    assert bad["type"] == "Warning"
    assert len(bad["note"].encode()) <= 1024
    assert len(bad["reportingInstance"]) <= 128
    assert event(job, condition("Complete", "True"), "me")["type"] == "Normal"
    assert event(job, condition("Complete", "True", message=""), "me")["note"]


async def test_a_flood_is_dropped_and_counted() -> None:
    metrics = Metrics()
    events = Events(FakeClient(), metrics, "me")
    job = custom("TrainingJob", "job", {})
    for number in range(1500):
        told = {**job, "status": {"conditions": [condition("Started", "True", f"R{number}")]}}
        events.tell(told, job)
    assert metrics.registry.get_sample_value("torchyard_events_lost_total") == 500
