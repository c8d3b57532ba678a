"""What the machine is and has: Go, cgroups, mounts, the operating system."""

import os
import socket
from pathlib import Path

import pytest

from cluster import cgroups, golang, namespaces, prerequisites
from cluster.errors import ClusterError

DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'


@pytest.mark.parametrize(
    ("output", "version"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26, 8)),
        ("go version go1.26 linux/amd64", (1, 26)),
        ("go version devel +abc", ()),
    ],
)
def test_versions_that_go_reports(output: str, version: tuple[int, ...]) -> None:
    assert golang.reported(output) == version


def test_the_version_that_a_module_requires() -> None:
    assert golang.required("module x\n\ngo 1.26.0\n") == (1, 26, 0)
    with pytest.raises(ClusterError):
        golang.required("module x\n")


def test_an_ordinary_user_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match=r"not root\n  cure: run it with sudo"):
        prerequisites.check_machine()


def test_another_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    release = tmp_path / "os-release"
    release.write_text(DEBIAN.replace("12", "13"))
    with pytest.raises(ClusterError, match="this is debian 13, not Debian 12"):
        prerequisites.check_machine(release)


def test_a_full_disk_is_noticed_before_it_is_one(tmp_path: Path) -> None:
    prerequisites.check_space(tmp_path / "not" / "yet" / "there", 0)
    with pytest.raises(ClusterError, match="GiB free"):
        prerequisites.check_space(tmp_path, 10**9)


def test_a_port_that_is_taken_is_named() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(ClusterError, match=f"127.0.0.1:{port} is taken"):
            prerequisites.check_port(port)
    prerequisites.check_port(port)


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    for name in ("cpu", "cpuset", "memory", "pids", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuset" / "cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset" / "cpuset.mems").write_text("0\n")
    return tmp_path


def test_version_1_gets_a_cgroup_in_every_hierarchy(v1: Path) -> None:
    cgroups.check(v1)
    (v1 / "cpuset" / "blue").mkdir()
    for resource in ("cpuset.cpus", "cpuset.mems"):
        (v1 / "cpuset" / "blue" / resource).write_text("\n")  # as the kernel makes them
    cgroups.ensure("blue", v1)
    assert all((v1 / name / "blue").is_dir() for name in ("cpu", "cpuset", "memory", "pids"))
    assert (v1 / "cpuset" / "blue" / "cpuset.cpus").read_text() == "0-1\n"


def test_a_missing_controller_is_named(v1: Path) -> None:
    (v1 / "pids").rmdir()
    with pytest.raises(ClusterError, match="controllers are missing: pids"):
        cgroups.check(v1)


def test_version_2_delegates_the_controllers(tmp_path: Path) -> None:
    (tmp_path / "blue").mkdir()
    for folder in (tmp_path, tmp_path / "blue"):
        (folder / "cgroup.controllers").write_text("cpuset cpu io memory pids misc\n")
    assert cgroups.is_v2(tmp_path)
    cgroups.check(tmp_path)
    cgroups.ensure("blue", tmp_path)
    for folder in (tmp_path, tmp_path / "blue"):
        written = (folder / "cgroup.subtree_control").read_text()
        assert written == "+cpu +cpuset +io +memory +pids"


def test_cgroups_are_removed_deepest_first(tmp_path: Path) -> None:
    for hierarchy in ("cpu", "memory"):
        (tmp_path / hierarchy / "blue" / "kubepods" / "pod1").mkdir(parents=True)
        (tmp_path / hierarchy / "other").mkdir()
    cgroups.remove("blue", tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")) == [
        "cpu/other",
        "memory/other",
    ]


def test_mounts_are_read_with_their_types() -> None:
    text = (
        "43 42 0:4 net:[4026532177] /run/netns/blue rw shared:2 - nsfs nsfs rw\n"
        "44 27 254:0 /run/blue /run/blue rw,relatime - ext4 /dev/vda rw\n"
    )
    assert namespaces.mounts(text) == [("/run/netns/blue", "nsfs"), ("/run/blue", "ext4")]
