from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from torchyard.artifact import Datatype, Signature, Tensor
from torchyard_server.errors import RequestError
from torchyard_server.protocol import rest
from torchyard_server.protocol.datatypes import NUMPY, Array

SIGNATURE = Signature(
    (
        Tensor("features", Datatype.FP32, (-1, 2)),
        Tensor("text", Datatype.BYTES, (-1,)),
    ),
    (Tensor("score", Datatype.FP32, (-1,)), Tensor("label", Datatype.BYTES, (-1,))),
)
FEATURES = {"name": "features", "datatype": "FP32", "shape": [2, 2], "data": [1, 2.5, 3, 4]}
TEXT = {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "ä"]}


def decode(document: object, signature: Signature = SIGNATURE) -> rest.InferRequest:
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    return rest.decode_request(text, signature, batched=True, max_rows=4)


def test_a_request_is_read() -> None:
    request = decode({"id": "7", "inputs": [TEXT, FEATURES], "outputs": [{"name": "label"}]})
    assert request.id == "7"
    assert request.rows == 2
    assert request.outputs == ("label",)
    assert list(request.inputs) == ["features", "text"]  # the order of the signature
    assert request.inputs["features"].dtype == np.float32
    assert request.inputs["features"].tolist() == [[1, 2.5], [3, 4]]
    assert request.inputs["text"].tolist() == ["a", "ä"]


def test_what_may_be_left_out() -> None:
    request = decode({"inputs": [FEATURES, TEXT]})
    assert request.id is None
    assert request.outputs == ("score", "label")
    assert decode({"inputs": [FEATURES, TEXT], "outputs": []}).outputs == ("score", "label")


def test_parameters_and_unknown_members_are_tolerated() -> None:
    decode(
        {
            "inputs": [{**FEATURES, "parameters": {"content_type": "np"}}, TEXT],
            "outputs": [{"name": "label", "parameters": {"binary_data": False}}],
            "parameters": {"timeout": 5, "binary_data_output": True},
            "unknown": None,
        }
    )


def test_data_may_be_nested_as_the_shape_says() -> None:
    request = decode({"inputs": [{**FEATURES, "data": [[1, 2], [3, 4]]}, TEXT]})
    assert request.inputs["features"].tolist() == [[1, 2], [3, 4]]


def with_features(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**FEATURES, **changes}, TEXT]}


def with_text(**changes: Any) -> dict[str, Any]:
    return {"inputs": [FEATURES, {**TEXT, **changes}]}


def without(entry: dict[str, Any], member: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != member}


