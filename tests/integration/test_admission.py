"""What the API server lets in: refusals name the field and the cure, and what is valid passes.

Nothing here needs the operator: the CRDs alone are asked, by dry runs where nothing has to stay.
"""

import asyncio
import copy
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from cluster import binaries
from cluster.controlplane import ControlPlane
from tests.integration.conftest import make_namespace
from tests.integration.kube import ApiError, Json, Kube, place, until
from tests.integration.samples import job, service, version
from torchyard.api.crd import KINDS

ROOT = Path(__file__).parents[2]
CASES = yaml.safe_load((Path(__file__).parent / "admission.yaml").read_text())
MAKERS = {
    "TrainingJob": lambda namespace: job(namespace),
    "ModelVersion": lambda namespace: version(namespace, 1),
    "ModelService": lambda namespace: service(namespace, 1),
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def namespace(kube: Kube) -> str:
    """A namespace of this module's own, once the CRDs are there."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        definition = yaml.safe_load(path.read_text())
        await kube.apply(definition)
        name = definition["metadata"]["name"]

        async def established(name: str = name) -> bool:
            found = await kube.get("CustomResourceDefinition", "", name) or {}
            told = found.get("status", {}).get("conditions") or ()
            conditions = {item["type"]: item["status"] for item in told}
            assert conditions.get("NamesAccepted") != "False", told
            return conditions.get("Established") == "True"

        await until(f"{name} is established", established)
    return await make_namespace(kube)


def changed(manifest: Json, changes: dict[str, Any]) -> Json:
    """The manifest with values put in by their path; a null takes the field out."""
    result = copy.deepcopy(manifest)
    for path, value in changes.items():
        *parents, last = path.split(".")
        node: Any = result
        for step in parents:
            node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
        if value is None:
            node.pop(last, None)
        else:
            node[last] = value
    return result


async def submit(kube: Kube, manifest: Json, **options: str) -> Json:
    where = place(manifest["kind"]).path(manifest["metadata"]["namespace"])
    query = "&".join(f"{key}={value}" for key, value in {"dryRun": "All", **options}.items())
    return await kube.call("POST", f"{where}?{query}", manifest)


async def refusal(kube: Kube, manifest: Json, **options: str) -> str:
    """Why the API server does not take it."""
    with pytest.raises(ApiError) as caught:
        await submit(kube, manifest, **options)
    assert caught.value.status in (400, 422), caught.value
    return str(json.loads(str(caught.value).partition(": ")[2])["message"])


def flat(cases: dict[str, dict[str, Json]]) -> list[Any]:
    return [
        pytest.param(kind, case, id=f"{kind}: {name}")
        for kind, named in cases.items()
        for name, case in named.items()
    ]


@pytest.mark.parametrize(("kind", "case"), flat(CASES["refused"]))
async def test_refused(kube: Kube, namespace: str, kind: str, case: Json) -> None:
    manifest = changed(MAKERS[kind](namespace), case["with"])
    message = await refusal(kube, manifest)
    for word in case["says"] if isinstance(case["says"], list) else [case["says"]]:
        assert word in message


@pytest.mark.parametrize(("kind", "case"), flat(CASES["accepted"]))
async def test_accepted(kube: Kube, namespace: str, kind: str, case: Json) -> None:
    manifest = changed(MAKERS[kind](namespace), case["with"])
    # Strict: a field of ours that is not in the schema would be an error, not lost.
    taken = await submit(kube, manifest, fieldValidation="Strict")
    for path, value in case.get("becomes", {}).items():
        node: Any = taken
        for step in path.split("."):
            node = node[step]
        assert node == value


@pytest.mark.parametrize(("kind", "case"), flat(CASES["changes"]))
async def test_changed_later(kube: Kube, namespace: str, kind: str, case: Json) -> None:
    created = await kube.create(changed(MAKERS[kind](namespace), case.get("from", {})))
    name = created["metadata"]["name"]
    try:
        updated = changed(created, case["with"])
        path = place(kind).path(namespace, name)
        if "says" not in case:
            await kube.call("PUT", path, updated)
            return
        with pytest.raises(ApiError, match=case["says"]) as caught:
            await kube.call("PUT", path, updated)
        assert caught.value.status == 422
    finally:
        await kube.delete(kind, namespace, name)


async def test_a_misspelt_field_is_told(kube: Kube, namespace: str) -> None:
    manifest = changed(job(namespace), {"spec.wrokers": {"count": 2}})
    message = await refusal(kube, manifest, fieldValidation="Strict")
    assert "spec.wrokers" in message


async def test_there_are_enough_cases() -> None:
    counts = {kind: sum(map(len, CASES[kind].values())) for kind in CASES}
    assert counts["refused"] >= 30
    assert counts["accepted"] >= 10


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.kind)
async def test_kubectl_explains_every_field(
    control_plane: ControlPlane, namespace: str, kind: Any
) -> None:
    kubectl = binaries.ensure(binaries.CONTROL_PLANE)["kubectl"]

    async def explain(*words: str) -> str:
        command = [kubectl, "--kubeconfig", control_plane.kubeconfig, "explain", *words]
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        shown, _ = await process.communicate()
        assert process.returncode == 0
        return shown.decode()

    shown = await explain("--recursive", kind.plural)
    for field in kind.spec.model_json_schema(by_alias=True)["properties"]:
        assert f"{field}\t<" in shown
    assert "<no description>" not in await explain(f"{kind.plural}.spec")
