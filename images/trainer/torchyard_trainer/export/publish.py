"""From the trained model to a published artifact."""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from torch import nn

from torchyard import artifact
from torchyard.api import modelversion
from torchyard.api.contract import PublishedArtifact, WorkerConfig
from torchyard.api.trainingjob import Format, Output
from torchyard.artifact import ArtifactMissing, Manifest, ManifestInvalid
from torchyard_trainer.data.split import Rows
from torchyard_trainer.errors import ConfigInvalid, TaskInvalid
from torchyard_trainer.export import check, files
from torchyard_trainer.export.steps import preprocess
from torchyard_trainer.loop import Material
from torchyard_trainer.report import decimals
from torchyard_trainer.settings import reason
from torchyard_trainer.task import Interface, Samples

SAMPLES = 64  # held-out samples that the files are tried on

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Publication:
    """All that is published, and where to."""

    config: WorkerConfig
    output: Output
    samples: Samples
    material: Material
    model: nn.Module
    """Trained, on the CPU."""
    metrics: dict[str, float]

    def publish(self) -> PublishedArtifact:
        """Write, check and publish the artifact.

        What an earlier run of this attempt has published is left as it is. Raises ExportFailed
        where the files do not compute what the model does, TaskInvalid where the task's interface
        is no valid one, ConfigInvalid where there is no place for them.
        """
        if self.config.output_path is None or self.config.output_uri is None:
            raise ConfigInvalid("outputPath and outputUri are needed to publish the model")
        target, uri = Path(self.config.output_path), self.config.output_uri
        present = self._published(target)
        if present is not None:
            return self._record(present, uri)
        with tempfile.TemporaryDirectory(prefix="artifact-") as temporary:
            manifest = self._make(Path(temporary))
            record = self._record(manifest, uri)  # what cannot be recorded is not published
            artifact.publish(Path(temporary), target)
        logger.info("published %s at %s", record.digest, uri)
        return record

    def _record(self, manifest: Manifest, uri: str) -> PublishedArtifact:
        try:
            return PublishedArtifact(
                uri=uri,
                digest=manifest.digest,
                size_bytes=manifest.size_bytes,
                formats=[Format(str(kind)) for kind in manifest.formats],
                signature=modelversion.Signature.model_validate(manifest.signature.to_json()),
                metrics=decimals(dict(manifest.metrics)),
                data_digest=self.material.data_digest,
            )
        except ValidationError as error:
            raise TaskInvalid(f"the model cannot be recorded: {reason(error)}") from error

    def _published(self, target: Path) -> Manifest | None:
        """What is there already. Each attempt has a directory of its own, so it is ours."""
        try:
            manifest = artifact.verify(target, None)
        except ArtifactMissing:
            return None
        logger.info("this attempt has published already")
        return manifest

    def _make(self, directory: Path) -> Manifest:
        """An artifact in a temporary directory, its files tried on held-out samples."""
        task, learnt = self.material.task, self.material.learnt
        interface = task.interface(learnt)
        kinds: dict[str, artifact.Format] = {}
        if Format.SAFE_TENSORS in self.output.formats:
            self._safetensors(directory / files.SAFETENSORS, interface)
            kinds[files.SAFETENSORS] = artifact.Format.SAFETENSORS
        if Format.ONNX in self.output.formats:
            self._onnx(directory / files.ONNX, interface)
            kinds[files.ONNX] = artifact.Format.ONNX
        for name, content in interface.tokenizers.items():
            (directory / name).write_bytes(content)
            kinds[name] = artifact.Format.TOKENIZER
        manifest = Manifest(
            model=self.output.model,
            files=tuple(artifact.describe(directory, name, kind) for name, kind in kinds.items()),
            signature=interface.signature,
            preprocessing=interface.preprocessing,
            postprocessing=interface.postprocessing,
            architecture=task.architecture(learnt),
            metrics=self.metrics,
            lineage=self._lineage(),
        )
        try:
            artifact.write_manifest(directory, manifest)
        except (ManifestInvalid, ValueError) as error:
            raise TaskInvalid(f"the model cannot be described: {error}") from error
        return manifest

    def _safetensors(self, path: Path, interface: Interface) -> None:
        task, learnt = self.material.task, self.material.learnt
        architecture = task.architecture(learnt)
        files.write_safetensors(path, self.model, interface.signature, architecture)
        fresh = task.model(learnt)
        files.read_safetensors(path, fresh)
        inputs = self.material.dataset.batch(self._rows).inputs
        found = check.results(task.serving(fresh), inputs)
        check.compare("SafeTensors", found, self._expected())

    def _onnx(self, path: Path, interface: Interface) -> None:
        task = self.material.task
        requests = preprocess(
            interface.preprocessing, self.samples.requests(self._rows), interface.tokenizers
        )
        example = tuple(torch.from_numpy(value) for value in requests.values())
        names = raw_outputs(interface)
        files.write_onnx(path, task.serving(self.model).eval(), example, list(requests), names)
        for part in (slice(None), slice(1)):  # the batch may have any size
            some = {name: value[part] for name, value in requests.items()}
            found = check.run_onnx(path, some, names)
            check.compare("ONNX", found, [value[part] for value in self._expected()])

    @property
    def _rows(self) -> Rows:
        return self.material.held_out[:SAMPLES]

    def _expected(self) -> list[NDArray[Any]]:
        """What the trained model gives for samples as it was trained on them."""
        inputs = self.material.dataset.batch(self._rows).inputs
        return check.results(self.material.task.serving(self.model), inputs)

    def _lineage(self) -> dict[str, Any]:
        """Where the artifact comes from. No times: the same training gives the same digest."""
        job, spec = self.config.job, self.config.spec
        return {
            "trainingJob": {"namespace": job.namespace, "name": job.name, "uid": job.uid},
            "attempt": self.config.attempt,
            "image": self.config.image,
            "data": {"uri": spec.data.uri, "digest": self.material.data_digest},
            "samples": {
                "training": int(self.material.order.rows.size),
                "heldOut": int(self.material.held_out.size),
            },
        }


def raw_outputs(interface: Interface) -> list[str]:
    """The names of the exported module's results, in their order; see `Interface`."""
    made = {step.output for step in interface.postprocessing}
    names = [tensor.name for tensor in interface.signature.outputs if tensor.name not in made]
    names += [step.input for step in interface.postprocessing]
    return list(dict.fromkeys(names))