REFUSED: dict[str, tuple[object, str]] = {
    "no JSON": (b"{", "the body is not JSON"),
    "nothing": (b"", "the body is not JSON"),
    "not UTF-8": (b'{"id": "\xff"}', "the body is not JSON"),
    "NaN": (b'{"inputs": [NaN]}', "the body is not JSON"),
    "an endless number": (b'{"inputs": [1e999]}', "the body is not JSON"),
    "half a surrogate pair": (b'{"id": "\\ud800"}', "the body is not JSON"),
    "nested without end": (b"[" * 100_000, "the body is not JSON"),
    "a list": ([], "the body is not a JSON object"),
    "a numeric id": ({"id": 1, "inputs": [FEATURES, TEXT]}, "id: is not a string"),
    "a long id": ({"id": "x" * 1025, "inputs": []}, "id: is not a string of at most 1024"),
    "parameters that are a list": (
        {"inputs": [FEATURES, TEXT], "parameters": []},
        "the request: parameters is not an object",
    ),
    "no inputs": ({}, "inputs: is not a list; send one entry for each input"),
    "inputs that are an object": ({"inputs": {}}, "inputs: is not a list"),
    "an input that is a list": ({"inputs": [[]]}, "inputs[0]: is not an object"),
    "an input without a name": ({"inputs": [{}]}, "inputs[0].name: is not a string"),
    "an unknown input": (
        {"inputs": [{**FEATURES, "name": "x"}]},
        "inputs[0].name: 'x' is not an input of the model; its inputs are features, text",
    ),
    "an input twice": ({"inputs": [TEXT, TEXT]}, "inputs[1].name: 'text' is sent twice"),
    "an input too few": ({"inputs": [TEXT]}, "inputs: 'features' is missing"),
    "another datatype": (
        with_features(datatype="FP64"),
        "input 'features': datatype is 'FP64', the model takes FP32",
    ),
    "no datatype": (
        {"inputs": [without(FEATURES, "datatype"), TEXT]},
        "input 'features': datatype is 'None'",
    ),
    "no shape": (
        {"inputs": [without(FEATURES, "shape"), TEXT]},
        "input 'features': shape is not a list",
    ),
    "a shape of strings": (with_features(shape=["2", 2]), "shape[0] is 2; sizes are integers"),
    "a shape of booleans": (with_features(shape=[True, 2]), "shape[0] is True; sizes are"),
    "no rows": (with_features(shape=[0, 2], data=[]), "shape[0] is 0; sizes are integers above 0"),
    "a negative size": (with_features(shape=[-1, 2]), "shape[0] is -1"),
    "a huge size": (with_features(shape=[2**40, 2]), "sizes are integers"),
    "another rank": (with_features(shape=[4]), "shape [4] has 1 axes, the model takes [-1, 2]"),
    "another size": (with_features(shape=[1, 4]), "shape[1] is 4, the model takes 2"),
    "a size beyond the data": (
        with_features(shape=[2**30, 2]),
        "data has 4 elements, but shape [1073741824, 2] means 2147483648",
    ),
    "other rows": (with_text(shape=[1], data=["a"]), "must be the same everywhere"),
    "too many rows": (
        {
            "inputs": [
                {**FEATURES, "shape": [5, 2], "data": [0] * 10},
                {**TEXT, "shape": [5], "data": ["a"] * 5},
            ]
        },
        "inputs: 5 rows in one request, at most 4",
    ),
    "no data": ({"inputs": [without(FEATURES, "data"), TEXT]}, "input 'features': data is not a l"),
    "data that is a number": (with_features(data=4), "data is not a list"),
    "binary data": (
        {"inputs": [{**without(FEATURES, "data"), "parameters": {"binary_data_size": 16}}, TEXT]},
        "input 'features': binary tensor data is not supported",
    ),
    "too little data": (with_features(data=[1, 2]), "data has 2 elements, but shape [2, 2] means"),
    "data nested otherwise": (
        with_features(data=[[1, 2, 3, 4]]),
        "data is nested as [1, 4], but shape is [2, 2]",
    ),
    "data nested unevenly": (with_features(data=[[1, 2], [3]]), "nested unevenly"),
    "data half nested": (with_features(data=[[1, 2], 3, 4]), "nested unevenly"),
    "data nested too deeply": (with_features(data=[[[[[[[[[1]]]]]]]]]), "too deeply"),
    "data of strings": (with_features(data=["1", 2, 3, 4]), "holds a string, which is no FP32"),
    "data of booleans": (with_features(data=[True, 2, 3, 4]), "holds a boolean, which is no FP32"),
    "data of nulls": (with_features(data=[None, 2, 3, 4]), "holds null, which is no FP32"),
    "data of objects": (with_features(data=[{}, 2, 3, 4]), "holds an object, which is no FP32"),
    "data beyond the type": (with_features(data=[1e39, 2, 3, 4]), "that does not fit FP32"),
    "text that is a number": (with_text(data=["a", 1]), "holds a number, which is no BYTES"),
    "text nested": (with_text(data=[["a"], ["b"]]), "data is nested as [2, 1]"),
    "outputs that are an object": (
        {"inputs": [FEATURES, TEXT], "outputs": {}},
        "outputs: is not a list",
    ),
    "an unknown output": (
        {"inputs": [FEATURES, TEXT], "outputs": [{"name": "x"}]},
        "outputs[0].name: 'x' is not an output of the model; its outputs are score, label",
    ),
    "an output twice": (
        {"inputs": [FEATURES, TEXT], "outputs": [{"name": "label"}] * 2},
        "outputs[1].name: 'label' is asked for twice",
    ),
    "an output that is a string": (
        {"inputs": [FEATURES, TEXT], "outputs": ["label"]},
        "outputs[0]: is not an object",
    ),
}


