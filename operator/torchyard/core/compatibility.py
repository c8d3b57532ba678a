"""May this version follow that one? The rules are the artifact package's, the same at both ends."""

from torchyard.api.modelversion import ModelVersion
from torchyard.api.modelversion import Tensor as DeclaredTensor
from torchyard.artifact.signature import Compatibility, Signature, Tensor, compatible


def differences(old: ModelVersion, new: ModelVersion, policy: Compatibility) -> list[str]:
    """What the new version's signature breaks, in plain words; nothing where it may follow."""
    return compatible(_signature(old), _signature(new), policy)


def _signature(version: ModelVersion) -> Signature:
    declared = version.spec.signature
    return Signature(_tensors(declared.inputs), _tensors(declared.outputs))


def _tensors(declared: list[DeclaredTensor]) -> tuple[Tensor, ...]:
    return tuple(Tensor(t.name, t.datatype, tuple(t.shape)) for t in declared)
