"""The processes of a cluster: their command lines, configuration files and health."""

import http.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster import containerd, files, flags, kubeconfig, namespaces, node, templates
from cluster.api import Api
from cluster.binaries import Binaries
from cluster.processes import Program
from cluster.settings import (
    DNS_READY_PORT,
    NODE_ADDRESS,
    NODE_NAME,
    REGISTRY_PORT,
    Cluster,
)

_LOOPBACK = "127.0.0.1"
_API_PORT = 6443
_ETCD_PORT, _ETCD_PEER_PORT = 2379, 2380
_SCHEDULER_PORT, _CONTROLLER_MANAGER_PORT = 10259, 10257
# A program of Debian's, so that the relay does not depend on the caller's virtual environment.
_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Daemon:
    """A program and how to tell that it serves."""

    program: Program
    healthy: Callable[[], bool]

    @property
    def name(self) -> str:
        """The name in `status`, of the log and of the record."""
        return self.program.name


def health(cluster: Cluster, port: int, path: str, address: str = _LOOPBACK) -> Callable[[], bool]:
    """Return a probe of an HTTP address in the cluster's network namespace."""

    def probe() -> bool:
        connection = http.client.HTTPConnection(address, port, timeout=5)
        try:
            connection.sock = namespaces.connect(cluster, port, address, timeout=5)
            connection.request("GET", path)
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def accepts(cluster: Cluster, port: int) -> Callable[[], bool]:
    """Return a probe of a port that speaks TLS to known clients only."""

    def probe() -> bool:
        try:
            namespaces.connect(cluster, port, _LOOPBACK, timeout=5).close()
        except OSError:
            return False
        return True

    return probe


