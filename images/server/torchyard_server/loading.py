"""From a directory to a model that answers: verify → load → warm up."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from torchyard.artifact import (
    ArtifactCorrupt,
    ArtifactError,
    Format,
    Manifest,
    read_file,
    read_manifest,
    verify_file,
)
from torchyard_server.errors import ArtifactRefused
from torchyard_server.lifecycle import Phase
from torchyard_server.logs import logger
from torchyard_server.model import Model, model_file


def load(
    directory: Path,
    digest: str | None,
    threads: int,
    batch_max_size: int,
    report: Callable[[Phase], object],
) -> tuple[Manifest, Model]:
    """The verified manifest and a warm model; `report` is told the beginning of each phase.

    Raises ArtifactRefused or LoadFailed. Runs in a thread of its own: it blocks.
    """
    started = time.perf_counter()
    try:
        manifest, contents = _verify(directory, digest)
    except ArtifactCorrupt as error:
        raise ArtifactRefused(str(error), error.file) from None
    except (ArtifactError, OSError) as error:
        raise ArtifactRefused(str(error)) from None
    verified = time.perf_counter()

    report(Phase.LOADING)
    from torchyard_server.runtimes.onnx import OnnxRuntime  # slow to import

    file = model_file(manifest)
    runtime = OnnxRuntime(file.path, contents.pop(file.path), threads)
    model = Model(manifest, runtime, contents)
    loaded = time.perf_counter()

    report(Phase.WARMING)
    for rows in dict.fromkeys((1, batch_max_size)):
        model.warm_up(rows)
    fields = {
        "digest": manifest.digest,
        "verifySeconds": round(verified - started, 3),
        "loadSeconds": round(loaded - verified, 3),
        "warmUpSeconds": round(time.perf_counter() - loaded, 3),
    }
    logger.info("the model is ready", extra={"fields": fields})
    return manifest, model


def _verify(directory: Path, digest: str | None) -> tuple[Manifest, dict[str, bytes]]:
    """Check all files of the artifact; returns the content of those that are loaded.

    They are loaded from these bytes, so what is served is what was verified, whoever writes to the
    directory meanwhile. All others are checked, too: a replica that serves vouches for them.
    """
    manifest = read_manifest(directory, digest)
    contents = {}
    for file in manifest.files:
        if file.format in (Format.ONNX, Format.TOKENIZER):
            contents[file.path] = read_file(directory, file)
        else:
            verify_file(directory, file)
    return manifest, contents
