"""What is known of the cluster: the newest copy of each object that matters, by owner.

Fed by watches, by the answers to the operator's own writes, and by lists. It never goes back: an
older copy of an object does not replace a newer one, nor bring back one that is gone.
"""

import sys
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
_WORD: Final = 63

# A decision that wants to know more of a pod asks for it here.
_POD_METADATA: Final = frozenset(
    {
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "labels",
        "name",
        "namespace",
        "ownerReferences",
        "resourceVersion",
        "uid",
    }
)
_POD_SPEC: Final = frozenset({"nodeName"})
_POD_STATUS: Final = frozenset(
    {"conditions", "containerStatuses", "message", "phase", "podIP", "reason", "startTime"}
)
_CONTAINER_STATUS: Final = frozenset(
    {"image", "lastState", "name", "ready", "restartCount", "state"}
)


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
        self._gone: OrderedDict[str, int] = OrderedDict()  # uid → version at which it went

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

    def is_news(self, manifest: Manifest) -> bool:
        """Whether this copy is newer than all that is known; its metadata tell."""
        if _number(manifest) <= self._gone.get(_uid(manifest), -1):
            return False
        known = self.get(key_of(manifest))
        return known is None or _newer(manifest, known)

    def put(self, manifest: Manifest) -> bool:
        """Keep this copy unless a newer one is there; tells whether anything is new."""
        if not self.is_news(manifest):
            return False
        key = key_of(manifest)
        if (known := self.get(key)) is not None:
            self._unlink(key, known)
        kept = trimmed(manifest)
        self._kinds[key.kind][key] = kept
        for link in _links(kept):
            self._linked[link].add(key)
        return True

    def remove(self, key: Key, last: Manifest | None = None) -> Object | None:
        """The object is gone, or has lost the labels by which it is watched.

        `last` is its copy as it went: it spares another object that has taken the name since.
        Returns the copy that was known.
        """
        known = self.get(key)
        if last is not None:
            self._bury(last)
        if known is None or (last is not None and _uid(last) != _uid(known)):
            return None
        self._bury(known)
        self._unlink(key, known)
        del self._kinds[key.kind][key]
        return known

    def _at(self, link: Hashable) -> Iterator[Object]:
        for key in sorted(self._linked.get(link, ())):
            yield self._kinds[key.kind][key]

    def _bury(self, last: Manifest) -> None:
        # A late answer to a write of ours must not bring back what a watch saw deleted.
        uid = _uid(last)
        self._gone[uid] = max(_number(last), self._gone.get(uid, 0))
        while len(self._gone) > _TOMBSTONES:
            self._gone.popitem(last=False)

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
    if manifest["kind"] != "Pod":
        return {**manifest, "metadata": metadata}
    # There are thousands of pods, none of them is ever compared with what it should be, and
    # whole ones would be most of the operator's memory.
    status = _only(_POD_STATUS, manifest.get("status") or {})
    if containers := status.get("containerStatuses"):
        status["containerStatuses"] = [_only(_CONTAINER_STATUS, item) for item in containers]
    pod: dict[str, Any] = _interned(
        {
            "apiVersion": manifest["apiVersion"],
            "kind": manifest["kind"],
            "metadata": _only(_POD_METADATA, metadata),
            "spec": _only(_POD_SPEC, manifest.get("spec") or {}),
            "status": status,
        }
    )
    return pod


def _only(fields: frozenset[str], part: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key in fields}


def _interned(value: Any) -> Any:
    """The same JSON, with one copy of each word that is in every pod."""
    if isinstance(value, dict):
        return {sys.intern(key): _interned(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_interned(item) for item in value]
    return sys.intern(value) if isinstance(value, str) and len(value) <= _WORD else value


def owners(manifest: Manifest) -> list[Key]:
    """The owners that an object's labels name."""
    key = key_of(manifest)
    labels = manifest["metadata"].get("labels") or {}
    return [
        Key(kind, key.namespace, labels[label])
        for kind, label in _OWNER_LABELS.items()
        if label in labels and key.kind not in _OWNER_KINDS
    ]


def model_of(manifest: Manifest) -> str:
    """The model that a version is of, or a service serves; empty where none can be told."""
    # Stored under an older schema an object may lack anything, and must not stop the operator.
    model = (manifest.get("spec") or {}).get("model")
    if isinstance(model, Mapping):
        model = model.get("name")
    return model if isinstance(model, str) else ""


def _links(manifest: Manifest) -> list[Hashable]:
    namespace = manifest["metadata"].get("namespace", "")
    model = model_of(manifest)
    match manifest["kind"]:
        case "ModelVersion":
            return [VersionsOf(namespace, model)]
        case "ModelService":
            return [ServicesOf(namespace, model)]
        case _:
            return list(owners(manifest))


def _may_belong(manifest: Object, kind: str, uid: str) -> bool:
    """No reference names another owner of that kind; a pod of a Deployment names none at all."""
    references: Iterable[Mapping[str, Any]] = manifest["metadata"].get("ownerReferences") or ()
    ours = [item for item in references if item.get("kind") == kind]
    return all(item.get("uid") == uid for item in ours) and bool(ours or kind != "TrainingJob")


def _uid(manifest: Manifest) -> str:
    return str(manifest["metadata"]["uid"])


def _number(manifest: Manifest) -> int:
    """The resourceVersion as the number that it always is; 0 where it is none."""
    version = str(manifest["metadata"].get("resourceVersion", ""))
    return int(version) if version.isdigit() else 0


def _newer(manifest: Manifest, known: Object) -> bool:
    version, before = _number(manifest), _number(known)
    if version and before:
        return version > before
    return bool(manifest["metadata"]["resourceVersion"] != known["metadata"]["resourceVersion"])
