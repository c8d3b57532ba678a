"""The built-in tasks, and the way to yours."""

import importlib
import sys
from typing import Any

from torchyard.api import trainingjob
from torchyard_trainer.errors import TaskInvalid
from torchyard_trainer.task import Task
from torchyard_trainer.tasks.mlp import MlpClassification
from torchyard_trainer.tasks.text import TextClassification


def load(spec: trainingjob.Task) -> Task[Any]:
    """The task that a spec names; raises TaskInvalid saying what is wrong with an entrypoint."""
    if spec.text_classifier is not None:
        return TextClassification(spec.text_classifier)
    if spec.mlp_classifier is not None:
        return MlpClassification(spec.mlp_classifier)
    if spec.entrypoint is not None:
        return entrypoint(spec.entrypoint.object, spec.entrypoint.arguments)
    raise TaskInvalid("the task has no member that this image knows")


def entrypoint(name: str, arguments: dict[str, Any]) -> Task[Any]:
    """Import `package.module:Class` and call it with `arguments`."""
    module_name, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise TaskInvalid(
            f"task.entrypoint.object {name!r}: {error} (looked for on {sys.path[1:]})"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise TaskInvalid(
            f"task.entrypoint.object {name!r} is not a class derived from "
            "torchyard_trainer.task.Task"
        )
    try:
        return found(**arguments)
    except TypeError as error:
        raise TaskInvalid(f"task.entrypoint.arguments: {name}: {error}") from error
