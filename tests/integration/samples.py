"""Resources as a user would write them, as short as they can be."""

from typing import Any

from torchyard.names import API_VERSION

Json = dict[str, Any]


def job(namespace: str, name: str = "job", workers: int = 2, **spec: Any) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "task": {"mlpClassifier": {"hidden": [8], "classes": 2}},
            "data": {"uri": "pvc://data/rows.csv"},
            "workers": {"count": workers},
            "optimization": {"epochs": 1, "batchSize": 64 * workers},
            "output": {"model": "digits", "uri": "pvc://models"},
            **spec,
        },
    }


def version(namespace: str, number: int, model: str = "digits") -> Json:
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 4]}
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelVersion",
        "metadata": {"name": f"{model}-v{number}", "namespace": namespace},
        "spec": {
            "model": model,
            "version": number,
            "artifact": {
                "uri": f"pvc://models/{model}/{number}",
                "digest": "sha256:" + f"{number:064x}",
                "sizeBytes": 1,
                "formats": ["Onnx"],
            },
            "signature": {"inputs": [tensor], "outputs": [{**tensor, "name": "y"}]},
        },
    }


def service(namespace: str, number: int, name: str = "svc", replicas: int = 2) -> Json:
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"name": "digits", "version": number}, "replicas": replicas},
    }
