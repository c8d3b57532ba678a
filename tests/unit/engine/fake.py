"""A client whose API server is a dictionary: versions, uids, conflicts, and errors on request."""

import copy
import itertools
from collections.abc import AsyncIterator
from typing import Any

from torchyard.engine.client import Client
from torchyard.engine.resources import Key, Manifest, Resource, key_of
from torchyard.errors import Conflict, NotFound, Outdated, TorchyardError

Json = dict[str, Any]


def conflict(message: str = "taken") -> Conflict:
    return Conflict(message, code=409, reason="AlreadyExists")


class FakeClient(Client):
    """The verbs of Client, on a dictionary."""

    def __init__(self) -> None:
        self.objects: dict[Key, Json] = {}
        self.writes: list[str] = []
        self.reads: list[str] = []
        self.fail: dict[str, TorchyardError] = {}
        """What the next such write raises, by its line in `writes`."""
        self._versions = itertools.count(100)

    def keep(self, manifest: Manifest) -> Json:
        """An object that is simply there."""
        kept: Json = copy.deepcopy(dict(manifest))
        version = str(next(self._versions))
        kept["metadata"] = {"uid": f"uid-{version}", **kept["metadata"], "resourceVersion": version}
        self.objects[key_of(kept)] = kept
        return copy.deepcopy(kept)

    def forget(self, key: Key) -> None:
        del self.objects[key]

    def _wrote(self, line: str) -> None:
        self.writes.append(line)
        if error := self.fail.pop(line, None):
            raise error

    async def get(self, key: Key) -> Json | None:
        self.reads.append(f"get {key}")
        return copy.deepcopy(self.objects.get(key))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        selector: str = "",
        *,
        metadata_only: bool = False,
    ) -> AsyncIterator[Json]:
        self.reads.append(f"list {resource.plural}")
        items = [copy.deepcopy(v) for k, v in self.objects.items() if k.kind == resource.kind]
        if metadata_only:
            items = [{k: v for k, v in i.items() if k not in ("spec", "status")} for i in items]
        for item in items:
            yield item

    async def create(self, manifest: Manifest) -> Json:
        key = key_of(manifest)
        self._wrote(f"create {key}")
        if key in self.objects:
            raise conflict()
        return self.keep(manifest)

    async def replace(self, manifest: Manifest) -> Json:
        key = key_of(manifest)
        self._wrote(f"replace {key}")
        known = self.objects.get(key)
        if known is None:
            raise NotFound("gone", code=404, reason="NotFound")
        if known["metadata"]["resourceVersion"] != manifest["metadata"].get("resourceVersion"):
            raise conflict("changed")
        return self.keep(manifest)

    async def apply(self, manifest: Manifest, *, force: bool) -> Json:
        key = key_of(manifest)
        self._wrote(f"apply {key}" + (" by force" if force else ""))
        known = self.objects.get(key)
        uid = manifest["metadata"].get("uid")
        if uid is not None and (known is None or known["metadata"]["uid"] != uid):
            raise conflict("uid mismatch")
        if known is not None:
            manifest = {**manifest, "metadata": {**known["metadata"], **manifest["metadata"]}}
        return self.keep(manifest)

    async def patch_status(self, observed: Manifest, patch: Manifest) -> Json:
        key = key_of(observed)
        self._wrote(f"status {key}")
        known = self.objects.get(key)
        version = observed["metadata"]["resourceVersion"]
        if known is None or known["metadata"]["resourceVersion"] != version:
            raise Outdated("changed")
        status = {**known.get("status", {}), **patch}
        return self.keep({**known, "status": {k: v for k, v in status.items() if v is not None}})

    async def delete(self, key: Key, uid: str) -> Json:
        self._wrote(f"delete {key}")
        known = self.objects.get(key)
        if known is None:
            raise NotFound("gone", code=404, reason="NotFound")
        if known["metadata"]["uid"] != uid:
            raise conflict("uid mismatch")
        if known["metadata"].get("deletionGracePeriodSeconds"):
            leaving = {**known["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}
            return self.keep({**known, "metadata": leaving})
        del self.objects[key]
        return {"kind": "Status", "status": "Success"}
