"""Manifests that the tests of this folder start from."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from torchyard.artifact import Format, Manifest, describe, write_manifest

TEXT: dict[str, Any] = {
    "formatVersion": 1,
    "model": "reviews",
    "files": [
        {"path": "model.onnx", "format": "Onnx", "size": 5, "sha256": "a" * 64},
        {"path": "model.safetensors", "format": "SafeTensors", "size": 7, "sha256": "b" * 64},
        {"path": "tokenizer.json", "format": "Tokenizer", "size": 3, "sha256": "c" * 64},
    ],
    "signature": {
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ],
    },
    "preprocessing": [
        {
            "kind": "Tokenize",
            "input": "text",
            "output": "token_ids",
            "file": "tokenizer.json",
            "length": 128,
        }
    ],
    "postprocessing": [
        {
            "kind": "Labels",
            "input": "probabilities",
            "output": "label",
            "labels": ["negative", "positive"],
        }
    ],
    "architecture": {"task": "textClassifier", "arguments": {"hidden": 256, "layers": [2, 2]}},
    "metrics": {"accuracy": 0.8},
    "lineage": {"image": "trainer@sha256:1", "seed": 7, "data": {"uri": "pvc://reviews"}},
}

NUMBERS: dict[str, Any] = {
    "formatVersion": 1,
    "model": "digits",
    "files": [{"path": "model.onnx", "format": "Onnx", "size": 5, "sha256": "a" * 64}],
    "signature": {
        "inputs": [{"name": "features", "datatype": "FP64", "shape": [-1, 3]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
    },
    "preprocessing": [
        {
            "kind": "Scale",
            "input": "features",
            "output": "scaled",
            "mean": [0, 1.5, 2],
            "scale": [1, 2, 0.5],
        }
    ],
}


def text(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def changed(document: dict[str, Any], place: str, value: object) -> bytes:
    """`document` as JSON with the value at a place such as `files.0.size` replaced or added."""
    document = copy.deepcopy(document)
    *parents, last = place.split(".")
    node: Any = document
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    node[int(last) if isinstance(node, list) else last] = value
    return text(document)


def without(document: dict[str, Any], place: str) -> bytes:
    """`document` as JSON without the member at a place."""
    document = copy.deepcopy(document)
    *parents, last = place.split(".")
    node: Any = document
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    del node[int(last) if isinstance(node, list) else last]
    return text(document)


def artifact(directory: Path, files: dict[str, bytes]) -> Manifest:
    """A complete artifact in `directory` with these contents, of the numeric sample's signature."""
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    sample = Manifest.from_json(text(NUMBERS))
    manifest = Manifest(
        model=sample.model,
        files=tuple(describe(directory, path, Format.SAFETENSORS) for path in files),
        signature=sample.signature,
    )
    write_manifest(directory, manifest)
    return manifest
