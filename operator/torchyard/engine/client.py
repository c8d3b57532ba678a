"""The few requests that the operator makes, as plain JSON, and what their answers mean.

Every write goes through `fence` first, which refuses it when another replica may be acting.
Nothing is retried here: the queue does that, on the state that is there by then.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from torchyard import names
from torchyard.engine.connection import Connection, Middleware
from torchyard.engine.metrics import Metrics
from torchyard.engine.resources import BY_KIND, Key, Manifest, Resource, key_of
from torchyard.errors import Conflict, Forbidden, NotFound, Outdated, Refused, Unavailable

REQUESTS_PER_SECOND: Final = 500.0
BURST_SECONDS: Final = 1.0
TERMINATING_SECONDS: Final = 15.0
_PAGE: Final = 100
_JSON: Final = "application/json"
_APPLY: Final = "application/apply-patch+yaml"
_MERGE: Final = "application/merge-patch+json"
_METADATA_ONLY: Final = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
_REFUSALS: Final[Mapping[int, type[Refused]]] = {403: Forbidden, 404: NotFound, 409: Conflict}

Fence = Callable[[], None]


class Pace:
    """At most so many requests a second, after a burst: a bug must not flood the API server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = 0.0

    def reserve(self) -> float:
        """Take the next slot; returns the seconds until it."""
        now = self._clock()
        self._next = max(self._next + 1 / REQUESTS_PER_SECOND, now - BURST_SECONDS)
        return max(0.0, self._next - now)


class Client:
    """An API server, by verbs. Methods raise what `errors` describes and nothing of aiohttp."""

    def __init__(self, connection: Connection, metrics: Metrics, fence: Fence) -> None:
        self._server = connection.server.rstrip("/")
        self._session = connection.session(meter(metrics))
        self._fence = fence
        self._pace = Pace()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def get(self, key: Key) -> dict[str, Any] | None:
        """The object as it is now, or None."""
        try:
            return await self._request("GET", _path(key))
        except NotFound:
            return None

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        selector: str = "",
        *,
        metadata_only: bool = False,
    ) -> AsyncIterator[dict[str, Any]]:
        """All objects as they were at one moment, which is not before this was called."""
        params = {"limit": str(_PAGE)} | ({"labelSelector": selector} if selector else {})
        accept = _METADATA_ONLY if metadata_only else _JSON
        # The members of a list do not say what they are.
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        while True:
            page = await self._request(
                "GET", resource.path(namespace), params=params, headers={"Accept": accept}
            )
            for item in page["items"] or ():
                yield {**item, **kind}
            if not (token := page["metadata"].get("continue")):
                return
            params["continue"] = token

    async def create(self, manifest: Manifest) -> dict[str, Any]:
        """POST; Conflict when the name is taken."""
        key = key_of(manifest)
        path = BY_KIND[key.kind].path(key.namespace)
        return await self._write("POST", path, manifest, _JSON)

    async def replace(self, manifest: Manifest) -> dict[str, Any]:
        """PUT; Conflict unless the manifest's resourceVersion is the newest."""
        return await self._write("PUT", _path(key_of(manifest)), manifest, _JSON)

    async def apply(self, manifest: Manifest, *, force: bool) -> dict[str, Any]:
        """Server-side apply; Conflict over a field of another manager unless forced."""
        params = {"force": "true"} if force else {}
        return await self._write("PATCH", _path(key_of(manifest)), manifest, _APPLY, params)

    async def patch_status(self, observed: Manifest, patch: Manifest) -> dict[str, Any]:
        """Merge into the status of exactly the copy that was observed; Outdated otherwise."""
        key, metadata = key_of(observed), observed["metadata"]
        precondition = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        body = {"metadata": precondition, "status": patch}
        try:
            return await self._write("PATCH", f"{_path(key)}/status", body, _MERGE)
        except (Conflict, NotFound) as error:
            raise Outdated(str(error)) from error

    async def delete(self, key: Key, uid: str) -> dict[str, Any]:
        """DELETE exactly the object with this uid; dependants follow in the background."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        return await self._write("DELETE", _path(key), body, _JSON)

    async def _write(
        self,
        method: str,
        path: str,
        body: Manifest,
        content_type: str,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        self._fence()
        manager = {} if method == "DELETE" else {"fieldManager": names.FIELD_MANAGER}
        return await self._request(
            method,
            path,
            params={**manager, **(params or {})},
            data=json.dumps(body).encode(),
            headers={"Content-Type": content_type, "Accept": _JSON},
        )

    async def _request(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        if pause := self._pace.reserve():
            await asyncio.sleep(pause)
        what = f"{method} {path}"
        try:
            async with self._session.request(method, self._server + path, **more) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"{what}: {error!r}") from error
        try:
            answer: dict[str, Any] = json.loads(body)
        except ValueError as error:
            # Not the API server itself: a proxy before it, or a path that it does not know.
            answer = {"message": body[:200].decode(errors="replace")}
            if response.status < 400:
                raise Unavailable(f"{what}: answered no JSON") from error
        if response.status >= 400:
            raise _failure(what, response.status, answer, response.headers)
        return answer


def meter(metrics: Metrics) -> Middleware:
    """Counts and times every request of a session."""

    async def count(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        verb = "WATCH" if request.url.query.get("watch") == "true" else request.method
        start, code = time.monotonic(), "0"
        try:
            response = await handler(request)
            code = str(response.status)
        finally:
            metrics.requests.labels(verb, code).inc()
            metrics.request_seconds.labels(verb).observe(time.monotonic() - start)
        return response

    return count


def _is_terminating(said: Mapping[str, Any]) -> bool:
    """A namespace on its way out takes everything with it: nobody is to be told."""
    causes = (said.get("details") or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


def _path(key: Key) -> str:
    return BY_KIND[key.kind].path(key.namespace, key.name)


def _failure(
    what: str, status: int, said: Mapping[str, Any], headers: Mapping[str, str]
) -> Refused | Unavailable:
    message = said.get("message") or f"{what} was answered by {status}"
    if status in (401, 408, 429) or status >= 500:
        wait = headers.get("Retry-After", "")
        return Unavailable(
            f"{what}: {status}: {message}", retry_after=float(wait) if wait.isdigit() else 0.0
        )
    if _is_terminating(said):
        return Unavailable(message, retry_after=TERMINATING_SECONDS)
    # This text is for the status of a resource: what was asked is said there already.
    kind = _REFUSALS.get(status, Refused)
    return kind(message, code=status, reason=said.get("reason", ""))
