"""Whether the parts of a manifest fit together: files, steps and signature."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from torchyard.artifact.errors import ManifestInvalid
from torchyard.artifact.signature import Datatype, Tensor
from torchyard.artifact.steps import Labels, Scale, Tokenize

if TYPE_CHECKING:
    from torchyard.artifact.manifest import Manifest


def check(manifest: Manifest) -> None:
    """Raise ManifestInvalid at the first part that does not fit the others."""
    _files(manifest)
    _preprocessing(manifest)
    _postprocessing(manifest)
    _text(manifest)


def _files(manifest: Manifest) -> None:
    seen: set[str] = set()
    for index, file in enumerate(manifest.files):
        if file.path in seen:
            raise ManifestInvalid(f"files[{index}].path", f"{file.path!r} is named twice")
        seen.add(file.path)
    for index, file in enumerate(manifest.files):
        if not seen.isdisjoint(map(str, PurePosixPath(file.path).parents)):
            raise ManifestInvalid(f"files[{index}].path", f"{file.path!r} lies below another file")
    if not manifest.formats:
        raise ManifestInvalid(
            "files", "holds no model; add one in Onnx, SafeTensors or TorchExport"
        )
    for single in ("Onnx", "TorchExport"):
        if sum(file.format == single for file in manifest.files) > 1:
            raise ManifestInvalid("files", f"holds two {single} files; an artifact is one model")


def _preprocessing(manifest: Manifest) -> None:
    known = {tensor.name: tensor for tensor in manifest.signature.inputs}
    for index, step in enumerate(manifest.preprocessing):
        place = f"preprocessing[{index}]"
        source = known.pop(step.input, None)
        if source is None:
            raise ManifestInvalid(
                f"{place}.input",
                f"{step.input!r} is neither an input of the "
                "signature nor the output of an earlier step, or is used up",
            )
        if step.output in known:
            raise ManifestInvalid(f"{place}.output", f"{step.output!r} exists already; rename it")
        match step:
            case Tokenize():
                known[step.output] = _tokenized(place, manifest, step, source)
            case Scale():
                known[step.output] = _scaled(place, step, source)


def _tokenized(place: str, manifest: Manifest, step: Tokenize, source: Tensor) -> Tensor:
    if source.datatype is not Datatype.BYTES or source.shape != (-1,):
        raise ManifestInvalid(f"{place}.input", f"{step.input!r} is {source}; text is BYTES[-1]")
    if not any(file.path == step.file and file.format == "Tokenizer" for file in manifest.files):
        raise ManifestInvalid(f"{place}.file", f"{step.file[:128]!r} is no Tokenizer among files")
    return Tensor(step.output, Datatype.INT64, (-1, step.length))


def _scaled(place: str, step: Scale, source: Tensor) -> Tensor:
    if source.datatype in (Datatype.BYTES, Datatype.BOOL) or not source.shape:
        raise ManifestInvalid(
            f"{place}.input",
            f"{step.input!r} is {source}; only numbers with a feature axis can be scaled",
        )
    features = source.shape[-1]
    if len(step.mean) not in (1, features):
        raise ManifestInvalid(
            f"{place}.mean",
            f"has {len(step.mean)} values, but {step.input!r} "
            f"is {source}; give {features} values, or one for all",
        )
    return Tensor(step.output, Datatype.FP32, source.shape)


def _postprocessing(manifest: Manifest) -> None:
    promised = {tensor.name: tensor for tensor in manifest.signature.outputs}
    made: set[str] = set()
    for index, step in enumerate(manifest.postprocessing):
        place = f"postprocessing[{index}]"
        if step.output in made:
            raise ManifestInvalid(f"{place}.output", f"{step.output!r} exists already; rename it")
        made.add(step.output)
        _labelled(place, step, promised)


def _labelled(place: str, step: Labels, promised: dict[str, Tensor]) -> None:
    result = promised.get(step.output)
    if result is None or result.datatype is not Datatype.BYTES or len(result.shape) != 1:
        found = "missing" if result is None else str(result)
        raise ManifestInvalid(
            f"{place}.output",
            f"{step.output!r} is {found} in signature.outputs; labels are BYTES with one axis",
        )
    # Scores that the signature does not promise are known only to the model file.
    scores = promised.get(step.input)
    if scores is None:
        return
    if len(scores.shape) != 2 or scores.datatype is Datatype.BYTES:
        raise ManifestInvalid(
            f"{place}.input",
            f"{step.input!r} is {scores}; scores are numbers with the axes [batch, classes]",
        )
    if scores.shape[1] not in (-1, len(step.labels)):
        raise ManifestInvalid(
            f"{place}.labels", f"has {len(step.labels)} labels, but {step.input!r} is {scores}"
        )


def _text(manifest: Manifest) -> None:
    """Models compute on numbers: text exists only where a step turns it into numbers or back."""
    read = {step.input for step in manifest.preprocessing if isinstance(step, Tokenize)}
    for index, tensor in enumerate(manifest.signature.inputs):
        if tensor.datatype is Datatype.BYTES and tensor.name not in read:
            raise ManifestInvalid(
                f"signature.inputs[{index}]",
                f"{tensor.name!r} is BYTES, but no Tokenize step reads it",
            )
    written = {step.output for step in manifest.postprocessing}
    for index, tensor in enumerate(manifest.signature.outputs):
        if tensor.datatype is Datatype.BYTES and tensor.name not in written:
            raise ManifestInvalid(
                f"signature.outputs[{index}]",
                f"{tensor.name!r} is BYTES, but no Labels step writes it",
            )
