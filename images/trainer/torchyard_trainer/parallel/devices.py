"""The device of a process: what was asked for, or nothing."""

import logging

import torch

from torchyard.api.pods import Accelerator
from torchyard_trainer.errors import AcceleratorMissing
from torchyard_trainer.settings import Place

logger = logging.getLogger(__name__)


def claim(asked: Accelerator | None, place: Place) -> torch.device:
    """The device that this process computes on.

    Raises AcceleratorMissing where the pod sees fewer devices than it asked for. A job that asked
    for none computes on the CPU.
    """
    if asked is None:
        return torch.device("cpu")
    visible = torch.accelerator.device_count()
    if visible < asked.count:
        raise AcceleratorMissing(
            f"worker {place.worker} asked for {asked.count} x {asked.resource} but torch sees "
            f"{visible}: check the node's device plugin and that the image's torch is built for it"
        )
    mine = asked.count // place.processes
    if mine > 1:
        logger.warning(
            "each process has %d devices and uses one: set workers.processesPerWorker to %d",
            mine,
            asked.count,
        )
    kind = torch.accelerator.current_accelerator() or torch.device("cpu")
    device = torch.device(kind.type, place.local * mine)
    torch.accelerator.set_device_index(device.index)
    return device
