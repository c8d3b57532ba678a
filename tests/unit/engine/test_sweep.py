"""A sweep finds what watches do not tell, and nothing that is merely new."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.engine.fake import FakeClient
from tests.unit.engine.objects import custom, pod
from torchyard.engine import sweep as sweep_module
from torchyard.engine.feed import Feed
from torchyard.engine.metrics import Metrics
from torchyard.engine.resources import BY_KIND, WATCHED, Key, Resource, key_of
from torchyard.engine.store import Store
from torchyard.engine.sweep import SELECTOR, Sweeper, selector

JOB = Key("TrainingJob", "ns", "job")
PODS = BY_KIND["Pod"]


class Bench:
    def __init__(self) -> None:
        self.client = FakeClient()
        self.store = Store()
        self.woken: list[Key] = []
        self.metrics = Metrics()
        self.feed = Feed(self.store, self.woken.append)
        self.sweeper = Sweeper(self.client, self.store, self.feed, self.metrics, (), 300.0)

    def corrections(self, what: str) -> float:
        labels = {"kind": "Pod", "what": what}
        name = "torchyard_sweep_corrections_total"
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(sweep_module, "GRACE_SECONDS", 0)
    return Bench()


def test_children_are_listed_by_label_and_our_own_kinds_are_not() -> None:
    assert selector(PODS) == SELECTOR
    assert selector(BY_KIND["TrainingJob"]) == ""


async def test_loading_takes_everything_and_wakes_the_owners(bench: Bench) -> None:
    bench.client.keep(pod())
    bench.client.keep(custom("TrainingJob", "job", {}))
    await bench.sweeper.load()
    assert bench.store.get(key_of(pod())) is not None
    assert JOB in bench.woken
    assert len(bench.client.reads) == len(WATCHED)


async def test_a_ghost_is_laid_and_its_owner_woken(bench: Bench) -> None:
    bench.store.put(pod())
    await bench.sweeper._sweep(PODS)
    assert bench.store.get(key_of(pod())) is None
    assert bench.woken == [JOB]
    assert bench.corrections("ghost") == 1


async def test_what_no_watch_told_is_fetched(bench: Bench) -> None:
    kept = bench.client.keep(pod())
    bench.store.put({**kept, "metadata": {**kept["metadata"], "resourceVersion": "1"}})
    bench.client.keep(pod("job-a0-w1"))
    await bench.sweeper._sweep(PODS)
    known = bench.store.get(key_of(pod()))
    assert known is not None
    assert known["metadata"]["resourceVersion"] == kept["metadata"]["resourceVersion"]
    assert bench.store.get(Key("Pod", "ns", "job-a0-w1")) is not None
    assert bench.corrections("missed") == 2


async def test_what_is_known_is_neither_fetched_nor_told(bench: Bench) -> None:
    bench.store.put(bench.client.keep(pod()))
    await bench.sweeper._sweep(PODS)
    assert bench.client.reads == ["list pods"]
    assert bench.woken == []


async def test_what_came_while_it_was_listed_is_no_ghost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.store.put(pod("job-a0-w1", version=1))

    real = bench.client.list

    async def listed(resource: Resource, *rest: Any, **more: Any) -> AsyncIterator[Any]:
        items = [item async for item in real(resource)]
        create_and_touch()
        for item in items:
            yield item

    def create_and_touch() -> None:
        bench.feed.seen(pod(version=50))
        bench.feed.seen(pod("job-a0-w1", version=51))

    monkeypatch.setattr(bench.client, "list", listed)
    await bench.sweeper._sweep(PODS)
    assert bench.store.get(key_of(pod())) is not None
    assert bench.store.get(Key("Pod", "ns", "job-a0-w1")) is not None


async def test_the_age_is_that_of_the_kind_that_waits_longest(bench: Bench) -> None:
    now = [100.0]
    sweeper = Sweeper(
        bench.client, bench.store, bench.feed, bench.metrics, (), 300.0, clock=lambda: now[0]
    )
    now[0] += 50
    await sweeper._sweep(PODS)
    assert sweeper.age() == 50
    await sweeper.load()
    assert sweeper.age() == 0
