"""The chart on a real API server: admission, rights as it sees them, and the life of the CRDs."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from cluster import binaries
from cluster.controlplane import ControlPlane
from tests.integration.kube import Json, Kube, until
from tests.integration.samples import job
from torchyard.engine.connection import from_kubeconfig

CHART = Path(__file__).parents[2] / "charts" / "torchyard"
SYSTEM = "torchyard-system"
ACCOUNT = f"system:serviceaccount:{SYSTEM}:torchyard"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
JOBS = "trainingjobs.torchyard.dev"
# Tests leave the CRDs to each other.
INSTALL = ("install", "torchyard", "--take-ownership")


@dataclass
class Helm:
    """Helm against one API server, as a person would call it."""

    kubeconfig: Path
    home: Path

    async def __call__(self, *words: str | Path, fails: bool = False) -> str:
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            **{f"HELM_{what}_HOME": str(self.home / what) for what in ("CACHE", "CONFIG", "DATA")},
        }
        process = await asyncio.create_subprocess_exec(
            *(binaries.helm() / "helm", *words, "--namespace", SYSTEM),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert (process.returncode != 0) == fails, said.decode()
        return said.decode()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One of its own: the chart's names are cluster-wide."""
    with ControlPlane(tmp_path_factory.mktemp("chart")) as running:
        yield running


@pytest.fixture(scope="module")
def helm(server: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm(server.kubeconfig, tmp_path_factory.mktemp("helm"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def api(server: ControlPlane) -> AsyncIterator[Kube]:
    client = Kube(from_kubeconfig(server.kubeconfig))
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    for name in (SYSTEM, "team-a", "team-b"):
        metadata = {"name": name, "labels": labels}
        await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    yield client
    await client.close()


@pytest_asyncio.fixture(loop_scope="session")
async def clean(api: Kube, helm: Helm) -> None:
    """No release from an earlier test; the CRDs stay, as they always do."""
    for release in json.loads(await helm("list", "--output", "json")):
        await helm("uninstall", release["name"], "--wait")


async def definitions(api: Kube) -> dict[str, Json]:
    found = await api.call("GET", CRDS)
    return {
        item["metadata"]["name"]: item
        for item in found["items"]
        if item["spec"]["group"] == "torchyard.dev"
    }


async def may(api: Kube, user: str, verb: str, resource: str, namespace: str = "team-a") -> bool:
    """What the API server says; `resource` is like group/plural/subresource:name."""
    path, _, name = resource.partition(":")
    group, plural, *subresource = path.split("/")
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": plural}
    attributes |= {"name": name, "subresource": "/".join(subresource)}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": attributes},
    }
    answer = await api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    allowed: bool = answer["status"]["allowed"]
    return allowed


async def test_its_pods_are_admitted_where_pod_security_is_restricted(
    clean: None, helm: Helm, api: Kube
) -> None:
    await helm(*INSTALL, CHART, "--set", "replicas=2")

    async def created() -> bool:
        return len(await api.list("Pod", SYSTEM)) == 2

    await until("two pods of the operator", created)
    for pod in await api.list("Pod", SYSTEM):
        # Nothing was added: no token but the projected one of an hour.
        (projected,) = (item for item in pod["spec"]["volumes"] if "projected" in item)
        assert projected["name"] == "token"


async def test_the_operator_may_do_its_work_and_no_more(clean: None, helm: Helm, api: Kube) -> None:
    await helm(*INSTALL, CHART)
    granted = {
        "torchyard.dev/trainingjobs": ["list", "watch", "delete"],
        "torchyard.dev/trainingjobs/status": ["patch"],
        "torchyard.dev/modelversions": ["create"],
        "/pods": ["create", "delete"],
        "/services": ["create", "patch"],
        "apps/deployments": ["create", "patch", "delete"],
        "events.k8s.io/events": ["create"],
    }
    denied = {
        "torchyard.dev/trainingjobs": ["create", "update", "patch"],
        "torchyard.dev/modelversions": ["delete", "patch"],
        "/secrets": ["get", "list", "create"],
        "/configmaps": ["get", "list"],
        "/pods": ["patch", "update"],
        "/pods/exec": ["create"],
        "/pods/log": ["get"],
        "/serviceaccounts/token": ["create"],
        "rbac.authorization.k8s.io/roles": ["create", "escalate", "bind"],
        "coordination.k8s.io/leases": ["get", "create"],
        "apiextensions.k8s.io/customresourcedefinitions": ["get", "list", "patch"],
    }
    for allowed, rights in ((True, granted), (False, denied)):
        for resource, verbs in rights.items():
            for verb in verbs:
                assert await may(api, ACCOUNT, verb, resource) is allowed, (verb, resource)
    lease = "coordination.k8s.io/leases"
    assert await may(api, ACCOUNT, "update", f"{lease}:torchyard", SYSTEM)
    assert not await may(api, ACCOUNT, "update", f"{lease}:another", SYSTEM)
    crds = "apiextensions.k8s.io/customresourcedefinitions"
    assert await may(api, ACCOUNT, "get", f"{crds}:{JOBS}", "")
    assert not await may(api, ACCOUNT, "get", f"{crds}:others.example.com", "")


async def test_with_a_list_of_namespaces_its_rights_end_there(
    clean: None, helm: Helm, api: Kube
) -> None:
    await helm(*INSTALL, CHART, "--set", "watchNamespaces={team-a}")
    assert await may(api, ACCOUNT, "create", "/pods", "team-a")
    for verb in ("get", "list", "watch", "create", "delete"):
        assert not await may(api, ACCOUNT, verb, "/pods", "team-b")
        assert not await may(api, ACCOUNT, verb, "/pods", SYSTEM)


async def test_two_releases_share_a_cluster(clean: None, helm: Helm, api: Kube) -> None:
    await helm(*INSTALL, CHART, "--set", "watchNamespaces={team-a}")
    await helm(
        *("install", "b", CHART, "--set", "watchNamespaces={team-b}"),
        *("--set", "crds.install=false"),
    )
    assert not await may(api, ACCOUNT, "list", "/pods", "team-b")
    assert await may(api, f"{ACCOUNT.rpartition(':')[0]}:b-torchyard", "list", "/pods", "team-b")


async def test_people_get_the_kinds_with_the_clusters_own_roles(
    clean: None, helm: Helm, api: Kube
) -> None:
    await helm(*INSTALL, CHART)
    for role in ("view", "edit"):
        await api.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": role, "namespace": "team-a"},
                "roleRef": {
                    "apiGroup": "rbac.authorization.k8s.io",
                    "kind": "ClusterRole",
                    "name": role,
                },
                "subjects": [
                    {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"the-{role}"}
                ],
            }
        )

    async def aggregated() -> bool:
        return await may(api, "the-edit", "create", "torchyard.dev/trainingjobs")

    await until("the roles are aggregated", aggregated)
    assert await may(api, "the-view", "watch", "torchyard.dev/modelservices")
    assert not await may(api, "the-view", "create", "torchyard.dev/trainingjobs")
    assert await may(api, "the-edit", "patch", "torchyard.dev/modelservices/scale")
    assert not await may(api, "the-edit", "patch", "torchyard.dev/trainingjobs/status")
    assert not await may(api, "the-edit", "create", "torchyard.dev/trainingjobs", "team-b")


