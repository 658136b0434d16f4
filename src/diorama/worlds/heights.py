"""Tables of heights: hills and reliefs."""

import torch
from jaxtyping import Float
from torch import Tensor

CELLS = 64
"""Entries along a side of a table."""


def rough_table(
    generator: torch.Generator, *, coarse: int = 3, octaves: int = 4, gain: float = 0.5
) -> Float[Tensor, "n n"]:
    """Smooth random heights with mean about 0 and deviation about 1: octaves of `coarse`, 2 `coarse`, ... bumps a
    side, each `gain` times as high as the one before."""
    total, power = torch.zeros(CELLS, CELLS), 0.0
    for octave in range(octaves):
        count = min(coarse * 2**octave + 1, CELLS)
        bumps = torch.randn(1, 1, count, count, generator=generator)
        layer = torch.nn.functional.interpolate(bumps, (CELLS, CELLS), mode="bicubic", align_corners=True)[0, 0]
        total, power = total + gain**octave * layer, power + gain ** (2 * octave)
    return total / power**0.5


def steepest(table: Float[Tensor, "n n"], size: tuple[float, float, float]) -> float:
    """The steepest slope of a table in [0, 1] over a solid of these half sides."""
    count = table.shape[-1] - 2
    along = table.diff(dim=0).abs().max() * size[2] * count / size[0]
    across = table.diff(dim=1).abs().max() * size[2] * count / size[1]
    return float(torch.hypot(along, across))


def height_at(table: Float[Tensor, "n n"], size: tuple[float, float, float], x: float, y: float) -> float:
    """Height of the surface over a point in the solid's own frame, metres; between entries by halves (bilinear)."""
    count = table.shape[-1]
    u = min(max((0.5 * x / size[0] + 0.5) * (count - 2) + 0.5, 0.0), count - 1.001)
    v = min(max((0.5 * y / size[1] + 0.5) * (count - 2) + 0.5, 0.0), count - 1.001)
    i, j = int(u), int(v)
    f, g = u - i, v - j
    (a, b), (c, d) = table[i : i + 2, j : j + 2].tolist()
    return size[2] * (2 * ((1 - f) * ((1 - g) * a + g * b) + f * ((1 - g) * c + g * d)) - 1)
