"""The loop around a decision, with decisions that the test makes up."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from pydantic import BaseModel, Field

from tests.unit.engine.fake import FakeClient
from tests.unit.engine.objects import custom, pod
from torchyard.api.base import Condition, ConditionStatus, StatusModel
from torchyard.core.plan import Action, Create, Decision, Delete
from torchyard.core.world import Object, Release
from torchyard.engine.controllers import Moment
from torchyard.engine.events import Events
from torchyard.engine.feed import Feed
from torchyard.engine.loop import PATIENCE, Loop, rejection
from torchyard.engine.metrics import Metrics
from torchyard.engine.poller import Poller
from torchyard.engine.queue import Queue
from torchyard.engine.resources import Key
from torchyard.engine.store import Store
from torchyard.errors import Forbidden, Unavailable

JOB = Key("TrainingJob", "ns", "job")
Json = dict[str, Any]
Decide = Callable[[Object, Moment], Decision]


class Status(StatusModel):
    phase: str = ""
    pods: int = 0
    conditions: list[Condition] = Field(default_factory=list)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A loop whose clock stands still, and one pass of it at a time."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.clock = Clock()
        self.client = FakeClient()
        self.store = Store()
        self.queue: Queue[Key] = Queue(self.clock)
        self.decide: Decide = lambda observed, moment: Decision(None)
        self.metrics = Metrics()
        feed = Feed(self.store, lambda key: self.loop.wake(key))
        self.feed = feed
        self.poller = Poller(session, lambda key: None)
        self.events = Events(self.client, self.metrics, "me")
        self.loop = Loop(
            client=self.client,
            store=self.store,
            feed=feed,
            queue=self.queue,
            poller=self.poller,
            events=self.events,
            metrics=self.metrics,
            release=Release("t", "s", "sys", {}),
            controllers={"TrainingJob": lambda observed, moment: self.decide(observed, moment)},
            clock=self.clock,
        )

    def job(self, **more: Any) -> Json:
        kept = self.client.keep({**custom("TrainingJob", "job", {}), **more})
        self.feed.seen(kept)
        return kept

    async def turn(self) -> bool:
        """One due key, if there is one."""
        if (key := self.queue.pop()) is None:
            return False
        await self.loop._handle(key)
        self.queue.done(key)
        return True

    async def until_quiet(self, limit: int = 50) -> int:
        """Turns until nothing is due; returns how many there were."""
        turns = 0
        while turns < limit and await self.turn():
            turns += 1
        return turns

    def outcomes(self, outcome: str) -> float:
        labels = {"kind": "TrainingJob", "outcome": outcome}
        return self.metrics.registry.get_sample_value("torchyard_reconciles_total", labels) or 0.0


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    async with aiohttp.ClientSession() as session:
        yield Bench(session)


def says(phase: str, *actions: Action, **more: Any) -> Decide:
    return lambda observed, moment: Decision(Status(phase=phase), actions, **more)


def worker(name: str = "job-a0-w0") -> Create:
    manifest = pod(name)
    metadata = {
        k: v for k, v in manifest["metadata"].items() if k not in ("uid", "resourceVersion")
    }
    return Create({**manifest, "metadata": metadata}, "a worker")


async def test_actions_come_before_the_status(bench: Bench) -> None:
    bench.job()
    bench.decide = says("Starting", worker())
    await bench.turn()
    assert bench.client.writes == ["create Pod ns/job-a0-w0", "status TrainingJob ns/job"]


async def test_a_settled_resource_costs_no_writes_and_no_timers(bench: Bench) -> None:
    bench.job(status={"phase": "Ready", "pods": 0, "conditions": []})
    bench.decide = says("Ready")
    await bench.until_quiet()
    assert bench.client.writes == []
    bench.clock.now += 10**6
    assert not await bench.turn()


async def test_a_status_that_lacks_only_defaults_is_the_same(bench: Bench) -> None:
    bench.job(status={"phase": "Ready"})
    bench.decide = says("Ready")
    await bench.until_quiet()
    assert bench.client.writes == []


async def test_after_writes_it_is_decided_again_on_what_is_there_now(bench: Bench) -> None:
    bench.job()

    def decide(observed: Object, moment: Moment) -> Decision:
        pods = moment.store.children(JOB, "job-uid", "Pod")
        return Decision(Status(pods=len(pods)), () if pods else (worker(),))

    bench.decide = decide
    await bench.until_quiet()
    assert bench.client.objects[JOB]["status"]["pods"] == 1


async def test_an_intent_is_stored_before_the_next_decision(bench: Bench) -> None:
    bench.job()

    def decide(observed: Object, moment: Moment) -> Decision:
        if not observed.get("status"):
            return Decision(Status(phase="Intended"), again=True)
        assert observed["status"]["phase"] == "Intended"
        return Decision(Status(phase="Intended"), (worker(),))

    bench.decide = decide
    await bench.turn()
    await bench.turn()
    assert bench.client.writes == ["status TrainingJob ns/job", "create Pod ns/job-a0-w0"]


async def test_wake_brings_it_back(bench: Bench) -> None:
    bench.job(status={"phase": "Ready"})
    bench.decide = says("Ready", wake=30.0)
    await bench.until_quiet()
    bench.clock.now += 29.9
    assert not await bench.turn()
    bench.clock.now += 0.1
    assert await bench.turn()


async def test_a_refusal_is_told_in_the_status_and_tried_again(bench: Bench) -> None:
    bench.job()
    error = Forbidden("exceeded quota", code=403, reason="Forbidden")

    def decide(observed: Object, moment: Moment) -> Decision:
        if moment.problem:
            return Decision(Status(phase=f"Blocked: {moment.problem.message}"), (worker("never"),))
        return Decision(Status(phase="Running"), (worker(),))

    bench.decide = decide
    for _ in range(3):
        bench.client.fail["create Pod ns/job-a0-w0"] = error
        assert await bench.turn()
        bench.clock.now += 61
    assert bench.client.objects[JOB]["status"]["phase"] == "Blocked: exceeded quota"
    assert bench.client.writes.count("status TrainingJob ns/job") == 1, "it is said once"
    assert "create Pod ns/never" not in bench.client.writes
    await bench.turn()
    assert bench.client.objects[JOB]["status"]["phase"] == "Running"


async def test_a_status_written_over_somebody_elses_change_is_decided_again(bench: Bench) -> None:
    bench.job()
    bench.client.keep({**bench.client.objects[JOB], "spec": {"suspend": True}})
    bench.decide = lambda observed, moment: Decision(Status(phase=str(observed["spec"])))
    await bench.turn()
    assert bench.outcomes("outdated") == 1
    bench.clock.now += 1
    await bench.until_quiet()
    assert bench.client.objects[JOB]["status"]["phase"] == "{'suspend': True}"


async def test_a_bug_met_by_one_key_delays_only_that_key(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    poisoned = custom("TrainingJob", "poisoned", {})
    bench.feed.seen(bench.client.keep(poisoned))
    bench.job()

    def decide(observed: Object, moment: Moment) -> Decision:
        if observed["metadata"]["name"] == "poisoned":
            raise RuntimeError("boom")
        return Decision(Status(phase="Ready"))

    bench.decide = decide
    with caplog.at_level(logging.ERROR):
        for _ in range(600):
            await bench.until_quiet()
            bench.clock.now += 0.1
    assert bench.client.objects[JOB]["status"]["phase"] == "Ready"
    assert bench.outcomes("error") <= 25, "a minute of a poisoned key is a few attempts"
    assert "boom" in caplog.text


async def test_retry_after_is_honoured_even_when_events_come(bench: Bench) -> None:
    bench.job()
    bench.decide = says("Ready", worker())
    bench.client.fail["create Pod ns/job-a0-w0"] = Unavailable("busy", retry_after=20)
    await bench.turn()
    bench.clock.now += 10
    bench.loop.wake(JOB)
    assert not await bench.turn()
    bench.clock.now += 10
    assert await bench.turn()


async def test_a_newer_spec_waits_for_nothing(bench: Bench) -> None:
    job = bench.job()
    bench.decide = says("Ready", worker())
    for _ in range(12):
        bench.client.fail["create Pod ns/job-a0-w0"] = Unavailable("busy", retry_after=1000)
        bench.loop.wake(JOB)
        await bench.turn()
        bench.clock.now += 1000
    bench.client.fail["create Pod ns/job-a0-w0"] = Unavailable("busy", retry_after=1000)
    bench.loop.wake(JOB)
    await bench.turn()
    newer = bench.client.keep({**job, "metadata": {**job["metadata"], "generation": 2}})
    bench.feed.seen(newer)
    assert await bench.turn()
    assert bench.client.objects[JOB]["status"]["phase"] == "Ready"


async def test_somebody_who_undoes_every_write_is_not_chased(bench: Bench) -> None:
    bench.job()

    def decide(observed: Object, moment: Moment) -> Decision:
        pods = moment.store.children(JOB, "job-uid", "Pod")
        if pods:
            uid = pods[0]["metadata"]["uid"]
            return Decision(Status(), (Delete("Pod", "ns", "job-a0-w0", uid, "not this one"),))
        return Decision(Status(), (worker(),))

    bench.decide = decide
    assert PATIENCE < await bench.until_quiet() <= PATIENCE + 2
    for _ in range(6000):
        bench.clock.now += 0.1
        await bench.until_quiet()
    writes = [line for line in bench.client.writes if "Pod" in line]
    assert len(writes) < 150, "ten minutes"


async def test_events_after_a_write_gather_for_a_moment(bench: Bench) -> None:
    bench.job()
    bench.decide = says("Ready")
    await bench.turn()
    for version in range(20):
        bench.feed.seen(pod(version=10_000 + version))
    assert not await bench.turn()
    bench.clock.now += 0.3
    assert await bench.until_quiet() == 1


async def test_a_deleted_resource_is_forgotten(bench: Bench) -> None:
    job = bench.job()
    bench.decide = says("Ready", wake=5.0)
    await bench.until_quiet()
    bench.feed.gone(JOB, job)
    bench.clock.now += 1
    await bench.until_quiet()
    bench.clock.now += 100
    assert not await bench.turn()


class Spec(BaseModel):
    workers: int


async def test_a_spec_that_cannot_be_read_is_told_and_not_tried_again(bench: Bench) -> None:
    bench.job(spec={"workers": "many"}, status={"phase": "Pending"})

    def decide(observed: Object, moment: Moment) -> Decision:
        Wrapped.model_validate(observed)
        return Decision(None)

    bench.decide = decide
    await bench.turn()
    status = bench.client.objects[JOB]["status"]
    accepted = next(c for c in status["conditions"] if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "SpecInvalid")
    assert "spec.workers" in accepted["message"]
    assert status["phase"] == "Pending"
    bench.clock.now += 10**6
    assert not await bench.turn()
    assert bench.outcomes("invalid") == 1


class Wrapped(BaseModel):
    spec: Spec


def test_a_rejection_that_is_told_already_changes_nothing() -> None:
    job = custom("TrainingJob", "job", {})
    first = rejection(job, "spec.x: wrong", datetime(2026, 1, 1, tzinfo=UTC))
    again = rejection({**job, "status": first}, "spec.x: wrong", datetime(2027, 1, 1, tzinfo=UTC))
    assert first == again


async def test_conditions_that_a_write_changed_become_events(bench: Bench) -> None:
    bench.job()
    condition = Condition(
        type="Failed",
        status=ConditionStatus.TRUE,
        reason="Because",
        message="it broke",
        last_transition_time="2026-01-01T00:00:00Z",
    )
    bench.decide = lambda observed, moment: Decision(Status(conditions=[condition]))
    posting = asyncio.create_task(bench.events.run())
    await bench.until_quiet()
    await bench.events.flush()
    posting.cancel()
    events = [value for key, value in bench.client.objects.items() if key.kind == "Event"]
    assert [(e["reason"], e["type"], e["note"]) for e in events] == [
        ("Because", "Warning", "it broke")
    ]
