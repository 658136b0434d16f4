"""The scalar twin of `textures.texture_colour`, for the ray caster's loops on the CPU: one point, three numbers."""

import math

import numpy as np

from diorama.kernels.jit import numba_kernel
from diorama.worlds.noise_numba import cell_hash_at, layered_noise_at, nearest_cells_at, next_hash_at, unit_at
from diorama.worlds.painted_numba import (
    brick_at,
    checks_at,
    clip,
    colour_at,
    dots_at,
    leaves_at,
    mixed,
    page_at,
    photo_at,
    ramp_at,
    sharpened_at,
)
from diorama.worlds.patterns import (
    AXIS,
    BRICK,
    CELL,
    CHECKS,
    CONTRAST,
    COSINE,
    DOTS,
    GAIN,
    JOINT,
    LEAVES,
    MARBLE,
    NOISE,
    ONE,
    PHOTO,
    PRINT,
    SEED,
    SINE,
    STAIN,
    STAIN_CELL,
    STAIN_GAIN,
    STRIPES,
    THREE,
    TWO,
    VORONOI,
    WARP,
    WIDTH,
    WOOD,
)


@numba_kernel
def texture_colour_at(kind, row, x, y, z, nx, ny, nz, footprint, photos):
    """Linear (red, green, blue) of a surface point; see `textures.texture_colour`.

    row: float32 (column,). (x, y, z), (nx, ny, nz): point and normal in the object's own frame. photos: float32
    (k, h, w, 3), with k = 0 where there are none. Numba keeps compiled code by the caller's file: after a change in
    this file, delete what it kept of the caller (`__pycache__/*.nb?`).
    """
    if kind == NOISE:
        colour = ramp_at(row, 0.5 + row[CONTRAST] * _cloud(row, x, y, z, 0, footprint))
    elif kind == VORONOI:
        colour = _voronoi(row, x, y, z, footprint)
    elif kind == MARBLE:
        colour = _marble(row, x, y, z, footprint)
    elif kind == WOOD:
        colour = _wood(row, x, y, z, footprint)
    elif kind == STRIPES:
        colour = _stripes(row, x, y, z, footprint)
    elif kind in (BRICK, DOTS, CHECKS, PRINT, LEAVES, PHOTO):
        colour = _on_face(kind, row, x, y, z, nx, ny, nz, footprint, photos)
    else:
        colour = mixed(colour_at(row, ONE), colour_at(row, ONE), 0.0)
    stain = row[STAIN]
    if stain > 0.0:
        cell, seed = row[STAIN_CELL], np.int64(row[SEED]) + 50
        wash = layered_noise_at(x / cell, y / cell, z / cell, seed, row[STAIN_GAIN], footprint / cell)
        stain = math.exp(2.0 * stain * wash)
    else:
        stain = 1.0
    return clip(colour[0] * stain), clip(colour[1] * stain), clip(colour[2] * stain)


@numba_kernel
def _on_face(kind, row, x, y, z, nx, ny, nz, footprint, photos):
    """See `painted.Painting.face`."""
    nx, ny, nz = abs(nx), abs(ny), abs(nz)
    if nz >= nx and nz >= ny:
        u, v = x, y
    elif nx > ny:
        u, v = y, z
    else:
        u, v = x, z
    u, v = row[COSINE] * u - row[SINE] * v, row[SINE] * u + row[COSINE] * v
    if kind == BRICK:
        return brick_at(row, u, v, footprint)
    if kind == DOTS:
        return dots_at(row, u, v, footprint)
    if kind == CHECKS:
        return checks_at(row, u, v, footprint)
    if kind == PRINT:
        return page_at(row, u, v, footprint)
    if kind == LEAVES:
        return leaves_at(row, u, v, footprint)
    if photos.shape[0] > 0:
        return photo_at(row, u, v, footprint, photos)
    return mixed(colour_at(row, ONE), colour_at(row, ONE), 0.0)


@numba_kernel
def _cloud(row, x, y, z, more, footprint):
    cell = row[CELL]
    return layered_noise_at(x / cell, y / cell, z / cell, np.int64(row[SEED]) + more, row[GAIN], footprint / cell)


