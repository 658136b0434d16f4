"""Whether the views that have a point in their frame show the same there, as they do on a surface.

Mean and deviation over views are a handful of sums, but in torch each of them writes all features of all views to
memory and reads them back; the twin in Numba reads them once. Differentiable once, in the features. On CUDA the torch
form runs.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.kernels.twins import choose_twin

LEAST_SPREAD = 1e-3
"""Spread of features over views below which its gradient no longer grows."""


def view_agreement(features: Float[Tensor, "scene view point f"], channels: int) -> Float[Tensor, "scene point told"]:
    """Mean and standard deviation of features over the views that see a point, and two flags: seen by one, by more.

    features: as `view_gather.gather_views` gives them, with so many channels of a perspective map and then 1 where the
    view has the point in its frame, else 0. All that is told is 0 where none does.
    Source: plane sweeps compare views by their variance (MVSNet, arXiv 1804.02505, eq. 2; IBRNet, arXiv 2102.13090).
    """
    if choose_twin(features) != "numba":
        return view_agreement_reference(features, channels)
    if torch.is_grad_enabled() and features.requires_grad:
        return _Agreement.apply(features, channels)
    return _fast().agreement(features, channels)


def view_agreement_reference(
    features: Float[Tensor, "scene view point f"], channels: int
) -> Float[Tensor, "scene point told"]:
    """The same in plain torch operations."""
    flat, seen = features[..., :channels], features[..., channels : channels + 1].detach()
    count = seen.sum(1)
    least = count.clamp_min(1.0)
    mean = (flat * seen).sum(1) / least
    variance = ((flat - mean[:, None]) * seen).square().sum(1) / least
    spread = (variance + LEAST_SPREAD**2).sqrt() - LEAST_SPREAD
    return torch.cat([mean, spread, (count == 1).to(flat), (count > 1).to(flat)], dim=-1)


def _fast() -> Any:
    # imported when first used: the reference does without Numba
    from diorama.kernels import view_agreement_numba

    return view_agreement_numba


class _Agreement(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, channels: int) -> Tensor:
        told = _fast().agreement(features, channels)
        ctx.save_for_backward(features, told)
        return told

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        features, told = ctx.saved_tensors
        return _fast().agreement_backward(gradient, features, told), None
