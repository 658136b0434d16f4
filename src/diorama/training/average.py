"""Averaged weights, by torch's AveragedModel, with a warm-up so that the start is forgotten."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

Tensors = tuple[Tensor, ...] | list[Tensor]


@dataclass(frozen=True)
class EmaConfig:
    """The exponential moving average of the weights."""

    decay: float = 0.999
    """Share of the old average that an update keeps, once warmed up."""
    every: int = 1
    """Steps between two updates (10, with decay 0.995, for the published patch prior [code])."""


def ema_decay(config: EmaConfig, count: float) -> float:
    """The share an update keeps after `count` earlier ones: min(decay, (1 + n) / (10 + n))."""
    return min(config.decay, (1.0 + count) / (10.0 + count))


def averaged(network: nn.Module, config: EmaConfig) -> AveragedModel:
    """A copy of the network, in evaluation mode, whose `update_parameters(network)` moves it towards the network.

    The first update copies. Buffers are copied, not averaged.
    """

    def update(average: Tensors, current: Tensors, count: Tensor | int) -> None:
        get_ema_multi_avg_fn(ema_decay(config, float(count)))(average, current, count)

    with torch.no_grad():
        average = AveragedModel(network, multi_avg_fn=update)
    return average.requires_grad_(False).eval()
