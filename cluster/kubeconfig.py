"""Kubeconfig files; JSON is YAML, so nothing beyond the standard library is needed."""

import base64
import json
from pathlib import Path

from cluster import files


def write(path: Path, server: str, pki: Path, identity: str, authority: str = "ca") -> Path:
    """Write a kubeconfig that carries everything it needs, readable by its owner only."""

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": data(f"{authority}.crt")}
    user = {
        "client-certificate-data": data(f"{identity}.crt"),
        "client-key-data": data(f"{identity}.key"),
    }
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "torchyard", "cluster": cluster}],
        "users": [{"name": identity, "user": user}],
        "contexts": [{"name": "torchyard", "context": {"cluster": "torchyard", "user": identity}}],
        "current-context": "torchyard",
    }
    files.write(path, json.dumps(content, indent=2) + "\n", mode=0o600)
    return path
