"""The CRDs, made from the models: `python -m torchyard.api.crd crds charts/torchyard/files/crds`.

pydantic writes JSON Schema, the API server wants a structural schema: references are inlined,
`anyOf [X, null]` becomes X, titles go, exclusive bounds become booleans. Defaults stay, so the
server fills in what Python would.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from torchyard.api.base import rule
from torchyard.api.modelservice import ModelService, ModelServiceSpec, ModelServiceStatus
from torchyard.api.modelversion import ModelVersion, ModelVersionSpec
from torchyard.api.trainingjob import TrainingJob, TrainingJobSpec, TrainingJobStatus
from torchyard.names import API_VERSION, GROUP, VERSION

Schema = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`; `wide` shows it only with -o wide."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False


@dataclass(frozen=True)
class Kind:
    """Everything that a CRD says beyond its schema."""

    kind: str
    plural: str
    short: str
    model: type[BaseModel]
    spec: type[BaseModel]
    status: type[BaseModel] | None
    columns: tuple[Column, ...]
    rules: tuple[dict[str, str], ...]
    scale: bool = False

    @property
    def singular(self) -> str:
        """The kind in lower case, as `kubectl` takes it."""
        return self.kind.lower()

    @property
    def crd_name(self) -> str:
        """`<plural>.<group>`."""
        return f"{self.plural}.{GROUP}"


AGE = Column("Age", ".metadata.creationTimestamp", "date")

_NAME_IS_LABEL = rule(
    "self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "metadata.name must be a DNS label: at most 63 lower-case letters, digits and dashes, a letter "
    "first (pods, Services and labels are named after it)",
)

TRAINING_JOB = Kind(
    kind="TrainingJob",
    plural="trainingjobs",
    short="tj",
    model=TrainingJob,
    spec=TrainingJobSpec,
    status=TrainingJobStatus,
    columns=(
        Column("Phase", ".status.phase"),
        Column("Blocked", ".status.blockedBy.category"),
        Column("Step", ".status.progress.step", "integer"),
        Column("Of", ".status.progress.totalSteps", "integer"),
        Column("Loss", ".status.progress.loss"),
        Column("Accuracy", ".status.progress.metrics.accuracy"),
        Column("Restarts", ".status.restarts", "integer"),
        Column("Version", ".status.modelVersion"),
        AGE,
        Column("Workers", ".status.workers.running", "integer", wide=True),
        Column("Checkpoint", ".status.checkpoint.step", "integer", wide=True),
        Column("Why", ".status.blockedBy.message", wide=True),
    ),
    rules=(_NAME_IS_LABEL,),
)

MODEL_VERSION = Kind(
    kind="ModelVersion",
    plural="modelversions",
    short="mv",
    model=ModelVersion,
    spec=ModelVersionSpec,
    status=None,
    columns=(
        Column("Model", ".spec.model"),
        Column("Version", ".spec.version", "integer"),
        Column("Accuracy", ".spec.metrics.accuracy"),
        Column("Bytes", ".spec.artifact.sizeBytes", "integer"),
        Column("Job", ".spec.lineage.trainingJob.name"),
        AGE,
        Column("Digest", ".spec.artifact.digest", wide=True),
    ),
    rules=(
        rule(
            # string(self.spec.version) has no bound, so this goes the other way.
            "self.metadata.name.matches('-v[1-9][0-9]{0,5}$') && "
            "self.metadata.name.startsWith(self.spec.model + '-v') && "
            "self.metadata.name.lastIndexOf('-v') == self.spec.model.size() && "
            "int(self.metadata.name.substring(self.spec.model.size() + 2)) == self.spec.version",
            "metadata.name must be <spec.model>-v<spec.version>",
        ),
    ),
)

MODEL_SERVICE = Kind(
    kind="ModelService",
    plural="modelservices",
    short="msvc",
    model=ModelService,
    spec=ModelServiceSpec,
    status=ModelServiceStatus,
    columns=(
        Column("Phase", ".status.phase"),
        Column("Model", ".spec.model.name"),
        Column("Version", ".status.version", "integer"),
        Column("Rollout", ".status.rollout.phase"),
        Column("Ready", ".status.readyReplicas", "integer"),
        Column("Replicas", ".status.replicas", "integer"),
        Column("URL", ".status.endpoints.url"),
        AGE,
        Column("Waiting", ".status.rollout.message", wide=True),
    ),
    rules=(_NAME_IS_LABEL,),
    scale=True,
)

KINDS = (TRAINING_JOB, MODEL_VERSION, MODEL_SERVICE)

_KEPT = frozenset(
    {
        "default",
        "description",
        "enum",
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
    }
)


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model, by the names on the wire."""
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(schema, schema.get("$defs", {}))


