"""The scalar twins of `painted`, for the ray caster's loops on the CPU.

`row` is a material's row of numbers, (u, v) are metres on a face. Colours are three numbers:
linear red, green and blue.
"""

import math

import numpy as np

from diorama.kernels.jit import numba_kernel
from diorama.worlds.noise import SLIP
from diorama.worlds.noise_numba import cell_hash_at, next_hash_at, scramble_at, u32, unit_at
from diorama.worlds.patterns import (
    ASPECT,
    CELL,
    CONTRAST,
    JOINT,
    LEAF_LEVELS,
    ONE,
    PAGE_CUTS,
    PAGE_WHOLE,
    PICTURE,
    SEED,
    THREE,
    TWO,
    WARP,
    WIDTH,
)


@numba_kernel
def clip(value):
    """The nearest number in [0, 1]."""
    return min(max(value, 0.0), 1.0)


@numba_kernel
def colour_at(row, index):
    """One of the three colours of a row."""
    return row[index], row[index + 1], row[index + 2]


@numba_kernel
def mixed(one, two, share):
    """See `painted.mix`."""
    return (
        one[0] + (two[0] - one[0]) * share,
        one[1] + (two[1] - one[1]) * share,
        one[2] + (two[2] - one[2]) * share,
    )


@numba_kernel
def ramp_at(row, share):
    """See `painted.ramp`."""
    low = mixed(colour_at(row, ONE), colour_at(row, TWO), clip(2.0 * share))
    return mixed(low, colour_at(row, THREE), clip(2.0 * share - 1.0))


@numba_kernel
def sharpened_at(distance, pixel):
    """See `painted.sharpened`."""
    return clip(distance / max(pixel, 1e-6) + 0.5)


@numba_kernel
def brick_at(row, u, v, footprint):
    """See `painted.brick`."""
    height = row[CELL]
    width = height * row[ASPECT]
    level = math.floor(v / height)
    across = u / width + row[WARP] * (level - 2.0 * math.floor(level * 0.5))
    number = math.floor(across)
    word = cell_hash_at(np.int64(number), np.int64(level), 0, np.int64(row[SEED]))
    near = clip(2.0 - 2.0 * footprint / height)
    tone = 0.5 + near * row[CONTRAST] * (unit_at(word) - 0.5)
    body = mixed(colour_at(row, ONE), colour_at(row, TWO), clip(tone))
    upright = (0.5 - abs(v / height - level - 0.5)) * height
    sideways = (0.5 - abs(across - number - 0.5)) * width
    joint = row[JOINT]
    inside = sharpened_at(min(upright, sideways) - 0.5 * joint * height, footprint)
    return mixed(colour_at(row, THREE), body, (1.0 - joint) * (1.0 - near) + inside * near)


@numba_kernel
def dots_at(row, u, v, footprint):
    """See `painted.dots`."""
    cell = row[CELL]
    x, y, pixel = u / cell, v / cell, footprint / cell
    left, below = math.floor(x), math.floor(y)
    word = cell_hash_at(np.int64(left), np.int64(below), 0, np.int64(row[SEED]))
    second = next_hash_at(word)
    radius = 0.5 * row[JOINT]
    room = row[WARP] * (1.0 - 2.0 * radius)
    dx = x - left - 0.5 - (unit_at(word) - 0.5) * room
    dy = y - below - 0.5 - (unit_at(second) - 0.5) * room
    disc = sharpened_at(radius - math.sqrt(dx * dx + dy * dy), pixel) * clip(2.0 - 2.0 * pixel)
    spot = colour_at(row, TWO)
    if unit_at(next_hash_at(second)) < row[CONTRAST]:
        spot = colour_at(row, THREE)
    return mixed(colour_at(row, ONE), spot, disc)


