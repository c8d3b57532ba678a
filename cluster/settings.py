"""Names, addresses and paths of one cluster; everything derives from its name."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cluster import files
from cluster.errors import ClusterError

REPOSITORY = Path(__file__).resolve().parent.parent

NODE_NAME = "node0"
NODE_ADDRESS = "10.99.0.1"
POD_CIDR = "10.244.0.0/16"
DNS_ADDRESS = "10.96.0.10"
API_PORT = 6443  # on the host
GPUS = 8
REGISTRY_PORT = 5000
REGISTRY = f"{NODE_ADDRESS}:{REGISTRY_PORT}"

# Inside the network namespace.
NODE_API_PORT = 6443
ETCD_PORT, ETCD_PEER_PORT = 2379, 2380
CONTROLLER_MANAGER_PORT, SCHEDULER_PORT = 10257, 10259
KUBELET_HEALTH_PORT, PROXY_HEALTH_PORT = 10248, 10256
DNS_READY_PORT = 8181


@dataclass(frozen=True)
class Cluster:
    """One local cluster; each has its own network namespace, so their addresses are equal."""

    name: str = "torchyard"
    port: int = API_PORT
    gpus: int = GPUS

    @classmethod
    def chosen(cls, name: str, port: int | None = None, gpus: int | None = None) -> Self:
        """Return a cluster; what is not given stays as it is in one that is up."""
        there = cls(name)
        try:
            kept = json.loads(there._record.read_text())
        except (OSError, ValueError):
            kept = {"port": there.port, "gpus": there.gpus}
        return cls(name, port or kept["port"], kept["gpus"] if gpus is None else gpus)

    def remember(self) -> None:
        """Note the choices for later commands."""
        files.write(self._record, json.dumps({"port": self.port, "gpus": self.gpus}))

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,19}", self.name):
            raise ClusterError(
                f"{self.name!r} cannot name a cluster",
                "use up to 20 lower-case letters, digits and dashes",
            )

    @property
    def state(self) -> Path:
        """What is too big for memory: etcd, images, volumes, logs."""
        return Path("/var/lib/torchyard") / self.name

    @property
    def run(self) -> Path:
        """What lives as long as the cluster: process ids, sockets, configuration."""
        return Path("/run/torchyard") / self.name

    @property
    def config(self) -> Path:
        """Rendered configuration files."""
        return self.run / "config"

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.state / "pki"

    @property
    def logs(self) -> Path:
        """One log a process; they outlive `down`."""
        return self.state / "logs"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.run / "kubeconfig"

    @property
    def network_namespace(self) -> Path:
        """Where `ip netns` keeps the namespace."""
        return Path("/run/netns") / self.name

    @property
    def mount_namespace(self) -> Path:
        """Where the namespace of all mounts of the node is kept."""
        return self.run / "namespaces" / "mount"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.run / "containerd.sock"

    @property
    def _record(self) -> Path:
        return self.run / "settings.json"

    @property
    def lock(self) -> Path:
        """Held by whoever changes the cluster; outside `run`, which `down` removes."""
        return self.run.parent / f"{self.name}.lock"
