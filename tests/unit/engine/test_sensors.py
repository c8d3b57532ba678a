"""Watches as they look on the wire."""

from typing import Any

import pytest
from yarl import URL

from torchyard.engine.resources import BY_KIND, WATCHED, Resource
from torchyard.engine.sensors import Sensors, resource_at


class Request:
    def __init__(self, url: str) -> None:
        self.url = URL(url)


class Response:
    def __init__(self, status: int) -> None:
        self.status = status


@pytest.mark.parametrize("resource", WATCHED)
def test_a_collection_is_known_by_its_path(resource: Resource) -> None:
    assert resource_at(resource.path()) is resource
    assert resource_at(resource.path("ns")) is resource
    assert resource_at(resource.path("ns", "name")) is None


@pytest.mark.parametrize("path", ["/", "/api", "/apis/apps/v1", "/api/v1/secrets"])
def test_other_paths_are_nobodys(path: str) -> None:
    assert resource_at(path) is None


async def see(sensors: Sensors, path: str, status: int = 200) -> None:
    async def handler(_: Any) -> Any:
        return Response(status)

    request: Any = Request(f"http://server{path}")
    await sensors.observe(request, handler)


async def test_watches_have_ages_and_lists_begin_them_anew() -> None:
    now, begun = [100.0], list[Resource]()
    sensors = Sensors(begun.append, lambda: now[0])
    pods = BY_KIND["Pod"]
    await see(sensors, pods.path("a"))
    assert begun == [pods]
    await see(sensors, pods.path("a") + "?watch=true")
    now[0] += 10
    await see(sensors, pods.path("b") + "?watch=true")
    now[0] += 5
    assert sensors.ages() == {"Pod": 15}, "the worst of its namespaces"
    await see(sensors, pods.path("a") + "?watch=true", status=403)
    assert sensors.ages() == {"Pod": 15}, "a watch that is refused is none"


async def test_all_watches_are_open_when_every_kind_is_in_every_namespace() -> None:
    sensors = Sensors(lambda resource: None)
    for resource in WATCHED:
        assert not sensors.all_open(0)
        await see(sensors, resource.path() + "?watch=true")
    assert sensors.all_open(0)
    assert not sensors.all_open(2)