async def test_the_definitions_live_longer_than_the_release_and_follow_its_upgrades(
    clean: None, helm: Helm, api: Kube, tmp_path: Path
) -> None:
    older = tmp_path / "older"
    shutil.copytree(CHART, older)
    file = older / "files" / "crds" / f"{JOBS}.yaml"
    crd = yaml.safe_load(file.read_text())
    columns = crd["spec"]["versions"][0]["additionalPrinterColumns"]
    expected = len(columns)
    columns.pop()
    file.write_text(f"# Older.\n{yaml.safe_dump(crd, sort_keys=False)}")

    async def columns_there() -> int:
        found = (await definitions(api))[JOBS]["spec"]["versions"][0]
        return len(found["additionalPrinterColumns"])

    await helm(*INSTALL, older)
    assert await columns_there() == expected - 1

    async def made() -> bool:
        return bool(await api.create(job("team-a", "kept")))

    await until("a job", made)
    await helm("upgrade", "torchyard", CHART)
    assert await columns_there() == expected

    assert "resource policy" in await helm("uninstall", "torchyard", "--wait")
    assert len(await definitions(api)) == 3
    assert await api.get("TrainingJob", "team-a", "kept")

    await helm("install", "torchyard", CHART)
    await helm("uninstall", "torchyard", "--wait")
    # Another release must say that it means them.
    refused = await helm("install", "yard", CHART, fails=True)
    assert "torchyard.dev" in refused
    await helm("install", "yard", CHART, "--take-ownership")
    assert await api.get("TrainingJob", "team-a", "kept")
