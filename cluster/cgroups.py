"""The cgroup under which the kubelet puts all pods.

A root of its own keeps two kubelets on one machine from deleting each other's pods. Version 1 (also
the hybrid layout) is what the tests run on; version 2 is written from its documentation and has
not been run.
"""

import contextlib
import os
from pathlib import Path

from cluster import wait
from cluster.errors import ClusterError
from cluster.processes import kill_all

ROOT = Path("/sys/fs/cgroup")
_NEEDED_V1 = ("cpu", "cpuset", "memory", "pids")
_NEEDED_V2 = ("cpu", "cpuset", "memory", "pids")


def is_v2(root: Path = ROOT) -> bool:
    """Tell whether the unified hierarchy, and no other, is mounted."""
    return (root / "cgroup.controllers").exists()


def check(root: Path = ROOT) -> None:
    """Refuse a machine without the controllers that pods need."""
    if is_v2(root):
        there = set((root / "cgroup.controllers").read_text().split())
        missing = set(_NEEDED_V2) - there
    else:
        missing = {name for name in _NEEDED_V1 if not (root / name).is_dir()}
    if missing:
        raise ClusterError(
            f"cgroup controllers are missing: {', '.join(sorted(missing))}",
            f"mount them below {root}, or enable them on the kernel's command line",
        )


def ensure(name: str, root: Path = ROOT) -> None:
    """Make the cgroup in every hierarchy."""
    if is_v2(root):
        _ensure_v2(name, root)
        return
    for hierarchy in root.iterdir():
        # cpu and cpuacct are often one hierarchy with links of both names to it.
        if hierarchy.is_dir() and not hierarchy.is_symlink():
            (hierarchy / name).mkdir(exist_ok=True)
    for resource in ("cpuset.cpus", "cpuset.mems"):
        # A new cpuset is empty, and a process cannot enter an empty one.
        target = root / "cpuset" / name / resource
        if not target.read_text().strip():
            target.write_text((root / "cpuset" / resource).read_text())


def _ensure_v2(name: str, root: Path) -> None:
    (root / name).mkdir(exist_ok=True)
    for folder in (root, root / name):
        available = set((folder / "cgroup.controllers").read_text().split())
        wanted = available & {*_NEEDED_V2, "io", "hugetlb"}
        try:
            (folder / "cgroup.subtree_control").write_text(
                " ".join(f"+{controller}" for controller in sorted(wanted))
            )
        except OSError as error:
            raise ClusterError(
                f"{folder}/cgroup.subtree_control refuses the controllers: {error}",
                "processes must not lie in that cgroup itself: move them to a child of it "
                "(inside a container: start it with a cgroup namespace of its own)",
            ) from error


def remove(name: str, root: Path = ROOT) -> None:
    """Kill every process below the cgroup and remove it from all hierarchies."""
    tops = [path for path in (root / name, *root.glob(f"*/{name}")) if path.is_dir()]

    def gone() -> bool:
        kill_all(_processes(tops))
        for top in tops:
            _remove_tree(top)
        return not any(top.exists() for top in tops)

    wait.until(f"the cgroup {name} is removed", gone, 30)


def _folders(top: Path) -> list[Path]:
    """The cgroups below `top` and itself, deepest first; some may vanish while they are listed."""
    return [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]


def _processes(tops: list[Path]) -> set[int]:
    found: set[int] = set()
    for top in tops:
        for folder in _folders(top):
            with contextlib.suppress(OSError):
                found.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
    return found


def _remove_tree(top: Path) -> None:
    # A cgroup whose processes have not quite gone refuses until they have.
    for folder in _folders(top):
        with contextlib.suppress(OSError):
            folder.rmdir()
