"""Whether a file computes what the trained model computes, on real samples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from torchyard_trainer.errors import ExportFailed

RELATIVE = 1e-3
ABSOLUTE = 1e-4


def results(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[NDArray[Any]]:
    """What a module gives, as a list of arrays; it may return one tensor or several."""
    module.eval()
    with torch.inference_mode():
        output = module(*inputs)
    tensors = (output,) if isinstance(output, Tensor) else tuple(output)
    return [tensor.numpy() for tensor in tensors]


def run_onnx(
    path: Path, inputs: Mapping[str, NDArray[Any]], outputs: Sequence[str]
) -> list[NDArray[Any]]:
    """What a graph gives; raises ExportFailed where it cannot be run on these inputs."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        found: list[NDArray[Any]] = session.run(list(outputs), dict(inputs))
    except Exception as error:  # onnxruntime's errors have no common base
        raise ExportFailed(f"ONNX: the graph cannot be run: {error}") from error
    return found


def compare(what: str, found: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]) -> None:
    """Raises ExportFailed where results differ by more than rounding."""
    if len(found) != len(expected):
        raise ExportFailed(f"{what}: {len(found)} outputs instead of {len(expected)}")
    for number, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        if mine.shape != theirs.shape:
            raise ExportFailed(
                f"{what}: output {number} has the shape {list(mine.shape)}, the trained model "
                f"gives {list(theirs.shape)}"
            )
        if not np.allclose(mine, theirs, RELATIVE, ABSOLUTE):
            worst = float(np.max(np.abs(mine.astype(np.float64) - theirs)))
            raise ExportFailed(
                f"{what}: output {number} differs from the trained model's by up to {worst:.3g} "
                f"on {len(theirs)} held-out samples"
            )
