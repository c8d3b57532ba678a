"""Command lines and configuration files."""

import json
import tomllib
from pathlib import Path

import pytest
import yaml

from cluster import binaries, containerd, flags, kubeconfig, node, templates
from cluster.binaries import Binaries
from cluster.errors import ClusterError
from cluster.settings import REGISTRY, Cluster


@pytest.fixture
def layout(tmp_path: Path) -> flags.Layout:
    for program in ("etcd", "kube-apiserver", "kube-controller-manager"):
        (tmp_path / program).touch()
    return flags.Layout(
        binaries=Binaries({"all": tmp_path}),
        pki=Path("/pki"),
        etcd_data=Path("/data"),
        audit_log=Path("/audit.log"),
        audit_policy=Path("/policy"),
        api_address="10.0.0.1",
        api_port=1,
        etcd_port=2,
        etcd_peer_port=3,
    )


def test_the_api_server_reaches_etcd_with_a_certificate_and_uses_rbac(layout: flags.Layout) -> None:
    line = flags.apiserver(layout, "--extra=yes")
    assert line[0] == str(layout.binaries["kube-apiserver"])
    assert {
        "--etcd-servers=https://127.0.0.1:2",
        "--etcd-cafile=/pki/etcd-ca.crt",
        "--secure-port=1",
        "--client-ca-file=/pki/ca.crt",
        "--authorization-mode=Node,RBAC",
        "--audit-policy-file=/policy",
        "--extra=yes",
    } <= set(line)


def test_etcd_admits_only_clients_with_a_certificate_of_its_own_authority(
    layout: flags.Layout,
) -> None:
    line = flags.etcd(layout)
    assert {"--client-cert-auth", "--trusted-ca-file=/pki/etcd-ca.crt"} <= set(line)
    assert {"--peer-client-cert-auth", "--unsafe-no-fsync"} <= set(line)
    assert not any("http://" in word for word in line)


def test_controllers_are_chosen(layout: flags.Layout) -> None:
    line = flags.controller_manager(layout, Path("/kubeconfig"), ["a", "b"])
    assert {"--controllers=a,b", "--use-service-account-credentials=true"} <= set(line)


def test_a_program_that_was_not_built_is_named(layout: flags.Layout) -> None:
    with pytest.raises(ClusterError, match="kubelet is not among"):
        layout.binaries["kubelet"]


def test_containerd_pulls_from_the_registry_of_its_cluster() -> None:
    cluster = Cluster("blue")
    config = tomllib.loads(containerd.config(cluster, "sandbox:1"))
    cri = config["plugins"]["io.containerd.grpc.v1.cri"]
    assert config["root"] == "/var/lib/torchyard/blue/containerd"
    assert cri["sandbox_image"] == "sandbox:1"
    assert cri["containerd"]["runtimes"]["runc"]["options"]["SystemdCgroup"] is False
    assert cri["registry"]["config_path"] == "/run/torchyard/blue/config/registries"
    hosts = tomllib.loads(containerd.registry_hosts())
    assert list(hosts["host"]) == [f"http://{REGISTRY}"]


def test_pod_addresses_are_forgotten_with_the_cluster() -> None:
    bridge = json.loads(containerd.cni(Cluster("blue")))["plugins"][0]
    assert bridge["ipam"]["dataDir"].startswith("/run/torchyard/blue/")
    assert bridge["ipMasq"] is False


def test_the_kubelet_asks_the_api_server_who_may_talk_to_it() -> None:
    config = json.loads(node.kubelet(Cluster("blue")))
    assert config["authentication"]["anonymous"] == {"enabled": False}
    assert config["authorization"] == {"mode": "Webhook"}
    assert config["cgroupRoot"] == "/blue"


def test_two_clusters_share_no_path() -> None:
    for render in (node.kubelet, node.local_path, node.registry, containerd.cni):
        assert "/blue" not in render(Cluster("green")).replace("/green", "")
        assert "green" not in render(Cluster("blue"))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("dns.yaml", {}),
        ("storage.yaml", {}),
        ("helper-pod.yaml", {"helper_image": "busybox:1"}),
        ("Corefile", {"kubeconfig": "/config"}),
    ],
)
def test_templates_are_filled_in(name: str, values: dict[str, str]) -> None:
    text = templates.render(name, **values)
    assert "${" not in text
    if name.endswith(".yaml"):
        assert all(document["kind"] for document in yaml.safe_load_all(text))


def test_scripts_of_the_storage_helper_keep_their_shell_variables() -> None:
    documents = list(yaml.safe_load_all(templates.render("storage.yaml")))
    scripts = next(d["data"] for d in documents if d["kind"] == "ConfigMap")
    assert 'mkdir -m 0777 -p "$VOL_DIR"' in scripts["setup"]
    classes = [d["metadata"]["name"] for d in documents if d["kind"] == "StorageClass"]
    configured = json.loads(node.local_path(Cluster()))["storageClassConfigs"]
    assert sorted(classes) == sorted(configured)


def test_the_audit_policy_keeps_every_write() -> None:
    policy = yaml.safe_load(flags.audit_policy())
    assert policy["rules"][-1] == {"level": "Metadata"}
    for rule in policy["rules"][:-1]:
        assert rule["level"] == "None"
        assert "nonResourceURLs" in rule or rule["verbs"] == ["get", "list", "watch"]


def test_a_kubeconfig_carries_its_keys(tmp_path: Path) -> None:
    for name in ("ca.crt", "admin.crt", "admin.key"):
        (tmp_path / name).write_text(name)
    found = json.loads(kubeconfig.render("https://127.0.0.1:6443", tmp_path, "admin"))
    assert found["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    assert found["current-context"] == found["contexts"][0]["name"]
    assert set(found["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


def test_kubernetes_learns_its_version_from_the_linker() -> None:
    text = "module x\n\nrequire k8s.io/kubernetes v1.35.4 // indirect\n"
    assert "-X k8s.io/component-base/version.gitVersion=v1.35.4" in binaries.link_flags(text)
    assert "-X k8s.io/component-base/version.gitMinor=35" in binaries.link_flags(text)
    assert binaries.link_flags("module x\n") == "-s -w"
