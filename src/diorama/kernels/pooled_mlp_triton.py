"""The largest answer over views and its gradient in Triton: the twins of `pooled_mlp._largest` and `_to_largest`.

A program per block of points, all channels side by side. A NaN is above everything, and stays.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from diorama.kernels.jit import triton_kernel

BLOCK = 16
"""Points per program."""


def largest(h: Tensor, keep: Tensor) -> Tensor:
    """See `pooled_mlp`: (row, d), a row for every kept one of (view, point), to (point, d); 0 where no view is kept."""
    pooled = h.new_empty(keep.shape[1], h.shape[1])
    if pooled.numel():
        _largest[_programs(keep)](h.contiguous(), *_rows(keep), pooled, *_numbers(h, keep))
    return pooled


def to_largest(h: Tensor, keep: Tensor, gradient: Tensor) -> Tensor:
    """See `pooled_mlp`: all of the gradient to the first of the kept views whose answer was the largest."""
    slope = torch.empty_like(h, memory_format=torch.contiguous_format)
    if slope.numel():
        _to_largest[_programs(keep)](
            h.contiguous(), *_rows(keep), gradient.contiguous(), slope, *_numbers(h, keep)
        )  # fmt: skip
    return slope


def _programs(keep: Tensor) -> tuple[int]:
    return (triton.cdiv(keep.shape[1], BLOCK),)


def _rows(keep: Tensor) -> tuple[Tensor, Tensor]:
    # what is kept, and the row of each kept (view, point)
    flags = keep.contiguous()
    return flags.view(torch.uint8), flags.flatten().cumsum(0) - 1


def _numbers(h: Tensor, keep: Tensor) -> tuple[int, int, int, int, int]:
    channels = h.shape[1]
    return *keep.shape, channels, triton.next_power_of_2(channels), BLOCK


@triton_kernel
def _largest(
    h, keep, row, pooled, views, count, channels: tl.constexpr, lanes: tl.constexpr, block: tl.constexpr
):  # fmt: skip
    point = tl.program_id(0) * block + tl.arange(0, block)
    inside, lane = point < count, tl.arange(0, lanes)
    real = (lane < channels)[None, :]
    best = tl.full((block, lanes), float("-inf"), tl.float32)
    found = tl.zeros((block,), tl.int32)
    for view in range(views):
        kept = tl.load(keep + view * count + point, mask=inside, other=0).to(tl.int32)
        value = _answers(h, row + view * count + point, kept, lane, real, channels)
        best = tl.where(_ahead(value, best), value, best)
        found = tl.maximum(found, kept)
    best = tl.where(found[:, None] > 0, best, 0.0)
    tl.store(pooled + point[:, None] * channels + lane[None, :], best, mask=inside[:, None] & real)


@triton_kernel
def _to_largest(
    h, keep, row, gradient, slope, views, count, channels: tl.constexpr, lanes: tl.constexpr, block: tl.constexpr
):  # fmt: skip
    point = tl.program_id(0) * block + tl.arange(0, block)
    inside, lane = point < count, tl.arange(0, lanes)
    real = (lane < channels)[None, :]
    best = tl.full((block, lanes), float("-inf"), tl.float32)
    winner = tl.full((block, lanes), -1, tl.int32)
    for view in range(views):
        kept = tl.load(keep + view * count + point, mask=inside, other=0).to(tl.int32)
        value = _answers(h, row + view * count + point, kept, lane, real, channels)
        ahead = (kept[:, None] > 0) & (_ahead(value, best) | (winner < 0))
        best, winner = tl.where(ahead, value, best), tl.where(ahead, view, winner)
    share = tl.load(gradient + point[:, None] * channels + lane[None, :], mask=inside[:, None] & real, other=0.0)
    for view in range(views):
        kept = tl.load(keep + view * count + point, mask=inside, other=0).to(tl.int32)
        place = tl.load(row + view * count + point, mask=kept > 0, other=0)
        part = tl.where(winner == view, share, 0.0)
        tl.store(slope + place[:, None] * channels + lane[None, :], part, mask=(kept[:, None] > 0) & real)


@triton_kernel
def _answers(h, row, kept, lane, real, channels: tl.constexpr):
    # of one view about the points of a block; what is not kept is below everything
    place = tl.load(row, mask=kept > 0, other=0)
    value = tl.load(
        h + place[:, None] * channels + lane[None, :], mask=(kept[:, None] > 0) & real, other=float("-inf")
    )  # fmt: skip
    return value.to(tl.float32)


@triton_kernel
def _ahead(value, best):
    # the first NaN comes before all numbers, and nothing before it
    return (value > best) | ((value != value) & (best == best))
