"""The data of one tensor: a JSON list, flat or nested, to an array of the promised type.

numpy converts generously: it cuts 1.5 down to 1, reads "1" as a number, and one long string among
numbers makes it allocate that length for every element. So types are checked before it sees them.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from torchyard.artifact import Datatype
from torchyard_server.errors import RequestError
from torchyard_server.protocol.datatypes import NUMPY, Array

MAX_NESTING = 8

_ALLOWED: dict[str, frozenset[type]] = {
    "f": frozenset((int, float)),
    "i": frozenset((int,)),
    "u": frozenset((int,)),
    "b": frozenset((bool,)),
    "O": frozenset((str,)),
}
_WORDS = {
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number with a fraction",
    dict: "an object",
    type(None): "null",
}


def decode(place: str, data: list[Any], datatype: Datatype, shape: tuple[int, ...]) -> Array:
    """The array of `shape`; raises RequestError 400 at `place`, the name of the tensor.

    `data` is the elements in row-major order, or nested exactly as `shape` says.
    """
    values, nesting, kinds = _flatten(place, data)
    if len(nesting) > 1 and nesting != shape:
        _refuse(place, f"data is nested as {list(nesting)}, but shape is {list(shape)}")
    count = math.prod(shape)
    if len(values) != count:
        _refuse(place, f"data has {len(values)} elements, but shape {list(shape)} means {count}")
    dtype = NUMPY[datatype]
    strangers = kinds - _ALLOWED[dtype.kind]
    if strangers:
        stranger = min(_WORDS.get(kind, "something else") for kind in strangers)
        _refuse(place, f"data holds {stranger}, which is no {datatype}")
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype)
    except OverflowError:
        _refuse(place, f"data holds a number that does not fit {datatype}")
    if dtype.kind == "f" and not np.isfinite(array).all():
        _refuse(place, f"data holds a number that does not fit {datatype}")
    return array.reshape(shape)


def _flatten(place: str, data: list[Any]) -> tuple[list[Any], tuple[int, ...], set[type]]:
    """The elements, how they were nested, and their types."""
    nesting = [len(data)]
    kinds: set[type] = set(map(type, data))
    while kinds == {list}:
        sizes = set(map(len, data))
        if len(sizes) > 1 or len(nesting) == MAX_NESTING:
            _refuse(place, "data is nested unevenly or too deeply")
        nesting.append(sizes.pop())
        data = list(chain.from_iterable(data))
        kinds = set(map(type, data))
    if list in kinds:
        _refuse(place, "data is nested unevenly or too deeply")
    return data, tuple(nesting), kinds


def _refuse(place: str, problem: str) -> NoReturn:
    raise RequestError(400, f"{place}: {problem}")
