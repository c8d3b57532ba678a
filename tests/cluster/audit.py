"""The API server's own record of who asked for what."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from demo import install

OPERATOR = f"system:serviceaccount:{install.NAMESPACE}:{install.RELEASE}"

_WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


@dataclass(frozen=True)
class Request:
    """One request that the API server has answered."""

    time: datetime
    user: str
    verb: str
    resource: str
    """With the subresource: `trainingjobs/status`."""
    namespace: str
    name: str
    code: int

    def __str__(self) -> str:
        return f"{self.time:%H:%M:%S} {self.verb} {self.resource} {self.name} -> {self.code}"


@dataclass(frozen=True)
class Audit:
    """The log in a folder, those that were rotated away included."""

    folder: Path

    def writes(self, since: datetime, user: str = OPERATOR) -> list[Request]:
        """What a user has written, or tried to, since a moment of the cluster's clock.

        Renewals of Leases are left out.
        """
        found = [
            request
            for request in self._requests()
            if request.user == user
            and request.verb in _WRITES
            and request.time >= since
            and request.resource != "leases"
        ]
        return sorted(found, key=lambda request: request.time)

    def anything(self, since: datetime) -> bool:
        """Whether the log is being written at all: a count of nothing proves nothing."""
        return any(request.time >= since for request in self._requests())

    def _requests(self) -> Iterator[Request]:
        for path in sorted(self.folder.glob("audit*.log")):
            with path.open() as lines:
                for line in lines:
                    if line.endswith("\n"):  # the last one may be half written
                        yield _request(json.loads(line))


def _request(event: dict[str, Any]) -> Request:
    reference = event.get("objectRef") or {}
    resource = reference.get("resource", "")
    if "subresource" in reference:
        resource += f"/{reference['subresource']}"
    return Request(
        time=datetime.fromisoformat(event["requestReceivedTimestamp"]),
        user=event["user"].get("username", ""),
        verb=event["verb"],
        resource=resource,
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
    )
