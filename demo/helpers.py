"""Pods that the demo itself needs: one to bring data onto a claim, one to make load."""

import json
from typing import Any

from demo.kube import ROOT, Kube, wait

LOAD = "load"
_USER = 10_001


def pod(
    name: str, image: str, command: list[str], volumes: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """A pod that Pod Security `restricted` admits; volumes are mounted at /NAME."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/part-of": "demo"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": name,
                    "image": image,
                    "command": command,
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}},
                    "volumeMounts": [
                        {"name": volume, "mountPath": f"/{volume}"} for volume in volumes
                    ],
                }
            ],
            "volumes": [{"name": volume, **source} for volume, source in volumes.items()],
        },
    }


def copy_to_claim(kube: Kube, image: str, claim: str, name: str, content: bytes) -> None:
    """Writes a file onto a PersistentVolumeClaim, through a pod that mounts it."""
    carrier = f"carrier-{claim}"
    volumes = {"data": {"persistentVolumeClaim": {"claimName": claim}}}
    kube.run("delete", "pod", carrier, "--ignore-not-found")
    kube.apply(pod(carrier, image, ["sleep", "600"], volumes))
    kube.run("wait", "pod", carrier, "--for=condition=Ready", "--timeout=180s", timeout=200)
    write = f"cat > /data/{name}.partial && mv /data/{name}.partial /data/{name}"
    kube.run("exec", "-i", carrier, "--", "sh", "-c", write, stdin=content, timeout=300)
    kube.run("delete", "pod", carrier, "--wait=false")


def start_load(kube: Kube, image: str, *arguments: str) -> None:
    """Starts the pod that keeps calling; `arguments` are those of demo/load.py."""
    kube.run("delete", "pod", LOAD, "--ignore-not-found")
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": LOAD},
            "data": {"load.py": (ROOT / "demo" / "load.py").read_text()},
        }
    )
    command = ["python", "/script/load.py", *arguments]
    kube.apply(pod(LOAD, image, command, {"script": {"configMap": {"name": LOAD}}}))
    wait("the load's first report", lambda: load_report(kube), timeout=120)


def load_report(kube: Kube) -> dict[str, Any] | None:
    """The newest line of the load pod, once it has answers."""
    found = kube.get("pod", LOAD)
    if found is None or found["status"]["phase"] == "Pending":
        return None
    lines = kube.run("logs", LOAD, "--tail=1").strip().splitlines()
    report: dict[str, Any] | None = json.loads(lines[-1]) if lines else None
    return report if report and report["versions"] else None
