"""The manifest: what an artifact holds, how it is called, where it comes from.

`manifest.json` lies beside the files it names. A published one is its own canonical form (sorted
keys, compact, UTF-8), so `sha256sum manifest.json` shows the digest that names the artifact.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from torchyard.artifact.consistency import check
from torchyard.artifact.reader import MAX_INTEGER, Json, Reader, parse
from torchyard.artifact.signature import Signature
from torchyard.artifact.steps import (
    MAX_STEPS,
    Postprocessing,
    Preprocessing,
    read_postprocessing,
    read_preprocessing,
)

FORMAT_VERSION = 1
FILE_NAME = "manifest.json"
MAX_BYTES = 8 * 2**20
MAX_FILES = 1024
MAX_METRICS = 256

MODEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
METRIC = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
SHA256 = re.compile(r"[0-9a-f]{64}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
# Portable characters only: the same name works on every file system and in every URI.
PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=@-]*(/[A-Za-z0-9_][A-Za-z0-9_.+=@-]*)*")


class Format(StrEnum):
    """What a file is. None of these formats can carry code that runs when it is loaded."""

    ONNX = "Onnx"
    SAFETENSORS = "SafeTensors"
    TORCH_EXPORT = "TorchExport"
    TOKENIZER = "Tokenizer"


@dataclass(frozen=True, slots=True)
class File:
    """One file: `path` relative to the artifact, `size` in bytes, `sha256` in lower-case hex."""

    path: str
    format: Format
    size: int
    sha256: str

    def to_json(self) -> dict[str, Json]:
        """The JSON form, which `read` reads back."""
        return {
            "path": self.path,
            "format": str(self.format),
            "size": self.size,
            "sha256": self.sha256,
        }

    @classmethod
    def read(cls, reader: Reader) -> File:
        """Read the JSON form; raises ManifestInvalid."""
        fields = reader.fields(["path", "format", "size", "sha256"])
        path = fields["path"].text(512, PATH)
        if path == FILE_NAME:
            fields["path"].fail(f"{FILE_NAME} is the manifest itself; leave it out")
        return cls(
            path=path,
            format=fields["format"].choice(Format),
            size=fields["size"].integer(0, MAX_INTEGER),
            sha256=fields["sha256"].text(64, SHA256),
        )


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build the module that the weights belong to: a registered task and its arguments."""

    task: str
    arguments: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        """The JSON form, which `read` reads back."""
        return {"task": self.task, "arguments": dict(self.arguments)}

    @classmethod
    def read(cls, reader: Reader) -> Architecture:
        """Read the JSON form; raises ManifestInvalid."""
        fields = reader.fields(["task"], ["arguments"])
        arguments = fields["arguments"].free() if "arguments" in fields else {}
        return cls(fields["task"].text(256), arguments)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of a model. `from_json` and `storage.publish` check it; the constructor does not.

    The model file takes what is left after `preprocessing` as its inputs, by name, and its raw
    outputs, by name, go through `postprocessing`; together they carry out `signature`.
    """

    model: str
    files: tuple[File, ...]
    signature: Signature
    preprocessing: tuple[Preprocessing, ...] = ()
    postprocessing: tuple[Postprocessing, ...] = ()
    architecture: Architecture | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    lineage: Mapping[str, Json] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the canonical form."""
        return "sha256:" + hashlib.sha256(self.to_json()).hexdigest()

    @property
    def size_bytes(self) -> int:
        """The bytes of all files together, without the manifest."""
        return sum(file.size for file in self.files)

    @property
    def formats(self) -> tuple[Format, ...]:
        """The model formats, each once, in the order of the files; a tokenizer is not a model."""
        return tuple(
            dict.fromkeys(file.format for file in self.files if file.format is not Format.TOKENIZER)
        )

    def to_json(self) -> bytes:
        """The canonical form. Raises ValueError where a number is not finite."""
        document: dict[str, Json] = {
            "formatVersion": FORMAT_VERSION,
            "model": self.model,
            "files": [file.to_json() for file in self.files],
            "signature": self.signature.to_json(),
            "preprocessing": [step.to_json() for step in self.preprocessing],
            "postprocessing": [step.to_json() for step in self.postprocessing],
            "architecture": None if self.architecture is None else self.architecture.to_json(),
            "metrics": {name: float(value) for name, value in self.metrics.items()},
            "lineage": dict(self.lineage),
        }
        return json.dumps(
            document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        ).encode("utf-8")

    @classmethod
    def from_json(cls, text: bytes) -> Manifest:
        """Parse and check a manifest; raises ManifestInvalid naming the place and the cure."""
        root = parse(text, MAX_BYTES)
        _check_version(root)
        fields = root.fields(
            ["formatVersion", "model", "files", "signature"],
            ["preprocessing", "postprocessing", "architecture", "metrics", "lineage"],
        )
        before, after = fields.get("preprocessing"), fields.get("postprocessing")
        architecture = fields.get("architecture")
        manifest = cls(
            model=fields["model"].text(63, MODEL),
            files=tuple(File.read(item) for item in fields["files"].items(1, MAX_FILES)),
            signature=Signature.read(fields["signature"]),
            preprocessing=tuple(read_preprocessing(item) for item in before.items(0, MAX_STEPS))
            if before
            else (),
            postprocessing=tuple(read_postprocessing(item) for item in after.items(0, MAX_STEPS))
            if after
            else (),
            architecture=Architecture.read(architecture)
            if architecture and architecture.value is not None
            else None,
            metrics=_metrics(fields["metrics"]) if "metrics" in fields else {},
            lineage=fields["lineage"].free() if "lineage" in fields else {},
        )
        check(manifest)
        return manifest


def _check_version(root: Reader) -> None:
    """Refuse another format version before its fields are judged by the rules of this one."""
    if not isinstance(root.value, dict) or "formatVersion" not in root.value:
        return
    reader = Reader(root.value["formatVersion"], "formatVersion")
    version = reader.integer(1)
    if version != FORMAT_VERSION:
        reader.fail(
            f"is {version}, this release reads {FORMAT_VERSION}; "
            "use the release that wrote the artifact, or publish it again"
        )


def _metrics(reader: Reader) -> dict[str, float]:
    metrics = {}
    for name, item in reader.members(MAX_METRICS).items():
        Reader(name, reader.path).text(64, METRIC)
        metrics[name] = item.number()
    return metrics
