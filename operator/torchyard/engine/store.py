"""What is known of the cluster: the newest copy of each object that matters, by owner.

Fed by watches, by the answers to the operator's own writes, and by lists. It never goes back: an
older copy of an object does not replace a newer one, and what was seen dead stays dead.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torchyard import names
from torchyard.core.world import Object
from torchyard.engine.resources import OWNERS, Key, Manifest, key_of

_OWNER_LABELS: Final = {"TrainingJob": names.JOB, "ModelService": names.SERVICE}
_OWNER_KINDS: Final = frozenset(item.kind for item in OWNERS)
_BULKY_ANNOTATION: Final = "kubectl.kubernetes.io/last-applied-configuration"
_TOMBSTONES: Final = 8192


@dataclass(frozen=True)
class VersionsOf:
    """The versions of a model."""

    namespace: str
    model: str


@dataclass(frozen=True)
class ServicesOf:
    """The services of a model."""

    namespace: str
    model: str


class Store:
    """Objects by key, and by what they are linked to."""

    def __init__(self) -> None:
        self._kinds: defaultdict[str, dict[Key, Object]] = defaultdict(dict)
        self._linked: defaultdict[Hashable, set[Key]] = defaultdict(set)
        self._dead: OrderedDict[str, None] = OrderedDict()

    def get(self, key: Key) -> Object | None:
        """The newest copy of an object."""
        return self._kinds[key.kind].get(key)

    def of_kind(self, kind: str) -> Mapping[Key, Object]:
        """Every object of a kind."""
        return self._kinds[kind]

    def children(self, owner: Key, uid: str, kind: str) -> tuple[Object, ...]:
        """What carries the owner's label and no reference to a namesake of it, by name."""
        return tuple(
            item
            for item in self._at(owner)
            if item["kind"] == kind and _may_belong(item, owner.kind, uid)
        )

    def versions(self, namespace: str, model: str) -> Iterator[Object]:
        """The ModelVersions of a model, by name."""
        return self._at(VersionsOf(namespace, model))

    def services(self, namespace: str, model: str) -> Iterator[Object]:
        """The ModelServices of a model, by name."""
        return self._at(ServicesOf(namespace, model))

    def put(self, manifest: Manifest) -> bool:
        """Keep this copy unless a newer one is there; tells whether anything is new."""
        key, uid = key_of(manifest), manifest["metadata"]["uid"]
        known = self.get(key)
        if uid in self._dead or (known is not None and not _newer(manifest, known)):
            return False
        if known is not None:
            self._unlink(key, known)
        kept = trimmed(manifest)
        self._kinds[key.kind][key] = kept
        for link in _links(kept):
            self._linked[link].add(key)
        return True

    def remove(self, key: Key, uid: str | None = None) -> Object | None:
        """The object is gone; `uid` spares a new one of the same name. Returns the last copy."""
        known = self.get(key)
        if uid is not None:
            self._bury(uid)
        if known is None or uid not in (None, known["metadata"]["uid"]):
            return None
        self._bury(known["metadata"]["uid"])
        self._unlink(key, known)
        del self._kinds[key.kind][key]
        return known

    def _at(self, link: Hashable) -> Iterator[Object]:
        for key in sorted(self._linked.get(link, ())):
            yield self._kinds[key.kind][key]

    def _bury(self, uid: str) -> None:
        # A late answer to a write of ours must not bring back what a watch saw deleted.
        self._dead[uid] = None
        while len(self._dead) > _TOMBSTONES:
            self._dead.popitem(last=False)

    def _unlink(self, key: Key, known: Object) -> None:
        for link in _links(known):
            linked = self._linked[link]
            linked.discard(key)
            if not linked:
                del self._linked[link]


def trimmed(manifest: Manifest) -> dict[str, Any]:
    """The object without what no decision reads."""
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    if _BULKY_ANNOTATION in (annotations := metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in annotations.items() if k != _BULKY_ANNOTATION}
    return {**manifest, "metadata": metadata}


def owners(manifest: Manifest) -> list[Key]:
    """The owners that an object's labels name."""
    key = key_of(manifest)
    labels = manifest["metadata"].get("labels") or {}
    return [
        Key(kind, key.namespace, labels[label])
        for kind, label in _OWNER_LABELS.items()
        if label in labels and key.kind not in _OWNER_KINDS
    ]


def _links(manifest: Manifest) -> list[Hashable]:
    namespace = manifest["metadata"].get("namespace", "")
    match manifest["kind"]:
        case "ModelVersion":
            return [VersionsOf(namespace, manifest["spec"]["model"])]
        case "ModelService":
            return [ServicesOf(namespace, manifest["spec"]["model"]["name"])]
        case _:
            return list(owners(manifest))


def _may_belong(manifest: Object, kind: str, uid: str) -> bool:
    """No reference names another owner of that kind; a pod of a Deployment names none at all."""
    references: Iterable[Mapping[str, Any]] = manifest["metadata"].get("ownerReferences") or ()
    ours = [item for item in references if item.get("kind") == kind]
    return all(item.get("uid") == uid for item in ours) and bool(ours or kind != "TrainingJob")


def _newer(manifest: Manifest, known: Object) -> bool:
    version = str(manifest["metadata"].get("resourceVersion", ""))
    before = str(known["metadata"].get("resourceVersion", ""))
    if version.isdigit() and before.isdigit():
        return int(version) > int(before)
    return version != before
