"""ONNX models through onnxruntime, on the CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnxruntime
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from torchyard.artifact import Datatype, Tensor
from torchyard_server.errors import LoadFailed, RequestError
from torchyard_server.protocol.datatypes import Array

NOWHERE = "/nonexistent"
ERRORS_ONLY = 3

_DATATYPES = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}


class OnnxRuntime:
    """A session over one self-contained model."""

    def __init__(self, path: str, content: bytes, threads: int) -> None:
        """Load the model in `content`; `path` names it in errors. Raises LoadFailed."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        # Threads that spin while they wait steal the CPU from the event loop.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A model may point at weights in other files, which nobody has verified: none are found.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", NOWHERE
        )
        try:
            self._session: Any = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # noqa: BLE001  (the library's errors have no common base)
            raise LoadFailed(f"{path}: onnxruntime cannot load it: {error}", path) from None
        self.inputs = _tensors(path, self._session.get_inputs())
        self.outputs = _tensors(path, self._session.get_outputs())

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Compute `outputs`; see `Runtime.run`."""
        try:
            results: list[Array] = self._session.run(outputs, feeds)
        except InvalidArgument as error:
            raise RequestError(400, f"the model refuses the input: {str(error)[:512]}") from None
        return results


def _tensors(path: str, nodes: Iterable[Any]) -> dict[str, Tensor]:
    tensors = {}
    for node in nodes:
        if node.type not in _DATATYPES:
            raise LoadFailed(f"{path}: {node.name!r} is {node.type}, not a plain tensor", path)
        shape = (size if isinstance(size, int) else -1 for size in node.shape)
        tensors[node.name] = Tensor(node.name, _DATATYPES[node.type], tuple(shape))
    return tensors
