"""What several views say of a point becomes one: an MLP on what each view holds for it, and the largest answer.

Layer after layer over all points and views, a CPU writes every activation to memory and reads it back. Here a piece of
the points goes through everything at once and stays in the cache; for the gradient it goes through again, so that
nothing but the inputs is kept. Views that are not kept for a point are not computed for it. Optionally in bfloat16,
which is what an AMX or AVX-512 processor multiplies fastest.

The products are the processor's own already; the largest answers have twins in Numba and Triton. On CUDA pieces are
large.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.kernels.twins import Twin, choose_twin

ROWS = {"cpu": 8192}
"""About so many rows (a point in a view that is kept) per piece on a kind of device; elsewhere `MANY`."""
MANY = 1 << 20

More = Callable[[int, Tensor], Tensor]
"""(scene, rows of it: view * points + point) -> further inputs (row, k) of the MLP, which carry no gradient."""


def pooled_mlp(
    features: Float[Tensor, "scene view point f"],
    keep: Bool[Tensor, "scene view point"],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    more: More,
    *,
    compute: torch.dtype = torch.float32,
) -> tuple[Float[Tensor, "scene point d"], Bool[Tensor, "scene point"]]:
    """Linear layers with SiLU after each on [features, more], then per channel the largest over kept views.

    Returns that, 0 where no view is kept, and whether any is. weights are (out, in), as in `torch.nn.Linear`. Gradients
    to features, weights and biases, once; of equal answers the first view gets it. compute: type of the products,
    activations and answers; gradients are summed over pieces in the parameters' type. Same values as
    `pooled_mlp_reference`.
    """
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (features, *weights, *biases)):
        pooled = _PooledMlp.apply(features, keep, more, compute, *weights, *biases)
    else:
        pooled = _forward(features, keep, more, compute, weights, biases)
    return pooled, keep.any(1)


def pooled_mlp_reference(
    features: Float[Tensor, "scene view point f"],
    keep: Bool[Tensor, "scene view point"],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    more: More,
) -> tuple[Float[Tensor, "scene point d"], Bool[Tensor, "scene point"]]:
    """`pooled_mlp` in plain torch, all points at once."""
    h = torch.cat([features, more_of_all(features, more)], dim=-1)
    for weight, bias in zip(weights, biases, strict=True):
        h = F.silu(F.linear(h, weight, bias))
    known = keep.any(1)
    pooled = h.masked_fill(~keep[..., None], torch.finfo(h.dtype).min).max(1).values
    return pooled.masked_fill(~known[..., None], 0.0), known


def more_of_all(features: Float[Tensor, "scene view point f"], more: More) -> Float[Tensor, "scene view point k"]:
    """The further inputs of all points in all views."""
    every = torch.arange(features.shape[1] * features.shape[2], device=features.device)
    return torch.stack([more(scene, every) for scene in range(len(features))]).unflatten(1, features.shape[1:3])


def _pieces(keep: Tensor) -> list[tuple[int, slice]]:
    scenes, views, count = keep.shape
    kept = int(keep.sum()) if keep.device.type == "cpu" else scenes * views * count
    length = max(1, ROWS.get(keep.device.type, MANY) * scenes * count // max(1, kept))
    return [(scene, slice(a, min(a + length, count))) for scene in range(scenes) for a in range(0, count, length)]


def _kept(keep: Tensor, scene: int, piece: slice) -> tuple[Tensor, Tensor]:
    # which views are kept for the points of a piece, and the rows of the scene that these are, view after view
    kept = keep[scene, :, piece].contiguous()
    view, point = kept.nonzero(as_tuple=True)
    return kept, view * keep.shape[2] + point + piece.start


def _given(features: Tensor, more: More, scene: int, rows: Tensor, compute: torch.dtype) -> tuple[Tensor, Tensor]:
    # rows as the first layer gets them: features, and what there is besides
    return features[scene].flatten(0, 1).index_select(0, rows).to(compute), more(scene, rows).to(compute)


def _first(given: tuple[Tensor, Tensor], shift: Tensor, weight: Tensor) -> Tensor:
    # the first layer, without joining its inputs: copying rows of odd lengths costs more than a second product
    rows, further = given
    split = rows.shape[1]
    return torch.addmm(shift, rows, weight[:, :split].t()).addmm_(further, weight[:, split:].t())


def _twin_for(features: Tensor, compute: torch.dtype) -> Twin:
    return choose_twin(features) if compute in (torch.float32, torch.bfloat16) else "reference"


def _fast(twin: Twin) -> Any:
    # imported when first used: the reference does without Numba and Triton
    if twin == "numba":
        from diorama.kernels import pooled_mlp_numba

        return pooled_mlp_numba
    from diorama.kernels import pooled_mlp_triton

    return pooled_mlp_triton


def _largest(h: Tensor, keep: Tensor, twin: Twin) -> Tensor:
    # of (row, d) over the views of each point, a row for every kept one of (view, point); 0 where none is
    if twin != "reference":
        return _fast(twin).largest(h, keep)
    every = _spread(h, keep, torch.finfo(h.dtype).min)
    return functools.reduce(torch.maximum, every.unbind(0)).masked_fill(~keep.any(0)[:, None], 0.0)


def _to_largest(h: Tensor, keep: Tensor, gradient: Tensor, twin: Twin) -> Tensor:
    # the gradient of `_largest`: to the first of the kept views whose answer it was
    if twin != "reference":
        return _fast(twin).to_largest(h, keep, gradient)
    every = _spread(h, keep, 0.0)
    largest, slope = _largest(h, keep, "reference"), torch.empty_like(every)
    open_still = torch.ones_like(gradient, dtype=torch.bool)
    for view in range(len(keep)):
        chosen = (every[view] == largest) & keep[view, :, None] & open_still
        open_still &= ~chosen
        torch.mul(gradient, chosen, out=slope[view])
    return slope[keep]


def _spread(h: Tensor, keep: Tensor, elsewhere: float) -> Tensor:
    # rows of kept views as (view, point, d)
    every = h.new_full((*keep.shape, h.shape[1]), elsewhere)
    every[keep] = h
    return every


def _forward(
    features: Tensor,
    keep: Tensor,
    more: More,
    compute: torch.dtype,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
) -> Tensor:
    products = [weight.detach().to(compute) for weight in weights]
    shifts = [bias.detach().to(compute) for bias in biases]
    pooled = features.new_empty(len(features), features.shape[2], weights[-1].shape[0], dtype=compute)
    twin = _twin_for(features, compute)
    with torch.autocast(features.device.type, enabled=False):
        for scene, piece in _pieces(keep):
            kept, rows = _kept(keep, scene, piece)
            h = F.silu(_first(_given(features, more, scene, rows, compute), shifts[0], products[0]), inplace=True)
            for product, shift in zip(products[1:], shifts[1:], strict=True):
                h = F.silu(torch.addmm(shift, h, product.t()), inplace=True)
            pooled[scene, piece] = _largest(h, kept, twin)
    return pooled


class _PooledMlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, features: Tensor, keep: Tensor, more: More, compute: torch.dtype, *parameters: Tensor
    ) -> Tensor:
        layers = len(parameters) // 2
        ctx.save_for_backward(features, keep, *parameters)
        ctx.more, ctx.compute = more, compute
        return _forward(features, keep, more, compute, parameters[:layers], parameters[layers:])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        features, keep, *parameters = ctx.saved_tensors
        layers, compute = len(parameters) // 2, ctx.compute
        products = [weight.to(compute) for weight in parameters[:layers]]
        shifts = [bias.to(compute) for bias in parameters[layers:]]
        to_parameters = [torch.zeros_like(parameter) for parameter in parameters]
        to_features = torch.zeros_like(features) if ctx.needs_input_grad[0] else None
        split, twin = features.shape[-1], _twin_for(features, compute)
        with torch.no_grad(), torch.autocast(features.device.type, enabled=False):
            for scene, piece in _pieces(keep):
                kept, rows = _kept(keep, scene, piece)
                given = _given(features, ctx.more, scene, rows, compute)
                before, after = [_first(given, shifts[0], products[0])], []
                for product, shift in zip(products[1:], shifts[1:], strict=True):
                    after.append(F.silu(before[-1]))
                    before.append(torch.addmm(shift, after[-1], product.t()))
                slope = _to_largest(F.silu(before[-1]), kept, gradient[scene, piece], twin)
                ones = slope.new_ones(1, len(slope))
                for layer in range(layers - 1, -1, -1):
                    slope = torch.ops.aten.silu_backward(slope, before[layer])
                    to_parameters[layers + layer] += (ones @ slope)[0]
                    if layer:
                        to_parameters[layer] += slope.t() @ after[layer - 1]
                        slope = slope @ products[layer]
                to_parameters[0][:, :split] += slope.t() @ given[0]
                to_parameters[0][:, split:] += slope.t() @ given[1]
                if to_features is not None:
                    to_rows = (slope @ products[0][:, :split]).to(to_features)
                    to_features[scene].flatten(0, 1).index_copy_(0, rows, to_rows)
        return to_features, None, None, None, *to_parameters
