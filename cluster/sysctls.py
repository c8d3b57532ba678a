"""Kernel settings of the whole machine that the kubelet changes, put back by `down`."""

import contextlib
import json
from pathlib import Path

from cluster.settings import Cluster

_SETTINGS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_SYS = Path("/proc/sys")


def remember(cluster: Cluster) -> None:
    """Note the values from before the first kubelet."""
    record = _record(cluster)
    if not record.exists():
        values = {name: (_SYS / name).read_text() for name in _SETTINGS if (_SYS / name).exists()}
        record.write_text(json.dumps(values))


def restore(cluster: Cluster) -> None:
    """Put the values back."""
    with contextlib.suppress(FileNotFoundError):
        for name, value in json.loads(_record(cluster).read_text()).items():
            if (_SYS / name).read_text() != value:
                (_SYS / name).write_text(value)


def _record(cluster: Cluster) -> Path:
    return cluster.run / "sysctls.json"
