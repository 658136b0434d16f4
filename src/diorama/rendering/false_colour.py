"""Numbers become colours: depth as people look at it."""

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
"""Evenly spaced sRGB colours from 0 to 1; lightness rises to yellow, then falls to red."""


def ramp(values: Float[Tensor, "*n"]) -> Float[Tensor, "rgb=3 *n"]:
    """Dark blue over green and yellow to dark red for values from 0 to 1; linear between the colours of `RAMP`."""
    colours = torch.tensor(RAMP).to(values)
    place = values.clamp(0, 1) * (len(RAMP) - 1)
    below = place.floor().clamp(max=len(RAMP) - 2)
    share = (place - below)[..., None]
    first = colours[below.long()]
    return torch.movedim(first + share * (colours[below.long() + 1] - first), -1, 0)


def colour_depth(
    depth: Float[Tensor, "*n"], opacity: Float[Tensor, "*n"], near: float, far: float
) -> Float[Tensor, "rgb=3 *n"]:
    """Near is red, far is blue, even in inverse depth; dark where there is nothing."""
    inverse = 1 / depth.clamp(min=1e-6 * near)
    value = (inverse - 1 / far) / (1 / near - 1 / far)
    return ramp(torch.where(depth > 0, value, 0.0)) * opacity.clamp(0, 1)
