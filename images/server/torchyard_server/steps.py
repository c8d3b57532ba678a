"""The manifest's declarative steps as functions on arrays, batched along the first axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from torchyard.artifact import Labels, Postprocessing, Preprocessing, Scale, Tokenize
from torchyard_server.errors import LoadFailed
from torchyard_server.protocol.datatypes import Array

Step = Callable[[Array], Array]


def preprocessor(step: Preprocessing, contents: Mapping[str, bytes]) -> Step:
    """The function of a step before the model; `contents` has the files that steps name.

    Raises LoadFailed where a file cannot be used.
    """
    match step:
        case Tokenize():
            return _tokenizer(step, contents[step.file])
        case Scale():
            return _scaler(step)


def postprocessor(step: Postprocessing) -> Step:
    """The function of a step after the model."""
    return _labeller(step)


def _tokenizer(step: Tokenize, content: bytes) -> Step:
    from tokenizers import Tokenizer  # only text models need it

    try:
        tokenizer: Any = Tokenizer.from_buffer(content)
        padding = tokenizer.padding or {}
        tokenizer.enable_padding(
            length=step.length,
            pad_id=padding.get("pad_id", 0),
            pad_token=padding.get("pad_token", "[PAD]"),
            direction=padding.get("direction", "right"),
        )
        tokenizer.enable_truncation(step.length)
        encode = tokenizer.encode_batch_fast
    except Exception as error:  # noqa: BLE001  (the library raises bare Exception)
        raise LoadFailed(f"{step.file}: is not a usable tokenizer: {error}", step.file) from None

    def tokenize(texts: Array) -> Array:
        return np.array([encoding.ids for encoding in encode(texts.tolist())], np.int64)

    return tokenize


def _scaler(step: Scale) -> Step:
    mean, scale = np.array(step.mean), np.array(step.scale)

    def standardise(features: Array) -> Array:
        # In double precision, whatever came in: large offsets must not eat the digits that count.
        return np.asarray((features - mean) / scale, np.float32)

    return standardise


def _labeller(step: Labels) -> Step:
    labels = np.array(step.labels, np.object_)

    def label(scores: Array) -> Array:
        if scores.ndim != 2 or scores.shape[1] != len(labels):
            raise ValueError(
                f"{step.input!r} is {list(scores.shape)}, but there are {len(labels)} labels"
            )
        return np.asarray(labels[scores.argmax(axis=-1)])

    return label
