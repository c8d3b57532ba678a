"""The client on the wire: what it sends, and what it makes of the answers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from tests.unit.engine.objects import custom, pod
from torchyard.engine.client import BURST_SECONDS, REQUESTS_PER_SECOND, Client, Pace
from torchyard.engine.connection import Connection
from torchyard.engine.metrics import Metrics
from torchyard.engine.resources import BY_KIND, Key
from torchyard.errors import Conflict, Forbidden, NotFound, Outdated, Refused, Unavailable

Answer = Callable[[web.Request], Awaitable[web.Response]]
KEY = Key("Pod", "ns", "job-a0-w0")


class Server:
    """An API server that answers what the test says and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any, str]] = []
        self.answers: list[web.Response] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.json() if request.can_read_body else None
        query = dict(request.query)
        self.asked.append((request.method, request.path, query, body, request.content_type))
        self.authorization = request.headers.get("Authorization")
        return self.answers.pop(0)

    def says(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append(web.json_response(body or {}, status=status, headers=headers))

    def refuses(self, status: int, reason: str = "", **more: Any) -> None:
        self.says(status, {"kind": "Status", "message": "no", "reason": reason, **more})


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest_asyncio.fixture
async def client(server: Server, metrics: Metrics) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with Client(Connection(url, None, lambda: "secret"), metrics, lambda: None) as client:
        yield client
    await runner.cleanup()


async def test_reads(client: Client, server: Server, metrics: Metrics) -> None:
    server.says(200, pod())
    assert (await client.get(KEY) or {})["metadata"]["name"] == "job-a0-w0"
    server.refuses(404)
    assert await client.get(KEY) is None
    assert server.asked[0][1] == "/api/v1/namespaces/ns/pods/job-a0-w0"
    assert server.authorization == "Bearer secret"
    labels = {"verb": "GET", "code": "404"}
    assert metrics.registry.get_sample_value("torchyard_api_requests_total", labels) == 1


async def test_a_list_follows_its_pages_and_says_what_its_members_are(
    client: Client, server: Server
) -> None:
    server.says(200, {"items": [{"metadata": {"name": "a"}}], "metadata": {"continue": "more"}})
    server.says(200, {"items": None, "metadata": {"resourceVersion": "7"}})
    listed = [item async for item in client.list(BY_KIND["Deployment"], None, "a=b")]
    assert [(i["kind"], i["apiVersion"]) for i in listed] == [("Deployment", "apps/v1")]
    assert server.asked[0][1] == "/apis/apps/v1/deployments"
    assert server.asked[0][2]["labelSelector"] == "a=b"
    assert server.asked[1][2]["continue"] == "more"


async def test_writes(client: Client, server: Server) -> None:
    for _ in range(4):
        server.says(200, pod())
    await client.create(pod())
    await client.apply(pod(), force=True)
    await client.delete(KEY, "the-uid")
    observed = custom("TrainingJob", "job", {}, version=5)
    await client.patch_status(observed, {"phase": None})
    create, apply, delete, status = server.asked
    assert create[:3] == ("POST", "/api/v1/namespaces/ns/pods", {"fieldManager": "torchyard"})
    assert apply[2] == {"fieldManager": "torchyard", "force": "true"}
    assert apply[4] == "application/apply-patch+yaml"
    assert delete[3]["preconditions"] == {"uid": "the-uid"}
    assert delete[3]["propagationPolicy"] == "Background"
    assert status[1].endswith("/trainingjobs/job/status")
    assert status[3] == {
        "metadata": {"uid": "job-uid", "resourceVersion": "5"},
        "status": {"phase": None},
    }


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Refused),
        (401, Unavailable),
        (403, Forbidden),
        (404, NotFound),
        (409, Conflict),
        (422, Refused),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_what_an_answer_means(
    client: Client, server: Server, status: int, error: type[Exception]
) -> None:
    server.refuses(status, reason="Because")
    with pytest.raises(error) as caught:
        await client.create(pod())
    assert type(caught.value) is error
    if isinstance(caught.value, Refused):
        assert (caught.value.code, caught.value.reason, str(caught.value)) == (
            status,
            "Because",
            "no",
        )


async def test_a_conflict_of_a_status_is_outdated(client: Client, server: Server) -> None:
    for status in (404, 409):
        server.refuses(status)
        with pytest.raises(Outdated):
            await client.patch_status(custom("TrainingJob", "job", {}), {})


async def test_retry_after_is_passed_on(client: Client, server: Server) -> None:
    server.says(429, {"message": "slow down"}, **{"Retry-After": "7"})
    with pytest.raises(Unavailable) as caught:
        await client.create(pod())
    assert caught.value.retry_after == 7


async def test_a_namespace_on_its_way_out_is_left_alone(client: Client, server: Server) -> None:
    causes = {"causes": [{"reason": "NamespaceTerminating"}]}
    server.refuses(403, reason="Forbidden", details=causes)
    with pytest.raises(Unavailable) as caught:
        await client.create(pod())
    assert caught.value.retry_after > 0


async def test_an_answer_that_is_no_json_is_understood(client: Client, server: Server) -> None:
    server.answers.append(web.Response(status=404, text="404 page not found"))
    assert await client.get(KEY) is None
    server.answers.append(web.Response(status=200, text="<html>"))
    with pytest.raises(Unavailable):
        await client.get(KEY)


async def test_no_answer_at_all(metrics: Metrics) -> None:
    connection = Connection("http://127.0.0.1:9", None, lambda: None)
    async with Client(connection, metrics, lambda: None) as client:
        with pytest.raises(Unavailable):
            await client.get(KEY)
    labels = {"verb": "GET", "code": "0"}
    assert metrics.registry.get_sample_value("torchyard_api_requests_total", labels) == 1


async def test_the_fence_is_before_every_write_and_before_no_read(
    server: Server, metrics: Metrics
) -> None:
    def fence() -> None:
        raise Unavailable("not the holder")

    async with Client(Connection("http://127.0.0.1:9", None, lambda: None), metrics, fence) as one:
        for write in (
            one.create(pod()),
            one.apply(pod(), force=False),
            one.replace(pod()),
            one.delete(KEY, "uid"),
            one.patch_status(custom("TrainingJob", "job", {}), {}),
        ):
            with pytest.raises(Unavailable, match="not the holder"):
                await write


def test_the_pace_lets_a_burst_through_and_then_holds_back() -> None:
    now = [100.0]
    pace = Pace(lambda: now[0])
    burst = int(REQUESTS_PER_SECOND * BURST_SECONDS)
    assert all(pace.reserve() == 0 for _ in range(burst))
    waits = [pace.reserve() for _ in range(burst)]
    assert waits[-1] == pytest.approx(1.0, rel=0.05)
    now[0] += 3600
    assert pace.reserve() == 0
