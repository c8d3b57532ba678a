"""Writing a model: SafeTensors and ONNX."""

import json
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from torchyard.artifact import Architecture, Signature
from torchyard_trainer.errors import ExportFailed

SAFETENSORS = "model.safetensors"
ONNX = "model.onnx"
OPSET = 20


def write_safetensors(
    path: Path, model: nn.Module, signature: Signature, architecture: Architecture
) -> None:
    """The weights, and in the header how to build the model and how it is called.

    All in one entry: the library writes several in random order, and the same model would not
    have the same digest twice.
    """
    about = {"architecture": architecture.to_json(), "signature": signature.to_json()}
    save_model(model, str(path), {"torchyard": json.dumps(about, sort_keys=True)})


def read_safetensors(path: Path, model: nn.Module) -> None:
    """Load the weights into a newly built model; raises ExportFailed where they do not fit."""
    try:
        load_model(model, path)
    except RuntimeError as error:
        raise ExportFailed(f"SafeTensors: the weights do not fit a new model: {error}") from error


def write_onnx(
    path: Path,
    module: nn.Module,
    example: tuple[Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> None:
    """The graph with its weights, for batches of any size; raises ExportFailed.

    The tracing exporter, not the newer one: it is several times as fast, and leaves the weights
    of an LSTM constant, without which they cannot be quantized later.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                example,
                str(path),
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes={name: {0: "batch"} for name in (*inputs, *outputs)},
                opset_version=OPSET,
                dynamo=False,
            )
    except Exception as error:
        raise ExportFailed(f"the model cannot be exported to ONNX: {error}") from error
