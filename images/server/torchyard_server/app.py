"""The ASGI application: routes, and one inference request from headers to answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

import torchyard
from torchyard_server.batching import Batcher, Tensors
from torchyard_server.body import Body, Disconnected, Memory, Receive
from torchyard_server.config import Config
from torchyard_server.errors import Overloaded, RequestError
from torchyard_server.lifecycle import Lifecycle
from torchyard_server.logs import logger
from torchyard_server.metrics import CONTENT_TYPE, Metrics
from torchyard_server.model import Model
from torchyard_server.protocol import rest

Scope = Mapping[str, Any]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON = b"application/json"
OCTETS = b"application/octet-stream"  # what Triton's asyncio client calls its JSON


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: `body` is complete."""

    status: int
    body: bytes
    headers: Headers = ()
    content_type: bytes = JSON


Handler = Callable[[Scope, Body], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is ready to compute, and its queue."""

    model: Model
    batcher: Batcher


class App:
    """One model behind the Open Inference Protocol. `served` is None until it is loaded."""

    def __init__(self, config: Config, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._config = config
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._memory = Memory(4 * config.limit_body_bytes)
        self.served: Served | None = None
        metrics.watch(lambda: lifecycle.ready, self._waiting)
        self._routes: dict[str, tuple[str, Handler]] = {
            "/v2": ("GET", self._server),
            "/v2/health/live": ("GET", self._live),
            "/v2/health/ready": ("GET", self._ready),
            "/metrics": ("GET", self._scrape),
        }
        base = f"/v2/models/{config.model_name}"
        for path in (base, f"{base}/versions/{config.model_version}"):
            self._routes[path] = ("GET", self._model)
            self._routes[f"{path}/ready"] = ("GET", self._ready)
            self._routes[f"{path}/infer"] = ("POST", self._infer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every error has the form {"error": …}."""
        body = Body(receive)
        try:
            answer = await self._handle(scope, body)
            headers = [
                (b"content-type", answer.content_type),
                (b"content-length", b"%d" % len(answer.body)),
                *answer.headers,
            ]
            if self._lifecycle.draining:
                # The connection ends with this answer, which arrives only if nothing of the
                # request was left unread: else the kernel resets the connection.
                await body.discard(self._config.limit_body_bytes)
                headers.append((b"connection", b"close"))
        except Disconnected:
            return
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _handle(self, scope: Scope, body: Body) -> Answer:
        try:
            return await self._route(scope)(scope, body)
        except RequestError as error:
            return _error(error)
        except Disconnected:
            raise
        except Exception:  # noqa: BLE001  (a bug fails one request, not the server)
            logger.exception("a request failed")
            return _error(RequestError(500, "internal error; see the server's log"))

    def _route(self, scope: Scope) -> Handler:
        path, method = scope["path"], scope["method"]
        if path not in self._routes:
            raise self._unknown(path)
        allowed, handler = self._routes[path]
        if method != allowed and not (method == "HEAD" and allowed == "GET"):
            headers = ((b"allow", allowed.encode()),)
            raise RequestError(405, f"{method} is not allowed here; use {allowed}", headers)
        return handler

    def _unknown(self, path: str) -> RequestError:
        parts = path.split("/")
        name, version = self._config.model_name, self._config.model_version
        if parts[1:3] == ["v2", "models"] and len(parts) > 3:
            if parts[3] != name:
                return RequestError(404, f"model {parts[3][:128]!r} is not here; {name!r} is")
            if parts[4:5] == ["versions"] and parts[5:6] != [version]:
                return RequestError(404, f"only version {version!r} of {name!r} is here")
        return RequestError(404, f"there is nothing at {path[:128]!r}")

    async def _server(self, scope: Scope, body: Body) -> Answer:
        document = {"name": "torchyard", "version": torchyard.__version__, "extensions": []}
        return Answer(200, orjson.dumps(document))

    async def _live(self, scope: Scope, body: Body) -> Answer:
        return Answer(200, b'{"live":true}')

    async def _ready(self, scope: Scope, body: Body) -> Answer:
        if not self._lifecycle.ready:
            raise Overloaded(self._lifecycle.reason)
        return Answer(200, orjson.dumps({"name": self._config.model_name, "ready": True}))

    async def _scrape(self, scope: Scope, body: Body) -> Answer:
        return Answer(200, self._metrics.exposition(), content_type=CONTENT_TYPE)

    async def _model(self, scope: Scope, body: Body) -> Answer:
        signature = self._loaded().model.signature
        name, version = self._config.model_name, self._config.model_version
        return Answer(200, rest.encode_model_metadata(name, version, signature))

    async def _infer(self, scope: Scope, body: Body) -> Answer:
        started = time.perf_counter()
        code = 500
        self._metrics.inflight.inc()
        try:
            answer = await self._within_time(scope, body)
            code = answer.status
            return answer
        except RequestError as error:
            code = error.status
            raise
        except (Disconnected, asyncio.CancelledError):
            code = 499
            raise
        finally:
            self._metrics.inflight.dec()
            self._metrics.requests.labels(code).inc()
            self._metrics.seconds.observe(time.perf_counter() - started)

    async def _within_time(self, scope: Scope, body: Body) -> Answer:
        served = self._loaded()
        length = _check_headers(scope["headers"])
        limit = self._config.limit_timeout_seconds
        read = False
        try:
            async with asyncio.timeout(limit):
                with self._memory.lease() as lease:
                    content = await body.read(length, self._config.limit_body_bytes, lease)
                    read = True
                    request = rest.decode_request(
                        content,
                        served.model.signature,
                        served.model.batched,
                        self._config.limit_rows,
                    )
                    results = await _compute(served.batcher, request, body)
        except TimeoutError:
            if read:
                raise RequestError(504, f"no answer within {limit:g} seconds") from None
            closing = ((b"connection", b"close"),)
            raise RequestError(408, f"the body took more than {limit:g} s", closing) from None
        return Answer(
            200,
            rest.encode_response(
                self._config.model_name,
                self._config.model_version,
                request,
                served.model.signature,
                results,
            ),
        )

    def _loaded(self) -> Served:
        if self.served is None:
            raise Overloaded(self._lifecycle.reason)
        return self.served

    def _waiting(self) -> int:
        return self.served.batcher.waiting if self.served else 0


async def _compute(batcher: Batcher, request: rest.InferRequest, body: Body) -> Tensors:
    """Wait for a batch to carry the request; raises Disconnected when its caller leaves."""
    item = batcher.submit(request.inputs, request.rows)
    caller = asyncio.ensure_future(body.disconnected())
    caller.add_done_callback(lambda _: item.future.cancel())
    try:
        return await item.future
    except asyncio.CancelledError:
        if caller.done():
            raise Disconnected from None
        raise
    finally:
        caller.cancel()
        batcher.drop(item)


def _check_headers(headers: list[tuple[bytes, bytes]]) -> int | None:
    """Refuse forms of content that are not understood; returns the announced length."""
    length = None
    for name, value in headers:
        if name == b"content-length":
            length = int(value)
        elif name == b"content-type":
            kind = value.partition(b";")[0].strip().lower()
            if kind not in (JSON, OCTETS) and not kind.endswith(b"+json"):
                raise RequestError(415, "send JSON, with Content-Type: application/json")
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise RequestError(415, "compressed bodies are not understood; send plain JSON")
        elif name == b"inference-header-content-length":
            raise RequestError(415, "binary tensor data is not understood; send data as JSON")
    return length


def _error(error: RequestError) -> Answer:
    return Answer(error.status, orjson.dumps({"error": str(error)}), error.headers)
