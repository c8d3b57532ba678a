"""The processes of a cluster: their command lines and configuration files."""

from dataclasses import dataclass
from pathlib import Path

from cluster import containerd, files, flags, kubeconfig, namespaces, node, templates
from cluster.binaries import Binaries
from cluster.processes import Program
from cluster.settings import (
    ETCD_PEER_PORT,
    ETCD_PORT,
    NODE_ADDRESS,
    NODE_API_PORT,
    NODE_NAME,
    REGISTRY,
    Cluster,
)

_LOOPBACK = "127.0.0.1"
# A program of Debian's, so that the relay does not depend on the caller's virtual environment.
_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class File:
    """A configuration file."""

    path: Path
    text: str
    mode: int = 0o644


@dataclass(frozen=True)
class Daemon:
    """A program and the files that it reads at its start."""

    program: Program
    files: tuple[File, ...]

    @property
    def name(self) -> str:
        """The name in `status`, of the log and of the record."""
        return self.program.name

    def write_files(self) -> None:
        """Write what is not there yet."""
        for file in self.files:
            files.write(file.path, file.text, file.mode)


class Daemons:
    """The processes of one cluster, in the order in which they start."""

    def __init__(self, cluster: Cluster, programs: Binaries, sandbox: str, helper: str) -> None:
        self._cluster = cluster
        self._programs = programs
        self._sandbox = sandbox
        self._helper = helper
        # New certificates replace every process, as not all of them read theirs again.
        self._authority = (cluster.pki / "ca.crt").read_text()
        self._layout = flags.Layout(
            binaries=programs,
            pki=cluster.pki,
            etcd_data=cluster.state / "etcd",
            audit_log=cluster.logs / "audit.log",
            audit_policy=cluster.config / "audit-policy.yaml",
            api_address=NODE_ADDRESS,
            api_port=NODE_API_PORT,
            etcd_port=ETCD_PORT,
            etcd_peer_port=ETCD_PEER_PORT,
        )

    def foundation(self) -> list[Daemon]:
        """Return what the API and the images need."""
        return [self._etcd(), self._containerd(), self._registry()]

    def api(self) -> list[Daemon]:
        """Return the API server and the way to it from the host."""
        return [self._apiserver(), self._relay()]

    def clients(self) -> list[Daemon]:
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
        return self._daemon("etcd", flags.etcd(self._layout))

    def _containerd(self) -> Daemon:
        config = self._file("containerd.toml", containerd.config(self._cluster, self._sandbox))
        pods = self._file("cni/10-pods.conflist", containerd.cni(self._cluster))
        hosts = self._file(f"registries/{REGISTRY}/hosts.toml", containerd.registry_hosts())
        command = ["/usr/bin/containerd", f"--config={config.path}"]
        return self._daemon("containerd", command, config, pods, hosts)

    def _registry(self) -> Daemon:
        config = self._file("registry.json", node.registry(self._cluster))
        command = ["/usr/bin/docker-registry", "serve", str(config.path)]
        return self._daemon("registry", command, config)

    def _apiserver(self) -> Daemon:
        policy = self._file("audit-policy.yaml", flags.audit_policy())
        certificate, key = self._layout.key_pair("apiserver-kubelet-client")
        command = flags.apiserver(
            self._layout,
            f"--kubelet-certificate-authority={self._layout.authority()}",
            f"--kubelet-client-certificate={certificate}",
            f"--kubelet-client-key={key}",
            "--kubelet-preferred-address-types=InternalIP",
        )
        return self._daemon("kube-apiserver", command, policy)

    def _relay(self) -> Daemon:
        # A copy: the running process must not change with the clone that `up` was called from.
        script = self._file("relay.py", (Path(__file__).parent / "relay.py").read_text())
        namespace = str(self._cluster.network_namespace)
        ports = [str(self._cluster.port), str(NODE_API_PORT)]
        command = [_PYTHON, str(script.path), namespace, *ports]
        return self._daemon("relay", command, script, on_host=True)

    def _controller_manager(self) -> Daemon:
        own = self._kubeconfig("controller-manager")
        bind = f"--bind-address={_LOOPBACK}"
        command = flags.controller_manager(self._layout, own.path, ["*"], bind)
        return self._daemon("kube-controller-manager", command, own)

    def _scheduler(self) -> Daemon:
        own = self._kubeconfig("scheduler")
        config = self._file("scheduler.json", node.scheduler(own.path))
        command = [
            self._path("kube-scheduler"),
            f"--config={config.path}",
            f"--bind-address={_LOOPBACK}",
        ]
        return self._daemon("kube-scheduler", command, own, config)

    def _kubelet(self) -> Daemon:
        own = self._kubeconfig("node")
        config = self._file("kubelet.json", node.kubelet(self._cluster))
        resolv = self._file("resolv.conf", "")
        command = [
            self._path("kubelet"),
            f"--config={config.path}",
            f"--kubeconfig={own.path}",
            f"--hostname-override={NODE_NAME}",
            f"--node-ip={NODE_ADDRESS}",
        ]
        return self._daemon("kubelet", command, own, config, resolv)

    def _proxy(self) -> Daemon:
        own = self._kubeconfig("proxy")
        config = self._file("proxy.json", node.proxy(own.path))
        command = [self._path("kube-proxy"), f"--config={config.path}"]
        return self._daemon("kube-proxy", command, own, config)

    def _coredns(self) -> Daemon:
        own = self._kubeconfig("coredns")
        config = self._file("Corefile", templates.render("Corefile", kubeconfig=own.path))
        command = [self._path("coredns"), "-conf", str(config.path)]
        return self._daemon("coredns", command, own, config)

    def _local_path(self) -> Daemon:
        own = self._kubeconfig("local-path")
        config = self._file("local-path.json", node.local_path(self._cluster))
        text = templates.render("helper-pod.yaml", helper_image=self._helper)
        pod = self._file("helper-pod.yaml", text)
        command = [
            self._path("local-path"),
            "start",
            f"--kubeconfig={own.path}",
            f"--config={config.path}",
            f"--helper-pod-file={pod.path}",
            "--namespace=local-path-storage",
            "--service-account-name=helper",
        ]
        return self._daemon("local-path", command, own, config, pod)

    def _path(self, program: str) -> str:
        return str(self._programs[program])

    def _file(self, name: str, text: str) -> File:
        return File(self._cluster.config / name, text)

    def _kubeconfig(self, identity: str) -> File:
        path = self._cluster.config / f"{identity}.kubeconfig"
        server = f"https://{_LOOPBACK}:{NODE_API_PORT}"
        return File(path, kubeconfig.render(server, self._cluster.pki, identity), mode=0o600)

    def _daemon(
        self, name: str, command: list[str], *config: File, on_host: bool = False
    ) -> Daemon:
        enter = () if on_host else namespaces.enter(self._cluster)
        inputs = (self._authority, *(file.text for file in config))
        return Daemon(Program(name, tuple(command), inputs, enter), config)
