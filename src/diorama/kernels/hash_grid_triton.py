"""The Triton twin of `hash_grid`: a program per block of points and level.

Gradients to the table are added atomically, so on CUDA their last bits depend on the order of the additions; the
gradient to the positions is summed over the levels by one program, in order.
"""

from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from diorama.kernels.hash_grid import PRIMES, GridLayout
from diorama.kernels.jit import triton_kernel

BLOCK = 256
"""Points per program."""

_PRIME_Y = tl.constexpr(PRIMES[1] - 2**32)  # as int32: the same bits
_PRIME_Z = tl.constexpr(PRIMES[2])


def encode(positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None) -> Tensor:
    """See `hash_grid.hash_encode`."""
    count, features = len(positions), table.shape[1]
    out = table.new_empty(count, layout.levels * features)
    if count:
        weights = _weights(table, layout, level_weights)
        grid = _grid(layout, table.device)
        _forward[(triton.cdiv(count, BLOCK), layout.levels)](
            positions.contiguous(), table.contiguous(), grid, weights, out, count, layout.levels, features, BLOCK
        )
    return out


def gradient_to_table(
    gradient: Tensor, positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None
) -> Tensor:
    """See `hash_grid`: each point adds its gradient to its eight corners."""
    count, features = len(positions), table.shape[1]
    out = torch.zeros_like(table, memory_format=torch.contiguous_format)
    if count:
        weights = _weights(table, layout, level_weights)
        grid = _grid(layout, table.device)
        _to_table[(triton.cdiv(count, BLOCK), layout.levels)](
            positions.contiguous(), gradient.contiguous(), grid, weights, out, count, layout.levels, features, BLOCK
        )
    return out


def gradient_to_positions(
    gradient: Tensor, positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None
) -> Tensor:
    """See `hash_grid`: the slope of the interpolation, summed over the levels."""
    count, features = len(positions), table.shape[1]
    out = torch.empty_like(positions, memory_format=torch.contiguous_format)
    if count:
        points, entries, parts = positions.contiguous(), table.contiguous(), gradient.contiguous()
        weights = _weights(table, layout, level_weights)
        grid = _grid(layout, table.device)
        _to_positions[(triton.cdiv(count, BLOCK),)](
            points, entries, parts, grid, weights, out, count, layout.levels, features, BLOCK
        )
    return out


def _weights(table: Tensor, layout: GridLayout, level_weights: Tensor | None) -> Tensor:
    if level_weights is None:
        return table.new_ones(layout.levels)
    return level_weights.to(table).contiguous()


@cache
def _grid(layout: GridLayout, device: torch.device) -> Tensor:
    return torch.tensor(layout.to_numbers(), dtype=torch.int32, device=device)


@triton_kernel
def _place(pointer, index, valid, resolution):
    # cell, place in the cell in [0, 1], and whether inside the box; a NaN falls into cell 0 and stays a NaN
    value = tl.load(pointer + index, mask=valid, other=0.0)
    clamped = tl.where(value < 0.0, 0.0, tl.where(value > 1.0, 1.0, value))
    scaled = clamped * resolution
    cell = tl.minimum(tl.where(scaled >= 0.0, scaled, 0.0).to(tl.int32), resolution - 1)
    return cell, scaled - cell, (value >= 0.0) & (value <= 1.0)


@triton_kernel
def _entry(x, y, z, offset, resolution, size, dense):
    hashed = (x ^ (y * _PRIME_Y) ^ (z * _PRIME_Z)) & (size - 1)
    side = resolution + 1
    return offset + tl.where(dense != 0, x + side * (y + side * z), hashed)


