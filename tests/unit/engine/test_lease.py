"""Two replicas and one Lease, on a clock that only the test moves."""

import asyncio

import pytest

from tests.unit.engine.fake import FakeClient
from torchyard.engine import lease as lease_module
from torchyard.engine.lease import DURATION_SECONDS, RENEW_SECONDS, Lease
from torchyard.engine.resources import Key
from torchyard.errors import Ended, Unavailable

KEY = Key("Lease", "sys", "torchyard")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


async def test_the_first_creates_it_and_the_second_waits(client: FakeClient, clock: Clock) -> None:
    first, second = Lease(client, KEY, "a", clock), Lease(client, KEY, "b", clock)
    assert await first._try()
    assert not await second._try()
    assert (first.held(), second.held()) == (True, False)
    assert client.objects[KEY]["spec"]["holderIdentity"] == "a"


async def test_a_silent_holder_is_succeeded_after_the_duration_by_our_own_clock(
    client: FakeClient, clock: Clock
) -> None:
    first, second = Lease(client, KEY, "a", clock), Lease(client, KEY, "b", clock)
    await first._try()
    await second._try()
    clock.now += DURATION_SECONDS - 1
    assert not await second._try()
    assert not first.held(), "the holder has given up before the other takes over"
    clock.now += 1
    assert await second._try()
    assert client.objects[KEY]["spec"]["leaseTransitions"] == 2


async def test_a_renewal_is_noticed(client: FakeClient, clock: Clock) -> None:
    first, second = Lease(client, KEY, "a", clock), Lease(client, KEY, "b", clock)
    await first._try()
    for _ in range(10):
        clock.now += 8
        assert await first._try()
        assert not await second._try()


async def test_a_paused_process_does_not_write(client: FakeClient, clock: Clock) -> None:
    holder = Lease(client, KEY, "a", clock)
    await holder._try()
    holder.fence()
    clock.now += RENEW_SECONDS
    with pytest.raises(Unavailable):
        holder.fence()


async def test_a_process_that_wakes_up_as_a_stranger_loses_it_at_once(
    client: FakeClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RETRY_SECONDS", 0)
    first, second = Lease(client, KEY, "a", clock), Lease(client, KEY, "b", clock)
    await first._try()
    await second._try()
    clock.now += 120
    assert await second._try()
    with pytest.raises(Ended):
        await asyncio.wait_for(first.keep(), 10)


async def test_somebody_who_takes_it_by_hand_ends_the_holder(
    client: FakeClient, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "RETRY_SECONDS", 0)
    holder = Lease(client, KEY, "a", clock)
    await holder._try()
    spec = {**client.objects[KEY]["spec"], "holderIdentity": "b"}
    client.keep({**client.objects[KEY], "spec": spec})
    with pytest.raises(Ended):
        await asyncio.wait_for(holder.keep(), 10)
    assert not holder.held()


async def test_a_lost_answer_does_not_lose_it(client: FakeClient, clock: Clock) -> None:
    holder = Lease(client, KEY, "a", clock)
    await holder._try()
    client.keep(client.objects[KEY])  # the renewal arrived, its answer did not
    clock.now += 2
    assert not await holder._try()
    assert holder.held()
    clock.now += 2
    assert await holder._try()


async def test_an_api_server_that_is_away_does_not_lose_it_at_once(
    client: FakeClient, clock: Clock
) -> None:
    holder = Lease(client, KEY, "a", clock)
    await holder._try()
    clock.now += 5
    client.fail[f"replace {KEY}"] = Unavailable("away")
    assert not await holder._try()
    assert holder.held()
    assert await holder._try()


async def test_a_released_lease_is_free_at_once(client: FakeClient, clock: Clock) -> None:
    first, second = Lease(client, KEY, "a", clock), Lease(client, KEY, "b", clock)
    await first._try()
    await second._try()
    await first.release()
    assert not first.held()
    assert await second._try()


async def test_the_same_pod_takes_its_lease_up_again_after_a_crash(
    client: FakeClient, clock: Clock
) -> None:
    await Lease(client, KEY, "pod-0", clock)._try()
    assert await Lease(client, KEY, "pod-0", clock)._try()


async def test_times_are_written_as_micro_time(client: FakeClient, clock: Clock) -> None:
    await Lease(client, KEY, "a", clock)._try()
    renewed = client.objects[KEY]["spec"]["renewTime"]
    assert len(renewed) == len("2026-01-01T00:00:00.000000Z")
    assert renewed.endswith("Z")
