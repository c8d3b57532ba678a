"""What must be equal after a disturbed run and an undisturbed one: the end, and the way to it."""

import json
import re
from collections import Counter
from typing import Any

from cluster.controlplane import ControlPlane
from tests.integration.kube import Json, Kube
from torchyard import names

KINDS = (
    "TrainingJob",
    "ModelVersion",
    "ModelService",
    "Pod",
    "Service",
    "Deployment",
    "NetworkPolicy",
    "PodDisruptionBudget",
)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
_ASSIGNED = ("clusterIP", "clusterIPs", "nodeName", "template")
_OPERATOR = "system:serviceaccount:torchyard-system:"


async def snapshot(kube: Kube, namespace: str) -> dict[str, str]:
    """Everything of ours in a namespace, without what can never be equal."""
    found: list[Json] = []
    for kind in KINDS:
        items = await kube.list(kind, namespace)
        # The pods of a Deployment have names by chance.
        found += [i for i in items if kind != "Pod" or names.JOB in i["metadata"]["labels"]]
    masks = {item["metadata"]["uid"]: f"<uid of {item['kind']}>" for item in found}
    return {
        f"{item['kind']} {item['metadata']['name']}": _masked(item, masks, namespace)
        for item in found
    }


def _masked(item: Json, masks: dict[str, str], namespace: str) -> str:
    metadata, status = item["metadata"], item.get("status", {})
    ours = item["apiVersion"] == names.API_VERSION
    kept: dict[str, Any] = {
        "labels": metadata.get("labels"),
        "owners": [owner["name"] for owner in metadata.get("ownerReferences", ())],
        "leaving": "deletionTimestamp" in metadata,
        "spec": {k: v for k, v in item.get("spec", {}).items() if k not in _ASSIGNED},
        "status": status if ours else status.get("phase"),
    }
    text = json.dumps(kept, sort_keys=True, indent=1)
    for uid, mask in masks.items():
        text = text.replace(uid, mask)
    text = re.sub(r'"activeSeconds": \d+', '"activeSeconds": 0', text)
    return _TIME.sub("<time>", text.replace(namespace, "<namespace>"))


def differences(reference: dict[str, str], actual: dict[str, str]) -> list[str]:
    """The objects that are not equal, with their first different lines."""
    told = []
    for name in sorted(reference.keys() | actual.keys()):
        before, after = reference.get(name, "").split("\n"), actual.get(name, "").split("\n")
        if before != after:
            pairs = zip([*before, ""], [*after, ""], strict=False)
            first = next((pair for pair in pairs if pair[0] != pair[1]), ("", ""))
            told.append(f"{name}: {first[0].strip()!r} has become {first[1].strip()!r}")
    return told


def made(control_plane: ControlPlane, namespace: str) -> Counter[str]:
    """How often the operator has created and deleted each object, by the API server's account."""
    counts: Counter[str] = Counter()
    for entry in control_plane.audit():
        about = entry.get("objectRef", {})
        code = entry.get("responseStatus", {}).get("code", 0)
        if (
            about.get("namespace") != namespace
            or not entry["user"]["username"].startswith(_OPERATOR)
            or entry["stage"] != "ResponseComplete"
            or about.get("subresource")
        ):
            continue
        # A server-side apply that creates is a patch, answered by 201.
        creates = entry["verb"] in ("create", "patch") and code == 201
        if creates or (entry["verb"] == "delete" and code < 300):
            verb = "create" if creates else "delete"
            counts[f"{verb} {about['resource']}/{about.get('name', '')}"] += 1
    return Counter({key: n for key, n in counts.items() if "events/" not in key})