@numba_kernel
def _band(place, pixel):
    within = place - 2.0 * math.floor(place * 0.5)
    middle, side = (0.5, 1.0) if within < 1.0 else (1.5, -1.0)
    return side * clip(2.0 * (0.5 - abs(within - middle)) / max(pixel, 1e-6)) * clip(2.0 - 2.0 * pixel)


@numba_kernel
def checks_at(row, u, v, footprint):
    """See `painted.checks`."""
    cell = row[CELL]
    pixel = footprint / cell
    across, up = _band(u / cell, pixel), _band(v / cell, pixel)
    share = 0.5 - 0.5 * across * up if row[WIDTH] < 0.5 else 0.5 - 0.25 * (across + up)
    return mixed(colour_at(row, ONE), colour_at(row, TWO), share)


@numba_kernel
def page_at(row, u, v, footprint):
    """See `painted.page`."""
    height, aspect = row[CELL], row[ASPECT]
    px, py = u / (height * aspect), v / height
    x, y = math.floor(px), math.floor(py)
    a, b = px - x, py - y
    word = cell_hash_at(np.int64(x), np.int64(y), 0, np.int64(row[SEED]))
    left, right, bottom, top = 0.0, 1.0, 0.0, 1.0
    for _ in range(PAGE_CUTS):
        second = next_hash_at(word)
        if unit_at(word) < PAGE_WHOLE:
            break
        share = 0.25 + 0.5 * unit_at(second)
        above = u32(0)
        if (right - left) * aspect > top - bottom:
            cut = left + share * (right - left)
            if a >= cut:
                left, above = cut, u32(1)
            else:
                right = cut
        else:
            cut = bottom + share * (top - bottom)
            if b >= cut:
                bottom, above = cut, u32(1)
            else:
                top = cut
        word = next_hash_at(u32(second + above))
    s, t = (a - left) / (right - left), (b - bottom) / (top - bottom)
    return _block(row, s, t, (right - left) * height * aspect, (top - bottom) * height, next_hash_at(word), footprint)


@numba_kernel
def _block(row, s, t, width, height, word, footprint):
    second = next_hash_at(word)
    third = next_hash_at(second)
    style, pick, number = unit_at(word), unit_at(second), unit_at(third)
    ground, ink = colour_at(row, TWO), colour_at(row, ONE)
    if pick < 0.5:
        ground, ink = colour_at(row, ONE), colour_at(row, TWO if number < 0.5 else THREE)
    elif pick >= 0.8:
        ground = colour_at(row, THREE)
    share = 0.0
    if style < 0.4:
        share = _text(row, s, t, width, height, third, 1.0 + math.floor(6.0 * number), footprint)
    elif style < 0.55:
        dx, dy = (s - 0.5) * width, (t - 0.5) * height
        share = sharpened_at(0.42 * min(width, height) - math.sqrt(dx * dx + dy * dy), footprint)
    elif style < 0.7:
        share = t
    return mixed(ground, ink, share)


@numba_kernel
def _text(row, s, t, width, height, third, lines, footprint):
    if s <= 0.05 or s >= 0.95:
        return 0.0
    letter = 0.6 * height / lines
    line, column = math.floor(t * lines), math.floor(s * width / letter)
    mark = cell_hash_at(np.int64(column), np.int64(line), third & u32(0xFFFF), np.int64(row[SEED]) + 9)
    across, up = s * width / letter - column, t * lines - line
    stroke = 0.2 < up < 0.75 and 0.12 < across < 0.88 and unit_at(mark) > 0.25
    if abs(up - 0.475) < 0.12 and 0.35 < across < 0.65 and unit_at(next_hash_at(mark)) < 0.6:
        stroke = False
    near = clip(2.0 - 2.0 * footprint / letter)
    return (near if stroke else 0.0) + 0.3 * (1.0 - near)


