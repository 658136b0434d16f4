"""The Numba twin of `hash_grid`: one pass over the points per level, so that a level's entries stay in the cache.

The gradient to the table is shared out by levels: each entry is written by one thread only, in the order of the
points. So there are no atomics, and the result does not depend on the number of threads.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from diorama.kernels.hash_grid import PRIMES, GridLayout
from diorama.kernels.jit import numba_kernel
from diorama.kernels.twins import run_tasks, spans

SPAN = 16384
"""Points per task, where the work is shared out by points."""

u32, i32, f32 = np.uint32, np.int32, np.float32
_P1, _P2 = u32(PRIMES[1]), u32(PRIMES[2])


def encode(positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None) -> Tensor:
    """See `hash_grid.hash_encode`."""
    points, entries, features = _plain(positions), _plain(table), table.shape[1]
    result = torch.empty(len(points), layout.levels * features)
    out = result.numpy()
    weights = _weights(layout, level_weights)

    def task(start: int, stop: int) -> None:
        for level, weight in enumerate(weights):
            columns = slice(level * features, (level + 1) * features)
            if weight == 0.0:
                out[start:stop, columns] = 0.0
                continue
            rows, grid = _rows(entries, layout, level), _grid(layout, level, weight, features)
            _forward(points[start:stop], rows, out[start:stop, columns], *grid)

    run_tasks([partial(task, *span) for span in spans(len(points), SPAN)])
    return result


def gradient_to_table(
    gradient: Tensor, positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None
) -> Tensor:
    """See `hash_grid`: each point adds its gradient to its eight corners."""
    points, parts, features = _plain(positions), _plain(gradient), table.shape[1]
    result = torch.zeros(table.shape)
    out = result.numpy()
    weights = _weights(layout, level_weights)

    def task(level: int) -> None:
        columns = slice(level * features, (level + 1) * features)
        grid = _grid(layout, level, weights[level], features)
        _to_table(points, _rows(out, layout, level), parts[:, columns], *grid)

    finest_first = [level for level in reversed(range(layout.levels)) if weights[level] != 0.0]
    run_tasks([partial(task, level) for level in finest_first])
    return result


def gradient_to_positions(
    gradient: Tensor, positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None
) -> Tensor:
    """See `hash_grid`: the slope of the interpolation, summed over the levels."""
    points, parts, entries, features = _plain(positions), _plain(gradient), _plain(table), table.shape[1]
    result = torch.zeros(positions.shape)
    out = result.numpy()
    weights = _weights(layout, level_weights)

    def task(start: int, stop: int) -> None:
        for level, weight in enumerate(weights):
            if weight == 0.0:
                continue
            columns = slice(level * features, (level + 1) * features)
            rows, grid = _rows(entries, layout, level), _grid(layout, level, weight, features)
            _to_positions(points[start:stop], rows, parts[start:stop, columns], out[start:stop], *grid)

    run_tasks([partial(task, *span) for span in spans(len(points), SPAN)])
    return result


def _plain(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float32).contiguous().numpy()


def _weights(layout: GridLayout, level_weights: Tensor | None) -> list[np.float32]:
    if level_weights is None:
        return [f32(1.0)] * layout.levels
    return [f32(weight) for weight in level_weights.tolist()]


def _rows(entries: np.ndarray, layout: GridLayout, level: int) -> np.ndarray:
    return entries[layout.offsets[level] : layout.offsets[level] + layout.sizes[level]]


def _grid(layout: GridLayout, level: int, weight: np.float32, features: int) -> tuple:
    # what the compiler must know travels as the length of a tuple, which is part of its type
    dense, channels = (0,) * layout.dense[level], (0,) * features
    return layout.resolutions[level], layout.sizes[level], weight, dense, channels


@numba_kernel
def _place(value, resolution):
    # cell, and place in the cell in [0, 1]; clamped; a NaN falls into cell 0 and stays a NaN
    value = f32(0) if value < f32(0) else value
    value = f32(1) if value > f32(1) else value
    scaled = value * f32(resolution)
    cell = min(i32(scaled if scaled >= f32(0) else f32(0)), i32(resolution - 1))
    return u32(cell), scaled - f32(cell)


@numba_kernel
def _corners(x, y, z, resolution, size, dense):
    if len(dense):
        dy = u32(resolution + 1)
        dz = u32(dy * dy)
        a = u32(x + u32(y * dy) + u32(z * dz))
        b, c, d = u32(a + dz), u32(a + dy), u32(a + dy + dz)
        return a, b, c, d, u32(a + u32(1)), u32(b + u32(1)), u32(c + u32(1)), u32(d + u32(1))
    mask = u32(size - 1)
    y0, z0 = u32(y * _P1), u32(z * _P2)
    x1, y1, z1 = u32(x + u32(1)), u32(y0 + _P1), u32(z0 + _P2)
    a, b, c, d = u32(y0 ^ z0), u32(y0 ^ z1), u32(y1 ^ z0), u32(y1 ^ z1)
    return (
        (x ^ a) & mask, (x ^ b) & mask, (x ^ c) & mask, (x ^ d) & mask,
        (x1 ^ a) & mask, (x1 ^ b) & mask, (x1 ^ c) & mask, (x1 ^ d) & mask,
    )  # fmt: skip


@numba_kernel
def _forward(positions, table, out, resolution, size, weight, dense, channels):
    for i in range(len(positions)):
        x, u = _place(positions[i, 0], resolution)
        y, v = _place(positions[i, 1], resolution)
        z, w = _place(positions[i, 2], resolution)
        c0, c1, c2, c3, c4, c5, c6, c7 = _corners(x, y, z, resolution, size, dense)
        u0, u1 = (f32(1) - u) * weight, u * weight
        s0, s1, s2, s3 = (f32(1) - v) * (f32(1) - w), (f32(1) - v) * w, v * (f32(1) - w), v * w
        for f in range(len(channels)):
            low = s0 * table[c0, f] + s1 * table[c1, f] + s2 * table[c2, f] + s3 * table[c3, f]
            high = s0 * table[c4, f] + s1 * table[c5, f] + s2 * table[c6, f] + s3 * table[c7, f]
            out[i, f] = u0 * low + u1 * high


@numba_kernel
def _to_table(positions, table, gradient, resolution, size, weight, dense, channels):
    for i in range(len(positions)):
        x, u = _place(positions[i, 0], resolution)
        y, v = _place(positions[i, 1], resolution)
        z, w = _place(positions[i, 2], resolution)
        c0, c1, c2, c3, c4, c5, c6, c7 = _corners(x, y, z, resolution, size, dense)
        u0, u1 = (f32(1) - u) * weight, u * weight
        s0, s1, s2, s3 = (f32(1) - v) * (f32(1) - w), (f32(1) - v) * w, v * (f32(1) - w), v * w
        for f in range(len(channels)):
            low, high = u0 * gradient[i, f], u1 * gradient[i, f]
            table[c0, f] += s0 * low
            table[c1, f] += s1 * low
            table[c2, f] += s2 * low
            table[c3, f] += s3 * low
            table[c4, f] += s0 * high
            table[c5, f] += s1 * high
            table[c6, f] += s2 * high
            table[c7, f] += s3 * high


@numba_kernel
def _to_positions(positions, table, gradient, out, resolution, size, weight, dense, channels):
    scale = weight * f32(resolution)
    for i in range(len(positions)):
        x, u = _place(positions[i, 0], resolution)
        y, v = _place(positions[i, 1], resolution)
        z, w = _place(positions[i, 2], resolution)
        c0, c1, c2, c3, c4, c5, c6, c7 = _corners(x, y, z, resolution, size, dense)
        t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = f32(0)
        for f in range(len(channels)):
            g = gradient[i, f] * scale
            t0 += g * table[c0, f]
            t1 += g * table[c1, f]
            t2 += g * table[c2, f]
            t3 += g * table[c3, f]
            t4 += g * table[c4, f]
            t5 += g * table[c5, f]
            t6 += g * table[c6, f]
            t7 += g * table[c7, f]
        u0, v0, w0 = f32(1) - u, f32(1) - v, f32(1) - w
        if positions[i, 0] >= f32(0) and positions[i, 0] <= f32(1):
            out[i, 0] += v0 * (w0 * (t4 - t0) + w * (t5 - t1)) + v * (w0 * (t6 - t2) + w * (t7 - t3))
        if positions[i, 1] >= f32(0) and positions[i, 1] <= f32(1):
            out[i, 1] += u0 * (w0 * (t2 - t0) + w * (t3 - t1)) + u * (w0 * (t6 - t4) + w * (t7 - t5))
        if positions[i, 2] >= f32(0) and positions[i, 2] <= f32(1):
            out[i, 2] += u0 * (v0 * (t1 - t0) + v * (t3 - t2)) + u * (v0 * (t5 - t4) + v * (t7 - t6))
