"""The scalar twins of `noise`, for the ray caster's loops on the CPU."""

import math

import numpy as np

from diorama.kernels.jit import numba_kernel
from diorama.worlds.noise import MIX_1, MIX_2, MIX_SEED, MIX_X, MIX_Y, MIX_Z, OCTAVES, SLIP, STRENGTH

u32 = np.uint32
X, Y, Z, SEED = u32(MIX_X), u32(MIX_Y), u32(MIX_Z), u32(MIX_SEED)
ONE, TWO = u32(MIX_1), u32(MIX_2)


@numba_kernel
def scramble_at(word):
    """See `noise.scramble`."""
    word = u32(word)
    word = u32((word ^ (word >> u32(16))) * ONE)
    word = u32((word ^ (word >> u32(15))) * TWO)
    return u32(word ^ (word >> u32(16)))


@numba_kernel
def cell_hash_at(x, y, z, seed):
    """See `noise.cell_hash`; whole numbers of any type."""
    return scramble_at(u32(u32(x) * X) ^ u32(u32(y) * Y) ^ u32(u32(z) * Z) ^ u32(u32(seed) * SEED))


@numba_kernel
def next_hash_at(word):
    """See `noise.next_hash`."""
    return scramble_at(u32(word + SEED))


@numba_kernel
def unit_at(word):
    """See `noise.unit`."""
    return np.float64(word >> u32(8)) * (1.0 / 16777216.0)


@numba_kernel
def _corner(x, y, z, seed, fx, fy, fz):
    word = cell_hash_at(x, y, z, seed)
    scale = 2.0 / 1023.0
    slope_x = np.float64(word & u32(1023)) * scale - 1.0
    slope_y = np.float64((word >> u32(10)) & u32(1023)) * scale - 1.0
    slope_z = np.float64((word >> u32(20)) & u32(1023)) * scale - 1.0
    return slope_x * fx + slope_y * fy + slope_z * fz


@numba_kernel
def gradient_noise_at(px, py, pz, seed):
    """See `noise.gradient_noise`."""
    cx, cy, cz = math.floor(px), math.floor(py), math.floor(pz)
    fx, fy, fz = px - cx, py - cy, pz - cz
    bx = fx * fx * fx * (fx * (fx * 6.0 - 15.0) + 10.0)
    by = fy * fy * fy * (fy * (fy * 6.0 - 15.0) + 10.0)
    bz = fz * fz * fz * (fz * (fz * 6.0 - 15.0) + 10.0)
    x, y, z = np.int64(cx), np.int64(cy), np.int64(cz)
    low = _corner(x, y, z, seed, fx, fy, fz)
    low += bx * (_corner(x + 1, y, z, seed, fx - 1.0, fy, fz) - low)
    high = _corner(x, y + 1, z, seed, fx, fy - 1.0, fz)
    high += bx * (_corner(x + 1, y + 1, z, seed, fx - 1.0, fy - 1.0, fz) - high)
    low += by * (high - low)
    top = _corner(x, y, z + 1, seed, fx, fy, fz - 1.0)
    top += bx * (_corner(x + 1, y, z + 1, seed, fx - 1.0, fy, fz - 1.0) - top)
    high = _corner(x, y + 1, z + 1, seed, fx, fy - 1.0, fz - 1.0)
    high += bx * (_corner(x + 1, y + 1, z + 1, seed, fx - 1.0, fy - 1.0, fz - 1.0) - high)
    top += by * (high - top)
    return (low + bz * (top - low)) * STRENGTH


@numba_kernel
def layered_noise_at(px, py, pz, seed, gain, footprint):
    """See `noise.layered_noise`."""
    total, strength, power, size = 0.0, 1.0, 0.0, 1.0
    for octave in range(OCTAVES):
        fade = min(max(size / max(footprint, 1e-9) - 1.0, 0.0), 1.0)
        if fade > 0.0:
            slip = SLIP * octave
            value = gradient_noise_at(px / size + slip, py / size + slip, pz / size + slip, seed + octave)
            total += strength * fade * value
        power += strength * strength
        strength *= gain
        size *= 0.5
    return total / math.sqrt(power)


@numba_kernel
def nearest_cells_at(px, py, pz, seed, jitter):
    """See `noise.nearest_cells`."""
    bx, by, bz = math.floor(px - 0.5), math.floor(py - 0.5), math.floor(pz - 0.5)
    first, second, owner = 9.0, 9.0, u32(0)
    scale = 1.0 / 1023.0
    for index in range(8):
        i, j, k = index & 1, (index >> 1) & 1, index >> 2
        word = cell_hash_at(np.int64(bx) + i, np.int64(by) + j, np.int64(bz) + k, seed)
        dx = bx + i + 0.5 + jitter * (np.float64(word & u32(1023)) * scale - 0.5) - px
        dy = by + j + 0.5 + jitter * (np.float64((word >> u32(10)) & u32(1023)) * scale - 0.5) - py
        dz = bz + k + 0.5 + jitter * (np.float64((word >> u32(20)) & u32(1023)) * scale - 0.5) - pz
        distance = math.sqrt(dx * dx + dy * dy + dz * dz)
        if distance < first:
            second = first
            first = distance
            owner = word
        elif distance < second:
            second = distance
    return first, second, scramble_at(owner)
