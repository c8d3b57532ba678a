"""Asking workers: at their own pace, and believing nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from torchyard.engine.poller import INTERVAL_SECONDS, Poller
from torchyard.engine.resources import Key

JOB = Key("TrainingJob", "ns", "job")
GOOD = {"attempt": 0, "progress": {"step": 7, "totalSteps": 10}}


class Worker:
    answer: str = json.dumps(GOOD)
    status = 200
    asked = 0
    location: dict[str, str] | None = None

    async def handle(self, _: web.Request) -> web.Response:
        self.asked += 1
        return web.Response(text=self.answer, status=self.status, headers=self.location)


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest_asyncio.fixture
async def address(worker: Worker) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/progress", worker.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_the_answer_is_kept_and_wakes_the_job(
    session: aiohttp.ClientSession, address: str
) -> None:
    woken: asyncio.Queue[Key] = asyncio.Queue()
    poller = Poller(session, woken.put_nowait)
    running = asyncio.create_task(poller.run(4))
    poller.aim(JOB, address)
    assert await asyncio.wait_for(woken.get(), 10) == JOB
    newest = poller.newest(JOB)
    assert newest is not None
    assert newest.progress.step == 7
    running.cancel()


async def test_a_job_is_asked_every_ten_seconds_however_often_it_is_aimed_at(
    session: aiohttp.ClientSession, address: str, worker: Worker
) -> None:
    now, woken = [1000.0], list[Key]()
    poller = Poller(session, woken.append, clock=lambda: now[0])

    async def due() -> bool:
        poller.aim(JOB, address)
        key = poller._queue.pop()
        if key is None:
            return False
        await poller._poll(key)
        poller._queue.done(key)
        return True

    assert await due()
    now[0] += INTERVAL_SECONDS - 0.1
    assert not await due()
    now[0] += 0.1
    assert await due()
    assert worker.asked == 2
    assert len(woken) == 1, "the same answer is no news"
    poller.aim(JOB, None)
    now[0] += INTERVAL_SECONDS
    await poller._poll(JOB)
    assert worker.asked == 2


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        pytest.param("", 200, id="nothing"),
        pytest.param("[]", 200, id="no object"),
        pytest.param('{"attempt": -1, "progress": {}}', 200, id="nonsense"),
        pytest.param(json.dumps(GOOD), 500, id="an error"),
        pytest.param(json.dumps({**GOOD, "pad": "x" * 100_000}), 200, id="too much"),
    ],
)
async def test_what_makes_no_sense_is_no_news(
    session: aiohttp.ClientSession, address: str, worker: Worker, answer: str, status: int
) -> None:
    worker.answer, worker.status = answer, status
    assert await Poller(session, lambda key: None)._ask(address) is None
    assert worker.asked == 1


async def test_a_worker_sends_the_operator_nowhere(
    session: aiohttp.ClientSession, address: str, worker: Worker
) -> None:
    worker.status, worker.location = 302, {"Location": f"http://{address}/progress"}
    assert await Poller(session, lambda key: None)._ask(address) is None
    assert worker.asked == 1


async def test_a_worker_that_is_not_there_is_no_news(session: aiohttp.ClientSession) -> None:
    assert await Poller(session, lambda key: None)._ask("127.0.0.1:9") is None


async def test_a_job_that_is_gone_is_forgotten(session: aiohttp.ClientSession) -> None:
    known: Any = Poller(session, lambda key: None)
    known.aim(JOB, "127.0.0.1:9")
    known.forget(JOB)
    assert known._queue.pop() is None
    assert known.newest(JOB) is None
