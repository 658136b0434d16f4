"""Numbers become colours: depth, errors and what was seen, as people look at them."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
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


HIDDEN, OUTSIDE = (0.85, 0.25, 0.50), (0.25, 0.35, 0.85)
"""Tints of what no photograph saw: red where something stands before it, blue where it is in the frame of none."""

ONE, ALL = 5 / 6, 1 / 6
"""Places of the ramp for what one photograph saw, and all of them."""


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


def fade(
    colour: Float[Tensor, "rgb=3 *n"], hidden: Bool[Tensor, "*n"], outside: Bool[Tensor, "*n"]
) -> Float[Tensor, "rgb=3 *n"]:
    """Colours of which the unseen ones turn pale and grey, with a tint of `HIDDEN` or `OUTSIDE`."""
    grey = 0.3 + 0.4 * colour.mean(0)
    for where, tint in ((hidden, HIDDEN), (outside, OUTSIDE)):
        pale = torch.stack([0.65 * grey + 0.35 * channel for channel in tint])
        colour = torch.where(where, pale, colour)
    return colour


def colour_counts(count: Int[Tensor, "*n"], photographs: int) -> Float[Tensor, "rgb=3 *n"]:
    """How many of so many photographs saw something: one is orange, all of them blue, equal steps for equal factors;
    grey for none."""
    share = torch.log2(count.clamp(min=1).float()) / max(1.0, math.log2(max(2, photographs)))
    return torch.where(count > 0, ramp(ONE + (ALL - ONE) * share), 0.25)
