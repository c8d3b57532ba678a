"""Kubernetes Events: one for each condition that changed, and never a reason to fail.

The name is a function of what happened, so that telling it twice makes one Event.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from torchyard import names
from torchyard.engine.client import Client
from torchyard.engine.metrics import Metrics
from torchyard.engine.resources import Manifest
from torchyard.errors import Conflict, TorchyardError

_BACKLOG: Final = 1000
_NOTE_LIMIT: Final = 1024  # bytes; the API server refuses a longer one
_CONTROLLER: Final = f"{names.GROUP}/operator"
_BAD_NEWS: Final = frozenset(
    {
        ("Accepted", "False"),
        ("ArtifactVerified", "False"),
        ("Failed", "True"),
        ("Servable", "False"),
        ("SignatureCompatible", "False"),
        ("Stalled", "True"),
    }
)

_log = logging.getLogger(__name__)

Condition = Mapping[str, Any]


def transitions(before: Iterable[Condition], after: Iterable[Condition]) -> list[Condition]:
    """The conditions whose status or reason changed; a new one only if it tells something."""
    known = {item["type"]: item for item in before}
    changed = []
    for item in after:
        old = known.get(item["type"])
        if old is None:
            if item["status"] == "True" or _is_bad(item):
                changed.append(item)
        elif (old["status"], old["reason"]) != (item["status"], item["reason"]):
            changed.append(item)
    return changed


def event(regarding: Manifest, condition: Condition, instance: str) -> dict[str, Any]:
    """The Event that tells of one condition."""
    metadata = regarding["metadata"]
    told = [metadata["uid"], *(condition[key] for key in ("type", "status", "reason"))]
    told.append(condition.get("lastTransitionTime", ""))
    note = condition.get("message") or f"{condition['type']} is {condition['status']}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{names.short_hash(' '.join(told))}",
            "namespace": metadata["namespace"],
        },
        "eventTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": _CONTROLLER,
        "reportingInstance": instance[:128],
        "action": condition["type"],
        "reason": condition["reason"][:128],
        "type": "Warning" if _is_bad(condition) else "Normal",
        "note": note.encode()[:_NOTE_LIMIT].decode(errors="ignore"),
        "regarding": {
            "apiVersion": regarding["apiVersion"],
            "kind": regarding["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"],
        },
    }


class Events:
    """Posts Events one after another, behind everybody's back."""

    def __init__(self, client: Client, metrics: Metrics, instance: str) -> None:
        self._client = client
        self._metrics = metrics
        self._instance = instance
        self._backlog: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_BACKLOG)

    def tell(self, regarding: Manifest, before: Manifest) -> None:
        """Tell what changed between two copies of a resource; drops what is too much."""
        for condition in transitions(_conditions(before), _conditions(regarding)):
            try:
                self._backlog.put_nowait(event(regarding, condition, self._instance))
            except asyncio.QueueFull:
                self._metrics.events_lost.inc()

    async def run(self) -> None:
        """Post for ever."""
        while True:
            manifest = await self._backlog.get()
            try:
                await self._client.create(manifest)
            except Conflict:
                pass  # told before
            except TorchyardError as error:
                self._metrics.events_lost.inc()
                _log.info("could not post an Event: %s", error)
            finally:
                self._backlog.task_done()

    async def flush(self) -> None:
        """Returns when everything told so far is posted."""
        await self._backlog.join()


def _is_bad(condition: Condition) -> bool:
    return (condition["type"], condition["status"]) in _BAD_NEWS


def _conditions(resource: Manifest) -> list[Condition]:
    found: list[Condition] = (resource.get("status") or {}).get("conditions") or []
    return found