class Daemons:
    """Renders the configuration of one cluster and returns its processes in starting order."""

    def __init__(self, cluster: Cluster, programs: Binaries, sandbox: str, helper: str) -> None:
        self._cluster = cluster
        self._programs = programs
        self._sandbox = sandbox
        self._helper = helper
        self._identity = (cluster.pki / "ca.crt").read_text()
        self._layout = flags.Layout(
            binaries=programs,
            pki=cluster.pki,
            etcd_data=cluster.state / "etcd",
            audit_log=cluster.logs / "audit.log",
            audit_policy=cluster.config / "audit-policy.yaml",
            api_address=NODE_ADDRESS,
            api_port=_API_PORT,
            etcd_port=_ETCD_PORT,
            etcd_peer_port=_ETCD_PEER_PORT,
        )

    def foundation(self) -> list[Daemon]:
        """Return what the API and the images need."""
        return [self._etcd(), self._containerd(), self._registry()]

    def api(self) -> list[Daemon]:
        """Return the API server and the way to it from the host."""
        return [self._apiserver(), self._relay()]

    def rest(self) -> list[Daemon]:
        """Return everything that is a client of the API server."""
        return [
            self._controller_manager(),
            self._scheduler(),
            self._kubelet(),
            self._proxy(),
            self._coredns(),
            self._local_path(),
        ]

    def _etcd(self) -> Daemon:
        return self._daemon("etcd", flags.etcd(self._layout), accepts(self._cluster, _ETCD_PORT))

    def _containerd(self) -> Daemon:
        self._file("cni/10-pods.conflist", containerd.cni(self._cluster))
        registry = f"registries/{NODE_ADDRESS}:{REGISTRY_PORT}/hosts.toml"
        self._file(registry, containerd.registry_hosts())
        config, text = self._file(
            "containerd.toml", containerd.config(self._cluster, self._sandbox)
        )
        return self._daemon(
            "containerd",
            ["/usr/bin/containerd", "--config", config],
            lambda: containerd.answers(self._cluster),
            text,
        )

    def _registry(self) -> Daemon:
        config, text = self._file("registry.json", node.registry(self._cluster))
        probe = health(self._cluster, REGISTRY_PORT, "/v2/", NODE_ADDRESS)
        return self._daemon("registry", ["/usr/bin/docker-registry", "serve", config], probe, text)

    def _apiserver(self) -> Daemon:
        _, text = self._file("audit-policy.yaml", flags.audit_policy())
        certificate, key = self._layout.key_pair("apiserver-kubelet-client")
        command = flags.apiserver(
            self._layout,
            f"--kubelet-certificate-authority={self._layout.authority()}",
            f"--kubelet-client-certificate={certificate}",
            f"--kubelet-client-key={key}",
            "--kubelet-preferred-address-types=InternalIP",
        )
        return self._daemon("kube-apiserver", command, accepts(self._cluster, _API_PORT), text)

    def _relay(self) -> Daemon:
        # A copy: the running process must not change with the clone that `up` was called from.
        script, text = self._file("relay.py", (Path(__file__).parent / "relay.py").read_text())
        namespace = str(self._cluster.network_namespace)
        command = [_PYTHON, script, namespace, str(self._cluster.port), str(_API_PORT)]
        api = Api(_LOOPBACK, self._cluster.port, self._cluster.pki)
        return self._daemon("relay", command, api.ready, text, outside=True)

    def _controller_manager(self) -> Daemon:
        own = self._kubeconfig("controller-manager")
        command = flags.controller_manager(
            self._layout, Path(own), ["*"], f"--bind-address={_LOOPBACK}"
        )
        probe = accepts(self._cluster, _CONTROLLER_MANAGER_PORT)
        return self._daemon("kube-controller-manager", command, probe)

    def _scheduler(self) -> Daemon:
        config, text = self._file("scheduler.json", node.scheduler(self._kubeconfig("scheduler")))
        command = [f"--config={config}", f"--bind-address={_LOOPBACK}"]
        probe = accepts(self._cluster, _SCHEDULER_PORT)
        return self._daemon("kube-scheduler", [self._path("kube-scheduler"), *command], probe, text)

    def _kubelet(self) -> Daemon:
        self._file("resolv.conf", "")
        config, text = self._file("kubelet.json", node.kubelet(self._cluster))
        command = [
            self._path("kubelet"),
            f"--config={config}",
            f"--kubeconfig={self._kubeconfig('node')}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_ADDRESS}",
        ]
        probe = health(self._cluster, node.KUBELET_HEALTH_PORT, "/healthz")
        return self._daemon("kubelet", command, probe, text)

    def _proxy(self) -> Daemon:
        config, text = self._file("proxy.json", node.proxy(self._kubeconfig("proxy")))
        probe = health(self._cluster, node.PROXY_HEALTH_PORT, "/livez")
        command = [self._path("kube-proxy"), f"--config={config}"]
        return self._daemon("kube-proxy", command, probe, text)

    def _coredns(self) -> Daemon:
        corefile = templates.render("Corefile", kubeconfig=self._kubeconfig("coredns"))
        config, text = self._file("Corefile", corefile)
        probe = health(self._cluster, DNS_READY_PORT, "/ready", NODE_ADDRESS)
        return self._daemon("coredns", [self._path("coredns"), "-conf", config], probe, text)

    def _local_path(self) -> Daemon:
        pod, pod_text = self._file(
            "helper-pod.yaml", templates.render("helper-pod.yaml", helper_image=self._helper)
        )
        config, text = self._file("local-path.json", node.local_path(self._cluster))
        command = [
            self._path("local-path"),
            "start",
            f"--kubeconfig={self._kubeconfig('local-path')}",
            f"--config={config}",
            f"--helper-pod-file={pod}",
            "--namespace=local-path-storage",
            "--service-account-name=helper",
        ]
        # It serves nothing that could be asked.
        return self._daemon("local-path", command, lambda: True, text, pod_text)

    def _path(self, program: str) -> str:
        return str(self._programs[program])

    def _kubeconfig(self, identity: str) -> str:
        path = self._cluster.config / f"{identity}.kubeconfig"
        server = f"https://{_LOOPBACK}:{_API_PORT}"
        return str(kubeconfig.write(path, server, self._cluster.pki, identity))

    def _file(self, name: str, text: str) -> tuple[str, str]:
        path = self._cluster.config / name
        files.write(path, text)
        return str(path), text

    def _daemon(
        self,
        name: str,
        command: list[str],
        healthy: Callable[[], bool],
        *inputs: str,
        outside: bool = False,
    ) -> Daemon:
        enter = () if outside else namespaces.enter(self._cluster)
        program = Program(name, tuple(command), (self._identity, *inputs), enter)
        return Daemon(program, healthy)
