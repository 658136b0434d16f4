"""Whether the views that have a point in their frame show the same there, as they do on a surface.

Mean and deviation over views are a handful of sums, but in torch each of them writes all features of all views to
memory and reads them back; the twins in Numba and Triton read them twice and write none of it. Differentiable once, in
the features.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.kernels.twins import Twin, choose_twin

LEAST_SPREAD = 1e-3
"""Spread of features over views below which its gradient no longer grows."""


def view_agreement(features: Float[Tensor, "scene view point f"], channels: int) -> Float[Tensor, "scene point told"]:
    """Mean and standard deviation of features over the views that see a point, and two flags: seen by one, by more.

    features: as `view_gather.gather_views` gives them, with so many channels of a perspective map and then 1 where the
    view has the point in its frame, else 0. All that is told is 0 where none does.
    Source: plane sweeps compare views by their variance (MVSNet, arXiv 1804.02505, eq. 2; IBRNet, arXiv 2102.13090).
    """
    twin = choose_twin(features)
    if twin == "reference":
        return view_agreement_reference(features, channels)
    if torch.is_grad_enabled() and features.requires_grad:
        return _Agreement.apply(features, channels, twin)
    return _fast(twin).agreement(features, channels)


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


def _fast(twin: Twin) -> Any:
    # imported when first used: the reference does without Numba and Triton
    if twin == "numba":
        from diorama.kernels import view_agreement_numba

        return view_agreement_numba
    from diorama.kernels import view_agreement_triton

    return view_agreement_triton


class _Agreement(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, channels: int, twin: Twin) -> Tensor:
        told = _fast(twin).agreement(features, channels)
        ctx.save_for_backward(features, told)
        ctx.twin = twin
        return told

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        features, told = ctx.saved_tensors
        return _fast(ctx.twin).agreement_backward(gradient, features, told), None, None
