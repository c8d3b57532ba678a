"""Carrying out an artifact's declarative preprocessing, as a server will."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from torchyard.artifact import Preprocessing, Scale, Tokenize
from torchyard_trainer.task import Learnt, Requests


def preprocess(steps: Sequence[Preprocessing], requests: Requests, tokenizers: Learnt) -> Requests:
    """What the model is given for these requests: the tensors that are left, by name, in order."""
    tensors = dict(requests)
    for step in steps:
        source = tensors.pop(step.input)
        match step:
            case Tokenize():
                tensors[step.output] = _tokenize(step, source.tolist(), tokenizers)
            case Scale():
                mean, scale = np.array(step.mean), np.array(step.scale)
                tensors[step.output] = ((source - mean) / scale).astype(np.float32)
    return tensors


def _tokenize(step: Tokenize, texts: list[str], tokenizers: Learnt) -> NDArray[np.int64]:
    tokenizer = Tokenizer.from_str(tokenizers[step.file].decode())
    padding = (tokenizer.padding or {}).get("pad_id", 0)
    tokenizer.no_padding()
    tokenizer.enable_truncation(step.length)
    result = np.full((len(texts), step.length), padding, np.int64)
    for row, encoding in zip(result, tokenizer.encode_batch(texts), strict=True):
        row[: len(encoding.ids)] = encoding.ids
    return result
