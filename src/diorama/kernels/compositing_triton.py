"""The Triton twin of `compositing`: a program per ray, with all its bins in registers."""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from diorama.kernels.compositing import EPSILON
from diorama.kernels.jit import triton_kernel


def weights_forward(density: Tensor, edges: Tensor, last_opaque: bool) -> Tensor:
    """See `compositing.ray_weights`."""
    weights = torch.empty_like(density, memory_format=torch.contiguous_format)
    _per_ray(_weights, [density, edges], [weights], density, last_opaque)
    return weights


def weights_backward(gradient: Tensor, density: Tensor, edges: Tensor, last_opaque: bool) -> Tensor:
    """Gradient to density from the gradient to the weights."""
    to_density = torch.empty_like(density, memory_format=torch.contiguous_format)
    _per_ray(_weights_backward, [gradient, density, edges], [to_density], density, last_opaque)
    return to_density


def composite_forward(
    density: Tensor, colour: Tensor, edges: Tensor, last_opaque: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `compositing.composite_reference`."""
    rays = density.shape[0]
    rgb, depth, opacity = density.new_empty(rays, 3), density.new_empty(rays), density.new_empty(rays)
    weights = torch.empty_like(density, memory_format=torch.contiguous_format)
    _per_ray(_composite, [density, colour, edges], [rgb, depth, opacity, weights], density, last_opaque, EPSILON)
    return rgb, depth, opacity, weights


def composite_backward(
    gradients: tuple[Tensor, Tensor, Tensor, Tensor], density: Tensor, colour: Tensor, edges: Tensor, last_opaque: bool
) -> tuple[Tensor, Tensor]:
    """Gradients to density and colour from those to colour, depth, opacity and weights."""
    to_total = torch.empty_like(density, memory_format=torch.contiguous_format)
    to_colour = torch.empty_like(colour, memory_format=torch.contiguous_format)
    inputs = [*gradients, density, colour, edges]
    _per_ray(_composite_backward, inputs, [to_total, to_colour], density, last_opaque, EPSILON)
    return weights_backward(to_total, density, edges, last_opaque), to_colour


def _per_ray(
    kernel: Any, inputs: list[Tensor], outputs: list[Tensor], density: Tensor, last_opaque: bool, *more: float
) -> None:
    rays, bins = density.shape
    if rays:
        width = triton.next_power_of_2(bins)
        kernel[(rays,)](*(tensor.contiguous() for tensor in inputs), *outputs, bins, int(last_opaque), *more, width)


@triton_kernel
def _stopped_share(optical):
    # 1 - exp(-optical); its series where the difference would lose digits
    small = tl.minimum(optical, 0.1)
    series = small * (1 - small / 2 * (1 - small / 3 * (1 - small / 4 * (1 - small / 5))))
    return tl.where(optical < 0.1, series, 1.0 - tl.exp(-optical))


@triton_kernel
def _optical(density, edges, row, i, bins):
    # optical depth of bin i, 0 outside the ray
    inside = (i >= 0) & (i < bins)
    near = tl.load(edges + row * (bins + 1) + i, mask=inside, other=0.0)
    far = tl.load(edges + row * (bins + 1) + i + 1, mask=inside, other=0.0)
    return tl.load(density + row * bins + i, mask=inside, other=0.0) * (far - near)


@triton_kernel
def _weight(density, edges, row, i, bins, last_opaque):
    # light that arrives at bin i, the share of it that is stopped there
    arriving = tl.exp(-tl.cumsum(_optical(density, edges, row, i - 1, bins), axis=0))
    alpha = _stopped_share(_optical(density, edges, row, i, bins))
    return arriving, tl.where((i == bins - 1) & (last_opaque != 0), 1.0, alpha)


@triton_kernel
def _middle(edges, row, i, bins):
    near = tl.load(edges + row * (bins + 1) + i, mask=i < bins, other=0.0)
    return 0.5 * (near + tl.load(edges + row * (bins + 1) + i + 1, mask=i < bins, other=0.0))


@triton_kernel
def _weights(density, edges, weights, bins, last_opaque, width: tl.constexpr):
    row, i = tl.program_id(0).to(tl.int64), tl.arange(0, width)
    arriving, alpha = _weight(density, edges, row, i, bins, last_opaque)
    tl.store(weights + row * bins + i, arriving * alpha, mask=i < bins)


@triton_kernel
def _weights_backward(gradient, density, edges, out, bins, last_opaque, width: tl.constexpr):
    row, i = tl.program_id(0).to(tl.int64), tl.arange(0, width)
    arriving, _ = _weight(density, edges, row, i, bins, last_opaque)
    optical = _optical(density, edges, row, i, bins)
    passing = arriving * tl.exp(-optical)
    # what the bins behind bin i stop: of the next bin and all after it
    following = _stopped_share(_optical(density, edges, row, i + 1, bins))
    following = tl.where((i + 1 == bins - 1) & (last_opaque != 0), 1.0, following)
    next_gradient = tl.load(gradient + row * bins + i + 1, mask=i + 1 < bins, other=0.0)
    behind = tl.cumsum(tl.where(i + 1 < bins, next_gradient * passing * following, 0.0), axis=0, reverse=True)
    here = tl.load(gradient + row * bins + i, mask=i < bins, other=0.0)
    near = tl.load(edges + row * (bins + 1) + i, mask=i < bins, other=0.0)
    length = tl.load(edges + row * (bins + 1) + i + 1, mask=i < bins, other=0.0) - near
    slope = length * (here * passing - behind)
    tl.store(out + row * bins + i, tl.where((i == bins - 1) & (last_opaque != 0), 0.0, slope), mask=i < bins)


@triton_kernel
def _composite(
    density, colour, edges, rgb, depth, opacity, weights, bins, last_opaque, least: tl.constexpr, width: tl.constexpr
):
    row, i = tl.program_id(0).to(tl.int64), tl.arange(0, width)
    arriving, alpha = _weight(density, edges, row, i, bins, last_opaque)
    weight = tl.where(i < bins, arriving * alpha, 0.0)
    tl.store(weights + row * bins + i, weight, mask=i < bins)
    tl.store(opacity + row, tl.sum(weight, axis=0))
    for channel in tl.static_range(3):
        value = tl.load(colour + (row * bins + i) * 3 + channel, mask=i < bins, other=0.0)
        tl.store(rgb + row * 3 + channel, tl.sum(weight * value, axis=0))
    solid = tl.where((i == bins - 1) & (last_opaque != 0), 0.0, weight)
    distance = tl.sum(solid * _middle(edges, row, i, bins), axis=0)
    tl.store(depth + row, distance / tl.maximum(tl.sum(solid, axis=0), least))


@triton_kernel
def _composite_backward(
    to_rgb,
    to_depth,
    to_opacity,
    to_weights,
    density,
    colour,
    edges,
    to_total,
    to_colour,
    bins,
    last_opaque,
    least: tl.constexpr,
    width: tl.constexpr,
):
    row, i = tl.program_id(0).to(tl.int64), tl.arange(0, width)
    arriving, alpha = _weight(density, edges, row, i, bins, last_opaque)
    weight = tl.where(i < bins, arriving * alpha, 0.0)
    total = tl.load(to_weights + row * bins + i, mask=i < bins, other=0.0) + tl.load(to_opacity + row)
    for channel in tl.static_range(3):
        place = (row * bins + i) * 3 + channel
        part = tl.load(to_rgb + row * 3 + channel)
        total += part * tl.load(colour + place, mask=i < bins, other=0.0)
        tl.store(to_colour + place, weight * part, mask=i < bins)
    counts = (i < bins) & ((i < bins - 1) | (last_opaque == 0))
    solid, middle = tl.where(counts, weight, 0.0), _middle(edges, row, i, bins)
    mass = tl.sum(solid, axis=0)
    depth = tl.where(mass >= least, tl.sum(solid * middle, axis=0) / tl.maximum(mass, least), 0.0)
    slope = tl.load(to_depth + row) / tl.maximum(mass, least)
    total += tl.where(counts, slope * (middle - depth), 0.0)
    tl.store(to_total + row * bins + i, total, mask=i < bins)
