"""Kubernetes Events: one for each reason why conditions changed, and never a reason to fail.

The name is a function of what happened, so that telling it twice makes one Event, and grows with
time: `kubectl` lists Events of this kind by their names.
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

_FROM_THE_START: Final = frozenset({("Servable", "False")})
"""Bad news only of what was better once."""

_log = logging.getLogger(__name__)

Condition = Mapping[str, Any]


def transitions(before: Iterable[Condition], after: Iterable[Condition]) -> list[Condition]:
    """The conditions whose status or reason changed, one for each reason, the worst.

    A new one is told only if it tells something; what nobody knows is no news.
    """
    known = {item["type"]: item for item in before}
    news: dict[str, Condition] = {}
    for item in after:
        if not _is_news(known.get(item["type"]), item):
            continue
        told = news.get(item["reason"])
        if told is None or (_is_bad(item) and not _is_bad(told)):
            news[item["reason"]] = item
    return list(news.values())


def _is_news(old: Condition | None, new: Condition) -> bool:
    if old is not None:
        same = (old["status"], old["reason"]) == (new["status"], new["reason"])
        return not same and new["status"] != "Unknown"
    from_the_start = (new["type"], new["status"]) in _FROM_THE_START
    return new["status"] == "True" or (_is_bad(new) and not from_the_start)


def event(regarding: Manifest, condition: Condition, instance: str) -> dict[str, Any]:
    """The Event that tells of one condition."""
    metadata, version = regarding["metadata"], regarding["metadata"]["resourceVersion"]
    moment = int(version) if version.isdigit() else 0
    types = [item["type"] for item in _conditions(regarding)]
    place = types.index(condition["type"]) if condition["type"] in types else 0
    told = [metadata["uid"], *(condition[key] for key in ("type", "status", "reason"))]
    told.append(condition.get("lastTransitionTime", ""))
    unique = f"{moment:012x}{place:02x}.{names.short_hash(' '.join(told))}"
    note = condition.get("message") or f"{condition['type']} is {condition['status']}"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name']}.{unique}",
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
            "resourceVersion": version,
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
