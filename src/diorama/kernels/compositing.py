"""Compositing: densities along a ray become the share of light stopped in each bin, a colour and a depth.

Source: NeRF (arXiv 2003.08934), eq. 3, for piecewise constant density (Max 1995). Letters used below. n: bins of a
ray; edges: distances along it, increasing; optical depth of a bin: density times length; transmittance: the share of
light that reaches a bin; weight: the share that is stopped in it.

The operations are `torch.ops.diorama.ray_weights` and `torch.ops.diorama.composite`; twins are the torch forms here,
`compositing_numba` and `compositing_triton`. Differentiable once, to density and colour; edges carry no gradient.
"""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.kernels.twins import choose_twin

EPSILON = 1e-6
"""Least opacity by which depth is divided."""


def ray_weights(
    density: Float[Tensor, "ray n"], edges: Float[Tensor, "ray n+1"], *, last_opaque: bool = False
) -> Float[Tensor, "ray n"]:
    """Share of light that stops in each bin; sums to the ray's opacity, 1 - exp(-total optical depth).

    density is per unit of the edges and not negative. With last_opaque the last bin stops all light that is left, of
    whatever density, which then gets no gradient. Finite for empty bins and for densities that stop everything.
    Computed in float32 at least, whatever autocast made of the density.
    """
    density = _at_least_single(density)
    return _ray_weights(density, edges.to(density.dtype), last_opaque, choose_twin(density))


def composite(
    density: Float[Tensor, "ray n"],
    colour: Float[Tensor, "ray n rgb=3"],
    edges: Float[Tensor, "ray n+1"],
    background: Float[Tensor, "ray rgb=3"] | None = None,
    *,
    last_opaque: bool = False,
) -> tuple[Float[Tensor, "ray rgb=3"], Float[Tensor, "ray"], Float[Tensor, "ray"], Float[Tensor, "ray n"]]:
    """Colour, depth, opacity and weights of rays.

    Colour is the mean of the bins' colours by weight, plus the background (None: black) by what light is left. Depth
    is the mean of the bins' midpoints by weight, normalised by opacity; with last_opaque the last bin, whose
    distance means nothing, is left out of it (a ray that stops nowhere else has depth 0). See `ray_weights`.
    """
    density = _at_least_single(density)
    colour, edges = colour.to(density.dtype), edges.to(density.dtype)
    rgb, depth, opacity, weights = _composite(density, colour, edges, last_opaque, choose_twin(density))
    if background is not None:
        rgb = rgb + (1.0 - opacity)[:, None] * background
    return rgb, depth, opacity, weights


def ray_weights_reference(
    density: Float[Tensor, "ray n"], edges: Float[Tensor, "ray n+1"], last_opaque: bool = False
) -> Float[Tensor, "ray n"]:
    """`ray_weights` in plain torch.

    The optical depth before a bin is a sum over the bins before it, never a difference of totals: a bin that stops
    everything would swallow the others in rounding.
    """
    alpha, transmittance = _alpha_and_transmittance(density, edges, last_opaque)
    return transmittance[:, :-1] * alpha


def composite_reference(
    density: Float[Tensor, "ray n"],
    colour: Float[Tensor, "ray n rgb=3"],
    edges: Float[Tensor, "ray n+1"],
    last_opaque: bool = False,
) -> tuple[Float[Tensor, "ray rgb=3"], Float[Tensor, "ray"], Float[Tensor, "ray"], Float[Tensor, "ray n"]]:
    """`composite` in plain torch, over a black background."""
    weights = ray_weights_reference(density, edges, last_opaque)
    solid = _solid(weights, last_opaque)
    depth = (solid * _middle(edges)).sum(-1) / solid.sum(-1).clamp_min(EPSILON)
    return (weights[..., None] * colour).sum(-2), depth, weights.sum(-1), weights