@numba_kernel
def leaves_at(row, u, v, footprint):
    """See `painted.leaves`."""
    cell, aspect, seed = row[CELL], row[ASPECT], np.int64(row[SEED])
    top, owner, size = -1.0, u32(0), 1.0
    low = u32(1023)
    for level in range(LEAF_LEVELS):
        if footprint >= 1.5 * size * cell:
            break
        x, y = u / cell / size + SLIP * level, v / cell / size + SLIP * level
        left, below = math.floor(x), math.floor(y)
        for index in range(9):
            i, j = index % 3 - 1, index // 3 - 1
            word = cell_hash_at(np.int64(left) + i, np.int64(below) + j, level, seed)
            second = next_hash_at(word)
            dx, dy = x - left - i - unit_at(word), y - below - j - unit_at(second)
            if (
                dx * dx + dy * dy > 0.5748
            ):  # no leaf reaches further: 0.75, or the corner of a box, 0.75 * 2 ** 0.5 / 1.4
                continue
            third = next_hash_at(second)
            height = np.float64((third >> u32(10)) & low) / 1023.0
            if height <= top:
                continue
            cosine = np.float64((third >> u32(20)) & low) / 511.5 - 1.0
            sine = math.sqrt(max(1.0 - cosine * cosine, 0.0))
            a, b = abs(cosine * dx + sine * dy), abs(cosine * dy - sine * dx) * aspect
            boxed = np.float64(word & low) / 1023.0 < row[JOINT]
            reach = max(a, b) * 1.4 if boxed else math.sqrt(a * a + b * b)
            if reach < 0.25 + 0.5 * np.float64(third & low) / 1023.0:
                top, owner = height, third
        size *= 0.5
    if top < 0.0:
        return colour_at(row, ONE)
    word = next_hash_at(owner)
    light = math.exp(row[CONTRAST] * (2.0 * unit_at(next_hash_at(word)) - 1.0))
    return mixed((0.0, 0.0, 0.0), ramp_at(row, unit_at(word)), light)


@numba_kernel
def photo_at(row, u, v, footprint, photos):
    """See `painted.photo`."""
    side = photos.shape[1]
    cell = row[CELL]
    shift = unit_at(scramble_at(np.int64(row[SEED])))
    x, y = u / cell + shift, v / cell + shift
    tile, shelf = math.floor(x), math.floor(y)
    word = cell_hash_at(np.int64(tile), np.int64(shelf), 0, np.int64(row[SEED]))
    x, y = x - tile, y - shelf
    if word & u32(1):
        x = 1.0 - x
    texels, level, left, above = footprint / cell * side, 0, 0, 0
    while texels > 1.4142135 and side > 7:
        texels *= 0.5
        above = 0 if level == 0 else above + side
        left = photos.shape[1]
        side //= 2
        level += 1
    x = min(max(x * side - 0.5, 0.0), side - 1.0)
    y = min(max(y * side - 0.5, 0.0), side - 1.0)
    i, j = int(x), int(y)
    a, b = x - i, y - j
    far, up = min(i + 1, side - 1), min(j + 1, side - 1)
    index = (int(row[PICTURE]) + int(word >> u32(8)) % 3) % photos.shape[0]
    bottom, high = above + side - 1 - j, above + side - 1 - up
    first = (1.0 - a) * (1.0 - b)
    second, third, fourth = a * (1.0 - b), (1.0 - a) * b, a * b
    p, q = left + i, left + far
    red = first * photos[index, bottom, p, 0] + second * photos[index, bottom, q, 0]
    red += third * photos[index, high, p, 0] + fourth * photos[index, high, q, 0]
    green = first * photos[index, bottom, p, 1] + second * photos[index, bottom, q, 1]
    green += third * photos[index, high, p, 1] + fourth * photos[index, high, q, 1]
    blue = first * photos[index, bottom, p, 2] + second * photos[index, bottom, q, 2]
    blue += third * photos[index, high, p, 2] + fourth * photos[index, high, q, 2]
    return red * row[ONE], green * row[ONE + 1], blue * row[ONE + 2]
