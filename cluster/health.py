"""How to tell that a process of the cluster serves."""

import http.client
from collections.abc import Callable

from cluster import containerd, namespaces, registry
from cluster.api import Api
from cluster.settings import (
    CONTROLLER_MANAGER_PORT,
    DNS_READY_PORT,
    ETCD_PORT,
    KUBELET_HEALTH_PORT,
    NODE_ADDRESS,
    NODE_API_PORT,
    PROXY_HEALTH_PORT,
    SCHEDULER_PORT,
    Cluster,
)

_LOOPBACK = "127.0.0.1"
_SECONDS = 5

Probe = Callable[[Cluster], bool]


def serves(cluster: Cluster, name: str) -> bool:
    """Tell whether a running process serves."""
    # local-path-provisioner has nothing that could be asked: it is enough that it runs.
    return _PROBES[name](cluster) if name in _PROBES else True


def _http(port: int, path: str, address: str = _LOOPBACK) -> Probe:
    def probe(cluster: Cluster) -> bool:
        connection = http.client.HTTPConnection(address, port, timeout=_SECONDS)
        try:
            connection.sock = namespaces.connect(cluster, port, address, _SECONDS)
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def _accepts(port: int) -> Probe:
    """Probe a port that answers only clients that it knows."""

    def probe(cluster: Cluster) -> bool:
        try:
            namespaces.connect(cluster, port, _LOOPBACK, _SECONDS).close()
        except OSError:
            return False
        return True

    return probe


def _api(cluster: Cluster) -> bool:
    return Api(cluster.port, cluster.pki).ready()


_PROBES: dict[str, Probe] = {
    "etcd": _accepts(ETCD_PORT),
    "containerd": containerd.answers,
    "registry": registry.answers,
    "kube-apiserver": _accepts(NODE_API_PORT),
    # Through the relay, as every client outside comes: this covers the API server too.
    "relay": _api,
    "kube-controller-manager": _accepts(CONTROLLER_MANAGER_PORT),
    "kube-scheduler": _accepts(SCHEDULER_PORT),
    "kubelet": _http(KUBELET_HEALTH_PORT, "/healthz"),
    "kube-proxy": _http(PROXY_HEALTH_PORT, "/livez"),
    "coredns": _http(DNS_READY_PORT, "/ready", NODE_ADDRESS),
}
