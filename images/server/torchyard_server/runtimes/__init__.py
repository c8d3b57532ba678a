"""What executes the model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from torchyard.artifact import Tensor
from torchyard_server.protocol.datatypes import Array


class Runtime(Protocol):
    """A loaded model. `run` is called from one thread at a time."""

    @property
    def inputs(self) -> Mapping[str, Tensor]:
        """What the model takes, by name."""
        ...

    @property
    def outputs(self) -> Mapping[str, Tensor]:
        """What the model can compute, by name."""
        ...

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Compute `outputs` from `feeds`, which has all inputs.

        Raises RequestError 400 where the values are to blame; anything else is the model's fault.
        """
        ...
