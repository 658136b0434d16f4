"""The Numba twin of `compositing`: each ray is walked once forwards for its light and once backwards for gradients."""

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

f32, i32 = np.float32, np.int32
_LN2, _INVERSE_LN2 = f32(0.6931471805599453), f32(1.4426950408889634)
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
def _alphas(density, edges, alpha):
    # 1 - exp(-optical depth) of each bin, to the last digits also of thin bins. A loop without calls, which runs
    # sixteen bins at a time: exp(-x) = 2^-n (1 + p), p = expm1(n ln 2 - x) by its series, |n ln 2 - x| < 0.35
    for i in range(len(alpha)):
        x = density[i] * (edges[i + 1] - edges[i])
        x = f32(87) if x > f32(87) else x
        x = f32(-87) if x < f32(-87) else x
        n = i32(x * _INVERSE_LN2 + f32(127.5)) - i32(127)
        r = f32(n) * _LN2 - x
        p = f32(1) + r * f32(1 / 7)
        p = f32(1) + r * f32(1 / 6) * p
        p = f32(1) + r * f32(1 / 5) * p
        p = f32(1) + r * f32(1 / 4) * p
        p = f32(1) + r * f32(1 / 3) * p
        p = r * (f32(1) + r * f32(1 / 2) * p)
        scale = i32((i32(127) - n) << i32(23)).view(f32)
        alpha[i] = (f32(1) - scale) - scale * p


@numba_kernel
def _weights(density, edges, weights, last_opaque, start, stop):
    bins = density.shape[1]
    for ray in range(start, stop):
        _alphas(density[ray], edges[ray], weights[ray])
        if last_opaque:
            weights[ray, bins - 1] = f32(1)
        light = f32(1)
        for i in range(bins):
            alpha = weights[ray, i]
            weights[ray, i] = light * alpha
            light *= f32(1) - alpha


@numba_kernel
def _slope(gradient, alpha, edges, out, solid):
    # out: gradient to density of one ray, where gradient is that to its weights; alpha is overwritten
    bins = len(alpha)
    light = f32(1)
    for i in range(bins):
        arriving = light
        light *= f32(1) - alpha[i]
        out[i] = light
        alpha[i] *= arriving
    behind = f32(0)
    for i in range(bins - 1, -1, -1):
        out[i] = (edges[i + 1] - edges[i]) * (gradient[i] * out[i] - behind) if i < solid else f32(0)
        behind += gradient[i] * alpha[i]


@numba_kernel
def _weights_backward(gradient, density, edges, out, last_opaque, start, stop):
    bins = density.shape[1]
    alpha = np.empty(bins, f32)
    for ray in range(start, stop):
        _alphas(density[ray], edges[ray], alpha)
        if last_opaque:
            alpha[bins - 1] = f32(1)
        _slope(gradient[ray], alpha, edges[ray], out[ray], bins - 1 if last_opaque else bins)


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
        for i in range(solid):
            mass += weights[ray, i]
            distance += weights[ray, i] * f32(0.5) * (edges[ray, i] + edges[ray, i + 1])
        rgb[ray, 0], rgb[ray, 1], rgb[ray, 2] = red, green, blue
        depth[ray] = distance / max(mass, _LEAST)
        opacity[ray] = total


@numba_kernel
def _composite_backward(
    to_rgb, to_depth, to_opacity, to_weights, density, colour, edges, to_density, to_colour, last_opaque, start, stop
):
    bins = density.shape[1]
    solid = bins - 1 if last_opaque else bins
    alpha, total = np.empty(bins, f32), np.empty(bins, f32)
    for ray in range(start, stop):
        _alphas(density[ray], edges[ray], alpha)
        if last_opaque:
            alpha[bins - 1] = f32(1)
        red, green, blue = to_rgb[ray, 0], to_rgb[ray, 1], to_rgb[ray, 2]
        light, mass, distance = f32(1), f32(0), f32(0)
        for i in range(bins):
            weight = light * alpha[i]
            light *= f32(1) - alpha[i]
            to_colour[ray, i, 0], to_colour[ray, i, 1], to_colour[ray, i, 2] = (
                weight * red,
                weight * green,
                weight * blue,
            )
            if i < solid:
                mass += weight
                distance += weight * f32(0.5) * (edges[ray, i] + edges[ray, i + 1])
        depth = distance / mass if mass >= _LEAST else f32(0)
        slope = to_depth[ray] / max(mass, _LEAST)
        for i in range(bins):
            total[i] = colour[ray, i, 0] * red + colour[ray, i, 1] * green + colour[ray, i, 2] * blue
            total[i] += to_weights[ray, i] + to_opacity[ray]
        for i in range(solid):
            total[i] += slope * (f32(0.5) * (edges[ray, i] + edges[ray, i + 1]) - depth)
        _slope(total, alpha, edges[ray], to_density[ray], solid)
