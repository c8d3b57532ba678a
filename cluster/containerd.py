"""containerd: its configuration, and what `ctr` is needed for."""

import json
from pathlib import Path

from cluster import shell
from cluster.settings import POD_CIDR, REGISTRY, Cluster

_CNI_PROGRAMS = "/usr/lib/cni"


def config(cluster: Cluster, sandbox_image: str) -> str:
    """Return the configuration in TOML; a JSON string is a TOML string."""

    def quote(value: object) -> str:
        return json.dumps(str(value))

    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""version = 2
root = {quote(cluster.state / "containerd")}
state = {quote(cluster.run / "containerd")}

[grpc]
address = {quote(cluster.containerd_socket)}

[{cri}]
sandbox_image = {quote(sandbox_image)}
# Lowering the OOM score needs CAP_SYS_RESOURCE, which a container may lack.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
max_concurrent_downloads = 8

[{cri}.cni]
bin_dir = {quote(_CNI_PROGRAMS)}
conf_dir = {quote(cluster.config / "cni")}

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false

[{cri}.registry]
config_path = {quote(cluster.config / "registries")}
"""


def cni(cluster: Cluster) -> str:
    """Return the pod network: one bridge, addresses from one range, no masquerading."""
    bridge = {
        "type": "bridge",
        "bridge": "pods",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_CIDR}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            # The default outlives the cluster and would leak its addresses.
            "dataDir": str(cluster.run / "pod-addresses"),
        },
    }
    return json.dumps(
        {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, {"type": "loopback"}]}
    )


def registry_hosts() -> str:
    """Return how containerd reaches the cluster's registry: without TLS, as it never leaves it."""
    return f"""server = "http://{REGISTRY}"

[host."http://{REGISTRY}"]
capabilities = ["pull", "resolve"]
"""


def answers(cluster: Cluster) -> bool:
    """Tell whether containerd serves."""
    return shell.succeeds(*_ctr(cluster), "version", timeout=10)


def remove_containers(cluster: Cluster) -> None:
    """Remove every container; the kubelet must be gone, or it starts them again."""
    for kind, force in (("tasks", ["--force"]), ("containers", [])):
        ids = shell.run(*_ctr(cluster), kind, "list", "--quiet").split()
        if ids:
            shell.succeeds(*_ctr(cluster), kind, "delete", *force, *ids)


def _ctr(cluster: Cluster) -> tuple[str | Path, ...]:
    return ("ctr", "--address", cluster.containerd_socket, "--namespace", "k8s.io")
