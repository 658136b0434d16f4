"""Colours that fill space: functions of a point in a solid's own axes, in metres. Values are linear light in [0, 1]."""

import math
from dataclasses import dataclass
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

Colour = tuple[float, float, float]

_LATTICE = 4096
_PRIMES = (73856093, 19349663, 83492791)


@dataclass(frozen=True)
class Checker:
    """Cubes of two colours in turn."""

    one: Colour
    two: Colour
    side: float = 0.1
    """Metres."""


@dataclass(frozen=True)
class Stripes:
    """Layers of two colours in turn across one axis."""

    one: Colour
    two: Colour
    width: float = 0.05
    """Metres."""
    axis: int = 2


@dataclass(frozen=True)
class Speckle:
    """Stone: smooth noise of several sizes between two colours."""

    one: Colour
    two: Colour
    grain: float = 0.08
    """Size of the largest spots in metres."""
    octaves: int = 4
    contrast: float = 1.6
    seed: int = 0


@dataclass(frozen=True)
class Wood:
    """Boards along x: rings that noise has bent, and a seam between boards."""

    light: Colour
    dark: Colour
    ring: float = 0.035
    """Metres from ring to ring."""
    board: float = 0.25
    """Width of a board in metres."""
    seed: int = 0


Texture = Checker | Stripes | Speckle | Wood


def noise(points: Float[Tensor, "*n 3"], seed: int) -> Float[Tensor, "*n"]:
    """Smooth value noise in [0, 1] with one random number a unit cube, the same on every machine."""
    table = torch.rand(_LATTICE, generator=torch.Generator().manual_seed(seed)).to(points)
    corner = points.floor()
    inside = points - corner
    blend = inside * inside * (3 - 2 * inside)
    cell = corner.long()
    total = torch.zeros_like(points[..., 0])
    for index in range(8):
        step = torch.tensor([index & 1, index >> 1 & 1, index >> 2 & 1])
        x, y, z = ((cell + step.to(cell)) * torch.tensor(_PRIMES).to(cell)).unbind(-1)
        weight = torch.where(step.bool().to(blend.device), blend, 1 - blend).prod(-1)
        total = total + weight * table[(x ^ y ^ z) & (_LATTICE - 1)]
    return total


def layered_noise(points: Float[Tensor, "*n 3"], octaves: int, seed: int) -> Float[Tensor, "*n"]:
    """Noise of sizes 1, 1/2, 1/4, ..., each half as strong as the one before; in [0, 1]."""
    parts = [0.5**level * noise(points * 2**level, seed + level) for level in range(octaves)]
    return torch.stack(parts).sum(0) / (2 - 0.5 ** (octaves - 1))


def mix(one: Colour, two: Colour, share: Float[Tensor, "*n"]) -> Float[Tensor, "*n 3"]:
    """`one` where share is 0, `two` where it is 1."""
    first, second = torch.tensor(one).to(share), torch.tensor(two).to(share)
    return first + (second - first) * share[..., None]


def colour_of(texture: Texture, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
    """The colour of a texture at points in the solid's own axes, in metres."""
    match texture:
        case Checker(one, two, side):
            odd = ((points / side + 1e-4).floor().sum(-1) % 2).to(points)
            return mix(one, two, odd)
        case Stripes(one, two, width, axis):
            odd = ((points[..., axis] / width + 1e-4).floor() % 2).to(points)
            return mix(one, two, odd)
        case Speckle(one, two, grain, octaves, contrast, seed):
            share = (layered_noise(points / grain, octaves, seed) - 0.5) * contrast + 0.5
            return mix(one, two, share.clamp(0, 1))
        case Wood():
            return _wood(texture, points)
        case _:
            assert_never(texture)


def _wood(wood: Wood, points: Tensor) -> Tensor:
    number = (points[..., 1] / wood.board).floor()
    shifted = points + torch.stack([number * 3.7, number * 0.19, number * 1.3], dim=-1)
    stretch = torch.tensor([1.2, 6.0, 6.0]).to(points)
    bend = layered_noise(shifted * stretch, 3, wood.seed)
    rings = 0.5 + 0.5 * (math.tau * (shifted[..., 1] / wood.ring + 3.0 * bend)).sin()
    fibre = layered_noise(shifted * torch.tensor([14.0, 160.0, 160.0]).to(points), 2, wood.seed + 7)
    tone = noise(torch.stack([number, number, number], dim=-1) * 1.0 + 0.5, wood.seed + 3)
    share = (0.55 * rings + 0.35 * fibre + 0.5 * (tone - 0.5)).clamp(0, 1)
    from_seam = (points[..., 1] / wood.board - number - 0.5).abs()
    seam = ((from_seam - 0.485) / 0.015).clamp(0, 1)
    return mix(wood.light, wood.dark, share) * (1 - 0.6 * seam)[..., None]
