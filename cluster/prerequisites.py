"""What the machine must be and have, and Debian's packages when they are missing."""

import contextlib
import os
import platform
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from cluster import cgroups, shell
from cluster.errors import ClusterError
from cluster.progress import say

PACKAGES = (
    "buildah",
    "busybox-static",
    "containerd",
    "containernetworking-plugins",
    "debootstrap",
    "docker-registry",
    "git",
    "iproute2",
    "kmod",
    "nftables",
    "openssl",
    "procps",
    "python3",
    "runc",
)
_SERVICES = ("containerd", "docker-registry")
_POLICY = Path("/usr/sbin/policy-rc.d")


def check_root() -> None:
    """Refuse an ordinary user."""
    if os.geteuid():
        raise ClusterError("not root", "run it with sudo, or in a root shell")


def check_machine(os_release: Path = Path("/etc/os-release")) -> None:
    """Refuse a machine on which this cannot work, saying why."""
    check_root()
    release = dict(
        line.split("=", 1) for line in os_release.read_text().splitlines() if "=" in line
    )
    system = release.get("ID", "").strip('"'), release.get("VERSION_ID", "").strip('"')
    if system != ("debian", "12"):
        raise ClusterError(
            f"this is {' '.join(system)}, not Debian 12",
            "use a Debian 12 (bookworm) machine: containerd, runc and the rest come from there",
        )
    if platform.machine() != "x86_64":
        raise ClusterError(f"this is {platform.machine()}", "use an x86-64 machine")
    cgroups.check()


def check_space(folder: Path, gib: int) -> None:
    """Refuse to begin what a full disk would interrupt."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if free < gib:
        raise ClusterError(
            f"{folder} has {free:.1f} GiB free, and {gib} GiB may be needed",
            "make room (python3 -m cluster clean-cache, python3 -m cluster down --purge)",
        )


def check_port(port: int) -> None:
    """Refuse a port that somebody else listens on."""
    with contextlib.closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ClusterError(
                f"127.0.0.1:{port} is taken", "choose another one with --port"
            ) from error


def missing_packages() -> list[str]:
    """Return which of Debian's packages are not installed."""
    installed = shell.run(
        "dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Abbrev}\n"
    )
    there = {line.split()[0] for line in installed.splitlines() if line.split()[1:] == ["ii"]}
    return [package for package in PACKAGES if package not in there]


def install_packages() -> None:
    """Install what is missing, without starting any service that comes with it."""
    missing = missing_packages()
    if not missing:
        return
    say(f"installing from Debian: {' '.join(missing)}")
    apt = ("apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *missing)
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    with _no_services():
        try:
            shell.run(*apt, env=env)
        except ClusterError:
            # The lists may be missing, as in fresh images, or name versions that are gone.
            shell.run("apt-get", "update", "--quiet", env=env)
            shell.run(*apt, env=env, cure="look at /etc/apt/sources.list and at the network")
    for service in set(_SERVICES) & set(missing):
        # Nor may they start with the machine: this cluster runs its own.
        shell.succeeds("systemctl", "disable", service)
        shell.succeeds("update-rc.d", service, "disable")


@contextlib.contextmanager
def _no_services() -> Iterator[None]:
    if _POLICY.exists():  # somebody's own policy
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()
