"""Installations that differ in everything that matters; most tests hold for each of them."""

from tests.chart.helm import Manifest

DIGEST = "sha256:" + "0123456789abcdef" * 4

INSTALLATIONS: dict[str, Manifest] = {
    "defaults": {},
    "by digest": {
        "image": {
            "registry": "registry.example.com:5000",
            **{name: {"digest": DIGEST} for name in ("operator", "trainer", "server")},
        }
    },
    "highly available": {"replicas": 2},
    "two namespaces": {"watchNamespaces": ["team-a", "team-b"]},
    "definitions from elsewhere": {"crds": {"install": False}},
    "no network policy": {"networkPolicy": {"enabled": False}},
    "everything": {
        "replicas": 3,
        "watchNamespaces": ["team-a"],
        "image": {
            "registry": "registry.example.com/mirror",
            "pullPolicy": "Always",
            "pullSecrets": [{"name": "registry"}],
            "operator": {"repository": "my/operator", "tag": "v1", "digest": DIGEST},
            "trainer": {"repository": "my/trainer", "tag": "v2"},
            "server": {"repository": "my/server"},
        },
        "log": {"level": "debug", "format": "text"},
        "resources": {
            "requests": {"cpu": 1, "memory": "1Gi"},
            "limits": {"cpu": 2, "memory": "1Gi", "ephemeral-storage": "1Gi"},
        },
        "networkPolicy": {
            "apiServerCidrs": ["10.0.0.10/32", "fd00::1/128"],
            "apiServerPorts": [8443],
            "metricsFrom": ["monitoring"],
        },
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "system"}],
        "priorityClassName": "system-cluster-critical",
        "podLabels": {"team": "platform"},
        "podAnnotations": {"example.com/note": "1"},
    },
}
