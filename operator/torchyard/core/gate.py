"""Whether the version that a service asks for may be rolled out."""

from dataclasses import dataclass

from torchyard import names
from torchyard.api.modelversion import ModelVersion
from torchyard.api.trainingjob import Format
from torchyard.core.compatibility import differences
from torchyard.core.rollout import View
from torchyard.core.world import ServiceWorld

INCOMPATIBLE = "SignatureIncompatible"
NOT_FOUND = "VersionNotFound"


@dataclass(frozen=True)
class Gate:
    """Why the target may not be rolled out; `final` if only a person can change that."""

    reason: str
    message: str
    final: bool


def closed(world: ServiceWorld, view: View) -> Gate | None:
    """What stands before the target, if anything does."""
    target = view.target
    if target is None:
        return Gate(NOT_FOUND, _not_found(world), final=False)
    if view.stable == view.revision:
        return None  # it is in traffic; a stricter policy is for the next one
    name = target.metadata.name
    if Format.ONNX not in target.spec.artifact.formats:
        message = (
            f"ModelVersion {name} contains {', '.join(target.spec.artifact.formats)}; serving "
            f"needs Onnx: train it with Onnx among output.formats, or choose another version"
        )
        return Gate("FormatNotServed", message, final=True)
    serving = answered(world)
    if serving is None or serving.spec.version == target.spec.version:
        return None
    policy = world.service.spec.rollout.compatibility
    found = differences(serving, target, policy)
    if not found:
        return None
    message = (
        f"{name} does not keep what {serving.metadata.name} promises ({policy}): "
        f"{'; '.join(found)}. Choose a compatible version of {target.spec.model} or set "
        "rollout.compatibility"
    )
    return Gate(INCOMPATIBLE, message, final=True)


def answered(world: ServiceWorld) -> ModelVersion | None:
    """The version that clients have come to rely on: the last one that answered."""
    number = world.service.status.version
    return next((v for v in world.versions if v.spec.version == number), None)


def _not_found(world: ServiceWorld) -> str:
    reference = world.service.spec.model
    if reference.version is not None:
        name = names.model_version(reference.name, reference.version)
        return f"there is no ModelVersion {name} in this namespace yet"
    if reference.alias == "latest":
        return f"there is no ModelVersion of {reference.name} in this namespace yet"
    label = names.alias_label(reference.alias or "")
    return f"no ModelVersion of {reference.name} carries the label {label} yet"
