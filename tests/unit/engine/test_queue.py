"""The queue's promises, by a clock that only the test moves."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchyard.engine.queue import CAP_SECONDS, Queue, backoff


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> Queue[str]:
    return Queue(clock)


def test_a_key_is_handed_out_once_however_often_it_is_added(queue: Queue[str]) -> None:
    for _ in range(3):
        queue.add("a")
    assert queue.pop() == "a"
    assert queue.pop() is None


def test_a_key_that_is_added_while_active_comes_again_only_after_done(queue: Queue[str]) -> None:
    queue.add("a")
    assert queue.pop() == "a"
    queue.add("a")
    assert queue.pop() is None
    queue.done("a")
    assert queue.pop() == "a"
    queue.done("a")
    assert queue.pop() is None


def test_the_earliest_wish_wins(queue: Queue[str], clock: Clock) -> None:
    queue.add("a", 60)
    queue.add("a", 5)
    queue.add("a", 30)
    clock.now += 4.9
    assert queue.pop() is None
    clock.now += 0.1
    assert queue.pop() == "a"
    queue.done("a")
    clock.now += 1000
    assert queue.pop() is None, "the later wishes were the same wish"


def test_keys_come_in_the_order_in_which_they_fall_due(queue: Queue[str], clock: Clock) -> None:
    queue.add("late", 2)
    queue.add("first")
    queue.add("second")
    clock.now += 2
    assert [queue.pop(), queue.pop(), queue.pop()] == ["first", "second", "late"]


def test_a_wish_for_later_made_while_active_is_kept(queue: Queue[str], clock: Clock) -> None:
    queue.add("a")
    queue.pop()
    queue.add("a", 10)
    queue.done("a")
    assert queue.pop() is None
    clock.now += 10
    assert queue.pop() == "a"


def test_an_overdue_wish_of_an_active_key_survives_its_turn_in_the_heap(
    queue: Queue[str], clock: Clock
) -> None:
    queue.add("a")
    queue.pop()
    queue.add("a")
    queue.add("b")
    assert queue.pop() == "b", "the heap entry of `a` was met and dropped"
    queue.done("a")
    assert queue.pop() == "a"


def test_discard_forgets_a_delayed_key(queue: Queue[str], clock: Clock) -> None:
    queue.add("a", 10)
    queue.discard("a")
    clock.now += 20
    assert queue.pop() is None


def test_depth_and_age_count_what_waits_for_a_worker(queue: Queue[str], clock: Clock) -> None:
    assert (queue.depth(), queue.age()) == (0, 0.0)
    queue.add("a")
    queue.add("b")
    queue.add("later", 100)
    clock.now += 7
    assert (queue.depth(), queue.age()) == (2, 7.0)
    queue.pop()
    queue.pop()
    assert (queue.depth(), queue.age()) == (0, 0.0)


async def test_a_key_that_is_added_while_nothing_is_due_is_handed_out() -> None:
    queue: Queue[str] = Queue()
    handled: asyncio.Queue[str] = asyncio.Queue()
    queue.add("far", 3600)
    running = asyncio.create_task(queue.run(2, handled.put))
    await asyncio.sleep(0)
    queue.add("near", 0.01)
    assert await asyncio.wait_for(handled.get(), 10) == "near"
    running.cancel()


async def test_only_so_many_keys_are_handled_at_a_time_and_each_once() -> None:
    queue: Queue[int] = Queue()
    handled, at_once, go = list[int](), list[int](), asyncio.Event()
    active = 0

    async def handle(key: int) -> None:
        nonlocal active
        active += 1
        at_once.append(active)
        queue.add(key)  # once more, while it is being handled
        await go.wait()
        active -= 1
        handled.append(key)
        if len(handled) == 10:
            queue.close()

    for key in range(5):
        queue.add(key)
    running = asyncio.create_task(queue.run(3, handle))
    await asyncio.sleep(0.01)
    assert active == 3
    go.set()
    await asyncio.wait_for(running, 10)
    assert max(at_once) == 3
    assert set(handled) == set(range(5))


async def test_a_closed_queue_hands_out_nothing_more_and_lets_what_runs_end() -> None:
    queue: Queue[str] = Queue()
    go, ended = asyncio.Event(), list[str]()

    async def handle(key: str) -> None:
        await go.wait()
        ended.append(key)

    queue.add("a")
    running = asyncio.create_task(queue.run(5, handle))
    await asyncio.sleep(0.01)
    queue.close()
    queue.add("b")
    await asyncio.sleep(0.01)
    assert not running.done()
    go.set()
    await asyncio.wait_for(running, 10)
    assert ended == ["a"]


def test_backoff_grows_to_its_cap_and_is_jittered_in_full() -> None:
    assert [backoff(n, lambda: 1.0) for n in (0, 1, 2, 3)] == [0.2, 0.4, 0.8, 1.6]
    assert backoff(10_000, lambda: 1.0) == CAP_SECONDS
    draws = [backoff(5) for _ in range(200)]
    assert min(draws) < 1.6 < 4.8 < max(draws)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_no_key_is_lost_or_handed_out_twice_at_a_time(seed: int, keys: int) -> None:
    draw = random.Random(seed)
    clock = Clock()
    queue: Queue[int] = Queue(clock)
    active: set[int] = set()
    owed: dict[int, float] = {}
    for _ in range(200):
        match draw.randrange(4):
            case 0:
                key, delay = draw.randrange(keys), draw.choice([0.0, 0.0, 1.0, 5.0])
                queue.add(key, delay)
                owed[key] = min(owed.get(key, float("inf")), clock.now + delay)
            case 1:
                clock.now += draw.random() * 2
            case 2 if active:
                key = draw.choice(sorted(active))
                active.remove(key)
                queue.done(key)
            case _:
                ready = {k for k, due in owed.items() if due <= clock.now and k not in active}
                got = queue.pop()
                if got is None:
                    assert not ready
                    continue
                assert got in ready
                del owed[got]
                active.add(got)
