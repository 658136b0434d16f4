"""Resampling: bins of a ray are redrawn where its weight lies, and a proposal learns where that is.

Source: mip-NeRF 360 (arXiv 2111.12077), section 3. Letters used below. n: bins given, `count`: bins drawn, m: bins of
the proposal; edges: one more than bins, increasing along the ray, in any coordinate; weights: one per bin, whatever
their sum.

Twins: torch and Numba. On CUDA the torch form runs: it is a handful of launches on (ray, n) arrays, a step needs it
once, and nothing flows back through `resample`.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.kernels.twins import choose_twin

PADDING = 1e-5
"""Share of the draws that goes to all bins alike: a ray without weight is drawn evenly."""

EPSILON = 1e-7
"""Added to the weights that `outer_bound` divides by."""


def resample(
    edges: Float[Tensor, "ray edge"],
    weights: Float[Tensor, "ray n"],
    count: int,
    jitter: Float[Tensor, "ray jittered"] | None = None,
) -> Float[Tensor, "ray {count}+1"]:
    """Edges of `count` bins that hold equal weight each; sorted; the first and the last edge stay where they are.

    The weight of a bin is spread evenly over it. jitter in [0, 1) moves every inner edge by up to half a bin's worth
    of weight either way: one number per edge, or one per ray that moves its edges together; None is the same as 0.5
    everywhere. No gradient.
    """
    return _resample(edges.detach(), weights.detach(), count, jitter, choose_twin(weights))


def outer_bound(
    fine_edges: Float[Tensor, "ray fine_edge"],
    fine_weights: Float[Tensor, "ray n"],
    proposal_edges: Float[Tensor, "ray edge"],
    proposal_weights: Float[Tensor, "ray m"],
) -> Float[Tensor, "ray"]:
    """How much fine weight the proposal fails to cover, per ray: the loss that trains a proposal.

    A fine bin's weight must not exceed the sum of the weights of all proposal bins that it touches; what exceeds it is
    squared and divided by the fine weight. Gradient to proposal_weights only. Source: mip-NeRF 360, eq. 13.
    """
    loss, _ = _outer_bound(
        fine_edges.detach(), fine_weights.detach(), proposal_edges.detach(), proposal_weights, choose_twin(fine_weights)
    )
    return loss


def resample_reference(
    edges: Float[Tensor, "ray edge"],
    weights: Float[Tensor, "ray n"],
    count: int,
    jitter: Float[Tensor, "ray jittered"] | None = None,
) -> Float[Tensor, "ray {count}+1"]:
    """`resample` in plain torch; sums in float64, so that a bin of little weight keeps its place."""
    rays, bins = weights.shape
    mass = weights.double()
    mass = mass + (PADDING * mass.sum(-1, keepdim=True) + 1e-30) / bins
    total = torch.cat([mass.new_zeros(rays, 1), mass.cumsum(-1)], dim=-1)
    share = (torch.arange(count + 1, device=mass.device) + (0.0 if jitter is None else jitter.double() - 0.5)) / count
    wanted = (share.expand(rays, -1) * total[:, -1:]).contiguous()
    index = (torch.searchsorted(total, wanted, right=True) - 1).clamp(0, bins - 1)
    place = ((wanted - total.gather(-1, index)) / mass.gather(-1, index)).clamp(0.0, 1.0)
    left, right = edges.gather(-1, index).double(), edges.gather(-1, index + 1).double()
    inner = (left + place * (right - left)).to(edges.dtype)
    return torch.cat([edges[:, :1], inner[:, 1:-1], edges[:, -1:]], dim=-1).cummax(dim=-1).values


def outer_bound_reference(
    fine_edges: Float[Tensor, "ray fine_edge"],
    fine_weights: Float[Tensor, "ray n"],
    proposal_edges: Float[Tensor, "ray edge"],
    proposal_weights: Float[Tensor, "ray m"],
) -> Float[Tensor, "ray"]:
    """`outer_bound` in plain torch."""
    first, last = _touched(fine_edges, proposal_edges)
    total = torch.cat([torch.zeros_like(proposal_weights[:, :1]), proposal_weights.cumsum(-1)], dim=-1)
    bound = total.gather(-1, last) - total.gather(-1, first)
    return ((fine_weights - bound).clamp_min(0.0).square() / (fine_weights + EPSILON)).sum(-1)


def _touched(fine_edges: Tensor, proposal_edges: Tensor) -> tuple[Tensor, Tensor]:
    """Per fine bin the first proposal bin it touches, and the one after the last."""
    bins = proposal_edges.shape[-1] - 1
    proposal = proposal_edges.contiguous()
    first = torch.searchsorted(proposal, fine_edges[:, :-1].contiguous(), right=True) - 1
    last = torch.searchsorted(proposal, fine_edges[:, 1:].contiguous(), right=False)
    first = first.clamp(0, bins)
    return first, torch.maximum(last.clamp(0, bins), first)


def _reference_bound_and_slope(
    fine_edges: Tensor, fine_weights: Tensor, proposal_edges: Tensor, proposal_weights: Tensor
) -> tuple[Tensor, Tensor]:
    loss = outer_bound_reference(fine_edges, fine_weights, proposal_edges, proposal_weights)
    first, last = _touched(fine_edges, proposal_edges)
    total = torch.cat([torch.zeros_like(proposal_weights[:, :1]), proposal_weights.cumsum(-1)], dim=-1)
    excess = (fine_weights - (total.gather(-1, last) - total.gather(-1, first))).clamp_min(0.0)
    slope = -2.0 * excess / (fine_weights + EPSILON)
    starts = torch.zeros_like(total).scatter_add(-1, first, slope).scatter_add(-1, last, -slope)
    return loss, starts.cumsum(-1)[:, :-1].contiguous()


@torch.library.custom_op(
    "diorama::resample",
    mutates_args=(),
    schema="(Tensor edges, Tensor weights, int count, Tensor? jitter, str twin) -> Tensor",
)
def _resample(edges: Tensor, weights: Tensor, count: int, jitter: Tensor | None, twin: str) -> Tensor:
    if twin == "numba":
        from diorama.kernels.resample_numba import resample_numba

        return resample_numba(edges, weights, count, jitter)
    return resample_reference(edges, weights, count, jitter)


@_resample.register_fake
def _(edges: Tensor, _: Tensor, count: int, *_others: object) -> Tensor:
    return edges.new_empty(edges.shape[0], count + 1)


@torch.library.custom_op(
    "diorama::outer_bound",
    mutates_args=(),
    schema="(Tensor fine_edges, Tensor fine_weights, Tensor proposal_edges, Tensor proposal_weights, str twin)"
    " -> (Tensor, Tensor)",
)
def _outer_bound(
    fine_edges: Tensor, fine_weights: Tensor, proposal_edges: Tensor, proposal_weights: Tensor, twin: str
) -> tuple[Tensor, Tensor]:
    # the loss, and its slope by the proposal's weights: both fall out of one walk along the ray
    if twin == "numba":
        from diorama.kernels.resample_numba import outer_bound_numba

        return outer_bound_numba(fine_edges, fine_weights, proposal_edges, proposal_weights)
    return _reference_bound_and_slope(fine_edges, fine_weights, proposal_edges, proposal_weights)


@_outer_bound.register_fake
def _(_: Tensor, fine_weights: Tensor, __: Tensor, proposal_weights: Tensor, twin: str) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return fine_weights.new_empty(fine_weights.shape[0]), proposal_weights.new_empty(proposal_weights.shape)


def _save_slope(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:  # noqa: ARG001
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _bound_autograd(ctx: Any, gradient: Tensor, _: Tensor) -> tuple:
    (slope,) = ctx.saved_tensors
    return None, None, None, gradient[:, None] * slope, None


_outer_bound.register_autograd(_bound_autograd, setup_context=_save_slope)
