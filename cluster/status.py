"""`status`: what runs, since when, and whether it serves."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

from cluster import health
from cluster.api import Api, ApiError
from cluster.processes import Processes
from cluster.settings import NODE_NAME, Cluster

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    name: str
    well: bool
    text: str


def status(cluster: Cluster) -> Iterator[Line]:
    """Yield one line for every process, and for the node."""
    processes = Processes(cluster.run / "processes", cluster.logs)
    names = processes.names()
    if not names:
        yield Line(cluster.name, well=False, text="down: python3 -m cluster up")
        return
    for name in names:
        pid, started = processes.pid(name), processes.started(name)
        if pid is None or started is None:
            yield Line(name, well=False, text="not running: python3 -m cluster up")
            continue
        well = health.serves(cluster, name)
        text = f"pid {pid}, {duration(time.time() - started)}"
        yield Line(name, well, text if well else f"{text}, does not serve: see the log")
    yield _node(cluster)
    yield Line("kubeconfig", cluster.kubeconfig.exists(), str(cluster.kubeconfig))
    yield Line("logs", cluster.logs.exists(), str(cluster.logs))


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units, as kubectl writes it."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m{whole % _MINUTE}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h{whole % _HOUR // _MINUTE}m"
    return f"{whole // _DAY}d{whole % _DAY // _HOUR}h"


def _node(cluster: Cluster) -> Line:
    try:
        node = Api(cluster.port, cluster.pki).get(f"/api/v1/nodes/{NODE_NAME}")
    except (ApiError, OSError, ValueError) as error:
        return Line(NODE_NAME, well=False, text=str(error))
    conditions = {c["type"]: c["status"] for c in node["status"]["conditions"]}
    ready = conditions.get("Ready") == "True"
    info, room = node["status"]["nodeInfo"], node["status"]["allocatable"]
    return Line(
        NODE_NAME,
        ready,
        f"{'ready' if ready else 'not ready'}, Kubernetes {info['kubeletVersion']}, "
        f"{info['containerRuntimeVersion']}, {room['cpu']} CPUs, "
        f"{room.get('nvidia.com/gpu', 0)} GPUs, {room['pods']} pods",
    )
