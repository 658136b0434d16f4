"""Averaged weights: what a network is judged and shipped by. The averaging itself is torch's."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def warmed_decay(updates: int | Tensor, decay: float) -> Tensor:
    """min(decay, (1 + n) / (10 + n)) after n updates: an average that forgets its random start quickly.

    Source: the usual warm-up of exponential averages (TensorFlow's ExponentialMovingAverage, `num_updates`).
    """
    n = torch.as_tensor(updates).float()
    return ((1 + n) / (10 + n)).clamp(max=decay)


def averaged_model(network: nn.Module, decay: float = 0.995, *, warm_up: bool = True) -> AveragedModel:
    """A copy of `network` that follows it: call `update_parameters(network)` after optimiser steps, use `.module`.

    The first update copies the weights; every later one keeps `decay` of the average and takes the rest from the
    network (with `warm_up`, `warmed_decay` of the number of updates so far). Buffers are copied. The count of updates
    is the buffer `n_averaged`, so a saved state dict goes on exactly. The default decay is DiffusioNeRF's [code], who
    update every tenth step.
    """
    if not 0.0 <= decay < 1.0:
        raise ValueError(f"decay is {decay}; it must lie in [0, 1).")

    @torch.no_grad()
    def follow(average: Tensors, current: Tensors, updates: Tensor | int) -> None:
        # the count stays on its device: a graphics card need not wait for the CPU to read it
        kept = warmed_decay(updates, decay) if warm_up else torch.tensor(decay)
        share = (1 - kept).to(average[0])
        step = torch._foreach_sub(current, average)
        torch._foreach_mul_(step, share)
        torch._foreach_add_(average, step)

    copy = AveragedModel(network, multi_avg_fn=follow)
    copy.module.requires_grad_(False)
    return copy.eval()
