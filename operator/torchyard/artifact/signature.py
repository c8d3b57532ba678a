"""The named inputs and outputs of a model, and when one signature may replace another.

Datatypes and shapes are those of the Open Inference Protocol: -1 stands for a size that varies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from torchyard.artifact.reader import Json, Reader

MAX_TENSORS = 64
MAX_DIMENSIONS = 8
MAX_DIMENSION = 2**31 - 1
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]{0,127}")


class Datatype(StrEnum):
    """The datatypes of the Open Inference Protocol."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"


class Compatibility(StrEnum):
    """How strictly a new signature is compared with the one it replaces."""

    NONE = "None"
    """Anything may follow anything."""

    BACKWARD = "Backward"
    """Every request that was valid stays valid, every output that was promised is still there."""

    STRICT = "Strict"
    """The same tensors; only their order may differ, because clients address them by name."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One named input or output; `shape` holds sizes, -1 for a size that varies."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.datatype}{list(self.shape)}"

    def to_json(self) -> dict[str, Json]:
        """The JSON form, which `read` reads back."""
        return {"name": self.name, "datatype": str(self.datatype), "shape": list(self.shape)}

    @classmethod
    def read(cls, reader: Reader) -> Tensor:
        """Read the JSON form; raises ManifestInvalid."""
        fields = reader.fields(["name", "datatype", "shape"])
        return cls(
            name=fields["name"].text(128, NAME),
            datatype=fields["datatype"].choice(Datatype),
            shape=tuple(_size(size) for size in fields["shape"].items(0, MAX_DIMENSIONS)),
        )


@dataclass(frozen=True, slots=True)
class Signature:
    """What a request must carry and what its answer will carry. Names are unique on each side."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def to_json(self) -> dict[str, Json]:
        """The JSON form, which `read` reads back."""
        return {
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
        }

    @classmethod
    def read(cls, reader: Reader) -> Signature:
        """Read the JSON form; raises ManifestInvalid."""
        fields = reader.fields(["inputs", "outputs"])
        return cls(_tensors(fields["inputs"]), _tensors(fields["outputs"]))


def _size(reader: Reader) -> int:
    size = reader.integer(-1, MAX_DIMENSION)
    if size == 0:
        reader.fail("is 0; write the size, or -1 where it varies")
    return size


def _tensors(reader: Reader) -> tuple[Tensor, ...]:
    tensors = tuple(Tensor.read(item) for item in reader.items(1, MAX_TENSORS))
    names = [tensor.name for tensor in tensors]
    for name in names:
        if names.count(name) > 1:
            reader.fail(f"names {name!r} twice; names are unique")
    return tensors


def compatible(old: Signature, new: Signature, policy: Compatibility) -> list[str]:
    """Why `new` may not replace `old` under `policy`, in plain words; empty means it may."""
    if policy is Compatibility.NONE:
        return []
    strict = policy is Compatibility.STRICT
    before, after = _by_name(old.inputs), _by_name(new.inputs)
    found = [
        f"input {name!r} was removed: requests that send it become invalid"
        for name in sorted(before.keys() - after.keys())
    ]
    # The protocol has no optional inputs, so a new one makes every present request incomplete.
    found += [
        f"input {name!r} is new: requests without it become invalid"
        for name in sorted(after.keys() - before.keys())
    ]
    found += _changes("input", before, after, _same if strict else _widened)

    before, after = _by_name(old.outputs), _by_name(new.outputs)
    found += [f"output {name!r} was removed" for name in sorted(before.keys() - after.keys())]
    if strict:
        found += [f"output {name!r} is new" for name in sorted(after.keys() - before.keys())]
    return found + _changes("output", before, after, _same if strict else _narrowed)


Shape = tuple[int, ...]
Rule = Callable[[Shape, Shape], bool]


def _changes(
    side: str, before: Mapping[str, Tensor], after: Mapping[str, Tensor], allowed: Rule
) -> list[str]:
    """What changed in the tensors that are on both sides."""
    found = []
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        if was.datatype != now.datatype:
            found.append(
                f"{side} {name!r} changed its datatype from {was.datatype} to {now.datatype}"
            )
        elif not allowed(was.shape, now.shape):
            found.append(
                f"{side} {name!r} changed its shape from {list(was.shape)} to {list(now.shape)}"
            )
    return found


def _same(was: Shape, now: Shape) -> bool:
    return was == now


def _widened(was: Shape, now: Shape) -> bool:
    """Whether every concrete shape that fitted `was` fits `now` too."""
    return len(was) == len(now) and all(new in (-1, old) for old, new in zip(was, now, strict=True))


def _narrowed(was: Shape, now: Shape) -> bool:
    return _widened(now, was)


def _by_name(tensors: Iterable[Tensor]) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in tensors}
