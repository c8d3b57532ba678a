"""Why a rank stops early; each class stands for one outcome of the contract.

    TrainerError
    ├── ConfigInvalid        what the operator handed over cannot be carried out
    ├── DataInvalid          the data is not what the task can read
    ├── TaskInvalid          the task's class is missing or breaks its protocol
    ├── AcceleratorMissing   fewer devices are visible than were asked for
    ├── RequirementNotMet    the trained model is below a bar of `output.require`
    ├── ExportFailed         the exported model does not compute what the trained one does
    ├── PeerLost             another worker went away, or never came
    └── Interrupted          SIGTERM came; whatever could be saved has been saved

Anything else that a rank raises is ProcessFailed. Class names say what is the case, without
"Error": they are the outcomes that the operator acts on.
"""

from typing import ClassVar

from torchyard.api.contract import Outcome


class TrainerError(Exception):
    """Base of all errors that the trainer raises on purpose."""

    outcome: ClassVar[Outcome] = Outcome.PROCESS_FAILED


class ConfigInvalid(TrainerError):
    """What the operator handed over cannot be carried out; the message names the cure."""

    outcome = Outcome.CONFIG_INVALID


class DataInvalid(TrainerError):
    """The data is not what the task can read; the message names column or row."""

    outcome = Outcome.DATA_INVALID


class TaskInvalid(TrainerError):
    """The task's class is missing, cannot be made, or breaks its protocol."""

    outcome = Outcome.TASK_INVALID


class AcceleratorMissing(TrainerError):
    """Fewer devices are visible than were asked for. Training never falls back to the CPU."""

    outcome = Outcome.ACCELERATOR_MISSING


class RequirementNotMet(TrainerError):
    """The trained model is below a bar of `output.require`."""

    outcome = Outcome.REQUIREMENT_NOT_MET


class ExportFailed(TrainerError):
    """The exported model does not compute what the trained one does."""

    outcome = Outcome.EXPORT_FAILED


class PeerLost(TrainerError):
    """Another worker went away: the reason to stop, but not the one to blame."""

    outcome = Outcome.PEER_LOST


class Interrupted(TrainerError):
    """SIGTERM came; whatever could be saved has been saved."""

    outcome = Outcome.INTERRUPTED