def _convert(node: Schema, definitions: Schema) -> Schema:
    node = _collapse(node, definitions)
    out: Schema = {key: value for key, value in node.items() if key in _KEPT}
    out |= {key: value for key, value in node.items() if key.startswith("x-kubernetes-")}
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in node:
            out[bound], out[exclusive] = node[exclusive], True
    if "const" in node:
        out["enum"] = [node["const"]]
    if "properties" in node:
        out["properties"] = {
            name: _convert(child, definitions) for name, child in node["properties"].items()
        }
    if "items" in node:
        out["items"] = _convert(node["items"], definitions)
    values = node.get("additionalProperties")
    if isinstance(values, dict) and values:
        out["additionalProperties"] = _convert(values, definitions)
    for pattern, values in node.get("patternProperties", {}).items():
        # A structural schema cannot check keys, and without a schema for its values the server
        # would prune the map.
        out["additionalProperties"] = _convert(values, definitions)
        checked = rule(
            f"self.all(key, key.matches({json.dumps(pattern)}))", f"every key must match {pattern}"
        )
        out["x-kubernetes-validations"] = [*out.get("x-kubernetes-validations", []), checked]
    if out.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
    if isinstance(out.get("default"), dict):
        # The server fills the leaves from their own defaults.
        out["default"] = {}
    if "description" in out:
        out["description"] = re.sub(r"\s+", " ", out["description"]).strip()
    return out


def _collapse(node: Schema, definitions: Schema) -> Schema:
    """Follows references and drops the null branch of optionals; what stands outside wins."""
    node = dict(node)
    if "$ref" in node:
        target = definitions[node.pop("$ref").rsplit("/", 1)[-1]]
        return _collapse(target | node, definitions)
    branches = node.pop("anyOf", None)
    if branches is not None:
        real = [branch for branch in branches if branch.get("type") != "null"]
        if len(real) != 1:
            raise ValueError(f"a union is no structural schema: {branches}")
        if node.get("default", ...) is None:
            del node["default"]
        # Rules of the type and rules of the field both hold.
        inner = _collapse(real[0], definitions)
        both = [
            *inner.get("x-kubernetes-validations", []),
            *node.get("x-kubernetes-validations", []),
        ]
        return inner | node | ({"x-kubernetes-validations": both} if both else {})
    return node


def crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind."""
    properties: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
        "spec": structural(kind.spec),
    }
    subresources: Schema = {}
    if kind.status is not None:
        properties["status"] = structural(kind.status)
        subresources["status"] = {}
    if kind.scale:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {
                "description": (kind.model.__doc__ or "").strip(),
                "type": "object",
                "required": ["spec"],
                "properties": properties,
                "x-kubernetes-validations": list(kind.rules),
            }
        },
        "additionalPrinterColumns": [
            {"name": column.name, "type": column.type, "jsonPath": column.path}
            | ({"priority": 1} if column.wide else {})
            for column in kind.columns
        ],
    }
    if subresources:
        version["subresources"] = subresources
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": ["torchyard"],
            },
            "versions": [version],
        },
    }


def to_yaml(document: Schema) -> str:
    """YAML as it is committed: in the order of the models, no anchors."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    # Through JSON, so that enums and tuples arrive as plain strings and lists.
    return yaml.dump(
        json.loads(json.dumps(document)),
        Dumper=Plain,
        sort_keys=False,
        width=100,
        allow_unicode=True,
    )


def write(directory: Path) -> list[Path]:
    """Writes one file a kind; returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for kind in KINDS:
        path = directory / f"{kind.crd_name}.yaml"
        path.write_text(
            f"# Generated from {API_VERSION} by `make manifests`; do not edit.\n"
            + to_yaml(crd(kind)),
            encoding="utf-8",
        )
        written.append(path)
    return written


if __name__ == "__main__":
    for target in sys.argv[1:]:
        write(Path(target))
