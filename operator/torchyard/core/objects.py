"""What the manifests of all children have in common, and how to read observed objects."""

from collections.abc import Iterable, Mapping
from typing import Any

from torchyard import names
from torchyard.api.base import ObjectMeta
from torchyard.api.pods import Accelerator, PodTemplate, Resources
from torchyard.core.plan import Delete
from torchyard.core.world import Object

USER = 10_001


def owner_reference(kind: str, owner: ObjectMeta) -> dict[str, Any]:
    """The reference that lets the garbage collector remove a child with its owner."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
    }


def metadata(
    kind: str,
    owner: ObjectMeta,
    name: str,
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Metadata of a child: our labels and a reference to its owner."""
    result: dict[str, Any] = {
        "name": name,
        "namespace": owner.namespace,
        "labels": {names.MANAGED_BY: names.MANAGER, **labels},
        "ownerReferences": [owner_reference(kind, owner)],
    }
    if annotations:
        result["annotations"] = dict(annotations)
    return result


def owned(owner: ObjectMeta, observed: Object) -> bool:
    """Whether the object's controller is exactly this owner, not a namesake of it."""
    references = observed.get("metadata", {}).get("ownerReferences", ())
    return any(ref.get("controller") and ref.get("uid") == owner.uid for ref in references)


def uid(observed: Object | None) -> str | None:
    """The uid of an object that is there."""
    return None if observed is None else str(observed["metadata"]["uid"])


def named(name: str, owner: ObjectMeta, observed: tuple[Object, ...]) -> Object | None:
    """The owner's object of that name; what another owner left behind is none of ours."""
    ours = (item for item in observed if item["metadata"]["name"] == name and owned(owner, item))
    return next(ours, None)


def label(observed: Object, key: str) -> str:
    """The value of a label, empty where there is none."""
    return str(observed["metadata"].get("labels", {}).get(key, ""))


def number(observed: Object, key: str) -> int:
    """The value of a label that is a number; -1 for one that is none of ours."""
    text = label(observed, key)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def condition(observed: Object, type_: str) -> Mapping[str, Any]:
    """The condition of a type in the status; empty where there is none."""
    found: Iterable[Mapping[str, Any]] = observed.get("status", {}).get("conditions") or ()
    return next((item for item in found if item.get("type") == type_), {})


def being_deleted(observed: Object) -> bool:
    """Whether somebody has asked for its deletion."""
    return observed["metadata"].get("deletionTimestamp") is not None


def delete(kind: str, observed: Object, why: str) -> Delete:
    """The deletion of exactly this object."""
    meta = observed["metadata"]
    return Delete(kind, meta["namespace"], meta["name"], meta["uid"], why)


def pod_security() -> dict[str, Any]:
    """The pod's half of Pod Security `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> dict[str, Any]:
    """The container's half of Pod Security `restricted`, and a root file system that stays."""
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def resources(wanted: Resources | None, accelerator: Accelerator | None) -> dict[str, Any]:
    """A container's resources; devices count as limits, which the API server also requests."""
    result = wanted.wire() if wanted else {}
    if accelerator:
        result["limits"] = {
            **result.get("limits", {}),
            accelerator.resource: str(accelerator.count),
        }
    return result


def pod_extras(template: PodTemplate | None) -> dict[str, Any]:
    """The fields of a pod spec that the user's template gives as they are."""
    if template is None:
        return {}
    wire = template.wire()
    return {
        key: wire[key]
        for key in (
            "nodeSelector",
            "tolerations",
            "imagePullSecrets",
            "priorityClassName",
            "runtimeClassName",
        )
        if key in wire
    }


def pod_metadata(template: PodTemplate | None, labels: Mapping[str, str]) -> dict[str, Any]:
    """Labels and annotations of a pod: the user's, and ours over them."""
    result: dict[str, Any] = {"labels": {**((template and template.labels) or {}), **labels}}
    if template and template.annotations:
        result["annotations"] = dict(template.annotations)
    return result


def environment(own: Mapping[str, str], template: PodTemplate | None) -> list[dict[str, str]]:
    """Our variables, and the user's after them."""
    given = (template and template.env) or []
    return [
        *({"name": key, "value": value} for key, value in own.items()),
        *({"name": item.name, "value": item.value} for item in given if item.name not in own),
    ]


def claim_of(uri: str) -> tuple[str, str]:
    """`pvc://claim/some/path` as claim and path without slashes at its ends."""
    claim, _, path = uri.removeprefix("pvc://").partition("/")
    return claim, path.strip("/")


def dns_egress() -> dict[str, Any]:
    """Names may be looked up wherever the cluster's DNS runs."""
    return {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}