@triton_kernel
def _forward(positions, table, grid, weights, out, count, levels, features: tl.constexpr, block: tl.constexpr):
    point = tl.program_id(0) * block + tl.arange(0, block)
    level = tl.program_id(1)
    valid = point < count
    weight = tl.load(weights + level)
    resolution, offset = tl.load(grid + 4 * level), tl.load(grid + 4 * level + 1)
    size, dense = tl.load(grid + 4 * level + 2), tl.load(grid + 4 * level + 3)
    target = out + point.to(tl.int64) * (levels * features) + level * features
    if weight == 0.0:
        for f in tl.static_range(features):
            tl.store(target + f, tl.zeros([block], tl.float32), mask=valid)
    else:
        x, u, _ = _place(positions, point * 3, valid, resolution)
        y, v, _ = _place(positions, point * 3 + 1, valid, resolution)
        z, w, _ = _place(positions, point * 3 + 2, valid, resolution)
        for f in tl.static_range(features):
            total = tl.zeros([block], tl.float32)
            for i in tl.static_range(2):
                for j in tl.static_range(2):
                    for k in tl.static_range(2):
                        share = (u if i else 1.0 - u) * (v if j else 1.0 - v) * (w if k else 1.0 - w)
                        entry = _entry(x + i, y + j, z + k, offset, resolution, size, dense)
                        total += share * tl.load(table + entry.to(tl.int64) * features + f, mask=valid, other=0.0)
            tl.store(target + f, total * weight, mask=valid)


@triton_kernel
def _to_table(positions, gradient, grid, weights, out, count, levels, features: tl.constexpr, block: tl.constexpr):
    point = tl.program_id(0) * block + tl.arange(0, block)
    level = tl.program_id(1)
    valid = point < count
    weight = tl.load(weights + level)
    resolution, offset = tl.load(grid + 4 * level), tl.load(grid + 4 * level + 1)
    size, dense = tl.load(grid + 4 * level + 2), tl.load(grid + 4 * level + 3)
    if weight != 0.0:
        source = gradient + point.to(tl.int64) * (levels * features) + level * features
        x, u, _ = _place(positions, point * 3, valid, resolution)
        y, v, _ = _place(positions, point * 3 + 1, valid, resolution)
        z, w, _ = _place(positions, point * 3 + 2, valid, resolution)
        for i in tl.static_range(2):
            for j in tl.static_range(2):
                for k in tl.static_range(2):
                    share = weight * (u if i else 1.0 - u) * (v if j else 1.0 - v) * (w if k else 1.0 - w)
                    entry = _entry(x + i, y + j, z + k, offset, resolution, size, dense)
                    for f in tl.static_range(features):
                        part = tl.load(source + f, mask=valid, other=0.0)
                        tl.atomic_add(out + entry.to(tl.int64) * features + f, share * part, mask=valid, sem="relaxed")


@triton_kernel
def _to_positions(
    positions, table, gradient, grid, weights, out, count, levels, features: tl.constexpr, block: tl.constexpr
):
    point = tl.program_id(0) * block + tl.arange(0, block)
    valid = point < count
    to_x = tl.zeros([block], tl.float32)
    to_y = tl.zeros([block], tl.float32)
    to_z = tl.zeros([block], tl.float32)
    for level in range(levels):
        weight = tl.load(weights + level)
        resolution, offset = tl.load(grid + 4 * level), tl.load(grid + 4 * level + 1)
        size, dense = tl.load(grid + 4 * level + 2), tl.load(grid + 4 * level + 3)
        if weight != 0.0:
            source = gradient + point.to(tl.int64) * (levels * features) + level * features
            x, u, in_x = _place(positions, point * 3, valid, resolution)
            y, v, in_y = _place(positions, point * 3 + 1, valid, resolution)
            z, w, in_z = _place(positions, point * 3 + 2, valid, resolution)
            for i in tl.static_range(2):
                for j in tl.static_range(2):
                    for k in tl.static_range(2):
                        entry = _entry(x + i, y + j, z + k, offset, resolution, size, dense)
                        value = tl.zeros([block], tl.float32)
                        for f in tl.static_range(features):
                            part = tl.load(source + f, mask=valid, other=0.0)
                            value += part * tl.load(table + entry.to(tl.int64) * features + f, mask=valid, other=0.0)
                        value *= weight * resolution
                        a = u if i else 1.0 - u
                        b = v if j else 1.0 - v
                        c = w if k else 1.0 - w
                        to_x += tl.where(in_x, (2 * i - 1) * b * c * value, 0.0)
                        to_y += tl.where(in_y, (2 * j - 1) * a * c * value, 0.0)
                        to_z += tl.where(in_z, (2 * k - 1) * a * b * value, 0.0)
    tl.store(out + point * 3, to_x, mask=valid)
    tl.store(out + point * 3 + 1, to_y, mask=valid)
    tl.store(out + point * 3 + 2, to_z, mask=valid)
