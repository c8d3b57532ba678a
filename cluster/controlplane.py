"""A control plane without a node, for integration tests: no root, no network namespace.

    with ControlPlane(tmp_path / "control-plane") as control_plane:
        client = make_client(control_plane.kubeconfig)   # cluster-admin, real TLS and RBAC
        ...
        control_plane.stop_apiserver()                   # an outage: connections are refused
        control_plane.start_apiserver()                  # the same address, the same data
        writes = [e for e in control_plane.audit() if e["verb"] in ("create", "patch")]

Start takes a few seconds. The processes end with `stop()`, and with the calling process however
that ends. Nothing runs pods: they stay Pending until a test writes their status.
"""

import contextlib
import json
import shutil
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cluster import binaries, files, flags, kubeconfig, pki, wait
from cluster.api import Api, ApiError
from cluster.children import Child, tail
from cluster.errors import ClusterError

_LOOPBACK = "127.0.0.1"
_HOSTS = (
    "DNS:localhost",
    "DNS:kubernetes",
    "DNS:kubernetes.default",
    "DNS:kubernetes.default.svc",
    f"IP:{_LOOPBACK}",
)
_START_SECONDS = 120
_ATTEMPTS = 3

SERVICE_ACCOUNTS = "serviceaccount-controller"
CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "replicaset-controller",
    "resourcequota-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-token-controller",
    SERVICE_ACCOUNTS,
    "statefulset-controller",
    "validatingadmissionpolicy-status-controller",
)


class ControlPlane:
    """etcd, kube-apiserver and kube-controller-manager on free ports of 127.0.0.1.

    `directory` is filled and, but for logs and the audit log, emptied again by `stop()`. Without
    `controllers` no controller manager is started; then no service accounts appear either, and
    pods are refused until a test creates them.
    """

    def __init__(self, directory: Path, controllers: Sequence[str] = CONTROLLERS) -> None:
        self.directory = directory
        self.controllers = tuple(controllers)
        self.kubeconfig = directory / "kubeconfig"
        self.audit_log = directory / "audit.log"
        self.api_port = 0
        self._children: dict[str, Child] = {}
        self._layout: flags.Layout | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def server(self) -> str:
        """The URL of the API server."""
        return f"https://{_LOOPBACK}:{self.api_port}"

    def start(self) -> None:
        """Start everything and wait until it serves."""
        programs = binaries.ensure(binaries.CONTROL_PLANE)
        self.directory.mkdir(parents=True, exist_ok=True)
        pki.ensure(self.directory / "pki", pki.control_plane(_HOSTS))
        policy = self.directory / "audit-policy.yaml"
        policy.write_text(flags.audit_policy())
        for attempt in range(1, _ATTEMPTS + 1):
            self._layout = self._choose_ports(programs, policy)
            try:
                self._start_all(self._layout)
            except BaseException:
                clash = self._port_clash()
                self.stop()
                if not clash or attempt == _ATTEMPTS:
                    raise
            else:
                return

    def stop(self) -> None:
        """End every process and remove data and keys; logs and the audit log stay."""
        for child in self._children.values():
            child.kill()
        self._children.clear()
        for name in ("etcd", "pki"):
            shutil.rmtree(self.directory / name, ignore_errors=True)
        for path in self.directory.glob("*kubeconfig"):
            path.unlink()

    def stop_apiserver(self) -> None:
        """End the API server: connections break and new ones are refused."""
        self._children.pop("kube-apiserver").kill()

    def start_apiserver(self) -> None:
        """Start the API server again, with the same address and data."""
        layout = self._started()
        self._launch(
            "kube-apiserver",
            flags.apiserver(
                layout,
                f"--bind-address={_LOOPBACK}",
                # No pod could reach the loopback address that would be published.
                "--endpoint-reconciler-type=none",
            ),
        )
        self._wait_for("kube-apiserver", self._api().ready)

    def pause_apiserver(self) -> None:
        """Freeze the API server: connections stay open and nothing answers."""
        self._children["kube-apiserver"].process.send_signal(signal.SIGSTOP)

    def resume_apiserver(self) -> None:
        """Let a frozen API server go on."""
        self._children["kube-apiserver"].process.send_signal(signal.SIGCONT)

    def audit(self) -> Iterator[dict[str, Any]]:
        """Yield the audit events so far (Metadata level; reads of the components are left out)."""
        with contextlib.suppress(FileNotFoundError), self.audit_log.open() as lines:
            for line in lines:
                if line.endswith("\n"):  # the last one may be half written
                    yield json.loads(line)

    def _started(self) -> flags.Layout:
        if self._layout is None:
            raise ClusterError("this control plane was never started")
        return self._layout

    def _api(self) -> Api:
        return Api(self._started().api_port, self._started().pki)

    def _choose_ports(self, programs: binaries.Binaries, policy: Path) -> flags.Layout:
        api, etcd, peer = _free_ports(3)
        self.api_port = api
        return flags.Layout(
            binaries=programs,
            pki=self.directory / "pki",
            etcd_data=self.directory / "etcd",
            audit_log=self.audit_log,
            audit_policy=policy,
            api_address=_LOOPBACK,
            api_port=api,
            etcd_port=etcd,
            etcd_peer_port=peer,
        )

    def _start_all(self, layout: flags.Layout) -> None:
        self._launch("etcd", flags.etcd(layout))
        self._wait_for("etcd", lambda: _accepts(layout.etcd_port))
        self.start_apiserver()
        self._write_kubeconfig(self.kubeconfig, "admin")
        api = self._api()
        if self.controllers:
            own = self.directory / "controller-manager.kubeconfig"
            self._write_kubeconfig(own, "controller-manager")
            self._launch(
                "kube-controller-manager",
                flags.controller_manager(layout, own, self.controllers, "--secure-port=0"),
            )
        if SERVICE_ACCOUNTS in self.controllers:
            account = "/api/v1/namespaces/default/serviceaccounts/default"
            self._wait_for("kube-controller-manager", lambda: bool(api.find(account)))

    def _write_kubeconfig(self, path: Path, identity: str) -> None:
        text = kubeconfig.render(self.server, self._started().pki, identity)
        files.write(path, text, mode=0o600)

    def _launch(self, name: str, command: list[str]) -> None:
        self._children[name] = Child(command, self.directory / f"{name}.log")

    def _wait_for(self, name: str, condition: Callable[[], bool]) -> None:
        child = self._children[name]

        def serving() -> bool:
            if not child.running():
                raise ClusterError(f"{name} ended while starting:\n{tail(child.log)}")
            try:
                return condition()
            except ApiError:
                return False

        wait.until(
            f"{name} serves", serving, _START_SECONDS, interval=0.05, hint=lambda: tail(child.log)
        )

    def _port_clash(self) -> bool:
        return any("address already in use" in tail(c.log) for c in self._children.values())


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((_LOOPBACK, 0))
        return [one.getsockname()[1] for one in sockets]


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((_LOOPBACK, port), timeout=1):
        return True
    return False
