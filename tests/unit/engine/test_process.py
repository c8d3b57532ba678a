"""How a process stands, acts and ends."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import kopf
import pytest
import pytest_asyncio

from tests.unit.engine.fake import FakeClient
from tests.unit.engine.objects import custom
from torchyard import handlers, process
from torchyard.config import OPTIONS, Settings
from torchyard.engine.connection import Connection
from torchyard.engine.feed import Feed
from torchyard.engine.health import Health
from torchyard.engine.metrics import Metrics
from torchyard.engine.resources import BY_KIND, WATCHED
from torchyard.engine.store import Store
from torchyard.engine.sweep import SELECTOR
from torchyard.errors import Ended, Invalid

CONNECTION = Connection("http://127.0.0.1:9", None, lambda: None)
SETTINGS = Settings.parse(
    {option.name: option.default for option in OPTIONS}
    | {"trainer-image": "t", "server-image": "s"}
)


class Bench:
    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.now = 1000.0
        self.metrics = Metrics()
        self.replica: Any = process.Replica(
            SETTINGS, "sys", CONNECTION, FakeClient(), session, self.metrics, lambda: self.now
        )

    def opens_watches(self, *, at: float) -> None:
        for resource in WATCHED:
            self.replica._sensors._opened[resource.path()] = at


@pytest_asyncio.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    async with aiohttp.ClientSession() as session:
        bench = Bench(session)
        for part in (bench.replica._sensors, bench.replica._sweeper, bench.replica._queue):
            monkeypatch.setattr(part, "_clock", lambda: bench.now)
        for resource in WATCHED:
            bench.replica._sweeper._swept[resource] = bench.now
        yield bench


async def test_standing_by_is_well_and_ready_for_ever(bench: Bench) -> None:
    bench.now += 10**6
    assert bench.replica.ailments() == []
    assert bench.replica.obstacles() == []


async def test_acting_is_ready_when_every_kind_is_watched(bench: Bench) -> None:
    bench.replica._acting_since = bench.now
    assert bench.replica.obstacles()
    assert bench.replica.ailments() == [], "it has time to start"
    bench.opens_watches(at=bench.now)
    assert bench.replica.obstacles() == []


async def test_a_start_that_never_ends_is_an_ailment(bench: Bench) -> None:
    bench.replica._acting_since = bench.now
    bench.now += process.START_SECONDS + 1
    assert bench.replica.ailments() == ["not every kind is watched yet"]


async def test_a_watch_that_is_never_opened_anew_is_an_ailment(bench: Bench) -> None:
    bench.replica._acting_since = bench.now
    bench.opens_watches(at=bench.now)
    bench.now += process.WATCH_SECONDS + 1
    for resource in WATCHED:
        bench.replica._sweeper._swept[resource] = bench.now
    bench.replica._sensors._opened[BY_KIND["Pod"].path()] = bench.now
    told = bench.replica.ailments()
    assert len(told) == len(WATCHED) - 1
    assert not any(line.startswith("Pod ") for line in told)


async def test_sweeps_that_fail_for_long_are_an_ailment(bench: Bench) -> None:
    bench.now += 10**6
    bench.replica._acting_since = bench.now
    assert bench.replica.ailments() == [], "it stood by for long"
    bench.now += 3 * SETTINGS.sweep_seconds + process.START_SECONDS + 1
    bench.opens_watches(at=bench.now)
    assert [line[:25] for line in bench.replica.ailments()] == ["nothing has been listed f"]


async def test_a_queue_that_does_not_move_is_an_ailment(bench: Bench) -> None:
    bench.replica._acting_since = bench.now
    bench.replica._feed.seen(custom("TrainingJob", "job", {}))
    bench.now += process.QUEUE_SECONDS + 1
    bench.opens_watches(at=bench.now)
    for resource in WATCHED:
        bench.replica._sweeper._swept[resource] = bench.now
    assert bench.replica.ailments() == ["the queue has not moved for 601 s"]


async def test_resources_are_counted_by_phase(bench: Bench) -> None:
    bench.replica._feed.seen(custom("TrainingJob", "a", {}))
    bench.replica._feed.seen({**custom("TrainingJob", "b", {}), "status": {"phase": "Running"}})
    text = bench.metrics.text().decode()
    assert 'torchyard_resources{kind="TrainingJob",phase="Pending"} 1.0' in text
    assert 'torchyard_resources{kind="TrainingJob",phase="Running"} 1.0' in text


async def test_the_probes_answer_on_the_wire() -> None:
    wrong: list[str] = []
    health = Health(Metrics(), alive=lambda: wrong, ready=lambda: [])
    await health.start("127.0.0.1", 0)
    port = health._runner.addresses[0][1]
    url = f"http://127.0.0.1:{port}"
    async with aiohttp.ClientSession() as session:
        assert (await session.get(f"{url}/healthz")).status == 200
        wrong.append("it hurts")
        answer = await session.get(f"{url}/healthz")
        assert (answer.status, await answer.text()) == (503, "it hurts")
        assert (await session.get(f"{url}/readyz")).status == 200
        assert "torchyard_build" in await (await session.get(f"{url}/metrics")).text()
    other = Health(Metrics(), alive=lambda: [], ready=lambda: [])
    with pytest.raises(Invalid, match="--listen"):
        await other.start("127.0.0.1", port)
    await other.stop()
    await health.stop()


async def for_ever() -> None:
    await asyncio.Event().wait()


async def boom() -> None:
    raise RuntimeError("boom")


async def test_until_returns_when_it_is_done_or_told_to_stop() -> None:
    stop = asyncio.Event()
    await process._until(stop, asyncio.sleep(0))
    asyncio.get_running_loop().call_later(0.01, stop.set)
    await asyncio.wait_for(process._until(stop, for_ever()), 10)


async def test_until_raises_what_it_meets() -> None:
    with pytest.raises(RuntimeError):
        await process._until(asyncio.Event(), boom())
    with pytest.raises(RuntimeError):
        await process._until(asyncio.Event(), for_ever(), [asyncio.create_task(boom())])


async def test_a_part_that_ends_without_a_word_ends_the_process() -> None:
    guard: asyncio.Task[Any] = asyncio.create_task(asyncio.sleep(0), name="watches")
    with pytest.raises(Ended, match="watches"):
        await process._until(asyncio.Event(), for_ever(), [guard])


def test_kopf_watches_what_we_need_and_writes_nothing() -> None:
    chosen = handlers.settings()
    assert chosen.scanning.disabled
    assert not chosen.posting.enabled
    assert chosen.peering.standalone
    labels: dict[Any, str] = dict(chosen.watching.label_selectors)
    selectors = {selector.any_name: value for selector, value in labels.items()}
    assert selectors["pods"] == SELECTOR
    assert selectors["endpointslices"].startswith(SELECTOR)
    assert "trainingjobs" not in selectors


async def test_every_kind_has_one_handler_that_only_passes_on() -> None:
    store, woken = Store(), list[Any]()
    registry = handlers.registry(CONNECTION, Feed(store, woken.append), ())
    found = registry._watching.get_all_handlers()
    assert {handler.id for handler in found} == {resource.plural for resource in WATCHED}
    assert not registry._changing.get_all_handlers()
    assert not registry._spawning.get_all_handlers()
    pass_on: Any = next(handler for handler in found if handler.id == "trainingjobs").fn
    body = {k: v for k, v in custom("TrainingJob", "job", {}).items() if k != "kind"}
    event: kopf.RawEvent = {"type": None, "object": body}  # type: ignore[typeddict-item]
    await pass_on(event=event)
    assert len(store.of_kind("TrainingJob")) == 1
    await pass_on(event={**event, "type": "DELETED"})
    assert len(store.of_kind("TrainingJob")) == 0
    assert len(woken) == 2


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SETTINGS.port = 1  # type: ignore[misc]
