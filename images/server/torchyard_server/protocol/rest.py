"""The REST form: JSON requests to named arrays, named arrays to JSON answers.

Every refusal is a RequestError 400 that names the tensor and the field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

import orjson

from torchyard.artifact import Signature, Tensor
from torchyard_server.errors import RequestError
from torchyard_server.protocol.datatypes import Array
from torchyard_server.protocol.tensors import decode

MAX_ID = 1024
MAX_SIZE = 2**31


@dataclass(frozen=True, slots=True)
class InferRequest:
    """`inputs` has every input of the signature; `outputs` names what the caller wants, in order.

    `rows` is the common size of the first axis where the model is batched, else 1.
    """

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    rows: int


def decode_request(body: bytes, signature: Signature, batched: bool, max_rows: int) -> InferRequest:
    """Read an inference request; raises RequestError 400 naming tensor and field.

    `batched` says that the first axis of every tensor counts independent rows.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _refuse(f"the body is not JSON: {error}")
    if not isinstance(document, dict):
        _refuse("the body is not a JSON object")
    identity = document.get("id")
    if identity is not None and (not isinstance(identity, str) or len(identity) > MAX_ID):
        _refuse(f"id: is not a string of at most {MAX_ID} characters")
    _parameters("the request", document)
    inputs = _inputs(document.get("inputs"), signature)
    return InferRequest(
        id=identity,
        inputs=inputs,
        outputs=_outputs(document.get("outputs"), signature),
        rows=_rows(inputs, max_rows) if batched else 1,
    )


def _inputs(entries: object, signature: Signature) -> dict[str, Array]:
    if not isinstance(entries, list):
        _refuse("inputs: is not a list; send one entry for each input of the model")
    expected = {tensor.name: tensor for tensor in signature.inputs}
    arrays: dict[str, Array] = {}
    for index, entry in enumerate(entries):
        tensor = expected.get(_name(f"inputs[{index}]", entry))
        if tensor is None:
            _refuse(
                f"inputs[{index}].name: {entry['name'][:128]!r} is not an input of the model; "
                f"its inputs are {', '.join(expected)}"
            )
        if tensor.name in arrays:
            _refuse(f"inputs[{index}].name: {tensor.name!r} is sent twice")
        arrays[tensor.name] = _array(f"input {tensor.name!r}", entry, tensor)
    for name in expected:
        if name not in arrays:
            _refuse(f"inputs: {name!r} is missing; the model's inputs are {', '.join(expected)}")
    return {name: arrays[name] for name in expected}


def _array(place: str, entry: dict[str, object], tensor: Tensor) -> Array:
    parameters = _parameters(place, entry)
    if entry.get("datatype") != tensor.datatype:
        _refuse(
            f"{place}: datatype is {str(entry.get('datatype'))[:32]!r}, the model takes "
            f"{tensor.datatype}"
        )
    shape = _shape(place, entry.get("shape"), tensor)
    data = entry.get("data")
    if not isinstance(data, list):
        if "binary_data_size" in parameters:
            _refuse(f"{place}: binary tensor data is not supported; send data as JSON")
        _refuse(f"{place}: data is not a list")
    return decode(place, data, tensor.datatype, shape)


def _shape(place: str, shape: object, tensor: Tensor) -> tuple[int, ...]:
    if not isinstance(shape, list):
        _refuse(f"{place}: shape is not a list of sizes")
    for axis, size in enumerate(shape):
        if type(size) is not int or not 0 < size < MAX_SIZE:
            _refuse(f"{place}: shape[{axis}] is {str(size)[:32]}; sizes are integers above 0")
    if len(shape) != len(tensor.shape):
        _refuse(
            f"{place}: shape {_sizes(shape)} has {len(shape)} axes, the model takes "
            f"{_sizes(tensor.shape)}, where -1 is any size"
        )
    for axis, (size, wanted) in enumerate(zip(shape, tensor.shape, strict=True)):
        if wanted not in (-1, size):
            _refuse(f"{place}: shape[{axis}] is {size}, the model takes {wanted}")
    return tuple(shape)


def _rows(inputs: Mapping[str, Array], max_rows: int) -> int:
    counts: dict[str, int] = {name: array.shape[0] for name, array in inputs.items()}
    rows = max(counts.values())
    if min(counts.values()) != rows:
        _refuse(f"inputs: shape[0] is the batch and must be the same everywhere, found {counts}")
    if rows > max_rows:
        _refuse(f"inputs: {rows} rows in one request, at most {max_rows} are allowed; send several")
    return rows


def _outputs(entries: object, signature: Signature) -> tuple[str, ...]:
    known = [tensor.name for tensor in signature.outputs]
    if entries is None or entries == []:
        return tuple(known)
    if not isinstance(entries, list):
        _refuse("outputs: is not a list")
    wanted: list[str] = []
    for index, entry in enumerate(entries):
        name = _name(f"outputs[{index}]", entry)
        if name not in known:
            _refuse(
                f"outputs[{index}].name: {name[:128]!r} is not an output of the model; "
                f"its outputs are {', '.join(known)}"
            )
        if name in wanted:
            _refuse(f"outputs[{index}].name: {name!r} is asked for twice")
        _parameters(f"output {name!r}", entry)
        wanted.append(name)
    return tuple(wanted)


def _name(place: str, entry: object) -> str:
    if not isinstance(entry, dict):
        _refuse(f"{place}: is not an object")
    name = entry.get("name")
    if not isinstance(name, str):
        _refuse(f"{place}.name: is not a string")
    return name


def _parameters(place: str, holder: Mapping[str, object]) -> dict[str, object]:
    """Parameters are hints of which this server needs none, but they have a form."""
    parameters = holder.get("parameters", {})
    if not isinstance(parameters, dict):
        _refuse(f"{place}: parameters is not an object")
    return parameters


def _sizes(shape: Sequence[int]) -> str:
    return str(list(shape[:16]))


def _refuse(message: str) -> NoReturn:
    raise RequestError(400, message)


def encode_response(
    model: str,
    version: str,
    request: InferRequest,
    signature: Signature,
    results: Mapping[str, Array],
) -> bytes:
    """The answer: the requested outputs, in the order they were asked for, data row-major.

    A float that is not finite becomes null, because JSON has no word for it.
    """
    datatypes = {tensor.name: tensor.datatype for tensor in signature.outputs}
    document: dict[str, object] = {"model_name": model, "model_version": version}
    if request.id is not None:
        document["id"] = request.id
    document["outputs"] = [
        {
            "name": name,
            "datatype": datatypes[name],
            "shape": results[name].shape,
            "data": _flat(results[name]),
        }
        for name in request.outputs
    ]
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def _flat(array: Array) -> object:
    flat = array.reshape(math.prod(array.shape))
    return flat.tolist() if flat.dtype.hasobject else flat


def encode_model_metadata(model: str, version: str, signature: Signature) -> bytes:
    """What the model takes and gives."""
    return orjson.dumps(
        {
            "name": model,
            "versions": [version],
            "platform": "onnx_onnxv1",
            **signature.to_json(),
        }
    )
