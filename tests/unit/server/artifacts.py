"""Small real artifacts: ONNX graphs and tokenizers made without any training library.

The text model counts good and bad words, so its answers are known; the numeric one is an MLP whose
first layer is the identity after scaling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from torchyard.artifact import (
    Architecture,
    Datatype,
    Format,
    Labels,
    Manifest,
    Postprocessing,
    Preprocessing,
    Scale,
    Signature,
    Tensor,
    Tokenize,
    describe,
    write_manifest,
)

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "good": 2, "bad": 3}
LENGTH = 8


def constant(name: str, values: object, dtype: Any = np.float32) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, dtype), name)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[tuple[str, int, list[Any]]],
    outputs: list[tuple[str, int, list[Any]]],
    constants: list[onnx.TensorProto],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(*each) for each in inputs],
        [helper.make_tensor_value_info(*each) for each in outputs],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    content: bytes = made.SerializeToString()
    return content


def text_model(tokens: int = TensorProto.INT64) -> bytes:
    """token_ids [n, 8] → probabilities [n, 2] of negative and positive."""
    embedding = [[0, 0], [0, 0], [0, 1], [1, 0]]  # what a word adds to negative and positive
    nodes = [
        helper.make_node("Gather", ["embedding", "token_ids"], ["words"]),
        helper.make_node("ReduceSum", ["words", "axis"], ["scores"], keepdims=0),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=-1),
    ]
    return model(
        nodes,
        [("token_ids", tokens, ["n", LENGTH])],
        [("probabilities", TensorProto.FLOAT, ["n", 2])],
        [constant("embedding", embedding), constant("axis", [1], np.int64)],
    )


def numeric_model(features: int = 4, hidden: int = 4) -> bytes:
    """scaled [n, features] → sums [n] and doubled [n, features]."""
    nodes = [
        helper.make_node("ReduceSum", ["scaled", "axis"], ["sums"], keepdims=0),
        helper.make_node("Mul", ["scaled", "two"], ["doubled"]),
    ]
    return model(
        nodes,
        [("scaled", TensorProto.FLOAT, ["n", features])],
        [("sums", TensorProto.FLOAT, ["n"]), ("doubled", TensorProto.FLOAT, ["n", features])],
        [constant("axis", [1], np.int64), constant("two", 2)],
    )


def tokenizer() -> bytes:
    made = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    made.pre_tokenizer = Whitespace()
    return str(made.to_str()).encode()


TEXT_SIGNATURE = Signature(
    (Tensor("text", Datatype.BYTES, (-1,)),),
    (
        Tensor("probabilities", Datatype.FP32, (-1, 2)),
        Tensor("label", Datatype.BYTES, (-1,)),
    ),
)
TEXT_BEFORE: tuple[Preprocessing, ...] = (Tokenize("text", "token_ids", "tokenizer.json", LENGTH),)
TEXT_AFTER: tuple[Postprocessing, ...] = (
    Labels("probabilities", "label", ("negative", "positive")),
)
NUMERIC_SIGNATURE = Signature(
    (Tensor("features", Datatype.FP32, (-1, 4)),),
    (Tensor("sums", Datatype.FP32, (-1,)), Tensor("doubled", Datatype.FP32, (-1, 4))),
)
NUMERIC_BEFORE: tuple[Preprocessing, ...] = (
    Scale("features", "scaled", (1.0, 2.0, 3.0, 4.0), (1.0, 1.0, 2.0, 2.0)),
)


def write(
    directory: Path,
    onnx_model: bytes,
    signature: Signature,
    before: tuple[Preprocessing, ...] = (),
    after: tuple[Postprocessing, ...] = (),
    name: str = "reviews",
) -> Manifest:
    """An artifact with a model, a tokenizer and weights that no server reads."""
    directory.mkdir(parents=True, exist_ok=True)
    contents = {
        "model.onnx": (Format.ONNX, onnx_model),
        "model.safetensors": (Format.SAFETENSORS, b"weights"),
        "tokenizer.json": (Format.TOKENIZER, tokenizer()),
    }
    for path, (_, content) in contents.items():
        (directory / path).write_bytes(content)
    manifest = Manifest(
        model=name,
        files=tuple(describe(directory, path, kind) for path, (kind, _) in contents.items()),
        signature=signature,
        preprocessing=before,
        postprocessing=after,
        architecture=Architecture("textClassifier"),
    )
    write_manifest(directory, manifest)
    return manifest


def text_artifact(directory: Path) -> Manifest:
    return write(directory, text_model(), TEXT_SIGNATURE, TEXT_BEFORE, TEXT_AFTER)


def numeric_artifact(directory: Path) -> Manifest:
    return write(directory, numeric_model(), NUMERIC_SIGNATURE, NUMERIC_BEFORE, name="digits")
