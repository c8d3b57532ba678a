"""One model, from the inputs of its signature to the outputs: steps, runtime, steps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from torchyard.artifact import Datatype, File, Format, Manifest, Signature, Tensor, Tokenize
from torchyard_server.errors import LoadFailed
from torchyard_server.logs import logger
from torchyard_server.protocol.datatypes import NUMPY, Array
from torchyard_server.runtimes import Runtime
from torchyard_server.steps import Step, postprocessor, preprocessor


def model_file(manifest: Manifest) -> File:
    """The file that this server executes; raises LoadFailed where the artifact has none."""
    for file in manifest.files:
        if file.format is Format.ONNX:
            return file
    raise LoadFailed(
        f"the artifact holds {', '.join(manifest.formats)}, but this server executes Onnx; "
        "add Onnx to the formats of the training job's output"
    )


class Model:
    """A model that was checked against its signature. Used by one thread at a time."""

    def __init__(self, manifest: Manifest, runtime: Runtime, contents: Mapping[str, bytes]) -> None:
        """`contents` has the files that the steps name. Raises LoadFailed on any mismatch."""
        self.signature: Signature = manifest.signature
        tensors = (*self.signature.inputs, *self.signature.outputs)
        self.batched = all(tensor.shape[:1] == (-1,) for tensor in tensors)
        """Whether the first axis of every tensor counts independent rows."""
        self._runtime = runtime
        self._before: list[tuple[str, str, Step]] = [
            (step.input, step.output, preprocessor(step, contents))
            for step in manifest.preprocessing
        ]
        self._after: list[tuple[str, str, Step]] = [
            (step.input, step.output, postprocessor(step)) for step in manifest.postprocessing
        ]
        made = {step.output for step in manifest.postprocessing}
        needed = [tensor.name for tensor in self.signature.outputs if tensor.name not in made]
        self._computed = tuple(dict.fromkeys([*needed, *(source for source, _, _ in self._after)]))
        self._check_inputs(manifest)
        self._check_outputs()

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs of the signature, from all of its inputs.

        Raises RequestError 400 where the values are to blame.
        """
        tensors = dict(inputs)
        for source, result, step in self._before:
            tensors[result] = step(tensors.pop(source))
        feeds = {
            name: tensors[name].astype(NUMPY[tensor.datatype], copy=False)
            for name, tensor in self._runtime.inputs.items()
        }
        computed = self._runtime.run(feeds, self._computed)
        results = dict(zip(self._computed, computed, strict=True))
        for source, result, step in self._after:
            results[result] = step(results[source])
        return results

    def warm_up(self, rows: int) -> None:
        """Run a made-up batch and check what comes out; raises LoadFailed.

        The first run of a shape allocates; better now than under the first caller.
        """
        batch = (rows,) if self.batched else ()
        shapes = {
            tensor.name: (*batch, *tensor.shape[len(batch) :]) for tensor in self.signature.inputs
        }
        guessed = any(-1 in shape for shape in shapes.values())
        inputs = {
            tensor.name: _example(tensor.datatype, shapes[tensor.name])
            for tensor in self.signature.inputs
        }
        try:
            results = self.infer(inputs)
        except Exception as error:
            if not guessed:
                raise LoadFailed(f"the model fails on a batch of {rows}: {error}") from error
            # Sizes that are free had to be made up, which proves nothing against the model.
            logger.info("the model was not warmed up, because its sizes are free: %s", error)
            return
        for tensor in self.signature.outputs:
            _check_result(tensor, results[tensor.name], (*batch, *tensor.shape[len(batch) :]))

    def _check_inputs(self, manifest: Manifest) -> None:
        """The model must take what the steps leave over, and nothing else."""
        offered = {tensor.name: {tensor.datatype} for tensor in self.signature.inputs}
        for step in manifest.preprocessing:
            offered.pop(step.input)
            offered[step.output] = (
                {Datatype.INT64, Datatype.INT32}  # token numbers fit both
                if isinstance(step, Tokenize)
                else {Datatype.FP32}
            )
        if offered.keys() != self._runtime.inputs.keys():
            raise LoadFailed(
                f"the model takes {sorted(self._runtime.inputs)}, but signature and preprocessing "
                f"give {sorted(offered)}"
            )
        for name, tensor in self._runtime.inputs.items():
            if tensor.datatype not in offered[name]:
                raise LoadFailed(
                    f"the model takes {name!r} as {tensor.datatype}, but signature and "
                    f"preprocessing give {' or '.join(sorted(offered[name]))}"
                )

    def _check_outputs(self) -> None:
        promised = {tensor.name: tensor for tensor in self.signature.outputs}
        for name in self._computed:
            computed = self._runtime.outputs.get(name)
            if computed is None:
                raise LoadFailed(
                    f"the model computes {sorted(self._runtime.outputs)}, but not {name!r}"
                )
            if name in promised and promised[name].datatype != computed.datatype:
                raise LoadFailed(
                    f"the model computes {name!r} as {computed.datatype}, but the signature "
                    f"promises {promised[name].datatype}"
                )


def _example(datatype: Datatype, shape: tuple[int, ...]) -> Array:
    sizes = [max(size, 1) for size in shape]
    if datatype is Datatype.BYTES:
        return np.full(sizes, "warm up", np.object_)
    return np.zeros(sizes, NUMPY[datatype])


def _check_result(tensor: Tensor, result: Array, promised: tuple[int, ...]) -> None:
    if len(result.shape) != len(promised) or any(
        size not in (-1, found) for size, found in zip(promised, result.shape, strict=True)
    ):
        raise LoadFailed(
            f"the model computes {tensor.name!r} as {list(result.shape)}, but the signature "
            f"promises {list(promised)}"
        )
