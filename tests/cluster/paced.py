"""A user's own task that comes along on the claim: the digits, at a pace that a test sets.

It runs in the workers, as `paced:Paced`, with the claim on PYTHONPATH.
"""

import time
from pathlib import Path

import torch
from torch import Tensor

from torchyard.api.trainingjob import MlpClassifier
from torchyard_trainer.tasks.mlp import MlpClassification


class Paced(MlpClassification):
    """Takes half a second a step while the file `hold` exists."""

    def __init__(self, hold: str, seconds: float = 0.5) -> None:
        super().__init__(MlpClassifier())
        self._hold = Path(hold)
        self._seconds = seconds

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self._hold.exists():
            time.sleep(self._seconds)
        return super().loss(output, target)
