"""The Numba twin of `hash_grid`.

Points are taken in blocks, one level after the other, so that a level's entries stay in the cache. For a block, rows
and weights of all corners are computed first (no branches, no gathers: sixteen points at a time on AVX-512), then the
table's rows are read or written, each as one short vector.

The gradient to the table is shared out by levels: each entry is written by one thread only, in the order of the
points. So there are no atomics, and the result does not depend on the number of threads. The other two are shared out
by points.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from diorama.kernels.hash_grid import PRIMES, GridLayout
from diorama.kernels.jit import numba_kernel
from diorama.kernels.rows_numba import BLOCK, add_rows, read_rows
from diorama.kernels.twins import run_tasks, spans

u32, i32, f32 = np.uint32, np.int32, np.float32
_EIGHT = (0,) * 8  # corners; see `rows_numba`
_PRIME_Y, _PRIME_Z = u32(PRIMES[1]), u32(PRIMES[2])


def encode(positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None) -> Tensor:
    """See `hash_grid.hash_encode`."""
    entries, features = _plain(table), table.shape[1]
    out = _zeros(len(positions), layout.levels * features)
    weights = _weights(layout, level_weights)
    _by_points(_encode, layout, weights, positions, entries, out)
    return torch.from_numpy(out)


def gradient_to_table(
    gradient: Tensor, positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None
) -> Tensor:
    """See `hash_grid`: each point adds its gradient to its eight corners."""
    parts, blocks = _plain(gradient), _in_blocks(positions)
    out = _zeros(*table.shape)
    weights = _weights(layout, level_weights)
    finest_first = [level for level in reversed(range(layout.levels)) if weights[level] != 0.0]
    run_tasks(
        [
            partial(_to_table, blocks, *_level(layout, level, out, weights[level]), parts, 0, len(positions))
            for level in finest_first
        ]
    )
    return torch.from_numpy(out)


def gradient_to_positions(
    gradient: Tensor, positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None
) -> Tensor:
    """See `hash_grid`: the slope of the interpolation, summed over the levels."""
    result = torch.zeros(positions.shape)
    weights = _weights(layout, level_weights)
    _by_points(_to_positions, layout, weights, positions, _plain(table), _plain(gradient), result.numpy())
    return result * ((positions >= 0.0) & (positions <= 1.0))


def _by_points(
    kernel: Callable,
    layout: GridLayout,
    weights: list[np.float32],
    positions: Tensor,
    entries: np.ndarray,
    *arrays: np.ndarray,
) -> None:
    blocks = _in_blocks(positions)
    levels = [_level(layout, level, entries, weight) for level, weight in enumerate(weights) if weight != 0.0]

    def task(start: int, stop: int) -> None:
        for level in levels:
            kernel(blocks, *level, *arrays, start, stop)

    # long pieces: a level's entries are fetched into the cache once per piece
    length = -(-len(positions) // (torch.get_num_threads() * BLOCK)) * BLOCK
    run_tasks([partial(task, *span) for span in spans(len(positions), max(length, 4 * BLOCK))])


def _in_blocks(positions: Tensor) -> np.ndarray:
    """Points as (blocks, xyz, BLOCK), the last block filled up with zeros."""
    count = -(-len(positions) // BLOCK)
    padded = torch.zeros(count * BLOCK, 3)
    padded[: len(positions)] = positions.detach()
    return padded.reshape(count, BLOCK, 3).transpose(1, 2).contiguous().reshape(count, 3 * BLOCK).numpy()


def _zeros(rows: int, columns: int) -> np.ndarray:
    """Zeros at the start of a cache line. NumPy asks for huge pages and has them zeroed on first touch: a table of
    16 levels of 2^19 costs 3 ms instead of 16."""
    line = 64 // 4
    memory = np.zeros(rows * columns + line, f32)
    start = (-memory.ctypes.data // 4) % line
    return memory[start : start + rows * columns].reshape(rows, columns)


def _plain(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float32).contiguous().numpy()


def _weights(layout: GridLayout, level_weights: Tensor | None) -> list[np.float32]:
    if level_weights is None:
        return [f32(1.0)] * layout.levels
    return [f32(weight) for weight in level_weights.tolist()]


def _level(layout: GridLayout, level: int, entries: np.ndarray, weight: np.float32) -> tuple:
    # what the compiler must know travels as the length of a tuple, which is part of its type
    start, size, features = layout.offsets[level], layout.sizes[level], entries.shape[1]
    dense, channels = (0,) * layout.dense[level], (0,) * features
    return entries[start : start + size], layout.resolutions[level], weight, dense, channels, level * features


@numba_kernel
def _encode(blocks, table, resolution, weight, dense, channels, column, out, start, stop):
    index, fraction, share = np.empty(8 * BLOCK, u32), np.empty(3 * BLOCK, f32), np.empty(8 * BLOCK, f32)
    for first in range(start, stop, BLOCK):
        _corners(blocks[first // BLOCK], resolution, len(table), dense, index, fraction)
        _shares(fraction, weight, share)
        for i in range(min(BLOCK, stop - first)):
            read_rows(table, index, share, i, out, (first + i) * out.shape[1] + column, _EIGHT, channels)


@numba_kernel
def _to_table(blocks, table, resolution, weight, dense, channels, column, gradient, start, stop):
    index, fraction, share = np.empty(8 * BLOCK, u32), np.empty(3 * BLOCK, f32), np.empty(8 * BLOCK, f32)
    for first in range(start, stop, BLOCK):
        _corners(blocks[first // BLOCK], resolution, len(table), dense, index, fraction)
        _shares(fraction, weight, share)
        count = min(BLOCK, stop - first)
        for j in range(BLOCK):
            # neighbours along a ray share cells: taken apart, an entry is not read while its last sum is on its way
            i = j % 16 * (BLOCK // 16) + j // 16
            if i < count:
                row = (first + i) * gradient.shape[1] + column
                add_rows(table, index, share, i, gradient, row, _EIGHT, channels)


@numba_kernel
def _to_positions(blocks, table, resolution, weight, dense, channels, column, gradient, out, start, stop):
    index, fraction, value = np.empty(8 * BLOCK, u32), np.empty(3 * BLOCK, f32), np.empty(8, f32)
    scale = weight * f32(resolution)
    for first in range(start, stop, BLOCK):
        _corners(blocks[first // BLOCK], resolution, len(table), dense, index, fraction)
        for i in range(min(BLOCK, stop - first)):
            for corner in range(8):
                total = f32(0)
                for f in range(len(channels)):
                    total += table[index[corner * BLOCK + i], f] * gradient[first + i, column + f]
                value[corner] = total * scale
            u, v, w = fraction[i], fraction[BLOCK + i], fraction[2 * BLOCK + i]
            u0, v0, w0 = f32(1) - u, f32(1) - v, f32(1) - w
            a, b, c, d, e, f, g, h = value
            out[first + i, 0] += v0 * (w0 * (e - a) + w * (f - b)) + v * (w0 * (g - c) + w * (h - d))
            out[first + i, 1] += u0 * (w0 * (c - a) + w * (d - b)) + u * (w0 * (g - e) + w * (h - f))
            out[first + i, 2] += u0 * (v0 * (b - a) + v * (d - c)) + u * (v0 * (f - e) + v * (h - g))


@numba_kernel
def _place(value, resolution):
    # cell, and place in the cell in [0, 1]; clamped; a NaN falls into cell 0 and stays a NaN
    value = f32(0) if value < f32(0) else value
    value = f32(1) if value > f32(1) else value
    scaled = value * f32(resolution)
    cell = i32(min(scaled if scaled >= f32(0) else f32(0), f32(resolution - 1)))
    return u32(cell), scaled - f32(cell)


@numba_kernel
def _corners(points, resolution, size, dense, index, fraction):
    # rows of the eight corners (x slowest) of each point, and where in its cell the point lies
    dy, dz = u32(resolution + 1), u32((resolution + 1) * (resolution + 1))
    mask = u32(size - 1)
    for i in range(BLOCK):
        x, u = _place(points[i], resolution)
        y, v = _place(points[BLOCK + i], resolution)
        z, w = _place(points[2 * BLOCK + i], resolution)
        fraction[i], fraction[BLOCK + i], fraction[2 * BLOCK + i] = u, v, w
        x1 = u32(x + u32(1))
        if len(dense):
            a = u32(u32(y * dy) + u32(z * dz))
            b, c, d = u32(a + dz), u32(a + dy), u32(a + dy + dz)
            index[i], index[BLOCK + i] = u32(x + a), u32(x + b)
            index[2 * BLOCK + i], index[3 * BLOCK + i] = u32(x + c), u32(x + d)
            index[4 * BLOCK + i], index[5 * BLOCK + i] = u32(x1 + a), u32(x1 + b)
            index[6 * BLOCK + i], index[7 * BLOCK + i] = u32(x1 + c), u32(x1 + d)
        else:
            y0, z0 = u32(y * _PRIME_Y), u32(z * _PRIME_Z)
            y1, z1 = u32(y0 + _PRIME_Y), u32(z0 + _PRIME_Z)
            a, b, c, d = y0 ^ z0, y0 ^ z1, y1 ^ z0, y1 ^ z1
            index[i], index[BLOCK + i] = (x ^ a) & mask, (x ^ b) & mask
            index[2 * BLOCK + i], index[3 * BLOCK + i] = (x ^ c) & mask, (x ^ d) & mask
            index[4 * BLOCK + i], index[5 * BLOCK + i] = (x1 ^ a) & mask, (x1 ^ b) & mask
            index[6 * BLOCK + i], index[7 * BLOCK + i] = (x1 ^ c) & mask, (x1 ^ d) & mask


@numba_kernel
def _shares(fraction, weight, share):
    # trilinear weights of the corners, times the level's weight
    for i in range(BLOCK):
        u1, v, w = fraction[i] * weight, fraction[BLOCK + i], fraction[2 * BLOCK + i]
        u0, d = weight - u1, v * w
        c, b = v - d, w - d
        a = f32(1) - v - b
        share[i], share[BLOCK + i], share[2 * BLOCK + i], share[3 * BLOCK + i] = u0 * a, u0 * b, u0 * c, u0 * d
        share[4 * BLOCK + i], share[5 * BLOCK + i] = u1 * a, u1 * b
        share[6 * BLOCK + i], share[7 * BLOCK + i] = u1 * c, u1 * d
