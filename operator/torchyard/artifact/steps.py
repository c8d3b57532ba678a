"""The declarative steps between a request and the model, and between the model and the answer.

A step is data, never code: a server runs it without trusting whoever wrote the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torchyard.artifact.reader import Json, Reader
from torchyard.artifact.signature import NAME

MAX_STEPS = 64
MAX_FEATURES = 65_536
MAX_LABELS = 65_536
MAX_TOKENS = 65_536


@dataclass(frozen=True, slots=True)
class Tokenize:
    """Text BYTES[n] → token numbers INT64[n, length], cut or padded to `length`.

    `file` is a tokenizer of the artifact, in the JSON format of the `tokenizers` library. Its own
    padding token fills up, number 0 where it names none; its special tokens are added.
    """

    input: str
    output: str
    file: str
    length: int

    def to_json(self) -> dict[str, Json]:
        """The JSON form, which the reader of this class reads back."""
        return {
            "kind": "Tokenize",
            "input": self.input,
            "output": self.output,
            "file": self.file,
            "length": self.length,
        }


@dataclass(frozen=True, slots=True)
class Scale:
    """Numbers [n, …, f] → FP32 of the same shape: (x - mean) / scale along the last axis.

    `mean` and `scale` have one value per feature, or a single one for all.
    """

    input: str
    output: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def to_json(self) -> dict[str, Json]:
        """The JSON form, which the reader of this class reads back."""
        return {
            "kind": "Scale",
            "input": self.input,
            "output": self.output,
            "mean": list(self.mean),
            "scale": list(self.scale),
        }


@dataclass(frozen=True, slots=True)
class Labels:
    """Scores [n, k] → BYTES[n]: the label of the highest score; the first one wins a tie."""

    input: str
    output: str
    labels: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """The JSON form, which the reader of this class reads back."""
        return {
            "kind": "Labels",
            "input": self.input,
            "output": self.output,
            "labels": list(self.labels),
        }


Preprocessing = Tokenize | Scale
Postprocessing = Labels


def read_preprocessing(reader: Reader) -> Preprocessing:
    """Read one tagged step before the model; raises ManifestInvalid."""
    return _PREPROCESSING[_kind(reader, _PREPROCESSING)](reader)


def read_postprocessing(reader: Reader) -> Postprocessing:
    """Read one tagged step after the model; raises ManifestInvalid."""
    return _POSTPROCESSING[_kind(reader, _POSTPROCESSING)](reader)


def _kind(reader: Reader, kinds: Mapping[str, object]) -> str:
    """The tag of a union member; the member's own fields are checked by its reader."""
    if not isinstance(reader.value, dict) or "kind" not in reader.value:
        reader.fail(f"expected an object with the field 'kind', one of {', '.join(kinds)}")
    tag = Reader(reader.value["kind"], f"{reader.path}.kind")
    kind = tag.text()
    if kind not in kinds:
        tag.fail(f"{kind[:64]!r} is not one of {', '.join(kinds)}")
    return kind


def _tokenize(reader: Reader) -> Tokenize:
    fields = reader.fields(["kind", "input", "output", "file", "length"])
    return Tokenize(
        input=fields["input"].text(128, NAME),
        output=fields["output"].text(128, NAME),
        file=fields["file"].text(),
        length=fields["length"].integer(1, MAX_TOKENS),
    )


def _scale(reader: Reader) -> Scale:
    fields = reader.fields(["kind", "input", "output", "mean", "scale"])
    step = Scale(
        input=fields["input"].text(128, NAME),
        output=fields["output"].text(128, NAME),
        mean=tuple(item.number() for item in fields["mean"].items(1, MAX_FEATURES)),
        scale=tuple(item.number() for item in fields["scale"].items(1, MAX_FEATURES)),
    )
    if len(step.mean) != len(step.scale):
        reader.fail(
            f"mean has {len(step.mean)} values and scale {len(step.scale)}; "
            "give one of each per feature"
        )
    if 0.0 in step.scale:
        fields["scale"].fail("holds 0, which divides nothing; use 1 for a constant feature")
    return step


def _labels(reader: Reader) -> Labels:
    fields = reader.fields(["kind", "input", "output", "labels"])
    labels = [item.text(256) for item in fields["labels"].items(1, MAX_LABELS)]
    if len(set(labels)) != len(labels):
        fields["labels"].fail("names a label twice; labels are unique")
    return Labels(fields["input"].text(128, NAME), fields["output"].text(128, NAME), tuple(labels))


_PREPROCESSING: dict[str, Callable[[Reader], Preprocessing]] = {
    "Tokenize": _tokenize,
    "Scale": _scale,
}
_POSTPROCESSING: dict[str, Callable[[Reader], Postprocessing]] = {"Labels": _labels}
