"""A real control plane, the operator as a real process behind a proxy, and pods that are played.

The operator runs with the chart's own rules and nothing else, so a request that the chart does
not allow fails here first.
"""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from cluster import binaries
from cluster.controlplane import ControlPlane
from tests.integration.kube import Json, Kube, until
from tests.integration.process import OperatorProcess
from tests.integration.proxy import FaultProxy
from tests.integration.puppet import Puppet
from torchyard.engine.connection import Connection, from_kubeconfig

ROOT = Path(__file__).parents[2]
SYSTEM = "torchyard-system"
_APPLIED = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for all of it: proxy, puppet and operator outlive a test."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            # Connections are cut on purpose here; those of one test may be collected in the next.
            for warning in ("ResourceWarning", "pytest.PytestUnraisableExceptionWarning"):
                item.add_marker(pytest.mark.filterwarnings(f"ignore::{warning}"))


@dataclass
class Stage:
    """Everything that a test plays with."""

    kube: Kube
    proxy: FaultProxy
    puppet: Puppet
    operator: OperatorProcess
    control_plane: ControlPlane
    token: str
    folder: Path

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """What a Deployment does: whenever the operator has ended, it is started again."""

        async def supervise() -> None:
            while True:
                await self.operator.ended(3600)
                await self.operator.start()

        task = asyncio.create_task(supervise())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def another_operator(self, **options: str) -> OperatorProcess:
        """One more replica, not started yet."""
        server = f"http://127.0.0.1:{self.proxy.port}"
        return OperatorProcess(self.folder, server, self.token, **options)


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="session")
def admin(control_plane: ControlPlane) -> Connection:
    return from_kubeconfig(control_plane.kubeconfig)


@pytest.fixture(scope="session")
def installed() -> list[Json]:
    """The CRDs, and of the chart what gives the operator its rights."""
    helm = os.fspath(binaries.helm() / "helm")
    command = [helm, "template", "torchyard", os.fspath(ROOT / "charts/torchyard")]
    command += ["--namespace", SYSTEM, "--set", "crds.install=false"]
    rendered = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    crds = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    chart = [item for item in yaml.safe_load_all(rendered) if item and item["kind"] in _APPLIED]
    return [*crds, *chart]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kube(admin: Connection) -> AsyncIterator[Kube]:
    client = Kube(admin)
    yield client
    await client.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def token(kube: Kube, installed: list[Json]) -> str:
    """Credentials of the operator's service account."""
    await kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    for manifest in installed:
        if manifest["kind"] in ("Role", "RoleBinding", "ServiceAccount"):
            manifest["metadata"].setdefault("namespace", SYSTEM)
        await kube.apply(manifest)
    account = next(item for item in installed if item["kind"] == "ServiceAccount")
    path = f"/api/v1/namespaces/{SYSTEM}/serviceaccounts/{account['metadata']['name']}/token"
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": 86_400},
    }
    answer = await kube.call("POST", path, request)
    granted: str = answer["status"]["token"]
    return granted


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(
    control_plane: ControlPlane,
    admin: Connection,
    kube: Kube,
    token: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("operator")
    proxy = FaultProxy(admin, kill=lambda: operator.kill())
    await proxy.start()
    server = f"http://127.0.0.1:{proxy.port}"
    operator = OperatorProcess(folder, server, token, pod_name="operator-0")
    puppet = Puppet(kube)
    playing = asyncio.create_task(puppet.run())
    await operator.start()
    try:
        await operator.acting()
        yield Stage(kube, proxy, puppet, operator, control_plane, token, folder)
    finally:
        await operator.stop()
        playing.cancel()
        await puppet.stop()
        await proxy.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def namespace(stage: Stage) -> AsyncIterator[str]:
    """A namespace of the test's own, with the service account that pods need."""
    stage.puppet.reset()
    stage.proxy.arm(None)
    created = await make_namespace(stage.kube)
    yield created
    faults = list(stage.puppet.faults)
    stage.puppet.reset()
    await stage.kube.delete("Namespace", "", created)
    assert not faults, "the puppet itself must not fail"


async def make_namespace(kube: Kube) -> str:
    metadata = {"generateName": "test-"}
    created = await kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    name: str = created["metadata"]["name"]
    await until("the service account", lambda: kube.get("ServiceAccount", name, "default"))
    return name
