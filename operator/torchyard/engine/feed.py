"""What is seen of the cluster goes into the store, and wakes the resources that it concerns."""

from collections.abc import Callable

from torchyard.engine.resources import OWNERS, Key, Manifest, key_of
from torchyard.engine.store import Store, model_of, owners

_OWNER_KINDS = frozenset(item.kind for item in OWNERS)


class Feed:
    """The one way into the store for whoever sees or makes an object."""

    def __init__(self, store: Store, wake: Callable[[Key], None]) -> None:
        self._store = store
        self._wake = wake

    def seen(self, manifest: Manifest) -> None:
        """An object is there; what is older than the known copy concerns nobody."""
        if self._store.put(manifest):
            self._tell(manifest)

    def gone(self, key: Key, last: Manifest | None = None) -> None:
        """An object is not there any more; `last` is its copy as it went, where that is known."""
        if (known := self._store.remove(key, last)) is not None:
            self._tell(known)

    def _tell(self, manifest: Manifest) -> None:
        for key in self._concerned(manifest):
            self._wake(key)

    def _concerned(self, manifest: Manifest) -> list[Key]:
        key = key_of(manifest)
        if key.kind in _OWNER_KINDS:
            return [key]
        if key.kind != "ModelVersion":
            return owners(manifest)
        services = self._store.services(key.namespace, model_of(manifest))
        lineage = (manifest.get("spec") or {}).get("lineage") or {}
        maker = (lineage.get("trainingJob") or {}).get("name")
        return [
            *(key_of(service) for service in services),
            *([Key("TrainingJob", key.namespace, maker)] if maker else []),
        ]
