"""`up`: from whatever is there to a cluster that works, changing only what has to change."""

import datetime
from typing import Any

from cluster import (
    binaries,
    cache,
    cgroups,
    containerd,
    files,
    health,
    kubeconfig,
    namespaces,
    node,
    pki,
    prerequisites,
    shell,
    sysctls,
    system,
    templates,
    wait,
)
from cluster.api import Api
from cluster.binaries import Binaries
from cluster.children import tail
from cluster.daemons import Daemon, Daemons
from cluster.processes import Processes
from cluster.progress import say
from cluster.settings import NODE_ADDRESS, NODE_NAME, Cluster

_NODE = f"/api/v1/nodes/{NODE_NAME}"
_GPU = "nvidia.com/gpu"
_ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"
_SECONDS = 180
_STOP_SECONDS = 5
_DEAD_SECONDS = 15
_STATE_GIB = 5


def up(cluster: Cluster) -> None:
    """Bring the cluster up, or put right what is wrong with one that is."""
    prerequisites.check_machine()
    prerequisites.check_space(cluster.state, _STATE_GIB)
    prerequisites.install_packages()
    programs = binaries.ensure(binaries.NODE)
    with cache.lock(cluster.lock):
        _Up(cluster, programs).run()


class _Up:
    def __init__(self, cluster: Cluster, programs: Binaries) -> None:
        self._cluster = cluster
        self._programs = programs
        self._processes = Processes(cluster.run / "processes", cluster.logs)

    def run(self) -> None:
        cluster = self._cluster
        relayed = Cluster.chosen(cluster.name).port == cluster.port
        if not (relayed and self._processes.pid("relay")):
            prerequisites.check_port(cluster.port)
        cluster.remember()
        fresh = not (cluster.state / "etcd").exists()
        certificates = pki.control_plane(node.addresses()) + pki.node(NODE_NAME, NODE_ADDRESS)
        pki.ensure(cluster.pki, certificates)
        if namespaces.ensure_network(cluster) | namespaces.ensure_mounts(cluster):
            say(f"made the namespaces of {cluster.name}")
        cgroups.ensure(cluster.name)
        daemons = Daemons(cluster, self._programs, system.pause(self._programs), system.busybox())
        self._ensure(daemons.foundation())
        if fresh:
            containerd.remove_containers(cluster)
        system.ensure(cluster, self._programs)
        server = f"https://127.0.0.1:{cluster.port}"
        admin = kubeconfig.render(server, cluster.pki, "admin")
        files.write(cluster.kubeconfig, admin, mode=0o600)
        self._ensure(daemons.api())
        sysctls.remember(cluster)
        self._apply()
        self._ensure(daemons.clients())
        self._finish()
        say(f"{cluster.name} is up")

    def _ensure(self, daemons: list[Daemon]) -> None:
        for daemon in daemons:
            daemon.write_files()
        started = [daemon for daemon in daemons if not self._processes.current(daemon.program)]
        self._processes.stop((daemon.name for daemon in started), _STOP_SECONDS)
        for daemon in started:
            self._processes.start(daemon.program)
        for daemon in daemons:
            self._await(daemon)
        if started:
            say(f"started {', '.join(daemon.name for daemon in started)}")

    def _await(self, daemon: Daemon) -> None:
        log = self._processes.log(daemon.name)

        def hint() -> str:
            return f"look into {log}, which ends with:\n{tail(log)}"

        def alive() -> bool:
            return self._processes.pid(daemon.name) is not None

        def serving() -> bool:
            if not alive():
                # It may be between two programs: the shell that becomes it, or not yet there.
                wait.until(f"{daemon.name} runs", alive, _DEAD_SECONDS, hint=hint)
            return health.serves(self._cluster, daemon.name)

        wait.until(f"{daemon.name} serves", serving, _SECONDS, hint=hint)

    def _apply(self) -> None:
        manifests = templates.render("dns.yaml") + "---\n" + templates.render("storage.yaml")
        stamp = self._cluster.run / "applied"
        if stamp.exists() and stamp.read_text() == manifests:
            return
        shell.run(
            *(self._programs["kubectl"], f"--kubeconfig={self._cluster.kubeconfig}", "apply"),
            *("--server-side", "--force-conflicts", "--filename=-"),
            stdin=manifests,
        )
        stamp.write_text(manifests)

    def _finish(self) -> None:
        api = Api(self._cluster.port, self._cluster.pki)
        started = self._processes.started("kubelet") or 0

        def ready() -> bool:
            node = api.find(_NODE)
            if node is None or not reported_ready(node, started):
                return False
            self._offer_gpus(api, node)
            return True

        wait.until("the node is ready", ready, _SECONDS)
        # Bare pods are refused until their namespace has its service account.
        wait.until("service accounts are made", lambda: api.find(_ACCOUNT), _SECONDS)

    def _offer_gpus(self, api: Api, node: dict[str, Any]) -> None:
        """Advertise GPUs; a kubelet keeps extended resources that it does not know.

        Only one that starts on an empty state sets them to zero when it registers, which is why
        this comes after its first report.
        """
        gpus = {_GPU: str(self._cluster.gpus)}
        if node["status"]["allocatable"].get(_GPU) != gpus[_GPU]:
            patch = {"status": {"capacity": gpus, "allocatable": gpus}}
            merge = "application/merge-patch+json"
            api.call("PATCH", f"{_NODE}/status", patch, content_type=merge)


def reported_ready(node: dict[str, Any], since: float) -> bool:
    """Tell whether the kubelet that started at `since`, and not one before it, reports ready."""
    for condition in node["status"].get("conditions", []):
        if condition["type"] == "Ready":
            heartbeat = datetime.datetime.fromisoformat(condition["lastHeartbeatTime"])
            return condition["status"] == "True" and heartbeat.timestamp() > since
    return False
