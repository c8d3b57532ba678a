"""Why an attempt ended: from its pods to one cause, worker, rank and exit code.

When one process dies, the others see broken connections and leave, too, and any of these may
be seen first. A worker that only lost its peers says so (`PeerLost`) and is not blamed; the
verdict waits a few seconds for the one that is.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from torchyard import names
from torchyard.api.contract import PERMANENT, Outcome, Termination
from torchyard.core.clock import parse, seconds_since
from torchyard.core.objects import being_deleted, label
from torchyard.core.world import Object

BLAME_SECONDS = 10
"""How long the verdict waits for the failure behind a lost peer."""

_MESSAGE_LIMIT = 1024


@dataclass(frozen=True)
class Failure:
    """What is known of one failed worker."""

    cause: str
    worker: int
    message: str = ""
    rank: int | None = None
    node: str | None = None
    exit_code: int | None = None
    time: str | None = None


def termination(pod: Object) -> Termination | None:
    """The last words of a worker's container, if they are whole."""
    ended = _terminated(pod)
    try:
        return Termination.model_validate_json(ended.get("message", ""))
    except ValidationError:
        return None


def of_attempt(pods: tuple[Object, ...], expected: int, created: bool) -> list[Failure]:
    """The failures of an attempt's pods, the most telling one first.

    Args:
        pods: the attempt's pods that are there.
        expected: how many pods the gang has.
        created: whether all of them existed at once; if so, a missing one has been deleted.
    """
    failures = [failure for pod in pods if (failure := _of_pod(pod)) is not None]
    if created:
        there = {label(pod, names.WORKER) for pod in pods}
        failures += [
            Failure("PodDeleted", index, message=f"the pod of worker {index} was deleted")
            for index in range(expected)
            if str(index) not in there
        ]
    return sorted(failures, key=_blame)


def settled(failures: list[Failure], now: datetime) -> bool:
    """Whether the first failure is the one to blame, or no better one will turn up."""
    first = failures[0]
    if first.cause != Outcome.PEER_LOST or first.time is None:
        return True
    oldest = min((f.time for f in failures if f.time), key=parse)
    return seconds_since(oldest, now) >= BLAME_SECONDS


def _blame(failure: Failure) -> tuple[bool, bool, float, int]:
    follower = failure.cause in (Outcome.PEER_LOST, Outcome.INTERRUPTED)
    moment = parse(failure.time).timestamp() if failure.time else 0.0
    return (follower, failure.cause not in PERMANENT, moment, failure.worker)


def _of_pod(pod: Object) -> Failure | None:
    status = pod.get("status", {})
    ended = _terminated(pod)
    failed = status.get("phase") == "Failed" or ended.get("exitCode", 0) != 0
    if not failed and not (being_deleted(pod) and status.get("phase") != "Succeeded"):
        return None
    said = termination(pod)
    worker = int(label(pod, names.WORKER) or 0)
    cause, message = _cause(pod, ended, said)
    exit_code = said.exit_code if said and said.exit_code is not None else ended.get("exitCode")
    return Failure(
        cause=cause,
        worker=worker,
        message=message[:_MESSAGE_LIMIT],
        rank=said.rank if said else None,
        node=pod.get("spec", {}).get("nodeName"),
        exit_code=exit_code,
        time=(said.time if said else None) or ended.get("finishedAt"),
    )


def _cause(pod: Object, ended: dict[str, Any], said: Termination | None) -> tuple[str, str]:
    """The cause, from the surest witness to the vaguest: cluster, runtime, worker, kubelet."""
    status = pod.get("status", {})
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    if reason == "Evicted":
        return "PodEvicted", message
    if reason in ("NodeLost", "NodeShutdown", "Terminated"):
        return "NodeLost", message
    if ended.get("reason") == "OOMKilled":
        return "OutOfMemory", "the container reached its memory limit; raise workers.resources"
    if said is not None and said.outcome not in (Outcome.SUCCEEDED, Outcome.INTERRUPTED):
        return said.outcome, said.message
    if being_deleted(pod):
        return "PodDeleted", f"the pod {pod['metadata']['name']} was deleted"
    if said is not None:
        return said.outcome, said.message
    if reason:
        return reason, message
    return Outcome.PROCESS_FAILED, _last_line(ended.get("message", ""))


def _terminated(pod: Object) -> dict[str, Any]:
    for container in pod.get("status", {}).get("containerStatuses", ()):
        ended = container.get("state", {}).get("terminated")
        if ended:
            return dict(ended)
    return {}


def _last_line(text: str) -> str:
    """The last line of a log tail, its message if it is structured."""
    line = text.strip().rpartition("\n")[2]
    try:
        record = json.loads(line)
    except ValueError:
        return line
    return str(record.get("message", line)) if isinstance(record, dict) else line