def _at_least_single(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _alpha_and_transmittance(density: Tensor, edges: Tensor, last_opaque: bool) -> tuple[Tensor, Tensor]:
    # alpha (ray, n): share of the arriving light that a bin stops; transmittance (ray, n + 1): before and after bins
    optical = density * edges.diff(dim=-1)
    total = torch.cat([torch.zeros_like(optical[:, :1]), optical.cumsum(-1)], dim=-1)
    alpha, transmittance = -torch.expm1(-optical), torch.exp(-total)
    if last_opaque:
        alpha = torch.cat([alpha[:, :-1], torch.ones_like(alpha[:, -1:])], dim=-1)
        transmittance = torch.cat([transmittance[:, :-1], torch.zeros_like(transmittance[:, -1:])], dim=-1)
    return alpha, transmittance


def _middle(edges: Tensor) -> Tensor:
    return 0.5 * (edges[:, 1:] + edges[:, :-1])


def _solid(weights: Tensor, last_opaque: bool) -> Tensor:
    # the weights that count for depth
    return torch.cat([weights[:, :-1], torch.zeros_like(weights[:, -1:])], dim=-1) if last_opaque else weights


def _reference_weights_backward(gradient: Tensor, density: Tensor, edges: Tensor, last_opaque: bool) -> Tensor:
    """More density in a bin stops more there, and takes the same from all bins behind it."""
    alpha, transmittance = _alpha_and_transmittance(density, edges, last_opaque)
    stopped = gradient * transmittance[:, :-1] * alpha
    behind = stopped.flip(-1).cumsum(-1).flip(-1) - stopped
    slope = edges.diff(dim=-1) * (gradient * transmittance[:, 1:] - behind)
    return _solid(slope, last_opaque)


def _reference_composite_backward(
    gradients: tuple[Tensor, Tensor, Tensor, Tensor],
    density: Tensor,
    colour: Tensor,
    edges: Tensor,
    last_opaque: bool,
) -> tuple[Tensor, Tensor]:
    to_rgb, to_depth, to_opacity, to_weights = gradients
    weights = ray_weights_reference(density, edges, last_opaque)
    solid = _solid(weights, last_opaque)
    middle, mass = _middle(edges), solid.sum(-1, keepdim=True)
    depth = (solid * middle).sum(-1, keepdim=True) / mass.clamp_min(EPSILON)
    towards = (middle - depth * (mass >= EPSILON)) / mass.clamp_min(EPSILON)
    total = to_weights + to_opacity[:, None] + (colour * to_rgb[:, None]).sum(-1)
    total = total + _solid(towards, last_opaque) * to_depth[:, None]
    to_density = _reference_weights_backward(total, density, edges, last_opaque)
    return to_density, weights[..., None] * to_rgb[:, None]


def _fast(twin: str) -> ModuleType:
    # imported when first used: the reference needs neither Numba nor Triton
    if twin == "triton":
        from diorama.kernels import compositing_triton

        return compositing_triton
    from diorama.kernels import compositing_numba

    return compositing_numba


@torch.library.custom_op(
    "diorama::ray_weights",
    mutates_args=(),
    schema="(Tensor density, Tensor edges, bool last_opaque, str twin) -> Tensor",
)
def _ray_weights(density: Tensor, edges: Tensor, last_opaque: bool, twin: str) -> Tensor:
    if twin == "reference":
        return ray_weights_reference(density, edges, last_opaque)
    return _fast(twin).weights_forward(density, edges, last_opaque)


@torch.library.custom_op(
    "diorama::ray_weights_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor density, Tensor edges, bool last_opaque, str twin) -> Tensor",
)
def _ray_weights_backward(gradient: Tensor, density: Tensor, edges: Tensor, last_opaque: bool, twin: str) -> Tensor:
    if twin == "reference":
        return _reference_weights_backward(gradient, density, edges, last_opaque)
    return _fast(twin).weights_backward(gradient, density, edges, last_opaque)


@torch.library.custom_op(
    "diorama::composite",
    mutates_args=(),
    schema="(Tensor density, Tensor colour, Tensor edges, bool last_opaque, str twin)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
)
def _composite(
    density: Tensor, colour: Tensor, edges: Tensor, last_opaque: bool, twin: str
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if twin == "reference":
        return composite_reference(density, colour, edges, last_opaque)
    return _fast(twin).composite_forward(density, colour, edges, last_opaque)


@torch.library.custom_op(
    "diorama::composite_backward",
    mutates_args=(),
    schema="(Tensor to_rgb, Tensor to_depth, Tensor to_opacity, Tensor to_weights, Tensor density, Tensor colour,"
    " Tensor edges, bool last_opaque, str twin) -> (Tensor, Tensor)",
)
def _composite_backward(
    to_rgb: Tensor,
    to_depth: Tensor,
    to_opacity: Tensor,
    to_weights: Tensor,
    density: Tensor,
    colour: Tensor,
    edges: Tensor,
    last_opaque: bool,
    twin: str,
) -> tuple[Tensor, Tensor]:
    gradients = (to_rgb, to_depth, to_opacity, to_weights)
    if twin == "reference":
        return _reference_composite_backward(gradients, density, colour, edges, last_opaque)
    return _fast(twin).composite_backward(gradients, density, colour, edges, last_opaque)


@_ray_weights.register_fake
def _(density: Tensor, *_: object) -> Tensor:
    return density.new_empty(density.shape)


@_ray_weights_backward.register_fake
def _(_: Tensor, density: Tensor, *_others: object) -> Tensor:
    return density.new_empty(density.shape)


@_composite.register_fake
def _(density: Tensor, *_: object) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rays = density.shape[0]
    return (
        density.new_empty(rays, 3),
        density.new_empty(rays),
        density.new_empty(rays),
        density.new_empty(density.shape),
    )


@_composite_backward.register_fake
def _(*inputs: Any) -> tuple[Tensor, Tensor]:
    density, colour = inputs[4:6]
    return density.new_empty(density.shape), colour.new_empty(colour.shape)


def _save(ctx: Any, inputs: tuple, output: object) -> None:  # noqa: ARG001
    *tensors, ctx.last_opaque, ctx.twin = inputs
    ctx.save_for_backward(*tensors)


def _weights_autograd(ctx: Any, gradient: Tensor) -> tuple:
    return _ray_weights_backward(gradient, *ctx.saved_tensors, ctx.last_opaque, ctx.twin), None, None, None


def _composite_autograd(ctx: Any, *gradients: Tensor) -> tuple:
    to_density, to_colour = _composite_backward(*gradients, *ctx.saved_tensors, ctx.last_opaque, ctx.twin)
    return to_density, to_colour, None, None, None


_ray_weights.register_autograd(_weights_autograd, setup_context=_save)
_composite.register_autograd(_composite_autograd, setup_context=_save)
