"""The CRDs: structural, bounded, described, and the same on disk as in the models."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from torchyard.api import crd
from torchyard.api.base import SpecModel
from torchyard.api.crd import KINDS, Kind
from torchyard.api.modelservice import ModelServiceSpec
from torchyard.api.modelversion import ModelVersionSpec
from torchyard.api.trainingjob import TrainingJobSpec

ROOT = Path(__file__).parents[3]
Schema = dict[str, Any]

FREE = {"spec.task.entrypoint.arguments"}
"""The only places where anything may stand."""

# https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1
ALLOWED = {
    "additionalProperties",
    "default",
    "description",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
}


def version_of(kind: Kind) -> Schema:
    (version,) = crd.crd(kind)["spec"]["versions"]
    return dict(version)


def schema_of(kind: Kind) -> Schema:
    return dict(version_of(kind)["schema"]["openAPIV3Schema"])


def walk(node: Schema, path: str = "", in_list: bool = False) -> Iterator[tuple[str, Schema, bool]]:
    """Every schema below the root: its path, itself, and whether it is inside a list item."""
    for name, child in node.get("properties", {}).items():
        below = f"{path}.{name}" if path else name
        yield below, child, in_list
        yield from walk(child, below, in_list)
    for key, mark, listed in (("items", "[]", True), ("additionalProperties", "{}", in_list)):
        if isinstance(node.get(key), dict):
            yield path + mark, node[key], listed
            yield from walk(node[key], path + mark, listed)


def faults_of(path: str, node: Schema, in_list: bool) -> Iterator[str]:
    """What a structural schema that takes care of the API server does not have."""
    if unknown := set(node) - ALLOWED:
        yield f"says {sorted(unknown)}"
    if not path.endswith(("[]", "{}")):
        if not node.get("description", "").endswith((".", "…")):
            yield "no sentence describes it"
        if not re.fullmatch(r"[a-z][a-zA-Z0-9]*", path.rpartition(".")[2]):
            yield "is not in camelCase"
    if in_list and path.startswith("spec") and "default" in node:
        # It would appear in what a GitOps tool compares with what it has applied.
        yield "has a default inside a list"
    yield from type_faults_of(path, node)


def type_faults_of(path: str, node: Schema) -> Iterator[str]:
    kind = node.get("type")
    if (kind is None) is not node.get("x-kubernetes-int-or-string", False):
        yield "has no type, or two"
    if kind is None and "pattern" not in node:
        yield "is an int or any string"
    if kind == "string" and not {"enum", "maxLength"} & set(node):
        yield "is an unbounded string"
    if kind == "array" and not ("maxItems" in node and isinstance(node.get("items"), dict)):
        yield "is an unbounded list"
    if kind == "integer" and "minimum" not in node:
        yield "is a count that may be anything"
    for bound in ("exclusiveMinimum", "exclusiveMaximum"):
        if not isinstance(node.get(bound, False), bool):
            yield f"{bound} is no boolean"
    if kind == "object":
        yield from object_faults_of(path, node)


def object_faults_of(path: str, node: Schema) -> Iterator[str]:
    if path in FREE:
        if node.get("x-kubernetes-preserve-unknown-fields") is not True:
            yield "loses what stands in it"
        return
    if "x-kubernetes-preserve-unknown-fields" in node:
        yield "may hold anything"
    if ("properties" in node) is ("additionalProperties" in node):
        yield "is neither a structure nor a map"
    if "additionalProperties" in node and "maxProperties" not in node:
        yield "is an unbounded map"
    if not set(node.get("required", ())) <= set(node.get("properties", ())):
        yield "requires what it does not have"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_part_of_a_schema(kind: Kind) -> None:
    nodes = [part for part in walk(schema_of(kind)) if part[0].startswith(("spec", "status"))]
    assert len(nodes) > 30
    faults = [f"{part[0]} {fault}" for part in nodes for fault in faults_of(*part)]
    assert faults == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_no_member_of_a_union_has_a_default(kind: Kind) -> None:
    for path, node, _ in walk(schema_of(kind)):
        for entry in node.get("x-kubernetes-validations", ()):
            if entry["message"].startswith(("give exactly one of", "give at most one of")):
                members = re.findall(r"has\(self\.(\w+)\)", entry["rule"])
                assert len(members) >= 2
                for member in members:
                    assert "default" not in node["properties"][member], f"{path}.{member}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_every_rule_says_what_is_wrong(kind: Kind) -> None:
    found = [*kind.rules]
    for _, node, _ in walk(schema_of(kind)):
        found += node.get("x-kubernetes-validations", ())
    for entry in found:
        assert len(entry["message"]) > 10
        assert "self" in entry["rule"]


@pytest.mark.parametrize("folder", ["crds", "charts/torchyard/files/crds"])
def test_the_files_are_those_of_the_models(folder: str, tmp_path: Path) -> None:
    committed = ROOT / folder
    if not committed.exists():
        pytest.skip(f"there is no {folder}")
    written = {path.name: path.read_text() for path in crd.write(tmp_path / "crds")}
    there = {path.name: path.read_text() for path in committed.glob("*.yaml")}
    assert there == written, "run `make manifests`"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_a_file_reads_back_as_what_was_meant(kind: Kind) -> None:
    assert yaml.safe_load(crd.to_yaml(crd.crd(kind))) == crd.crd(kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
def test_columns_show_fields_that_there_are(kind: Kind) -> None:
    paths = {path: node for path, node, _ in walk(schema_of(kind))}
    for column in kind.columns:
        path = column.path.removeprefix(".")
        if path == "metadata.creationTimestamp":
            continue
        parent, _, last = path.rpartition(".")
        node = paths.get(path) or paths[f"{parent}{{}}"]  # a key of a map
        assert last
        assert node["type"] == column.type


def test_what_kubectl_and_autoscalers_rely_on() -> None:
    for kind in KINDS:
        document = crd.crd(kind)
        assert document["spec"]["names"]["categories"] == ["torchyard"]
        assert document["metadata"]["name"] == f"{kind.plural}.torchyard.dev"
    service = version_of(crd.MODEL_SERVICE)
    paths = {path for path, _, _ in walk(schema_of(crd.MODEL_SERVICE))}
    for path in service["subresources"]["scale"].values():
        assert path.removeprefix(".") in paths
    assert "subresources" not in version_of(crd.MODEL_VERSION)
    assert "status" in version_of(crd.TRAINING_JOB)["subresources"]


# Defaults: the server fills in what Python would ------------------------------------------------


def defaulted(node: Schema, value: Any) -> Any:
    """What the API server makes of a value."""
    if isinstance(value, dict):
        value = dict(value)
        for name, child in node.get("properties", {}).items():
            if name not in value and "default" in child:
                value[name] = copy.deepcopy(child["default"])
            if name in value:
                value[name] = defaulted(child, value[name])
    elif isinstance(value, list):
        value = [defaulted(node["items"], item) for item in value]
    return value


DATA = {"uri": "pvc://data/rows.csv"}
TENSOR = {"name": "x", "datatype": "FP32", "shape": [-1]}
SPECS: list[tuple[str, type[SpecModel], Schema]] = [
    ("text", TrainingJobSpec, {"task": {"textClassifier": {}}, "data": DATA}),
    ("rows", TrainingJobSpec, {"task": {"mlpClassifier": {}}, "data": DATA}),
    (
        "own class",
        TrainingJobSpec,
        {"task": {"entrypoint": {"object": "a:B"}}, "image": "mine", "data": DATA},
    ),
    (
        "everything below",
        TrainingJobSpec,
        {
            "task": {"mlpClassifier": {"hidden": []}},
            "data": {**DATA, "validation": 0.5},
            "parallelism": {},
            "workers": {"accelerator": {"count": 1}, "template": {}, "resources": {}},
            "optimization": {"optimizer": {}},
            "checkpoint": {"everySteps": 5},
            "failurePolicy": {},
            "deadlines": {},
            "output": {
                "model": "m",
                "uri": "pvc://models",
                "require": [{"metric": "a", "atMost": 1}],
            },
        },
    ),
    (
        "record",
        ModelVersionSpec,
        {
            "model": "m",
            "version": 1,
            "artifact": {
                "uri": "pvc://m/1",
                "digest": "sha256:" + "0" * 64,
                "sizeBytes": 0,
                "formats": ["Onnx"],
            },
            "signature": {"inputs": [TENSOR], "outputs": [TENSOR]},
            "lineage": {"data": DATA},
        },
    ),
    ("service", ModelServiceSpec, {"model": {"name": "m", "alias": "latest"}}),
    (
        "service, everything below",
        ModelServiceSpec,
        {"model": {"name": "m", "version": 1}, "server": {"template": {}}, "rollout": {}},
    ),
]


@pytest.mark.parametrize(("model", "spec"), [s[1:] for s in SPECS], ids=[s[0] for s in SPECS])
def test_defaults_are_the_same_on_both_sides(model: type[SpecModel], spec: Schema) -> None:
    assert defaulted(crd.structural(model), spec) == model.model_validate(spec).wire()


@pytest.mark.parametrize(("model", "spec"), [s[1:] for s in SPECS], ids=[s[0] for s in SPECS])
def test_a_spec_reads_back_as_it_was(model: type[SpecModel], spec: Schema) -> None:
    read = model.model_validate(spec)
    assert model.model_validate(read.wire()) == read


# The conversion itself ---------------------------------------------------------------------------


def test_a_union_without_a_discriminating_member_is_refused() -> None:
    class Either(BaseModel):
        value: int | str

    with pytest.raises(ValueError, match="union"):
        crd.structural(Either)


def test_free_form_maps_keep_their_mark_only_where_it_is_meant() -> None:
    class Loose(BaseModel):
        model_config = ConfigDict(extra="allow")

        anything: dict[str, Any] = {}

    schema = crd.structural(Loose)
    assert "additionalProperties" not in schema["properties"]["anything"]
