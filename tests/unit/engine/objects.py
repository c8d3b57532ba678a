"""Objects as an API server would return them, as short as a test needs them."""

from typing import Any

from torchyard import names


def pod(
    name: str = "job-a0-w0",
    *,
    version: int = 10,
    uid: str | None = None,
    job: str | None = "job",
    owner: str | None = "job-uid",
    **metadata: Any,
) -> dict[str, Any]:
    labels = {names.MANAGED_BY: names.MANAGER} | ({names.JOB: job} if job else {})
    references = [{"kind": "TrainingJob", "name": job, "uid": owner, "controller": True}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid or f"{name}-uid",
            "resourceVersion": str(version),
            "labels": labels,
            **({"ownerReferences": references} if owner else {}),
            **metadata,
        },
        "spec": {},
        "status": {},
    }


def custom(
    kind: str, name: str, spec: dict[str, Any], *, version: int = 1, uid: str | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid or f"{name}-uid",
            "resourceVersion": str(version),
            "generation": 1,
        },
        "spec": spec,
    }
