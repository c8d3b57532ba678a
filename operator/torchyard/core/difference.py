"""Whether an observed object still says what was applied.

The API server adds defaults and other writers add fields of their own, so what was applied is
compared as a part of what is there. Lists follow server-side apply: those with merge keys are
compared element by element, the others as a whole.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

_MERGE_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
}
_PORT_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "spec": ("port", "protocol"),
    "containers": ("containerPort", "protocol"),
    "initContainers": ("containerPort", "protocol"),
}
_KEY_DEFAULTS: Final = {"protocol": "TCP"}

_QUANTITIES: Final = frozenset({"limits", "requests", "sizeLimit"})
_QUANTITY: Final = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([KMGTPE]i|[numkMGTPE])?")
_FACTORS: Final[Mapping[str, Decimal]] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal(1000),
    **{letter: Decimal(1000) ** power for power, letter in enumerate("MGTPE", 2)},
    **{f"{letter}i": Decimal(1024) ** power for power, letter in enumerate("KMGTPE", 1)},
}

Path = tuple[str, ...]


def differs(desired: Any, observed: Any) -> str | None:
    """The first field of `desired` that `observed` does not carry, or None."""
    return _differs((), desired, observed)


def fingerprint(manifest: Any) -> str:
    """A hash of a whole manifest: it tells that a field is no longer asked for."""
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def merge_patch(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch that turns `before` into `after`, which holds no nulls."""
    patch: dict[str, Any] = {key: None for key in before if key not in after}
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            if inner := merge_patch(old, value):
                patch[key] = inner
        elif key not in before or value != old:
            patch[key] = value
    return patch


def _differs(path: Path, desired: Any, observed: Any) -> str | None:
    # An empty value may be stored as no value at all.
    if not desired and not observed:
        return None
    if isinstance(desired, Mapping) and isinstance(observed, Mapping):
        for key, value in desired.items():
            if found := _differs((*path, key), value, observed.get(key)):
                return found
        return None
    if _is_list(desired) and _is_list(observed):
        return _lists_differ(path, desired, observed)
    if _same(path, desired, observed):
        return None
    return f"{'.'.join(path)}: wanted {_short(desired)}, found {_short(observed)}"


def _lists_differ(path: Path, desired: Sequence[Any], observed: Sequence[Any]) -> str | None:
    keys = _merge_keys(path)
    if keys:
        there = {_key(keys, item): item for item in observed}
        pairs = [(item, there.get(_key(keys, item))) for item in desired]
    elif len(desired) != len(observed):
        return f"{'.'.join(path)}: wanted {len(desired)} items, found {len(observed)}"
    else:
        pairs = list(zip(desired, observed, strict=True))
    for wanted, found in pairs:
        if difference := _differs(path, wanted, found):
            return difference
    return None


def _merge_keys(path: Path) -> tuple[str, ...] | None:
    if path[-1] == "ports":
        return _PORT_KEYS.get(path[-2])
    return _MERGE_KEYS.get(path[-1])


def _key(keys: tuple[str, ...], item: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(item.get(key, _KEY_DEFAULTS.get(key)) for key in keys)


def _same(path: Path, desired: Any, observed: Any) -> bool:
    if desired == observed:
        return True
    if not _QUANTITIES.intersection(path[-2:]):
        return False
    amount = _amount(desired)
    return amount is not None and amount == _amount(observed)


def _amount(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(value))
    return Decimal(match[1]) * _FACTORS[match[2] or ""] if match else None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
