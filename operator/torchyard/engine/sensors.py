"""Whether the watches live, as seen on the wire and not as the framework tells it.

The API server ends every watch after five minutes, so a kind whose newest watch is older has
lost it for good. A list on the watches' connection means that a watch begins anew, and may have
missed deletions.
"""

import time
from collections.abc import Callable
from typing import Final

import aiohttp

from torchyard.engine.resources import WATCHED, Resource

_BY_PLACE: Final = {(item.api_version, item.plural): item for item in WATCHED}


def resource_at(path: str) -> Resource | None:
    """The watched kind whose collection a path is."""
    parts = path.strip("/").split("/")
    version = parts[1:2] if parts[0] == "api" else parts[1:3]
    return _BY_PLACE.get(("/".join(version), parts[-1]))


class Sensors:
    """When each watch was last opened."""

    def __init__(
        self, begun: Callable[[Resource], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._begun = begun
        self._clock = clock
        self._opened: dict[str, float] = {}

    async def observe(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """A middleware for the session that watches."""
        response = await handler(request)
        path = request.url.path
        resource = resource_at(path)
        if resource is not None and response.status == 200:
            if request.url.query.get("watch") == "true":
                self._opened[path] = self._clock()
            else:
                self._begun(resource)
        return response

    def ages(self) -> dict[str, float]:
        """Seconds since the newest watch of each kind was opened, the worst of its namespaces."""
        ages: dict[str, float] = {}
        for path, opened in self._opened.items():
            if (resource := resource_at(path)) is not None:
                age = self._clock() - opened
                ages[resource.kind] = max(age, ages.get(resource.kind, 0.0))
        return ages

    def all_open(self, namespaces: int) -> bool:
        """Whether every kind has been watched in every namespace at least once."""
        return len(self._opened) >= len(WATCHED) * max(1, namespaces)
