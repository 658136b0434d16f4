"""Numbers become colours: depth and errors as people look at them."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

RAMP = (
    (0.08, 0.05, 0.30),
    (0.10, 0.35, 0.75),
    (0.05, 0.65, 0.70),
    (0.35, 0.80, 0.35),
    (0.95, 0.80, 0.20),
    (0.95, 0.45, 0.12),
    (0.65, 0.08, 0.12),
)
"""Evenly spaced sRGB colours from 0 to 1, dark blue to dark red; lightness rises to yellow, then falls."""


INFERNO = (
    (0.000, 0.000, 0.016),
    (0.157, 0.043, 0.329),
    (0.396, 0.082, 0.431),
    (0.624, 0.165, 0.388),
    (0.831, 0.282, 0.259),
    (0.961, 0.490, 0.082),
    (0.980, 0.757, 0.153),
    (0.988, 1.000, 0.643),
)
"""matplotlib's colour map inferno (CC0) at eight even steps: lightness rises all the way."""


def ramp(
    values: Float[Tensor, "*n"], colours: Sequence[tuple[float, float, float]] = RAMP
) -> Float[Tensor, "rgb=3 *n"]:
    """Values in [0, 1] (clamped; 0 where not a number) as colours, linear between the evenly spaced ones given."""
    stops = torch.tensor(colours).to(values)
    place = values.nan_to_num(0).clamp(0, 1) * (len(stops) - 1)
    below = place.floor().clamp(max=len(stops) - 2)
    share = (place - below)[..., None]
    first = stops[below.long()]
    return torch.movedim(first + share * (stops[below.long() + 1] - first), -1, 0)


def heat(values: Float[Tensor, "*n"]) -> Float[Tensor, "rgb=3 *n"]:
    """Values in [0, 1] as colours from black over red to light yellow."""
    return ramp(values, INFERNO)


def colour_depth(
    depth: Float[Tensor, "*n"], opacity: Float[Tensor, "*n"], near: float, far: float
) -> Float[Tensor, "rgb=3 *n"]:
    """Near is red, far is blue, even in inverse depth; dark where there is nothing."""
    inverse = 1 / depth.clamp(min=1e-6 * near)
    value = (inverse - 1 / far) / (1 / near - 1 / far)
    return ramp(torch.where(depth > 0, value, 0.0)) * opacity.clamp(0, 1)
