"""Routes, statuses and the life of a request, over real connections to a server in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.server.client import Client, ask, get
from tests.unit.server.conftest import INFER, ROW, Server, features
from torchyard_server.lifecycle import Phase

Start = Callable[..., Any]

ROUTES = {
    "/v2": {"name": "torchyard", "extensions": []},
    "/v2/health/live": {"live": True},
    "/v2/health/ready": {"ready": True},
    "/v2/models/digits": {"name": "digits", "versions": ["3"]},
    "/v2/models/digits/ready": {"name": "digits", "ready": True},
    "/v2/models/digits/versions/3": {"name": "digits", "versions": ["3"]},
    "/v2/models/digits/versions/3/ready": {"name": "digits", "ready": True},
}


@pytest.mark.parametrize(("path", "members"), ROUTES.items())
async def test_routes(server: Server, path: str, members: dict[str, object]) -> None:
    response = await get(server.port, path)
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"
    assert members.items() <= response.json().items()
    assert "date" in response.headers
    assert "server" not in response.headers


async def test_metadata_has_the_signature(server: Server) -> None:
    metadata = (await get(server.port, "/v2/models/digits")).json()
    assert metadata["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 4]}]
    assert [output["name"] for output in metadata["outputs"]] == ["sums", "doubled"]


@pytest.mark.parametrize("path", [INFER, "/v2/models/digits/versions/3/infer"])
async def test_inference(server: Server, path: str) -> None:
    async with Client(server.port) as client:
        for _ in range(3):  # the connection stays open
            response = await client.ask(path, {"id": "7", **features([1, 3, 7, 0], [1, 2, 3, 4])})
            assert response.status == 200
            assert response.json() == {
                "model_name": "digits",
                "model_version": "3",
                "id": "7",
                "outputs": [
                    {"name": "sums", "datatype": "FP32", "shape": [2], "data": [1, 0]},
                    {
                        "name": "doubled",
                        "datatype": "FP32",
                        "shape": [2, 4],
                        "data": [0, 2, 4, -4, 0, 0, 0, 0],
                    },
                ],
            }
    assert server.metric('torchyard_server_requests_total{code="200"}') == 3


async def test_only_the_outputs_that_were_asked_for(server: Server) -> None:
    response = await ask(server.port, INFER, {**ROW, "outputs": [{"name": "sums"}]})
    assert [output["name"] for output in response.json()["outputs"]] == ["sums"]


NOT_FOUND = {
    "/": "there is nothing at '/'",
    "/v2/": "there is nothing at '/v2/'",
    "/v2/models/other": "model 'other' is not here; 'digits' is",
    "/v2/models/other/infer": "model 'other' is not here; 'digits' is",
    "/v2/models/digits/versions/4/ready": "only version '3' of 'digits' is here",
    "/v2/models/digits/explain": "there is nothing at",
    "/v2/models/" + "x" * 3000: "model 'xxx",
    "/v2/models/digits%2Finfer": "there is nothing",
}


@pytest.mark.parametrize(("path", "message"), NOT_FOUND.items())
async def test_not_found(server: Server, path: str, message: str) -> None:
    response = await get(server.port, path.replace("%2F", "%2f/"))
    assert response.status == 404
    assert message in response.json()["error"]


async def test_a_wrong_method(server: Server) -> None:
    response = await get(server.port, INFER)
    assert (response.status, response.headers["allow"]) == (405, "POST")
    response = await get(server.port, "/v2", "DELETE")
    assert (response.status, response.headers["allow"]) == (405, "GET")
    assert response.json() == {"error": "DELETE is not allowed here; use GET"}


async def test_head(server: Server) -> None:
    assert (await get(server.port, "/v2/health/ready", "HEAD")).status == 200


async def test_a_bad_request(server: Server) -> None:
    response = await ask(server.port, INFER, {"inputs": []})
    assert response.status == 400
    assert response.json()["error"].startswith("inputs: 'features' is missing")
    assert server.metric('torchyard_server_requests_total{code="400"}') == 1


CONTENT = {
    "JSON": ("content-type: application/json; charset=utf-8", 200),
    "some JSON": ("content-type: application/vnd.api+json", 200),
    "octets": ("content-type: application/octet-stream", 200),
    "a form": ("content-type: application/x-www-form-urlencoded", 415),
    "text": ("content-type: text/plain", 415),
    "compressed": ("content-encoding: gzip", 415),
    "not compressed": ("content-encoding: identity", 200),
    "binary": ("inference-header-content-length: 12", 415),
}


@pytest.mark.parametrize(("header", "status"), CONTENT.values(), ids=CONTENT)
async def test_content(server: Server, header: str, status: int) -> None:
    assert (await ask(server.port, INFER, ROW, header)).status == status


async def test_a_model_that_breaks_is_an_internal_error_with_no_details(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(inputs: object) -> Any:
        raise RuntimeError("secret")

    server.gate._infer = broken
    response = await ask(server.port, INFER, ROW)
    assert response.status == 500
    assert response.json() == {"error": "the model failed; see the server's log"}
    assert "secret" in caplog.text


# Before it is loaded


async def test_a_server_that_loads_is_live_but_not_ready(start: Start) -> None:
    server: Server = await start(loaded=False)
    assert (await get(server.port, "/v2/health/live")).status == 200
    assert (await get(server.port, "/metrics")).status == 200
    for path in ("/v2/health/ready", "/v2/models/digits/ready", "/v2/models/digits"):
        response = await get(server.port, path)
        assert response.status == 503
        assert response.headers["retry-after"] == "1"
        assert response.json() == {"error": "the artifact is being verified"}
    assert (await ask(server.port, INFER, ROW)).status == 503
    server.lifecycle.advance(Phase.WARMING)
    assert (await get(server.port, "/v2/health/ready")).json()["error"].endswith("warming up")
    assert server.metric("torchyard_server_ready") == 0
    server.load()
    assert (await get(server.port, "/v2/health/ready")).status == 200
    assert (await ask(server.port, INFER, ROW)).status == 200
    assert server.metric("torchyard_server_ready") == 1


# Overload, deadlines, callers that leave


async def test_a_full_queue_answers_503_and_loses_nobody(start: Start) -> None:
    server: Server = await start(limit_queue=3)
    server.gate.close()
    first = asyncio.create_task(ask(server.port, INFER, ROW))
    await server.gate.entered()
    queued = [asyncio.create_task(ask(server.port, INFER, ROW)) for _ in range(3)]
    await server.waiting(3)
    assert server.metric("torchyard_server_queue_depth") == 3
    assert server.metric("torchyard_server_inflight") == 4
    for _ in range(5):
        response = await ask(server.port, INFER, ROW)
        assert response.status == 503
        assert response.headers["retry-after"] == "1"
        assert response.json() == {"error": "3 requests are waiting already; try again"}
    server.gate.open()
    assert [(await each).status for each in [first, *queued]] == [200] * 4
    assert server.gate.batches == [1, 3]
    assert server.metric("torchyard_server_batch_size_sum") == 4
    assert server.metric("torchyard_server_batch_size_count") == 2
    assert server.metric("torchyard_server_inflight") == 0


async def test_a_request_that_waits_too_long_is_answered_504_and_not_computed(
    start: Start,
) -> None:
    server: Server = await start(limit_timeout_seconds=0.2)
    server.gate.close()
    first = asyncio.create_task(ask(server.port, INFER, ROW))
    await server.gate.entered()
    async with Client(server.port) as client:
        response = await client.ask(INFER, ROW)
        assert response.status == 504
        assert response.json() == {"error": "no answer within 0.2 seconds"}
        assert (await first).status == 504  # although it was being computed
        assert server.batcher.waiting == 0
        server.gate.open()
        assert (await client.ask(INFER, ROW)).status == 200
    assert server.gate.batches == [1, 1]


async def test_a_caller_that_leaves_is_not_computed(server: Server) -> None:
    server.gate.close()
    first = asyncio.create_task(ask(server.port, INFER, ROW))
    await server.gate.entered()
    async with Client(server.port) as leaving:
        leaving.post(INFER, b'{"inputs":[{"name":"features","datatype":"FP32","shape":[1,4],'
                     b'"data":[9,9,9,9]}]}')  # fmt: skip
        await server.waiting(1)
    await server.waiting(0)
    server.gate.open()
    assert (await first).status == 200
    assert server.gate.batches == [1]
    assert server.metric('torchyard_server_requests_total{code="499"}') == 1


async def test_a_bad_request_does_not_fail_those_in_its_batch(server: Server) -> None:
    infer = server.gate._infer

    def picky(inputs: Any) -> Any:
        if (inputs["features"] < 0).any():
            raise RuntimeError("negative")
        return infer(inputs)

    server.gate._infer = picky
    server.gate.close()
    first = asyncio.create_task(ask(server.port, INFER, ROW))
    await server.gate.entered()
    others = [
        asyncio.create_task(ask(server.port, INFER, features(row)))
        for row in ([1, 2, 3, 4], [-1, 0, 0, 0], [1, 2, 3, 4])
    ]
    await server.waiting(3)
    server.gate.open()
    assert [(await each).status for each in [first, *others]] == [200, 200, 500, 200]


async def test_many_callers_at_once_each_get_their_own_answer(server: Server) -> None:
    async def caller(number: int) -> None:
        async with Client(server.port) as client:
            for step in range(20):
                value = float(number * 100 + step)
                response = await client.ask(INFER, features([value + 1, 2, 3, 4]))
                assert response.json()["outputs"][0]["data"] == [value]

    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        for number in range(16):
            group.create_task(caller(number))
    assert server.metric("torchyard_server_batch_size_sum") == 320


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    async with Client(server.port) as client:
        for number in range(5):
            body = b'{"id":"%d","inputs":[{"name":"features","datatype":"FP32",' % number
            client.post(INFER, body + b'"shape":[1,4],"data":[1,2,3,4]}]}')
        answers = [await client.receive() for _ in range(5)]
    assert [answer.json()["id"] for answer in answers] == ["0", "1", "2", "3", "4"]