@pytest.mark.parametrize(("document", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(document: object, message: str) -> None:
    with pytest.raises(RequestError) as refusal:
        decode(document)
    assert refusal.value.status == 400
    assert message in str(refusal.value)


# (datatype, data, array, or what the refusal says)
VALUES: list[tuple[str, list[Any], list[Any] | str]] = [
    ("BOOL", [True, False], [True, False]),
    ("BOOL", [1, 0], "holds a number, which is no BOOL"),
    ("UINT8", [0, 255], [0, 255]),
    ("UINT8", [0, 256], "does not fit UINT8"),
    ("UINT8", [0, -1], "does not fit UINT8"),
    ("INT8", [-128, 127], [-128, 127]),
    ("INT8", [-129, 0], "does not fit INT8"),
    ("INT64", [-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
    ("INT64", [0, 2**63], "does not fit INT64"),
    ("INT64", [0, 2**64], "a number with a fraction, which is no INT64"),
    ("INT64", [0, 1.5], "a number with a fraction, which is no INT64"),
    ("INT64", [0, 1.0], "a number with a fraction, which is no INT64"),
    ("UINT64", [1, 2**64 - 1], [1, 2**64 - 1]),
    ("UINT64", [-1, 2**63], "does not fit UINT64"),
    ("FP16", [1.5, 65504], [1.5, 65504]),
    ("FP16", [1.5, 65520], "does not fit FP16"),
    ("FP32", [1, 1e-50], [1, 0]),
    ("FP64", [1e308, -0.1], [1e308, -0.1]),
    ("FP64", [0, 2**64], [0, float(2**64)]),
    ("BYTES", ["", "a\u0000b"], ["", "a\u0000b"]),
    ("BYTES", ["a", None], "holds null, which is no BYTES"),
]


@pytest.mark.parametrize(("datatype", "data", "expected"), VALUES)
def test_values(datatype: str, data: list[Any], expected: list[Any] | str) -> None:
    signature = Signature((Tensor("x", Datatype(datatype), (-1,)),), SIGNATURE.outputs)
    document = {"inputs": [{"name": "x", "datatype": datatype, "shape": [2], "data": data}]}
    if isinstance(expected, str):
        with pytest.raises(RequestError, match=expected):
            decode(document, signature)
    else:
        array = decode(document, signature).inputs["x"]
        assert array.dtype == NUMPY[Datatype(datatype)]
        assert array.tolist() == expected


def test_a_scalar_has_one_element_and_no_batch() -> None:
    signature = Signature((Tensor("x", Datatype.FP32, ()),), SIGNATURE.outputs)
    entry = {"name": "x", "datatype": "FP32", "shape": [], "data": [3]}
    text = json.dumps({"inputs": [entry]}).encode()
    request = rest.decode_request(text, signature, batched=False, max_rows=4)
    assert request.rows == 1
    assert request.inputs["x"].shape == ()


def test_a_long_string_among_numbers_takes_no_memory() -> None:
    # numpy would make room for the longest string in every element: 40 GB.
    data = [1.0] * 10_000 + ["x" * 1_000_000]
    entry = {"name": "x", "datatype": "FP32", "shape": [10_001], "data": data}
    signature = Signature((Tensor("x", Datatype.FP32, (-1,)),), SIGNATURE.outputs)
    with pytest.raises(RequestError, match="holds a string"):
        decode({"inputs": [entry]}, signature)


numeric = st.sampled_from([datatype for datatype in Datatype if datatype is not Datatype.BYTES])


@given(st.data(), numeric)
def test_what_a_client_encodes_is_what_the_model_gets(data: st.DataObject, kind: Datatype) -> None:
    finite = {"allow_nan": False, "allow_infinity": False} if NUMPY[kind].kind == "f" else {}
    array: Array = data.draw(
        arrays.arrays(
            NUMPY[kind],
            arrays.array_shapes(min_dims=1, max_dims=3, max_side=4),
            elements=arrays.from_dtype(NUMPY[kind], **finite),  # type: ignore[arg-type]
        )
    )
    signature = Signature((Tensor("x", kind, (-1,) * array.ndim),), SIGNATURE.outputs)
    values = array if data.draw(st.booleans()) else array.reshape(-1)
    entry = {"name": "x", "datatype": kind, "shape": array.shape, "data": values.tolist()}
    decoded = decode({"inputs": [entry]}, signature).inputs["x"]
    np.testing.assert_array_equal(decoded, array, strict=True)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
members = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["features", "text", "x"]) | anything,
        "datatype": st.sampled_from(["FP32", "BYTES"]) | anything,
        "shape": st.lists(st.integers(0, 3), max_size=3) | anything,
        "data": st.lists(st.floats() | st.text(max_size=2), max_size=6) | anything,
        "parameters": anything,
    },
)


@given(st.lists(members | anything, max_size=3) | anything, anything, anything)
def test_every_request_is_read_or_refused(inputs: Any, outputs: Any, identity: Any) -> None:
    with suppress(RequestError):
        decode({"id": identity, "inputs": inputs, "outputs": outputs})


def test_an_answer() -> None:
    request = rest.InferRequest("7", {}, ("label", "score"), 2)
    results = {
        "score": np.array([0.5, 1], np.float32),
        "label": np.array(["bad", "ä"], np.object_),
    }
    answer = json.loads(rest.encode_response("reviews", "3", request, SIGNATURE, results))
    assert answer == {
        "model_name": "reviews",
        "model_version": "3",
        "id": "7",
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["bad", "ä"]},
            {"name": "score", "datatype": "FP32", "shape": [2], "data": [0.5, 1]},
        ],
    }


