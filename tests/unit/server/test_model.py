"""Steps, runtime and signature together, on real ONNX models and a real tokenizer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer

from tests.unit.server import artifacts
from torchyard.artifact import (
    Datatype,
    Format,
    Labels,
    Scale,
    Signature,
    Tensor,
    Tokenize,
    write_manifest,
)
from torchyard_server import loading, steps
from torchyard_server.errors import ArtifactRefused, LoadFailed, RequestError
from torchyard_server.lifecycle import Phase
from torchyard_server.model import Model
from torchyard_server.protocol.datatypes import Array
from torchyard_server.runtimes.onnx import OnnxRuntime


def load(directory: Path, digest: str | None = None) -> Model:
    return loading.load(directory, digest, 1, 4, lambda phase: None)[1]


def texts(*values: str) -> Array:
    return np.array(values, np.object_)


def test_text(tmp_path: Path) -> None:
    artifacts.text_artifact(tmp_path)
    model = load(tmp_path)
    assert model.batched
    results = model.infer({"text": texts("good good", "bad", "good " * 50, "")})
    assert results["label"].tolist() == ["positive", "negative", "positive", "negative"]
    np.testing.assert_allclose(results["probabilities"][0], [0.1192, 0.8808], atol=1e-4)
    # Cut to eight words, and the empty text is nothing but padding.
    np.testing.assert_allclose(results["probabilities"][2][1], 1 / (1 + np.exp(-8)), atol=1e-4)
    np.testing.assert_allclose(results["probabilities"][3], [0.5, 0.5])


def test_numbers(tmp_path: Path) -> None:
    artifacts.numeric_artifact(tmp_path)
    results = load(tmp_path).infer({"features": np.array([[1, 3, 7, 0]], np.float32)})
    assert results["doubled"].tolist() == [[0, 2, 4, -4]]
    assert results["sums"].tolist() == [1]


def test_each_phase_is_reported(tmp_path: Path) -> None:
    artifacts.numeric_artifact(tmp_path)
    phases: list[Phase] = []
    manifest, _ = loading.load(tmp_path, None, 1, 4, phases.append)
    assert phases == [Phase.LOADING, Phase.WARMING]
    assert loading.load(tmp_path, manifest.digest, 1, 4, phases.append)[0] == manifest


@pytest.mark.parametrize("file", ["model.onnx", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("place", [0, -1])
def test_a_file_with_one_altered_byte_is_never_served(
    tmp_path: Path, file: str, place: int
) -> None:
    artifacts.text_artifact(tmp_path)
    content = bytearray((tmp_path / file).read_bytes())
    content[place] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ArtifactRefused, match=f"^{file}: sha256 is") as refusal:
        load(tmp_path)
    assert refusal.value.file == file
    assert refusal.value.outcome == "ArtifactCorrupt"


def test_an_artifact_with_another_digest_is_never_served(tmp_path: Path) -> None:
    artifacts.text_artifact(tmp_path)
    with pytest.raises(ArtifactRefused, match="was promised") as refusal:
        load(tmp_path, "sha256:" + "0" * 64)
    assert refusal.value.file == "manifest.json"


def test_a_directory_without_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactRefused, match=r"holds no manifest\.json"):
        load(tmp_path)


def test_an_artifact_without_onnx(tmp_path: Path) -> None:
    manifest = artifacts.text_artifact(tmp_path)
    files = tuple(file for file in manifest.files if file.format is not Format.ONNX)
    write_manifest(tmp_path, dataclasses.replace(manifest, files=files))
    with pytest.raises(LoadFailed, match="holds SafeTensors, but this server executes Onnx"):
        load(tmp_path)


def test_files_that_are_no_models(tmp_path: Path) -> None:
    artifacts.write(tmp_path, b"no protobuf", artifacts.NUMERIC_SIGNATURE)
    with pytest.raises(LoadFailed, match=r"model\.onnx: onnxruntime cannot load it") as refusal:
        load(tmp_path)
    assert refusal.value.file == "model.onnx"


def test_a_tokenizer_that_is_none() -> None:
    step = Tokenize("text", "ids", "tokenizer.json", 8)
    with pytest.raises(LoadFailed, match=r"tokenizer\.json: is not a usable tokenizer"):
        steps.preprocessor(step, {"tokenizer.json": b"{}"})


def test_weights_in_files_that_nobody_verified_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load_from_string(artifacts.numeric_model())
    big = artifacts.constant("two", np.full((1, 4), 2, np.float32))
    model.graph.initializer[1].CopyFrom(big)
    onnx.external_data_helper.set_external_data(model.graph.initializer[1], "weights.bin")
    model.graph.initializer[1].ClearField("raw_data")
    model.graph.initializer[1].data_location = TensorProto.EXTERNAL
    (tmp_path / "weights.bin").write_bytes(big.raw_data)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LoadFailed, match="External data path does not exist"):
        OnnxRuntime("model.onnx", model.SerializeToString(), 1)


NUMERIC = artifacts.NUMERIC_SIGNATURE
MISMATCHES: dict[str, tuple[Signature, str]] = {
    "another input": (
        Signature((Tensor("x", Datatype.FP32, (-1, 4)),), NUMERIC.outputs),
        r"takes \['scaled'\], but signature and preprocessing give \['x'\]",
    ),
    "another input datatype": (
        Signature((Tensor("scaled", Datatype.FP64, (-1, 4)),), NUMERIC.outputs),
        "takes 'scaled' as FP32, but signature and preprocessing give FP64",
    ),
    "an output that is not computed": (
        Signature(
            (Tensor("scaled", Datatype.FP32, (-1, 4)),), (Tensor("y", Datatype.FP32, (-1,)),)
        ),
        r"computes \['doubled', 'sums'\], but not 'y'",
    ),
    "another output datatype": (
        Signature(
            (Tensor("scaled", Datatype.FP32, (-1, 4)),), (Tensor("sums", Datatype.FP64, (-1,)),)
        ),
        "computes 'sums' as FP32, but the signature promises FP64",
    ),
    "another output shape": (
        Signature(
            (Tensor("scaled", Datatype.FP32, (-1, 4)),),
            (Tensor("doubled", Datatype.FP32, (-1, 5)),),
        ),
        r"computes 'doubled' as \[1, 4\], but the signature promises \[1, 5\]",
    ),
    "another output rank": (
        Signature(
            (Tensor("scaled", Datatype.FP32, (-1, 4)),), (Tensor("sums", Datatype.FP32, (-1, 1)),)
        ),
        r"computes 'sums' as \[1\], but the signature promises \[1, 1\]",
    ),
    "another input shape": (
        Signature((Tensor("scaled", Datatype.FP32, (-1, 5)),), NUMERIC.outputs),
        "the model fails on a batch of 1",
    ),
}


@pytest.mark.parametrize(("signature", "message"), MISMATCHES.values(), ids=MISMATCHES)
def test_a_model_that_breaks_its_signature_is_not_served(
    tmp_path: Path, signature: Signature, message: str
) -> None:
    artifacts.write(tmp_path, artifacts.numeric_model(), signature)
    with pytest.raises(LoadFailed, match=message):
        load(tmp_path)


def test_labels_for_fewer_classes_than_the_model_has(tmp_path: Path) -> None:
    signature = Signature(
        (Tensor("scaled", Datatype.FP32, (-1, 4)),), (Tensor("label", Datatype.BYTES, (-1,)),)
    )
    after = (Labels("doubled", "label", ("a", "b", "c")),)
    artifacts.write(tmp_path, artifacts.numeric_model(), signature, after=after)
    with pytest.raises(LoadFailed, match=r"'doubled' is \[1, 4\], but there are 3 labels"):
        load(tmp_path)


def test_a_model_may_take_tokens_in_32_bits(tmp_path: Path) -> None:
    artifacts.write(
        tmp_path,
        artifacts.text_model(TensorProto.INT32),
        artifacts.TEXT_SIGNATURE,
        artifacts.TEXT_BEFORE,
        artifacts.TEXT_AFTER,
    )
    assert load(tmp_path).infer({"text": texts("bad")})["label"].tolist() == ["negative"]


def test_a_model_without_a_batch_axis(tmp_path: Path) -> None:
    node = helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)
    content = artifacts.model(
        [node], [("x", TensorProto.FLOAT, [3])], [("y", TensorProto.FLOAT, [])], []
    )
    signature = Signature((Tensor("x", Datatype.FP32, (3,)),), (Tensor("y", Datatype.FP32, ()),))
    artifacts.write(tmp_path, content, signature)
    model = load(tmp_path)
    assert not model.batched
    assert model.infer({"x": np.array([1, 2, 3], np.float32)})["y"] == 6


def test_a_model_with_free_sizes_is_served_even_where_the_made_up_ones_fail(
    tmp_path: Path,
) -> None:
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[3])
    content = artifacts.model(
        [node],
        [("x", TensorProto.FLOAT, ["n", 1, "length"])],
        [("y", TensorProto.FLOAT, ["n", 1, "shorter"])],
        [],
    )
    signature = Signature(
        (Tensor("x", Datatype.FP32, (-1, 1, -1)),), (Tensor("y", Datatype.FP32, (-1, 1, -1)),)
    )
    artifacts.write(tmp_path, content, signature)
    results = load(tmp_path).infer({"x": np.ones((1, 1, 5), np.float32)})
    assert results["y"].shape == (1, 1, 3)


def test_values_that_the_model_refuses_are_the_callers_fault(tmp_path: Path) -> None:
    signature = Signature(
        (Tensor("token_ids", Datatype.INT64, (-1, artifacts.LENGTH)),),
        (Tensor("probabilities", Datatype.FP32, (-1, 2)),),
    )
    artifacts.write(tmp_path, artifacts.text_model(), signature)
    model = load(tmp_path)
    with pytest.raises(RequestError, match="the model refuses the input") as refusal:
        model.infer({"token_ids": np.full((1, artifacts.LENGTH), 99)})
    assert refusal.value.status == 400


def tokenizer(**padding: object) -> bytes:
    made = Tokenizer.from_buffer(artifacts.tokenizer())
    if padding:
        made.enable_padding(**padding)
    return str(made.to_str()).encode()


PADDINGS: dict[str, tuple[dict[str, object], list[int]]] = {
    "none": ({}, [2, 3, 0, 0]),
    "its own number": ({"pad_id": 1, "pad_token": "[UNK]"}, [2, 3, 1, 1]),
    "its own side": ({"direction": "left"}, [0, 0, 2, 3]),
    "its own length": ({"length": 2}, [2, 3, 0, 0]),
}


@pytest.mark.parametrize(("padding", "expected"), PADDINGS.values(), ids=PADDINGS)
def test_padding(padding: dict[str, object], expected: list[int]) -> None:
    step = steps.preprocessor(Tokenize("t", "i", "f", 4), {"f": tokenizer(**padding)})
    tokens = step(texts("good bad", "good good good bad bad"))
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [expected, [2, 2, 2, 3]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64])
def test_scaling_any_numbers_gives_single_precision(dtype: type) -> None:
    step = steps.preprocessor(Scale("x", "y", (10.0,), (4.0,)), {})
    scaled = step(np.array([[10, 12]], dtype))
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [[0, 0.5]]


def test_scaling_keeps_digits_behind_a_large_offset() -> None:
    step = steps.preprocessor(Scale("x", "y", (1e9,), (1.0,)), {})
    assert step(np.array([[1e9 + 0.25]])).tolist() == [[0.25]]


def test_the_first_of_equal_scores_names_the_label() -> None:
    step = steps.postprocessor(Labels("x", "y", ("a", "b", "c")))
    scores = np.array([[0, 1, 1], [2, 2, 2], [0, 0, 3]], np.float32)
    assert step(scores).tolist() == ["b", "a", "c"]
