"""The Triton twin of `view_gather`: a program per block of points and view, all channels of a map side by side.

Maps are turned to channels last, so that the threads of a lookup read neighbouring numbers. Gradients to the maps are
added atomically, so on CUDA their last bits depend on the order of the additions.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from diorama.kernels.jit import triton_kernel
from diorama.kernels.view_gather import ARCTANGENT

BLOCK = 32
"""Points per program."""

_A, _B, _C, _D, _E, _F, _G, _H = (tl.constexpr(float(coefficient) / math.pi) for coefficient in ARCTANGENT)


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
    features = planes.new_empty(*skip.shape, planes.shape[2] + 1 + polar.shape[2])
    distance = planes.new_empty(skip.shape)
    maps = (_channels_last(planes), _channels_last(polar))
    where = (points, world_to_camera, intrinsics, skip.view(torch.uint8))
    if skip.numel():
        _gather[_programs(skip)](
            *(tensor.contiguous() for tensor in where),
            *maps,
            features,
            distance,
            *_numbers(planes, polar, skip, min_depth),
        )
    return features, distance


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
    to_planes, to_polar = torch.zeros_like(_channels_last(planes)), torch.zeros_like(_channels_last(polar))
    where = (points, world_to_camera, intrinsics, skip.view(torch.uint8))
    if skip.numel():
        _to_maps[_programs(skip)](
            *(tensor.contiguous() for tensor in where),
            to_planes,
            to_polar,
            gradient.contiguous(),
            *_numbers(planes, polar, skip, min_depth),
        )
    return to_planes.movedim(-1, 2), to_polar.movedim(-1, 2)


def _channels_last(maps: Tensor) -> Tensor:
    """As (scene, view, row, column, channel)."""
    return maps.movedim(2, -1).contiguous()


def _programs(skip: Tensor) -> tuple[int, int]:
    scenes, views, count = skip.shape
    return triton.cdiv(count, BLOCK), scenes * views


def _numbers(planes: Tensor, polar: Tensor, skip: Tensor, min_depth: float) -> tuple:
    # sizes, then what the compiler must know: channels, the next power of two, points per program
    channels, around = planes.shape[2], polar.shape[2]
    lanes = [triton.next_power_of_2(max(number, 1)) for number in (channels, around)]
    sizes = (*skip.shape[1:], *planes.shape[3:], *polar.shape[3:])
    return *sizes, min_depth, channels, around, *lanes, BLOCK


@triton_kernel
def _gather(
    points,
    cameras,
    lenses,
    skip,
    planes,
    polar,
    features,
    distance,
    views,
    count,
    height,
    width,
    rows,
    columns,
    min_depth,
    channels: tl.constexpr,
    around: tl.constexpr,
    lanes: tl.constexpr,
    around_lanes: tl.constexpr,
    block: tl.constexpr,
):
    point, pair = tl.program_id(0) * block + tl.arange(0, block), tl.program_id(1).to(tl.int64)
    inside = point < count
    x, y, z = _local(points, cameras, point, inside, pair, views, count)
    wanted = tl.load(skip + pair * count + point, mask=inside, other=1) == 0
    u, v, seen = _place(lenses, pair, x, y, z, min_depth)
    seen = seen & wanted
    tl.store(distance + pair * count + point, tl.where(wanted, tl.sqrt(x * x + y * y + z * z), 0.0), mask=inside)
    out = features + (pair * count + point) * (channels + 1 + around)
    tl.store(out + channels, tl.where(seen, 1.0, 0.0), mask=inside)
    left, right, s = _clamped(u * width - 0.5, width)
    top, bottom, t = _clamped(v * height - 0.5, height)
    lane = tl.arange(0, lanes)
    real = (lane < channels)[None, :]
    cells = planes + pair * height * width * channels + lane[None, :]
    value = _read(cells, left, right, s, top, bottom, t, width, channels, seen[:, None] & real)
    tl.store(out[:, None] + lane[None, :], value, mask=inside[:, None] & real)
    if around > 0:
        azimuth, elevation = _direction(x, y, z)
        left, right, s = _round((azimuth + 1.0) * 0.5 * columns - 0.5, columns)
        top, bottom, t = _clamped((elevation + 0.5) * rows - 0.5, rows)
        lane = tl.arange(0, around_lanes)
        real = (lane < around)[None, :]
        cells = polar + pair * rows * columns * around + lane[None, :]
        value = _read(cells, left, right, s, top, bottom, t, columns, around, wanted[:, None] & real)
        tl.store(out[:, None] + channels + 1 + lane[None, :], value, mask=inside[:, None] & real)


@triton_kernel
def _to_maps(
    points,
    cameras,
    lenses,
    skip,
    planes,
    polar,
    gradient,
    views,
    count,
    height,
    width,
    rows,
    columns,
    min_depth,
    channels: tl.constexpr,
    around: tl.constexpr,
    lanes: tl.constexpr,
    around_lanes: tl.constexpr,
    block: tl.constexpr,
):
    point, pair = tl.program_id(0) * block + tl.arange(0, block), tl.program_id(1).to(tl.int64)
    inside = point < count
    x, y, z = _local(points, cameras, point, inside, pair, views, count)
    wanted = tl.load(skip + pair * count + point, mask=inside, other=1) == 0
    u, v, seen = _place(lenses, pair, x, y, z, min_depth)
    part = gradient + (pair * count + point) * (channels + 1 + around)
    left, right, s = _clamped(u * width - 0.5, width)
    top, bottom, t = _clamped(v * height - 0.5, height)
    lane = tl.arange(0, lanes)
    real = (seen & wanted)[:, None] & (lane < channels)[None, :]
    value = tl.load(part[:, None] + lane[None, :], mask=real, other=0.0)
    cells = planes + pair * height * width * channels + lane[None, :]
    _add(cells, value, left, right, s, top, bottom, t, width, channels, real)
    if around > 0:
        azimuth, elevation = _direction(x, y, z)
        left, right, s = _round((azimuth + 1.0) * 0.5 * columns - 0.5, columns)
        top, bottom, t = _clamped((elevation + 0.5) * rows - 0.5, rows)
        lane = tl.arange(0, around_lanes)
        real = wanted[:, None] & (lane < around)[None, :]
        value = tl.load(part[:, None] + channels + 1 + lane[None, :], mask=real, other=0.0)
        cells = polar + pair * rows * columns * around + lane[None, :]
        _add(cells, value, left, right, s, top, bottom, t, columns, around, real)


@triton_kernel
def _local(points, cameras, point, inside, pair, views, count):
    # the point in the axes of the camera
    source, camera = points + (pair // views * count + point) * 3, cameras + pair * 12
    a = tl.load(source, mask=inside, other=0.0)
    b = tl.load(source + 1, mask=inside, other=0.0)
    c = tl.load(source + 2, mask=inside, other=0.0)
    x = tl.load(camera) * a + tl.load(camera + 1) * b + tl.load(camera + 2) * c + tl.load(camera + 3)
    y = tl.load(camera + 4) * a + tl.load(camera + 5) * b + tl.load(camera + 6) * c + tl.load(camera + 7)
    z = tl.load(camera + 8) * a + tl.load(camera + 9) * b + tl.load(camera + 10) * c + tl.load(camera + 11)
    return x, y, z


@triton_kernel
def _place(lenses, pair, x, y, z, min_depth):
    # place in the image, and whether the point is in view
    lens = lenses + pair * 4
    front = z > min_depth
    depth = tl.where(front, z, 1.0)
    u = x / depth * tl.load(lens) + tl.load(lens + 2)
    v = y / depth * tl.load(lens + 1) + tl.load(lens + 3)
    return u, v, front & (u >= 0.0) & (u <= 1.0) & (v >= 0.0) & (v <= 1.0)


@triton_kernel
def _direction(x, y, z):
    # azimuth and elevation in half turns
    azimuth = _quarter(tl.abs(x), tl.abs(z))
    azimuth = tl.where(z < 0.0, 1.0 - azimuth, azimuth)
    elevation = _quarter(tl.abs(y), tl.sqrt(x * x + z * z))
    return tl.where(x < 0.0, -azimuth, azimuth), tl.where(y < 0.0, -elevation, elevation)


@triton_kernel
def _quarter(y, x):
    # atan2(y, x) / pi of numbers that are not negative; 0 for two zeros
    ratio = tl.minimum(x, y) / tl.maximum(tl.maximum(x, y), 1e-30)
    s = ratio * ratio
    turn = ratio * (_A + s * (_B + s * (_C + s * (_D + s * (_E + s * (_F + s * (_G + s * _H)))))))
    return tl.where(y > x, 0.5 - turn, turn)


@triton_kernel
def _clamped(value, cells):
    # the cells before and after a place counted from the middle of the first cell, and how far it is between them
    value = tl.where(value > 0.0, value, 0.0)
    value = tl.where(value < cells - 1.0, value, cells - 1.0)
    before = value.to(tl.int32)
    return before, tl.minimum(before + 1, cells - 1), value - before


@triton_kernel
def _round(value, cells):
    # the same where the last cell is next to the first
    value = tl.where(value > -1.0, value, -1.0)
    value = tl.where(value < cells, value, cells)
    before = (value + 1.0).to(tl.int32) - 1
    after = tl.where(before + 1 >= cells, 0, before + 1)
    return tl.where(before < 0, before + cells, before), after, value - before


@triton_kernel
def _read(cells, left, right, u, top, bottom, v, width, channels: tl.constexpr, mask):
    # bilinear: a row of channels per point
    value = _weighted(cells, top * width + left, (1.0 - v) * (1.0 - u), channels, mask)
    value += _weighted(cells, top * width + right, (1.0 - v) * u, channels, mask)
    value += _weighted(cells, bottom * width + left, v * (1.0 - u), channels, mask)
    return value + _weighted(cells, bottom * width + right, v * u, channels, mask)


@triton_kernel
def _weighted(cells, cell, share, channels: tl.constexpr, mask):
    return share[:, None] * tl.load(cells + cell[:, None] * channels, mask=mask, other=0.0)


@triton_kernel
def _add(cells, value, left, right, u, top, bottom, v, width, channels: tl.constexpr, mask):
    _add_weighted(cells, top * width + left, (1.0 - v) * (1.0 - u), value, channels, mask)
    _add_weighted(cells, top * width + right, (1.0 - v) * u, value, channels, mask)
    _add_weighted(cells, bottom * width + left, v * (1.0 - u), value, channels, mask)
    _add_weighted(cells, bottom * width + right, v * u, value, channels, mask)


@triton_kernel
def _add_weighted(cells, cell, share, value, channels: tl.constexpr, mask):
    tl.atomic_add(cells + cell[:, None] * channels, share[:, None] * value, mask=mask, sem="relaxed")
