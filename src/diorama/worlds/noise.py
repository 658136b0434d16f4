"""Random patterns that fill space, from integer hashes: the same on every device, without tables and without state.

A hash of a lattice cell gives that cell's random numbers. `noise_numba` holds the scalar twins, which do the same
arithmetic; they agree to rounding, except where a coordinate lies on the border of a cell.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

OCTAVES = 6
"""Most sizes of noise that are added up."""
STRENGTH = 2.63
"""Brings gradient noise to a standard deviation of about 0.5."""
SLIP = 0.37
"""Cells by which each octave is shifted, so that the zeros of gradient noise on its lattice never coincide."""
WORD = 0xFFFFFFFF
"""32 bits: torch has no unsigned arithmetic, so hashes live in the lower half of 64-bit integers."""
MIX_X, MIX_Y, MIX_Z, MIX_SEED = 0x8DA6B343, 0xD8163841, 0xCB1AB31F, 0x9E3779B1
"""Large odd numbers (primes or close to them), one a coordinate."""
MIX_1, MIX_2 = 0x7FEB352D, 0x846CA68B
"""Multipliers of an avalanche step in which every bit of the input moves about half the bits of the output (the
constants of Wellons' `lowbias32`, public domain)."""


def scramble(word: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Another 32-bit number, unrelated to the eye: a bijection."""
    word = word & WORD
    word = ((word ^ (word >> 16)) * MIX_1) & WORD
    word = ((word ^ (word >> 15)) * MIX_2) & WORD
    return word ^ (word >> 16)


def cell_hash(
    x: Int[Tensor, "*#n"], y: Int[Tensor, "*#n"], z: Int[Tensor, "*#n"], seed: Int[Tensor, "*#n"]
) -> Int[Tensor, "*n"]:
    """32 random bits of a lattice cell."""
    return scramble((x * MIX_X) ^ (y * MIX_Y) ^ (z * MIX_Z) ^ (seed * MIX_SEED))


def next_hash(word: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """The next 32 random bits of the same cell."""
    return scramble(word + MIX_SEED)


def unit(word: Int[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """A hash as a number in [0, 1), exact in float32."""
    return (word >> 8).to(torch.float32) * (1.0 / 16777216.0)


def gradient_noise(points: Float[Tensor, "*n 3"], seed: Int[Tensor, "*#n"]) -> Float[Tensor, "*n"]:
    """Smooth noise with one random slope a unit cell: 0 on the lattice, mean 0, standard deviation about 0.5.

    Source: Perlin, "Improving noise" (2002), with hashed slopes in place of a table of twelve.
    """
    corner = points.floor()
    inside = points - corner
    blend = inside * inside * inside * (inside * (inside * 6 - 15) + 10)
    x, y, z = corner.long().unbind(-1)
    total = torch.zeros_like(points[..., 0])
    for index in range(8):
        i, j, k = index & 1, index >> 1 & 1, index >> 2
        word = cell_hash(x + i, y + j, z + k, seed)
        dot = torch.zeros_like(total)
        weight = torch.ones_like(total)
        for axis, step in enumerate((i, j, k)):
            slope = ((word >> (10 * axis)) & 1023).to(points) * (2.0 / 1023.0) - 1.0
            dot = dot + slope * (inside[..., axis] - step)
            weight = weight * (blend[..., axis] if step else 1 - blend[..., axis])
        total = total + weight * dot
    return total * STRENGTH


def layered_noise(
    points: Float[Tensor, "*n 3"],
    seed: Int[Tensor, "*#n"],
    gain: Float[Tensor, "*#n"],
    footprint: Float[Tensor, "*#n"],
) -> Float[Tensor, "*n"]:
    """Noise of cell sizes 1, 1/2, 1/4, ..., each `gain` times as strong as the one before; deviation about 0.5.

    A gain of 1 has the power spectrum of photographs (1 / frequency^2), one of 0.5 looks like a cloud.
    footprint: what one pixel covers, in cells: octaves finer than that fade out in place of aliasing.
    """
    total = torch.zeros_like(points[..., 0])
    strength, power = torch.ones_like(gain), torch.zeros_like(gain)
    for octave in range(OCTAVES):
        size = 0.5**octave
        fade = (size / footprint.clamp_min(1e-9) - 1).clamp(0, 1)
        total = total + strength * fade * gradient_noise(points * 2.0**octave + SLIP * octave, seed + octave)
        power = power + strength * strength
        strength = strength * gain
    return total / power.sqrt()


def nearest_cells(
    points: Float[Tensor, "*n 3"], seed: Int[Tensor, "*#n"], jitter: float
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"], Int[Tensor, "*n"]]:
    """Distances to the nearest and second nearest of random points, one a unit cell, and the nearest's hash.

    jitter: how far points leave the centres of their cells, 0 (a grid) to 1. Only the eight closest cells are looked
    at, so that for a jitter above one half a rare point is missed. Source: Worley, "A cellular texture basis" (1996).
    """
    base = (points - 0.5).floor()
    x, y, z = base.long().unbind(-1)
    first = torch.full_like(points[..., 0], 9.0)
    second = torch.full_like(first, 9.0)
    owner = torch.zeros_like(x)
    for index in range(8):
        step = torch.tensor([index & 1, index >> 1 & 1, index >> 2], device=points.device)
        word = cell_hash(x + step[0], y + step[1], z + step[2], seed)
        shift = torch.stack([((word >> (10 * axis)) & 1023).to(points) * (1.0 / 1023.0) - 0.5 for axis in range(3)], -1)
        distance = (base + step + 0.5 + jitter * shift - points).square().sum(-1).sqrt()
        nearer = distance < first
        second = torch.where(nearer, first, torch.minimum(second, distance))
        owner = torch.where(nearer, word, owner)
        first = torch.where(nearer, distance, first)
    return first, second, scramble(owner)
