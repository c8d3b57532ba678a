"""Reading CSV files: strict, and clear about what is wrong where."""

import csv
import hashlib
import io
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchyard_trainer.errors import DataInvalid

FIELD_LIMIT = 2**30  # the csv module's own limit of 128 KiB is less than a long article
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Table:
    """Chosen columns of a CSV file, as text, in the order of the file."""

    columns: dict[str, list[str]]
    digest: str
    """`sha256:` and the hash of the file as it was read."""


@dataclass(frozen=True)
class NumberTable:
    """A CSV file of numbers with one column of labels, in the order of the file."""

    features: NDArray[np.float32]  # [rows, features]
    names: list[str]
    labels: list[str]
    digest: str


class _Hashed(io.RawIOBase):
    """A file that hashes what is read from it."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self.hash.update(memoryview(buffer)[:count])
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Rows:
    """The rows of an open CSV file, each with as many cells as the header."""

    def __init__(self, path: Path, raw: _Hashed) -> None:
        self._path, self._raw = path, raw
        text = io.TextIOWrapper(io.BufferedReader(raw, 1 << 20), encoding="utf-8-sig", newline="")
        csv.field_size_limit(FIELD_LIMIT)
        self._reader = csv.reader(text, strict=True)
        self.header = next(self._cells(), [])
        if not self.header:
            raise DataInvalid(f"{path.name} is empty; a CSV file with a header is needed")

    @property
    def digest(self) -> str:
        """Valid once all rows have been read."""
        return f"sha256:{self._raw.hash.hexdigest()}"

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        """Number of the line at which a row ends, and its cells; empty lines are left out."""
        width = len(self.header)
        for cells in self._cells():
            if not cells:
                continue
            if len(cells) != width:
                raise DataInvalid(
                    f"{self._path.name}, line {self._reader.line_num}: the row has {len(cells)} "
                    f"cells, the header has {width}"
                )
            yield self._reader.line_num, cells

    def position(self, column: str) -> int:
        """The place of a column; raises DataInvalid naming the columns there are."""
        if column not in self.header:
            there = ", ".join(repr(name) for name in self.header[:20])
            more = f" and {len(self.header) - 20} more" if len(self.header) > 20 else ""
            raise DataInvalid(f"{self._path.name} has no column {column!r}; it has {there}{more}")
        return self.header.index(column)

    def _cells(self) -> Iterator[list[str]]:
        try:
            yield from self._reader
        except UnicodeDecodeError:
            raise DataInvalid(
                f"{self._path.name}, after line {self._reader.line_num}: the text is not UTF-8; "
                "convert the file"
            ) from None
        except csv.Error as error:
            raise DataInvalid(
                f"{self._path.name}, line {self._reader.line_num}: not CSV: {error}"
            ) from None


@contextmanager
def _opened(path: Path) -> Iterator[_Rows]:
    try:
        raw = _Hashed(path)
    except OSError as error:
        raise DataInvalid(f"cannot read {path}: {error.strerror}; check data.uri") from None
    with raw:
        yield _Rows(path, raw)


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """Read `columns` of a UTF-8 CSV file with a header.

    Raises DataInvalid naming a missing column and the ones there are, or the line of a row that
    is no UTF-8, no CSV or not as wide as the header.
    """
    with _opened(path) as rows:
        places = [rows.position(column) for column in columns]
        values: list[list[str]] = [[] for _ in columns]
        for _, cells in rows:
            for place, column in zip(places, values, strict=True):
                column.append(cells[place])
        return Table(dict(zip(columns, values, strict=True)), rows.digest)


def read_numbers(path: Path, label: str) -> NumberTable:
    """Read a CSV file whose columns are numbers, except for the column `label`.

    Raises DataInvalid like `read_table`, and naming line and column of a cell that is no finite
    number.
    """
    with _opened(path) as rows:
        place = rows.position(label)
        names = rows.header[:place] + rows.header[place + 1 :]
        if not names:
            raise DataInvalid(f"{path.name} has no column beside {label!r}")
        flat, labels = array("f"), []
        for line, cells in rows:
            labels.append(cells.pop(place))
            flat.extend(_numbers(path, line, names, cells))
        features = np.frombuffer(flat, np.float32).reshape(len(labels), len(names))
        return NumberTable(features, names, labels, rows.digest)


def _numbers(path: Path, line: int, names: Sequence[str], cells: Sequence[str]) -> list[float]:
    try:
        values = [float(cell) for cell in cells]
        if all(abs(value) <= LARGEST for value in values):
            return values
    except ValueError:
        pass
    for name, cell in zip(names, cells, strict=True):
        if not _fits(cell):
            raise DataInvalid(
                f"{path.name}, line {line}: {name} is {cell[:64]!r}, not a finite number"
            )
    raise AssertionError("unreachable: some cell does not fit")


def _fits(cell: str) -> bool:
    try:
        return abs(float(cell)) <= LARGEST
    except ValueError:
        return False
