"""Kubeconfig files; JSON is YAML, so nothing beyond the standard library is needed."""

import base64
import json
from pathlib import Path


def render(server: str, pki: Path, identity: str) -> str:
    """Return a kubeconfig that carries everything it needs."""

    def data(name: str) -> str:
        return base64.b64encode((pki / name).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": data("ca.crt")}
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
    return json.dumps(content, indent=2) + "\n"
