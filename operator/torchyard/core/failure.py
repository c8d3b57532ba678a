"""Why an attempt ended: from its pods to one cause, worker, rank and exit code.

When one process dies, the others see broken connections and leave, too, and any of these may
be seen first. A worker that only lost its peers says so (`PeerLost`) and is not blamed; the
verdict waits a few seconds for the one that is.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from torchyard import names
from torchyard.api.contract import PERMANENT, Outcome, Termination
from torchyard.core import lastwords
from torchyard.core.clock import parse
from torchyard.core.objects import being_deleted, condition, number
from torchyard.core.workers import CONTAINER
from torchyard.core.world import Object

BLAME_SECONDS = 10.0
"""How long the verdict waits for the failure behind a lost peer."""

_MESSAGE_LIMIT = 1024

_KUBELET_REASONS = {
    "Evicted": "PodEvicted",
    "NodeLost": "NodeLost",
    "NodeShutdown": "NodeLost",
    "Terminated": "NodeLost",
}
_DISRUPTION_REASONS = {"DeletionByTaintManager": "NodeLost", "DeletionByPodGC": "NodeLost"}
"""Of the pod condition DisruptionTarget; every other reason is an eviction."""


@dataclass(frozen=True)
class Failure:
    """What is known of one failed worker."""

    cause: str
    worker: int
    message: str = ""
    rank: int | None = None
    node: str | None = None
    exit_code: int | None = None
    moment: datetime | None = None


def last_words(pod: Object) -> Termination | None:
    """What a worker said as it ended, if that is whole."""
    return lastwords.of(_terminated(pod))


def left(pod: Object) -> bool:
    """Whether the worker has ended, which the kubelet says before it says so of the pod."""
    return bool(_terminated(pod))


def of_attempt(pods: tuple[Object, ...], expected: int, created: bool) -> list[Failure]:
    """The failures of an attempt's pods, the most telling one first.

    Args:
        pods: the attempt's pods that are there.
        expected: how many pods the gang has.
        created: whether all of them existed at once; if so, a missing one has been deleted.
    """
    failures = [failure for pod in pods if (failure := _of_pod(pod)) is not None]
    if created and len(pods) < expected:
        there = {number(pod, names.WORKER) for pod in pods}
        failures += [
            Failure("PodDeleted", index, message=f"the pod of worker {index} was deleted")
            for index in range(expected)
            if index not in there
        ]
    return sorted(failures, key=_blame)


def patience(failures: list[Failure], now: datetime, others: bool) -> float:
    """Seconds until the first failure is blamed; 0 where no better one will turn up.

    `others`: whether a worker is left that may still say more.
    """
    first = failures[0]
    if first.cause != Outcome.PEER_LOST or not others:
        return 0.0
    oldest = min((f.moment for f in failures if f.moment), default=now)
    return max(0.0, BLAME_SECONDS - (now - oldest).total_seconds())


def _blame(failure: Failure) -> tuple[int, bool, float, int]:
    """Sorts: what a restart only repeats, then the first failure, then those that followed it."""
    moment = failure.moment.timestamp() if failure.moment else 0.0
    return (_guilt(failure.cause), failure.moment is None, moment, failure.worker)


def _guilt(cause: str) -> int:
    if cause in PERMANENT:
        return 0
    return {Outcome.INTERRUPTED.value: 2, Outcome.PEER_LOST.value: 3}.get(cause, 1)


def _of_pod(pod: Object) -> Failure | None:
    status = pod.get("status", {})
    ended = _terminated(pod)
    failed = status.get("phase") == "Failed" or ended.get("exitCode", 0) != 0
    if not failed and not (being_deleted(pod) and status.get("phase") != "Succeeded"):
        return None
    said = lastwords.of(ended)
    cause, message = _cause(pod, ended, said)
    told = said.exit_code if said else None
    return Failure(
        cause=cause,
        worker=max(0, number(pod, names.WORKER)),
        # Half a surrogate pair is text to Python and to nobody else.
        message=message[:_MESSAGE_LIMIT].encode(errors="replace").decode(),
        rank=said.rank if said else None,
        node=pod.get("spec", {}).get("nodeName"),
        exit_code=ended.get("exitCode") if told is None else told,
        moment=_moment(pod, ended, said),
    )


def _cause(pod: Object, ended: Mapping[str, Any], said: Termination | None) -> tuple[str, str]:
    """The cause, from the surest witness to the vaguest: cluster, runtime, worker, kubelet."""
    status = pod.get("status", {})
    reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    if reason in _KUBELET_REASONS:
        return _KUBELET_REASONS[reason], message
    if ended.get("reason") == "OOMKilled":
        return "OutOfMemory", "the container reached its memory limit; raise workers.resources"
    disruption = condition(pod, "DisruptionTarget")
    if disruption.get("status") == "True":
        told = _DISRUPTION_REASONS.get(disruption.get("reason", ""), "PodEvicted")
        return told, str(disruption.get("message", ""))
    if said is not None and said.outcome not in (Outcome.SUCCEEDED, Outcome.INTERRUPTED):
        return said.outcome.value, said.message
    if being_deleted(pod):
        return "PodDeleted", f"the pod {pod['metadata']['name']} was deleted"
    if said is not None and said.outcome is Outcome.INTERRUPTED:
        return said.outcome.value, said.message
    if reason:
        return "PodFailed", f"{reason}: {message}"
    code = ended.get("exitCode")
    text = "" if said else _last_line(ended.get("message", ""))
    return Outcome.PROCESS_FAILED.value, text or f"the container left with exit code {code}"


def _moment(pod: Object, ended: Mapping[str, Any], said: Termination | None) -> datetime | None:
    """When it failed, or was told to go; None where nothing tells."""
    if text := (said.time if said else None) or ended.get("finishedAt"):
        return parse(text)
    meta = pod["metadata"]
    if text := meta.get("deletionTimestamp"):
        # The API server writes down when the grace period will be over.
        return parse(text) - timedelta(seconds=meta.get("deletionGracePeriodSeconds") or 0)
    text = condition(pod, "DisruptionTarget").get("lastTransitionTime")
    return parse(text) if text else None


def _terminated(pod: Object) -> Mapping[str, Any]:
    for container in pod.get("status", {}).get("containerStatuses") or ():
        if container["name"] == CONTAINER:
            ended: Mapping[str, Any] = container.get("state", {}).get("terminated") or {}
            return ended
    return {}


def _last_line(text: str) -> str:
    """The last line of a log tail, its message if it is structured."""
    line = text.strip().rpartition("\n")[2]
    try:
        record = json.loads(line)
    except ValueError:
        return line
    return str(record.get("message", line)) if isinstance(record, dict) else line