@pytest.mark.parametrize("kind", [Datatype.FP16, Datatype.FP32, Datatype.FP64])
def test_what_json_has_no_word_for_becomes_null(kind: Datatype) -> None:
    signature = Signature(SIGNATURE.inputs, (Tensor("y", kind, (-1,)),))
    results = {"y": np.array([1, np.nan, np.inf, -np.inf], NUMPY[kind])}
    request = rest.InferRequest(None, {}, ("y",), 4)
    answer = json.loads(
        rest.encode_response("m", "1", request, signature, results),
        parse_constant=lambda name: pytest.fail(f"{name} is not JSON"),
    )
    assert answer["outputs"][0]["data"] == [1, None, None, None]
    assert "id" not in answer


@pytest.mark.parametrize("kind", list(Datatype))
def test_results_of_every_datatype_are_written_row_major(kind: Datatype) -> None:
    values: Array = np.array([["a", "b"], ["c", "d"]] if kind == "BYTES" else [[0, 1], [1, 0]])
    array = values.astype(NUMPY[kind]).T  # not contiguous
    signature = Signature(SIGNATURE.inputs, (Tensor("y", kind, (-1, 2)),))
    request = rest.InferRequest(None, {}, ("y",), 2)
    answer = json.loads(rest.encode_response("m", "1", request, signature, {"y": array}))
    assert answer["outputs"][0]["shape"] == [2, 2]
    assert answer["outputs"][0]["data"] == array.reshape(-1).tolist()


def test_metadata() -> None:
    assert json.loads(rest.encode_model_metadata("reviews", "3", SIGNATURE)) == {
        "name": "reviews",
        "versions": ["3"],
        "platform": "onnx_onnxv1",
        "inputs": [
            {"name": "features", "datatype": "FP32", "shape": [-1, 2]},
            {"name": "text", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "score", "datatype": "FP32", "shape": [-1]},
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
        ],
    }
