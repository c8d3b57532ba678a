"""A value is used, documented, and refused when it is wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, Manifest, run, template
from tests.chart.matrix import DIGEST, INSTALLATIONS

Path = tuple[str, ...]

DEFAULTS: Manifest = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Manifest = json.loads((CHART / "values.schema.json").read_text())

# Parts whose members are the user's own words.
FREE = {("nodeSelector",), ("podLabels",), ("podAnnotations",), ("resources",)}


def leaves(values: Manifest, path: Path = ()) -> Iterator[Path]:
    for key, value in values.items():
        here = (*path, key)
        if isinstance(value, dict) and here not in FREE:
            yield from leaves(value, here)
        else:
            yield here


LEAVES = list(leaves(DEFAULTS))


def at(values: Manifest, path: Path) -> Any:
    for key in path:
        values = values[key]
    return values


def nested(path: Path, value: Any) -> Manifest:
    for key in reversed(path):
        value = {key: value}
    assert isinstance(value, dict)
    return value


OTHER: dict[Path, Any] = {
    ("replicas",): 3,
    ("watchNamespaces",): ["team-a"],
    ("image", "registry"): "registry.example.com",
    ("image", "pullPolicy"): "Always",
    ("image", "pullSecrets"): [{"name": "registry"}],
    **{("image", name, "repository"): "my/image" for name in ("operator", "trainer", "server")},
    **{("image", name, "tag"): "v9" for name in ("operator", "trainer", "server")},
    **{("image", name, "digest"): DIGEST for name in ("operator", "trainer", "server")},
    ("crds", "install"): False,
    ("log", "level"): "debug",
    ("log", "format"): "text",
    ("resources",): {"limits": {"memory": "1Gi"}},
    ("networkPolicy", "enabled"): False,
    ("networkPolicy", "apiServerCidrs"): ["10.0.0.1/32"],
    ("networkPolicy", "apiServerPorts"): [8443],
    ("networkPolicy", "metricsFrom"): ["monitoring"],
    ("nodeSelector",): {"pool": "system"},
    ("tolerations",): [{"key": "dedicated", "operator": "Exists"}],
    ("priorityClassName",): "system-cluster-critical",
    ("podLabels",): {"team": "platform"},
    ("podAnnotations",): {"example.com/note": "1"},
}


def test_every_value_has_another_to_try() -> None:
    assert set(OTHER) == set(LEAVES)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_every_value_is_used(path: Path) -> None:
    assert template(nested(path, OTHER[path])) != template()


def test_every_value_is_explained() -> None:
    readme = (CHART / "README.md").read_text()
    for path in LEAVES:
        dotted = ".".join(path)
        parent, _, last = dotted.rpartition(".")
        assert f"`{dotted}`" in readme or (f"`{parent}." in readme and f"`.{last}`" in readme)


def test_every_group_of_values_begins_with_an_explanation() -> None:
    groups = (CHART / "values.yaml").read_text().split("\n\n")
    assert [group for group in groups if not group.startswith("# ")] == []


def test_the_schema_and_the_values_name_the_same() -> None:
    known = set(_properties(SCHEMA, ())) - {("global",)}
    assert known == {path for path in _paths(DEFAULTS) if (path[0],) not in FREE or len(path) == 1}


def _paths(values: Manifest, path: Path = ()) -> Iterator[Path]:
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from _paths(value, (*path, key))


def _properties(schema: Manifest, path: Path) -> Iterator[Path]:
    schema = _resolved(schema)
    for key, value in schema.get("properties", {}).items():
        yield (*path, key)
        if (*path, key) not in FREE:
            yield from _properties(value, (*path, key))


def _resolved(schema: Manifest) -> Manifest:
    if "$ref" in schema:
        found: Manifest = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[-1]]
        return found
    return schema


def test_no_object_of_the_schema_takes_unknown_members() -> None:
    def objects(node: Any) -> Iterator[Manifest]:
        if isinstance(node, dict):
            if node.get("type") == "object":
                yield node
            for value in node.values():
                yield from objects(value)

    for item in objects(SCHEMA):
        if item is not SCHEMA["properties"]["global"]:
            assert "additionalProperties" in item
            assert item["additionalProperties"] in (False, {"type": "string"})


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_good_values_pass(name: str) -> None:
    template(INSTALLATIONS[name])


WRONG: dict[str, tuple[Manifest, str]] = {
    "an unknown value": ({"replica": 2}, "replica"),
    "a typo in a group": ({"image": {"tariner": {}}}, "tariner"),
    "an unknown member of an image": ({"image": {"server": {"name": "x"}}}, "/image/server"),
    "no replicas": ({"replicas": 0}, "/replicas"),
    "replicas in words": ({"replicas": "two"}, "/replicas"),
    "half a replica": ({"replicas": 1.5}, "/replicas"),
    "null replicas": ({"replicas": None}, "replicas"),
    "namespaces as a text": ({"watchNamespaces": "a,b"}, "/watchNamespaces"),
    "no name of a namespace": ({"watchNamespaces": ["Team_A"]}, "/watchNamespaces/0"),
    "a namespace twice": ({"watchNamespaces": ["a", "a"]}, "/watchNamespaces"),
    "a short digest": ({"image": {"operator": {"digest": "sha256:abc"}}}, "/image/operator/digest"),
    "a digest of another kind": (
        {"image": {"trainer": {"digest": "sha512:" + "a" * 128}}},
        "/image/trainer/digest",
    ),
    "a digest without its kind": (
        {"image": {"server": {"digest": "a" * 64}}},
        "/image/server/digest",
    ),
    "a tag with a colon": ({"image": {"server": {"tag": "a:b"}}}, "/image/server/tag"),
    "a tag that is a number": ({"image": {"server": {"tag": 1.0}}}, "/image/server/tag"),
    "a repository with a tag behind a path": (
        {"image": {"operator": {"repository": "me/operator:v1"}}},
        "/image/operator/repository",
    ),
    "an empty repository": (
        {"image": {"operator": {"repository": ""}}},
        "/image/operator/repository",
    ),
    "a registry with a scheme": (
        {"image": {"registry": "https://registry.example.com"}},
        "/image/registry",
    ),
    "a pull policy of our own": ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    "a pull secret as a text": ({"image": {"pullSecrets": ["x"]}}, "/image/pullSecrets/0"),
    "a switch as a text": ({"crds": {"install": "yes"}}, "/crds/install"),
    "a level that is none": ({"log": {"level": "verbose"}}, "/log/level"),
    "a format that is none": ({"log": {"format": "xml"}}, "/log/format"),
    "a quantity that is none": (
        {"resources": {"limits": {"memory": "512 MB"}}},
        "/resources/limits/memory",
    ),
    "a device for the operator": (
        {"resources": {"limits": {"nvidia.com/gpu": 1}}},
        "/resources/limits",
    ),
    "an address without a mask": (
        {"networkPolicy": {"apiServerCidrs": ["10.0.0.1"]}},
        "/networkPolicy/apiServerCidrs/0",
    ),
    "no port at all": ({"networkPolicy": {"apiServerPorts": []}}, "/networkPolicy/apiServerPorts"),
    "a port too high": (
        {"networkPolicy": {"apiServerPorts": [70000]}},
        "/networkPolicy/apiServerPorts/0",
    ),
    "a selector that is no text": ({"nodeSelector": {"gpu": True}}, "/nodeSelector/gpu"),
    "an effect that is none": ({"tolerations": [{"effect": "Maybe"}]}, "/tolerations/0/effect"),
    "an unknown member of a toleration": ({"tolerations": [{"taint": "x"}]}, "/tolerations/0"),
    "a label that is a number": ({"podLabels": {"team": 1}}, "/podLabels/team"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_refused_by_name(name: str) -> None:
    values, field = WRONG[name]
    done = run("template", "torchyard", CHART, values=values)
    assert done.returncode != 0
    assert field in done.stderr, done.stderr
