"""The local cluster itself: what it promises to everything that is tested on it."""

import json
import os
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from ssl import create_default_context
from typing import Any

import pytest

from cluster import binaries, namespaces, processes, registry, shell, system, wait
from cluster.api import Api, ApiError
from cluster.buildah import split
from cluster.down import down
from cluster.processes import Processes
from cluster.settings import NODE_ADDRESS, REGISTRY, Cluster
from cluster.status import status
from cluster.up import up

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a node needs root")

SECONDS = 120
RESTRICTED = {
    "pod": {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "container": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    },
}


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    chosen = Cluster.chosen(os.environ.get("TORCHYARD_CLUSTER", "torchyard"))
    up(chosen)
    return chosen


@pytest.fixture(scope="module")
def api(cluster: Cluster) -> Api:
    return Api(cluster.port, cluster.pki)


@pytest.fixture(scope="module")
def namespace(api: Api) -> Iterator[str]:
    name = f"local-cluster-{uuid.uuid4().hex[:8]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    wait.until("the service account is there", lambda: api.find(account), SECONDS)
    yield name
    api.call("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture(scope="module")
def start(api: Api, namespace: str) -> Callable[..., str]:
    """Start a pod that runs a shell script."""

    def create(script: str, *, claims: tuple[str, ...] = (), **changes: Any) -> str:
        name = f"pod-{uuid.uuid4().hex[:8]}"
        container = {
            "name": "main",
            "image": changes.pop("image", system.busybox()),
            "command": ["sh", "-euc", script],
            "securityContext": RESTRICTED["container"],
            "resources": {"limits": changes.pop("limits", {})},
            "volumeMounts": [{"name": claim, "mountPath": f"/{claim}"} for claim in claims],
        }
        volumes = [{"name": c, "persistentVolumeClaim": {"claimName": c}} for c in claims]
        pod = {
            "metadata": {"name": name, "labels": changes.pop("labels", {})},
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 0,
                "securityContext": RESTRICTED["pod"],
                "containers": [container],
                "volumes": volumes,
                **changes,
            },
        }
        api.call("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
        return name

    return create


@pytest.fixture(scope="module")
def phase(api: Api, namespace: str) -> Callable[[str, str], None]:
    """Wait until a pod has reached a phase."""

    def reached(name: str, expected: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/pods/{name}"

        def there() -> bool:
            found: str = api.get(path)["status"]["phase"]
            assert found in (expected, "Pending", "Running"), f"{found}:\n{log()}"
            return found == expected

        def log() -> str:
            try:
                return api.call("GET", f"{path}/log") + json.dumps(api.get(path)["status"])
            except ApiError as error:
                return f"{error} {api.get(path)['status']}"

        wait.until(f"{name} is {expected}", there, SECONDS, hint=log)

    return reached


def claim(api: Api, namespace: str, name: str, mode: str, storage_class: str | None) -> str:
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Mi"}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    body = {"metadata": {"name": name}, "spec": spec}
    api.call("POST", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", body)
    return name


def test_everything_runs_and_a_second_up_changes_nothing(cluster: Cluster) -> None:
    running = Processes(cluster.run / "processes", cluster.logs)
    before = {name: running.pid(name) for name in running.names()}
    up(cluster)
    assert {name: running.pid(name) for name in running.names()} == before
    assert [line for line in status(cluster) if not line.well] == []


def test_the_kubeconfig_works_from_the_host(cluster: Cluster) -> None:
    kubectl = binaries.ensure(binaries.NODE)["kubectl"]
    line = (kubectl, f"--kubeconfig={cluster.kubeconfig}")
    assert shell.run(*line, "get", "nodes", "--output=name").split() == ["node/node0"]


def test_names_resolve_and_unknown_ones_do_not_exist(
    start: Callable[..., str], phase: Callable[[str, str], None]
) -> None:
    script = """
    nslookup kubernetes.default.svc.cluster.local | grep 10.96.0.1
    nslookup kubernetes.default.svc.cluster.local. | grep 10.96.0.1
    nslookup nowhere.example. 2>&1 | grep NXDOMAIN
    """
    phase(start(script), "Succeeded")


def test_a_service_leads_to_its_pods(
    api: Api, namespace: str, start: Callable[..., str], phase: Callable[[str, str], None]
) -> None:
    ports = [{"port": 80, "targetPort": 8000}]
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
    api.call("POST", f"/api/v1/namespaces/{namespace}/services", service)
    phase(start("exec httpd -f -p 8000 -h /bin", labels={"app": "web"}), "Running")
    phase(start("until wget -q -O- http://web/httpd >/dev/null; do sleep 0.2; done"), "Succeeded")


def test_volumes_bind_and_can_be_written_by_restricted_pods(
    api: Api, namespace: str, start: Callable[..., str], phase: Callable[[str, str], None]
) -> None:
    own = claim(api, namespace, "own", "ReadWriteOnce", None)
    shared = claim(api, namespace, "shared", "ReadWriteMany", "shared")
    write = "id -u | grep 65532; echo hello >/own/file; echo hello >/shared/file"
    phase(start(write, claims=(own, shared)), "Succeeded")
    phase(start("grep hello /shared/file /own/file", claims=(own, shared)), "Succeeded")


def test_a_volume_goes_with_its_claim(
    api: Api, namespace: str, start: Callable[..., str], phase: Callable[[str, str], None]
) -> None:
    name = claim(api, namespace, "short", "ReadWriteMany", "shared")
    phase(start("echo hello >/short/file", claims=(name,)), "Succeeded")
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
    volume = api.get(path)["spec"]["volumeName"]
    folder = Path(api.get(f"/api/v1/persistentvolumes/{volume}")["spec"]["hostPath"]["path"])
    assert (folder / "file").read_text() == "hello\n"
    for pod in api.get(f"/api/v1/namespaces/{namespace}/pods")["items"]:
        if any(v.get("name") == name for v in pod["spec"]["volumes"]):
            api.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}")
    api.call("DELETE", path)
    wait.until("the folder is removed", lambda: not folder.exists(), SECONDS)


def test_gpus_schedule_until_there_are_no_more(
    api: Api,
    cluster: Cluster,
    namespace: str,
    start: Callable[..., str],
    phase: Callable[[str, str], None],
) -> None:
    too_many = start("true", limits={"nvidia.com/gpu": cluster.gpus + 1})
    phase(start("true", limits={"nvidia.com/gpu": cluster.gpus}), "Succeeded")

    def refused() -> bool:
        pod = api.get(f"/api/v1/namespaces/{namespace}/pods/{too_many}")
        conditions = pod["status"].get("conditions", [])
        return any("Insufficient nvidia.com/gpu" in c.get("message", "") for c in conditions)

    wait.until("the scheduler says why", refused, SECONDS)
    api.call("DELETE", f"/api/v1/namespaces/{namespace}/pods/{too_many}")


def test_pod_security_is_enforced(start: Callable[..., str]) -> None:
    with pytest.raises(ApiError, match="violates PodSecurity") as error:
        start("true", hostNetwork=True)
    assert error.value.status == 403


def test_images_are_pulled_by_digest(
    cluster: Cluster, start: Callable[..., str], phase: Callable[[str, str], None]
) -> None:
    repository, tag = split(system.busybox())
    digest = registry.digest(cluster, repository, tag)
    assert digest is not None
    phase(start("true", image=f"{REGISTRY}/{repository}@{digest}"), "Succeeded")


def test_strangers_are_refused(cluster: Cluster) -> None:
    trust = create_default_context(cafile=cluster.pki / "ca.crt")
    url = f"https://127.0.0.1:{cluster.port}/api/v1/namespaces/kube-system/secrets"
    with pytest.raises(urllib.error.HTTPError, match="403") as error:
        urllib.request.urlopen(url, context=trust)
    error.value.close()


def test_the_kubelet_refuses_strangers(cluster: Cluster) -> None:
    with namespaces.connect(cluster, 10250, NODE_ADDRESS, 10) as plain:
        trust = create_default_context(cafile=cluster.pki / "ca.crt")
        with trust.wrap_socket(plain, server_hostname=NODE_ADDRESS) as encrypted:
            encrypted.sendall(b"GET /pods HTTP/1.0\r\n\r\n")
            assert encrypted.recv(100).startswith(b"HTTP/1.0 401")


def test_writes_are_in_the_audit_log(api: Api, cluster: Cluster, namespace: str) -> None:
    body = {"metadata": {"name": "counted"}}
    api.call("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    lines = (cluster.logs / "audit.log").read_text().splitlines()
    found = [json.loads(line) for line in lines if namespace in line and '"counted"' in line]
    assert [(event["user"]["username"], event["verb"]) for event in found] == [("admin", "create")]


def test_the_host_sees_neither_mounts_nor_interfaces(cluster: Cluster) -> None:
    places = (cluster.run, cluster.state, cluster.network_namespace)
    points = {Path(point) for point, _ in namespaces.mounts()}
    ours = {point for point in points if any(point.is_relative_to(place) for place in places)}
    kept = cluster.mount_namespace
    assert ours == {cluster.network_namespace, kept.parent, kept}
    assert "node0" not in shell.run("ip", "-brief", "link")


def test_up_after_kill_and_down_leave_nothing() -> None:
    other = Cluster("test-lifecycle", port=16443, gpus=1)
    interfaces = shell.run("ip", "-brief", "link")
    try:
        up(other)
        running = Processes(other.run / "processes", other.logs)
        for name in ("etcd", "containerd", "kubelet", "kube-apiserver"):
            processes.kill_all(filter(None, [running.pid(name)]))
        up(other)
        assert [line for line in status(other) if not line.well] == []
    finally:
        down(other, purge=True)
    assert not other.run.exists()
    assert not other.state.exists()
    assert not [point for point, _ in namespaces.mounts() if other.name in point]
    assert other.name not in shell.run("ip", "netns", "list").split()
    assert not list(Path("/sys/fs/cgroup").glob(f"**/{other.name}"))
    assert shell.run("ip", "-brief", "link") == interfaces
    listing = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert f"/{other.name}/" not in listing.stdout
    down(other, purge=True)  # a cluster that is down can be taken down
