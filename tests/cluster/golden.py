"""What a person reads, kept as files: `kubectl get`, `describe`, `wait` and `explain`.

What differs from run to run is replaced by a word in angle brackets. With
TORCHYARD_UPDATE_GOLDEN=1 the files are written anew: look at every line of the difference.
"""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "golden"
UPDATE = "TORCHYARD_UPDATE_GOLDEN"

_EVERYWHERE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "<time>"),
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "<uid>"),
    (re.compile(r"sha256:[0-9a-f]{64}"), "<digest>"),
    (re.compile(r"(?<=-s)\d{8}\b"), "<step>"),
    # A revision: the version, and a hash of all that its pods are made of.
    (re.compile(r"\bv(\d+)-[0-9a-f]{8}\b"), r"v\1-<hash>"),
    # The two parts that a Deployment adds to the name of a pod.
    (re.compile(r"<hash>-[0-9a-z]{6,10}-[0-9a-z]{5}\b"), "<hash>-<pod>"),
)
_FIELDS = frozenset(
    {
        "Accuracy",
        "Active Seconds",
        "Bytes",
        "Eta Seconds",
        "Loss",
        "Resource Version",
        "Samples Per Second",
        "Size Bytes",
    }
)
_COLUMNS = frozenset({"AGE", "Age", "LOSS", "ACCURACY", "SIZE"})
_STEPS = frozenset({"Epoch", "Step", "Last Step", "STEP"})


def compare(name: str, text: str) -> None:
    """Fails unless `text` is what the file says; writes it when asked to."""
    path = FOLDER / f"{name}.txt"
    if os.environ.get(UPDATE):
        path.write_text(text)
        return
    expected = path.read_text() if path.exists() else ""
    difference = difflib.unified_diff(
        expected.splitlines(), text.splitlines(), str(path), "now", lineterm=""
    )
    assert text == expected, "\n".join([f"{UPDATE}=1 writes it anew", *difference])


def normal(text: str, known: Mapping[str, str], *, moving: bool = False) -> str:
    """The text without what differs from run to run.

    Args:
        text: what kubectl printed.
        known: what to put in place of words that are known, such as references of images.
        moving: whether the steps differ, too.
    """
    volatile = _STEPS if moving else frozenset[str]()
    lines = list(_fields(text.splitlines(), _FIELDS | volatile))
    text = "\n".join(line.rstrip() for line in _tables(lines, _COLUMNS | volatile)) + "\n"
    for word, name in known.items():
        text = text.replace(word, name)
    for pattern, name in _EVERYWHERE:
        text = pattern.sub(name, text)
    return text


def _fields(lines: Iterable[str], volatile: frozenset[str]) -> Iterable[str]:
    """`Name:   value` of `kubectl describe`, with the values of some fields replaced.

    The width of the names depends on their neighbours, that of the values does not.
    """
    for line in lines:
        match = re.fullmatch(r"( *)([A-Z][A-Za-z ]*):( +)(\S.*)", line)
        if match and match[2] in volatile:
            yield f"{match[1]}{match[2]}:{match[3]}<{match[2].lower()}>"
        else:
            yield line


def _tables(lines: list[str], volatile: frozenset[str]) -> Iterable[str]:
    """Tables with the values of some columns replaced, and laid out anew after that."""
    position = 0
    while position < len(lines):
        end = position
        if _is_header(lines[position]):
            while end < len(lines) and lines[end].strip() and not lines[end].startswith("$"):
                end += 1
            yield from _table(lines[position:end], volatile)
            position = end
        else:
            yield lines[position]
            position += 1


def _is_header(line: str) -> bool:
    words = re.split(r" {2,}", line.strip())
    return words[0] == "NAME" or words[:2] == ["Type", "Reason"]


def _table(lines: list[str], volatile: frozenset[str]) -> Iterable[str]:
    header = lines[0]
    starts = [match.start() for match in re.finditer(r"\S+( \S+)*", header)]
    rows = [_cells(line, starts) for line in lines]
    for row in rows[1:]:
        for column, name in enumerate(rows[0]):
            if name in volatile and row[column] and set(row[column]) != {"-"}:
                row[column] = f"<{name.lower()}>"
            elif set(row[column]) == {"-"}:  # describe underlines its headers
                row[column] = "-" * len(name)
    widths = [max(len(row[column]) for row in rows) for column in range(len(starts))]
    indent = " " * starts[0]
    for row in rows:
        yield indent + "   ".join(c.ljust(w) for c, w in zip(row, widths, strict=True))


def _cells(line: str, starts: list[int]) -> list[str]:
    ends = [*starts[1:], None]
    return [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
