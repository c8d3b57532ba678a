"""Optimizers and gradient clipping."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from torchyard.api.trainingjob import Optimization, OptimizerName


def build(parameters: Iterable[nn.Parameter], spec: Optimization) -> Optimizer:
    """The optimizer that the spec names, in its fused form: one pass over the memory a step."""
    chosen = spec.optimizer
    match chosen.name:
        case OptimizerName.ADAM:
            return Adam(
                parameters, chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True
            )
        case OptimizerName.ADAM_W:
            return AdamW(
                parameters, chosen.learning_rate, weight_decay=chosen.weight_decay, fused=True
            )
        case OptimizerName.SGD:
            return SGD(
                parameters,
                chosen.learning_rate,
                momentum=chosen.momentum,
                weight_decay=chosen.weight_decay,
                fused=True,
            )


def clip(parameters: Iterable[nn.Parameter], largest: float | None) -> None:
    """Scale all gradients so that their common 2-norm is at most `largest`."""
    if largest is not None:
        torch.nn.utils.clip_grad_norm_(parameters, largest)