@numba_kernel
def _along(axis, x, y, z):
    if axis == 0:
        return x
    return y if axis == 1 else z


@numba_kernel
def _voronoi(row, x, y, z, footprint):
    cell = row[CELL]
    bend = row[WARP] * _cloud(row, x, y, z, 3, footprint) if row[WARP] > 0.0 else 0.0
    seed = np.int64(row[SEED])
    first, second, owner = nearest_cells_at(x / cell + bend, y / cell + bend, z / cell + bend, seed, 0.9)
    pixel = footprint / cell
    tone = 0.5 + clip(2.0 - 2.0 * pixel) * row[CONTRAST] * (unit_at(owner) - 0.5)
    inside = mixed(colour_at(row, ONE), colour_at(row, TWO), clip(tone))
    seam = sharpened_at(second - first - row[JOINT], pixel + 0.05)
    return mixed(colour_at(row, THREE), inside, max(seam, clip(2.0 * pixel - 1.0)))


@numba_kernel
def _marble(row, x, y, z, footprint):
    cloud = _cloud(row, x, y, z, 0, footprint)
    along = _along(int(row[AXIS]), x, y, z) / row[CELL] + row[WARP] * cloud
    vein = (1.0 - abs(math.sin(math.pi * along))) ** 4
    body = mixed(colour_at(row, ONE), colour_at(row, TWO), clip(0.5 + row[CONTRAST] * cloud))
    return mixed(body, colour_at(row, THREE), 0.8 * vein)


@numba_kernel
def _wood(row, x, y, z, footprint):
    cell, board, axis, seed = row[CELL], row[WIDTH], int(row[AXIS]), np.int64(row[SEED])
    along = _along(axis, x, y, z)
    across = _along((axis + 1) % 3, x, y, z)
    depth = _along((axis + 2) % 3, x, y, z)
    number, level = math.floor(across / board), math.floor(depth / board)
    word = cell_hash_at(np.int64(number), np.int64(level), 0, seed + 7)
    shift, tone = unit_at(word), unit_at(next_hash_at(word))
    coarse, fine = 4.0 * cell, 0.25 * cell
    stretched = (0.12 * along + 40.0 * cell * shift) / coarse
    bend = layered_noise_at(stretched, across / coarse, depth / coarse, seed, row[GAIN], footprint / coarse)
    fibre = layered_noise_at(0.03 * along / fine, across / fine, depth / fine, seed + 20, 0.8, footprint / fine)
    side, deep = across - (number + shift) * board, depth + cell * (4.0 + 12.0 * shift)
    rings = math.sin(math.tau * (math.sqrt(side * side + deep * deep) / cell + row[WARP] * bend))
    rings *= 0.5 * clip(2.0 - 2.0 * footprint / cell)
    share = 0.5 + row[CONTRAST] * (0.35 * fibre + 0.7 * (tone - 0.5) - 0.7 * rings)
    from_seam = (0.5 - abs(across / board - number - 0.5)) * board
    shade = 0.45 + 0.55 * sharpened_at(from_seam - 0.0015, footprint)
    return mixed((0.0, 0.0, 0.0), mixed(colour_at(row, ONE), colour_at(row, TWO), clip(share)), shade)


@numba_kernel
def _stripes(row, x, y, z, footprint):
    cell, share = row[CELL], row[JOINT]
    bend = row[WARP] * _cloud(row, x, y, z, 0, footprint) if row[WARP] > 0.0 else 0.0
    along = _along(int(row[AXIS]), x, y, z) / cell + bend
    within, pixel = along - math.floor(along), footprint / cell
    first = sharpened_at(min(share - within, within), pixel)
    thin = sharpened_at(0.06 - abs(within - 0.5 - 0.5 * share), pixel)
    sharp = mixed(mixed(colour_at(row, TWO), colour_at(row, ONE), first), colour_at(row, THREE), thin)
    return mixed(mixed(colour_at(row, TWO), colour_at(row, ONE), share), sharp, clip(2.0 - 2.0 * pixel))
