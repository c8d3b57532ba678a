"""A client for tests that shares nothing with the operator's but the way to connect."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp

from torchyard.engine.connection import Connection
from torchyard.engine.resources import BY_KIND, Resource

T = TypeVar("T")
Json = dict[str, Any]

MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"

_MORE = {
    item.kind: item
    for item in (
        Resource("Binding", "v1", "bindings"),
        Resource("ClusterRole", "rbac.authorization.k8s.io/v1", "clusterroles"),
        Resource("ClusterRoleBinding", "rbac.authorization.k8s.io/v1", "clusterrolebindings"),
        Resource("Namespace", "v1", "namespaces"),
        Resource("Node", "v1", "nodes"),
        Resource("ReplicaSet", "apps/v1", "replicasets"),
        Resource("ResourceQuota", "v1", "resourcequotas"),
        Resource("Role", "rbac.authorization.k8s.io/v1", "roles"),
        Resource("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings"),
        Resource("ServiceAccount", "v1", "serviceaccounts"),
    )
}


class ApiError(Exception):
    """An answer other than success."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def place(kind: str) -> Resource:
    return BY_KIND.get(kind) or _MORE[kind]


class Kube:
    """The API server as an administrator sees it."""

    def __init__(self, connection: Connection) -> None:
        self.server = connection.server
        self.session = connection.session()

    async def close(self) -> None:
        await self.session.close()

    async def call(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Json:
        """One request; an API server that is away is waited for."""
        deadline = time.monotonic() + 60
        while True:
            try:
                return await self._call(method, path, body, content_type)
            except (aiohttp.ClientConnectionError, OSError) as error:
                # Whether it arrived is known only when there was nobody to take it.
                unsent = isinstance(error, aiohttp.ClientConnectorError)
                if time.monotonic() > deadline or not (unsent or method == "GET"):
                    raise
            await asyncio.sleep(0.1)

    async def _call(self, method: str, path: str, body: Any, content_type: str) -> Json:
        async with self.session.request(
            method,
            self.server + path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": content_type},
        ) as response:
            text = await response.text()
            if response.status >= 400:
                raise ApiError(response.status, text)
            answer: Json = json.loads(text)
            return answer

    async def get(self, kind: str, namespace: str, name: str) -> Json | None:
        try:
            return await self.call("GET", place(kind).path(namespace, name))
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    async def list(self, kind: str, namespace: str | None, query: str = "") -> list[Json]:
        found = await self.call("GET", place(kind).path(namespace) + query)
        return [
            {"apiVersion": place(kind).api_version, "kind": kind, **item} for item in found["items"]
        ]

    async def create(self, manifest: Json) -> Json:
        namespace = manifest["metadata"].get("namespace")
        return await self.call("POST", place(manifest["kind"]).path(namespace), manifest)

    async def apply(self, manifest: Json) -> Json:
        metadata = manifest["metadata"]
        path = place(manifest["kind"]).path(metadata.get("namespace"), metadata["name"])
        return await self.call("PATCH", f"{path}?fieldManager=test&force=true", manifest, APPLY)

    async def patch(self, kind: str, namespace: str, name: str, patch: Json, at: str = "") -> Json:
        return await self.call("PATCH", place(kind).path(namespace, name) + at, patch, MERGE)

    async def delete(self, kind: str, namespace: str, name: str, **options: Any) -> None:
        try:
            await self.call("DELETE", place(kind).path(namespace, name), options or None)
        except ApiError as error:
            if error.status not in (404, 409):
                raise


async def until(
    what: str,
    look: Callable[[], Awaitable[T | None]],
    seconds: float = 60.0,
    hint: Callable[[], str] = lambda: "",
) -> T:
    """The first truthy thing that `look` sees; deadlines are generous, waits are short."""
    deadline = time.monotonic() + seconds
    while True:
        if seen := await look():
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s\n{hint()}")
        await asyncio.sleep(0.05)
