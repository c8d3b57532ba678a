"""A strict, bounded reader over parsed JSON: every refusal names the place and the cure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeVar

from torchyard.artifact.errors import ManifestInvalid

TYPE_NAMES = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
    type(None): "null",
}

MAX_INTEGER = 2**63 - 1
MAX_STRING = 4096
FREE_DEPTH = 8
FREE_VALUES = 4096

Json = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Reader:
    """One JSON value and its place. Methods return the typed value or raise ManifestInvalid."""

    value: object
    path: str = ""

    def fail(self, problem: str) -> NoReturn:
        """Refuse this value; `problem` says why and what would be right."""
        raise ManifestInvalid(self.path, problem)

    def fields(self, required: Iterable[str], optional: Iterable[str] = ()) -> dict[str, Reader]:
        """The members of an object that has all of `required` and nothing outside both lists."""
        required, known = list(required), [*required, *optional]
        if not isinstance(self.value, dict):
            self.fail(f"expected an object, found {self._kind()}")
        for name in self.value:
            if name not in known:
                self.fail(f"unknown field {name[:64]!r}; known are {', '.join(known)}")
        for name in required:
            if name not in self.value:
                self.fail(f"the field {name!r} is missing; add it")
        prefix = f"{self.path}." if self.path else ""
        return {name: Reader(item, prefix + name) for name, item in self.value.items()}

    def members(self, at_most: int) -> dict[str, Reader]:
        """The members of an object whose names are free, at most `at_most` of them."""
        if not isinstance(self.value, dict):
            self.fail(f"expected an object, found {self._kind()}")
        if len(self.value) > at_most:
            self.fail(f"has {len(self.value)} members; at most {at_most} are allowed")
        return {name: Reader(item, f"{self.path}.{name}") for name, item in self.value.items()}

    def items(self, at_least: int, at_most: int) -> list[Reader]:
        """The elements of a list whose length lies between the bounds, both included."""
        if not isinstance(self.value, list):
            self.fail(f"expected a list, found {self._kind()}")
        if not at_least <= len(self.value) <= at_most:
            self.fail(f"has {len(self.value)} elements; {at_least} to {at_most} are allowed")
        return [Reader(item, f"{self.path}[{index}]") for index, item in enumerate(self.value)]

    def text(self, at_most: int = MAX_STRING, pattern: re.Pattern[str] | None = None) -> str:
        """A string of at most `at_most` characters that matches the whole `pattern`, if given."""
        if not isinstance(self.value, str):
            self.fail(f"expected a string, found {self._kind()}")
        if len(self.value) > at_most:
            self.fail(f"has {len(self.value)} characters; at most {at_most} are allowed")
        if not self.value.isascii() and any("\ud800" <= char <= "\udfff" for char in self.value):
            self.fail("holds half of a surrogate pair, which has no UTF-8 form")
        if pattern is not None and not pattern.fullmatch(self.value):
            self.fail(f"{self.value[:128]!r} does not match {pattern.pattern}")
        return self.value

    def integer(self, at_least: int, at_most: int = MAX_INTEGER) -> int:
        """An integer between the bounds, both included."""
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            self.fail(f"expected an integer, found {self._kind()}")
        if not at_least <= self.value <= at_most:
            self.fail(f"is {_short(self.value)}; {at_least} to {at_most} is allowed")
        return self.value

    def number(self) -> float:
        """A finite number, always as a float, so that 1 and 1.0 have one canonical form."""
        if not isinstance(self.value, (int, float)) or isinstance(self.value, bool):
            self.fail(f"expected a number, found {self._kind()}")
        try:
            number = float(self.value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            self.fail("is not a finite number")
        return number

    def choice(self, options: type[Choice]) -> Choice:
        """A member of an enumeration, by its value."""
        text = self.text()
        try:
            return options(text)
        except ValueError:
            self.fail(f"{text[:64]!r} is not one of {', '.join(options)}")

    def free(self) -> dict[str, Json]:
        """A free-form object, bounded in depth, in number of values and in the size of each."""
        if not isinstance(self.value, dict):
            self.fail(f"expected an object, found {self._kind()}")
        left = FREE_VALUES
        pending: list[tuple[Reader, int]] = [(self, 1)]
        while pending:
            reader, depth = pending.pop()
            left -= 1
            if left < 0:
                self.fail(f"holds more than {FREE_VALUES} values; keep large data in a file")
            if depth > FREE_DEPTH:
                reader.fail(f"is nested deeper than {FREE_DEPTH} levels")
            pending.extend((child, depth + 1) for child in reader._children())
        return self.value

    def _children(self) -> list[Reader]:
        """The readers below one free-form value, after the value itself was checked."""
        match self.value:
            case dict():
                for name in self.value:
                    Reader(name, self.path).text(128)
                return [Reader(item, f"{self.path}.{name}") for name, item in self.value.items()]
            case list():
                return [Reader(item, f"{self.path}[{i}]") for i, item in enumerate(self.value)]
            case str():
                self.text()
            case None | bool():
                pass
            case int():
                self.integer(-MAX_INTEGER - 1)
            case float():
                self.number()
            case _:
                self.fail(f"expected JSON, found {self._kind()}")
        return []

    def _kind(self) -> str:
        return TYPE_NAMES.get(type(self.value), type(self.value).__name__)


def _short(number: int) -> str:
    # An integer of thousands of digits has no business in a log, and str() of it may raise.
    return str(number) if -MAX_INTEGER <= number <= MAX_INTEGER else "an integer beyond 64 bits"


def parse(text: bytes, at_most: int) -> Reader:
    """Parse UTF-8 JSON of at most `at_most` bytes. Duplicate keys, NaN and Infinity are refused."""
    if len(text) > at_most:
        raise ManifestInvalid("", f"has {len(text)} bytes; at most {at_most} are allowed")
    try:
        value = json.loads(
            text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_constant
        )
    except RecursionError:
        raise ManifestInvalid("", "is nested too deeply") from None
    except ValueError as error:
        raise ManifestInvalid("", f"is not JSON: {error}") from None
    return Reader(value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    # Parsers differ in which of two equal keys wins, so a digest over either would be ambiguous.
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object names the same key twice")
    return members


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
