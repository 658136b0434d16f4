"""The Numba twin of `view_gather`.

Maps are turned to channels last, so that a lookup reads four short rows of memory. Points are taken in blocks: where
each of them falls in both maps is computed first (no branches, no gathers, no calls: many points at a time), then the
rows are read or written.

The forward pass is shared out by pieces of the points of a view; the gradient by views, each of which has maps of its
own. So there are no atomics, and the result does not depend on the number of threads.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from diorama.kernels.jit import numba_kernel
from diorama.kernels.rows_numba import BLOCK, add_rows, read_rows
from diorama.kernels.twins import run_tasks, spans
from diorama.kernels.view_gather import ARCTANGENT

SPAN = 32 * BLOCK
"""Points per task of the forward pass."""

i32, f32 = np.int32, np.float32
_HALF_TURNS = tuple(f32(coefficient / np.pi) for coefficient in ARCTANGENT)
_TINY = f32(1e-30)
_FOUR = (0,) * 4  # corners; see `rows_numba`
_BALL, _STATE = 4 * BLOCK, 8 * BLOCK  # where the corners of the polar map and the state of a point start


def gather(
    points: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    planes: Tensor,
    polar: Tensor,
    skip: Tensor,
    min_depth: float,
) -> tuple[Tensor, Tensor]:
    """See `view_gather.gather_views`."""
    (scenes, views, count), (channels, around) = skip.shape, (planes.shape[2], polar.shape[2])
    pairs = scenes * views
    features, distance = np.empty((pairs, count, channels + 1 + around), f32), np.empty((pairs, count), f32)
    where = _where(points, world_to_camera, intrinsics, skip, min_depth)
    sizes, kinds = (*planes.shape[3:], *polar.shape[3:]), ((0,) * channels, (0,) * around)
    maps = (_channels_last(planes), _channels_last(polar))
    run_tasks(
        [
            partial(_gather, where, maps, sizes, kinds, features, distance, pair // views, pair, *span)
            for pair in range(pairs)
            for span in spans(count, SPAN)
        ]
    )
    return torch.from_numpy(features).unflatten(0, (scenes, views)), torch.from_numpy(distance).reshape(skip.shape)


def gather_backward(
    gradient: Tensor,
    points: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    planes: Tensor,
    polar: Tensor,
    skip: Tensor,
    min_depth: float,
) -> tuple[Tensor, Tensor]:
    """See `view_gather`: each point adds its gradient to the cells it read."""
    (scenes, views, count), (channels, around) = skip.shape, (planes.shape[2], polar.shape[2])
    where = _where(points, world_to_camera, intrinsics, skip, min_depth)
    sizes, kinds = (*planes.shape[3:], *polar.shape[3:]), ((0,) * channels, (0,) * around)
    height, width, rows, columns = sizes
    to_planes = np.zeros((scenes * views, height * width, channels), f32)
    to_polar = np.zeros((scenes * views, rows * columns, around), f32)
    parts = _plain(gradient.flatten(0, 1))
    run_tasks(
        [
            partial(_to_maps, where, (to_planes, to_polar), sizes, kinds, parts, pair // views, pair, count)
            for pair in range(scenes * views)
        ]
    )
    return _channels_first(to_planes, planes), _channels_first(to_polar, polar)


def pool_max(features: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """See `view_gather`: the maximum over the kept views, and the view that holds it (the first, if several do)."""
    scenes, _, count, channels = features.shape
    pooled, winner = np.empty((scenes, count, channels), f32), np.empty((scenes, count, channels), np.int16)
    arrays = (_plain(features), keep.contiguous().numpy(), pooled, winner)
    run_tasks([partial(_maximum, *arrays, scene, *span) for scene in range(scenes) for span in spans(count, SPAN)])
    return torch.from_numpy(pooled), torch.from_numpy(winner)


def pool_max_backward(gradient: Tensor, winner: Tensor, views: int) -> Tensor:
    """See `view_gather`: all of the gradient to the view that holds the maximum."""
    scenes, count, channels = gradient.shape
    out = np.empty((scenes, views, count, channels), f32)
    arrays = (_plain(gradient), winner.contiguous().numpy(), out)
    run_tasks([partial(_to_winner, *arrays, scene, *span) for scene in range(scenes) for span in spans(count, SPAN)])
    return torch.from_numpy(out)


def _where(
    points: Tensor, world_to_camera: Tensor, intrinsics: Tensor, skip: Tensor, min_depth: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.float32]:
    """Points as (scene, block, xyz * BLOCK) and skip as (pair, block, BLOCK), the last block filled up with what is
    skipped; cameras and intrinsics by pair of scene and view."""
    (scenes, views, count), blocks = skip.shape, -(-skip.shape[2] // BLOCK)
    padded = torch.zeros(scenes, blocks * BLOCK, 3)
    padded[:, :count] = points.detach()
    skipped = torch.ones(scenes * views, blocks * BLOCK, dtype=torch.bool)
    skipped[:, :count] = skip.flatten(0, 1)
    return (
        _plain(padded.unflatten(1, (blocks, BLOCK)).mT).reshape(scenes, blocks, 3 * BLOCK),
        _plain(world_to_camera.flatten(0, 1)),
        _plain(intrinsics.flatten(0, 1)),
        skipped.numpy().reshape(scenes * views, blocks, BLOCK),
        f32(min_depth),
    )


def _plain(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float32).contiguous().numpy()


def _channels_last(maps: Tensor) -> np.ndarray:
    """As (pair, cell, channel)."""
    return _plain(maps.flatten(3).mT.flatten(0, 1))


def _channels_first(maps: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(maps).mT.reshape(like.shape)


@numba_kernel
def _gather(where, maps, sizes, kinds, features, distance, scene, pair, start, stop):
    index, share = np.empty(9 * BLOCK, i32), np.empty(9 * BLOCK, f32)
    plane, ball, out = maps[0][pair], maps[1][pair], features[pair]
    channels, around = kinds
    middle = len(channels)
    for first in range(start, stop, BLOCK):
        _locate(where, sizes, scene, pair, first // BLOCK, index, share)
        for i in range(min(BLOCK, stop - first)):
            state, row = index[_STATE + i], (first + i) * out.shape[1]
            distance[pair, first + i] = share[_STATE + i]
            out[first + i, middle] = f32(state == 2)
            if state == 2:
                read_rows(plane, index, share, i, out, row, _FOUR, channels)
            else:
                out[first + i, :middle] = f32(0)
            if state > 0:
                read_rows(ball, index, share, _BALL + i, out, row + middle + 1, _FOUR, around)
            else:
                out[first + i, middle + 1 :] = f32(0)


@numba_kernel
def _to_maps(where, maps, sizes, kinds, gradient, scene, pair, count):
    index, share = np.empty(9 * BLOCK, i32), np.empty(9 * BLOCK, f32)
    plane, ball, part = maps[0][pair], maps[1][pair], gradient[pair]
    channels, around = kinds
    for first in range(0, count, BLOCK):
        _locate(where, sizes, scene, pair, first // BLOCK, index, share)
        for i in range(BLOCK):
            state, row = index[_STATE + i], (first + i) * part.shape[1]
            if state == 2:
                add_rows(plane, index, share, i, part, row, _FOUR, channels)
            if state > 0:
                add_rows(ball, index, share, _BALL + i, part, row + len(channels) + 1, _FOUR, around)


@numba_kernel
def _locate(where, sizes, scene, pair, block, index, share):
    # corners in the plane, then in the polar map; as state 0: skipped, 1: not in view, 2: in view, and the distance
    points, camera, lens, skip, min_depth = where[0][scene, block], where[1][pair], where[2][pair], where[3], where[4]
    height, width, rows, columns = i32(sizes[0]), i32(sizes[1]), i32(sizes[2]), i32(sizes[3])
    xa, xb, xc, xd = camera[0, 0], camera[0, 1], camera[0, 2], camera[0, 3]
    ya, yb, yc, yd = camera[1, 0], camera[1, 1], camera[1, 2], camera[1, 3]
    za, zb, zc, zd = camera[2, 0], camera[2, 1], camera[2, 2], camera[2, 3]
    fx, fy, cx, cy = lens[0], lens[1], lens[2], lens[3]
    half, one = f32(0.5), f32(1)
    for i in range(BLOCK):
        a, b, c = points[i], points[BLOCK + i], points[2 * BLOCK + i]
        x, y, z = xa * a + xb * b + xc * c + xd, ya * a + yb * b + yc * c + yd, za * a + zb * b + zc * c + zd
        depth = z if z > min_depth else one
        u, v = x / depth * fx + cx, y / depth * fy + cy
        seen = (z > min_depth) & (u >= f32(0)) & (u <= one) & (v >= f32(0)) & (v <= one)
        wanted = i32(skip[pair, block, i] == 0)
        index[_STATE + i] = wanted + wanted * i32(seen)
        share[_STATE + i] = np.sqrt(x * x + y * y + z * z) * f32(wanted)
        left, right, s = _clamped(u * f32(width) - half, width)
        top, bottom, t = _clamped(v * f32(height) - half, height)
        _corners(index, share, i, left, right, s, top, bottom, t, width)
        azimuth, elevation = _quarter(abs(x), abs(z)), _quarter(abs(y), np.sqrt(x * x + z * z))
        azimuth = one - azimuth if z < f32(0) else azimuth
        azimuth = -azimuth if x < f32(0) else azimuth
        elevation = -elevation if y < f32(0) else elevation
        left, right, s = _round((azimuth + one) * half * f32(columns) - half, columns)
        top, bottom, t = _clamped((elevation + half) * f32(rows) - half, rows)
        _corners(index, share, _BALL + i, left, right, s, top, bottom, t, columns)


@numba_kernel
def _quarter(y, x):
    # atan2(y, x) / pi of two numbers that are not negative; 0 for two zeros
    ratio = min(x, y) / max(max(x, y), _TINY)
    s = ratio * ratio
    a, b, c, d, e, f, g, h = _HALF_TURNS
    turn = ratio * (a + s * (b + s * (c + s * (d + s * (e + s * (f + s * (g + s * h)))))))
    return f32(0.5) - turn if y > x else turn


@numba_kernel
def _clamped(value, cells):
    # the cells before and after a place counted from the middle of the first cell, and how far it is between them
    value = value if value > f32(0) else f32(0)
    value = value if value < f32(cells - 1) else f32(cells - 1)
    before = i32(value)
    return before, i32(min(i32(before + 1), i32(cells - 1))), value - f32(before)


@numba_kernel
def _round(value, cells):
    # the same where the last cell is next to the first
    value = value if value > f32(-1) else f32(-1)
    value = value if value < f32(cells) else f32(cells)
    before = i32(i32(value + f32(1)) - 1)
    after = i32(before + 1)
    part = value - f32(before)
    return i32(before + cells) if before < 0 else before, i32(0) if after >= cells else after, part


@numba_kernel
def _corners(index, share, slot, left, right, u, top, bottom, v, width):
    upper, lower, u0, v0 = i32(top * width), i32(bottom * width), f32(1) - u, f32(1) - v
    index[slot], index[slot + BLOCK] = i32(upper + left), i32(upper + right)
    index[slot + 2 * BLOCK], index[slot + 3 * BLOCK] = i32(lower + left), i32(lower + right)
    share[slot], share[slot + BLOCK] = v0 * u0, v0 * u
    share[slot + 2 * BLOCK], share[slot + 3 * BLOCK] = v * u0, v * u


@numba_kernel
def _maximum(features, keep, pooled, winner, scene, start, stop):
    views, channels = features.shape[1], features.shape[3]
    for i in range(start, stop):
        first = True
        for view in range(views):
            if not keep[scene, view, i]:
                continue
            for k in range(channels):
                value, best = features[scene, view, i, k], pooled[scene, i, k]
                better = first | (value > best) | (value != value)  # a NaN stays one
                pooled[scene, i, k] = value if better else best
                winner[scene, i, k] = np.int16(view) if better else winner[scene, i, k]
            first = False
        if first:
            pooled[scene, i], winner[scene, i] = f32(0), np.int16(-1)


@numba_kernel
def _to_winner(gradient, winner, out, scene, start, stop):
    views, channels = out.shape[1], out.shape[3]
    for i in range(start, stop):
        for view in range(views):
            for k in range(channels):
                out[scene, view, i, k] = gradient[scene, i, k] if winner[scene, i, k] == np.int16(view) else f32(0)
