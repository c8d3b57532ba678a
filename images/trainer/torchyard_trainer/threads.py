"""How many threads a process may use without standing in the others' way."""

from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def threads_per_process(processes: int, cgroup: Path = CGROUP) -> int:
    """The container's CPU limit divided by its processes, at least 1; without a limit 1.

    More threads than CPUs make every collective wait for the slowest of them.
    """
    return max(1, int(cpu_limit(cgroup) // processes))


def cpu_limit(cgroup: Path) -> float:
    """The CPUs that cgroup v2 or v1 grants this container; 0 where there is no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except FileNotFoundError:
        try:
            quota = (cgroup / "cpu/cpu.cfs_quota_us").read_text()
            period = (cgroup / "cpu/cpu.cfs_period_us").read_text()
        except FileNotFoundError:
            return 0.0
    if quota == "max" or int(quota) < 0:
        return 0.0
    return int(quota) / int(period)
