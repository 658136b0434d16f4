"""The Numba twin of `compositing`: each ray is walked once forwards for its light and once backwards for gradients."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from diorama.kernels.compositing import EPSILON
from diorama.kernels.jit import numba_kernel
from diorama.kernels.twins import run_tasks, spans

SPAN = 512
"""Rays per task."""

f32 = np.float32
_LEAST = f32(EPSILON)


def weights_forward(density: Tensor, edges: Tensor, last_opaque: bool) -> Tensor:
    """See `compositing.ray_weights`."""
    weights = torch.empty(density.shape)
    _over_rays(_weights, [density, edges], [weights], last_opaque)
    return weights


def weights_backward(gradient: Tensor, density: Tensor, edges: Tensor, last_opaque: bool) -> Tensor:
    """Gradient to density from the gradient to the weights."""
    to_density = torch.empty(density.shape)
    _over_rays(_weights_backward, [gradient, density, edges], [to_density], last_opaque)
    return to_density


def composite_forward(
    density: Tensor, colour: Tensor, edges: Tensor, last_opaque: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See `compositing.composite_reference`."""
    rays = density.shape[0]
    rgb, depth, opacity, weights = (
        torch.empty(rays, 3),
        torch.empty(rays),
        torch.empty(rays),
        torch.empty(density.shape),
    )
    _over_rays(_composite, [density, colour, edges], [rgb, depth, opacity, weights], last_opaque)
    return rgb, depth, opacity, weights


def composite_backward(
    gradients: tuple[Tensor, Tensor, Tensor, Tensor], density: Tensor, colour: Tensor, edges: Tensor, last_opaque: bool
) -> tuple[Tensor, Tensor]:
    """Gradients to density and colour from those to colour, depth, opacity and weights."""
    to_density, to_colour = torch.empty(density.shape), torch.empty(colour.shape)
    _over_rays(_composite_backward, [*gradients, density, colour, edges], [to_density, to_colour], last_opaque)
    return to_density, to_colour


def _over_rays(kernel: Callable, inputs: list[Tensor], outputs: list[Tensor], last_opaque: bool) -> None:
    arrays = [tensor.detach().to(torch.float32).contiguous().numpy() for tensor in inputs + outputs]
    rays = len(arrays[0])
    run_tasks([partial(kernel, *arrays, last_opaque, start, stop) for start, stop in spans(rays, SPAN)])


@numba_kernel
def _weights(density, edges, weights, last_opaque, start, stop):
    bins = density.shape[1]
    for ray in range(start, stop):
        light = f32(1)
        for i in range(bins):
            alpha = -math.expm1(-density[ray, i] * (edges[ray, i + 1] - edges[ray, i]))
            if last_opaque and i == bins - 1:
                alpha = f32(1)
            weights[ray, i] = light * alpha
            light *= f32(1) - alpha


@numba_kernel
def _weights_backward(gradient, density, edges, out, last_opaque, start, stop):
    bins = density.shape[1]
    after = np.empty(bins, np.float32)
    for ray in range(start, stop):
        light = f32(1)
        for i in range(bins):
            light *= math.exp(-density[ray, i] * (edges[ray, i + 1] - edges[ray, i]))
            after[i] = light
        behind = f32(0)
        for i in range(bins - 1, -1, -1):
            before = after[i - 1] if i > 0 else f32(1)
            if last_opaque and i == bins - 1:
                out[ray, i] = f32(0)
                behind = gradient[ray, i] * before
                continue
            length = edges[ray, i + 1] - edges[ray, i]
            out[ray, i] = length * (gradient[ray, i] * after[i] - behind)
            behind -= gradient[ray, i] * before * math.expm1(-density[ray, i] * length)


@numba_kernel
def _composite(density, colour, edges, rgb, depth, opacity, weights, last_opaque, start, stop):
    _weights(density, edges, weights, last_opaque, start, stop)
    bins = density.shape[1]
    solid = bins - 1 if last_opaque else bins
    for ray in range(start, stop):
        red = green = blue = total = mass = distance = f32(0)
        for i in range(bins):
            weight = weights[ray, i]
            red += weight * colour[ray, i, 0]
            green += weight * colour[ray, i, 1]
            blue += weight * colour[ray, i, 2]
            total += weight
            if i < solid:
                mass += weight
                distance += weight * f32(0.5) * (edges[ray, i] + edges[ray, i + 1])
        rgb[ray, 0], rgb[ray, 1], rgb[ray, 2] = red, green, blue
        depth[ray] = distance / max(mass, _LEAST)
        opacity[ray] = total


@numba_kernel
def _composite_backward(
    to_rgb, to_depth, to_opacity, to_weights, density, colour, edges, to_density, to_colour, last_opaque, start, stop
):
    bins = density.shape[1]
    solid = bins - 1 if last_opaque else bins
    weights = np.empty((1, bins), np.float32)
    total = np.empty((1, bins), np.float32)
    for ray in range(start, stop):
        _weights(density[ray : ray + 1], edges[ray : ray + 1], weights, last_opaque, 0, 1)
        mass = distance = f32(0)
        for i in range(solid):
            mass += weights[0, i]
            distance += weights[0, i] * f32(0.5) * (edges[ray, i] + edges[ray, i + 1])
        depth = distance / mass if mass >= _LEAST else f32(0)
        slope = to_depth[ray] / max(mass, _LEAST)
        red, green, blue = to_rgb[ray, 0], to_rgb[ray, 1], to_rgb[ray, 2]
        for i in range(bins):
            weight = weights[0, i]
            to_colour[ray, i, 0], to_colour[ray, i, 1], to_colour[ray, i, 2] = (
                weight * red,
                weight * green,
                weight * blue,
            )
            g = to_weights[ray, i] + to_opacity[ray]
            g += colour[ray, i, 0] * red + colour[ray, i, 1] * green + colour[ray, i, 2] * blue
            if i < solid:
                g += slope * (f32(0.5) * (edges[ray, i] + edges[ray, i + 1]) - depth)
            total[0, i] = g
        _weights_backward(
            total, density[ray : ray + 1], edges[ray : ray + 1], to_density[ray : ray + 1], last_opaque, 0, 1
        )
