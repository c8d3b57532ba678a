"""The network and the mount namespace that hold the node.

Everything that containerd and the kubelet mount stays in the mount namespace, and every interface
in the network namespace: the host sees neither, and both vanish with their namespaces.
"""

import contextlib
import ctypes
import os
import socket
import threading
from pathlib import Path

from cluster import shell
from cluster.settings import NODE_ADDRESS, NODE_NAME, Cluster

_CLONE_NEWNET = 0x40000000

# Paths that containerd, CNI and the kubelet do not let one configure. In the mount namespace they
# are folders of the cluster's own.
PRIVATE_PATHS = ("/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/var/log/containers")


def enter(cluster: Cluster) -> tuple[str, ...]:
    """Return the command prefix that enters both namespaces.

    Not `ip netns exec`: it mounts /sys anew, which hides the cgroups.
    """
    return (
        "nsenter",
        f"--net={cluster.network_namespace}",
        f"--mount={cluster.mount_namespace}",
        "--",
    )


def is_kept(path: Path) -> bool:
    """Tell whether a namespace is mounted at `path`; after a crash only a file may be left."""
    return any(point == str(path) and kind == "nsfs" for point, kind in mounts())


def mounts(mountinfo: str | None = None) -> list[tuple[str, str]]:
    """Return mount point and file system type of every mount, in the order of mounting.

    `Path.is_mount` does not see a bind mount from the same file system.
    """
    text = mountinfo or Path("/proc/self/mountinfo").read_text()
    fields = [line.split() for line in text.splitlines()]
    return [(field[4], field[field.index("-") + 1]) for field in fields]


def ensure_network(cluster: Cluster) -> bool:
    """Make the network namespace with the node's bridge; tell whether it was not there."""
    new = not is_kept(cluster.network_namespace)
    if new:
        cluster.network_namespace.unlink(missing_ok=True)
        shell.run("ip", "netns", "add", cluster.name)
    ip = ("ip", "-n", cluster.name)
    if not shell.succeeds(*ip, "link", "show", NODE_NAME):
        shell.run(*ip, "link", "add", NODE_NAME, "type", "bridge")
    shell.run(*ip, "link", "set", "lo", "up")
    shell.run(*ip, "address", "replace", f"{NODE_ADDRESS}/24", "dev", NODE_NAME)
    shell.run(*ip, "link", "set", NODE_NAME, "up")
    # It leads nowhere; without one the kubelet and pods see "network unreachable" errors.
    shell.run(*ip, "route", "replace", "default", "dev", NODE_NAME)
    inside = ("nsenter", f"--net={cluster.network_namespace}", "--", "sysctl", "--quiet")
    shell.run(*inside, "net.ipv4.ip_forward=1")
    return new


def ensure_mounts(cluster: Cluster) -> bool:
    """Make the mount namespace; tell whether it was not there."""
    path = cluster.mount_namespace
    new = not is_kept(path)
    if new:
        path.parent.mkdir(parents=True, exist_ok=True)
        if str(path.parent) not in dict(mounts()):
            # A mount namespace can only be kept on a mount that does not propagate.
            shell.run("mount", "--bind", path.parent, path.parent)
            shell.run("mount", "--make-private", path.parent)
        path.touch()
        # From the host come unmounts, so that nothing is held there; to the host goes nothing.
        shell.run("unshare", f"--mount={path}", "--propagation=slave", "true")
    inside = ("nsenter", f"--mount={path}", "--")
    shell.run(*inside, "mount", "--make-rshared", "/")
    mounted = dict(mounts(shell.run(*inside, "cat", "/proc/self/mountinfo")))
    for target in PRIVATE_PATHS:
        source = private_source(cluster, target)
        source.mkdir(parents=True, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        if target not in mounted:
            shell.run(*inside, "mount", "--bind", source, target)
    return new


def private_source(cluster: Cluster, path: str) -> Path:
    """Return what lies under one of the private paths."""
    base = cluster.run if path.startswith("/run") else cluster.state
    return base / "private" / path.strip("/").replace("/", "-")


def remove(cluster: Cluster) -> None:
    """Let go of both namespaces; they end with their last process."""
    for point, _ in reversed(mounts()):
        if Path(point).is_relative_to(cluster.run):
            shell.run("umount", "--lazy", point)
    if cluster.network_namespace.exists():
        shell.run("ip", "netns", "delete", cluster.name)
    others = cluster.run.parent.glob("*/namespaces/mount")
    if any(is_kept(path) for path in others):
        return  # removing a folder would take away what they have mounted on it
    for target in PRIVATE_PATHS:
        # Only what is empty: the host may have a kubelet or a containerd of its own.
        with contextlib.suppress(OSError):
            Path(target).rmdir()


def connect(cluster: Cluster, port: int, address: str, timeout: float) -> socket.socket:
    """Return a connection made inside the network namespace.

    A socket stays in the namespace where it was made, and setns moves one thread only: a
    short-lived thread makes it, and it is used from anywhere.
    """
    result: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            _join(cluster.network_namespace)
            result.append(socket.create_connection((address, port), timeout))
        except OSError as error:
            result.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if isinstance(result[0], OSError):
        raise result[0]
    return result[0]


def _join(network_namespace: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with network_namespace.open("rb") as handle:
        if libc.setns(handle.fileno(), _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
