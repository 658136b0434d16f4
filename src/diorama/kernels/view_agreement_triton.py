"""The Triton twin of `view_agreement`: a program per block of points of a scene, all channels side by side."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from diorama.kernels.jit import triton_kernel
from diorama.kernels.view_agreement import LEAST_SPREAD

BLOCK = 16
"""Points per program."""

_LEAST = tl.constexpr(LEAST_SPREAD)


def agreement(features: Tensor, channels: int) -> Tensor:
    """See `view_agreement.view_agreement`."""
    scenes, _, count, _ = features.shape
    told = features.new_empty(scenes, count, 2 * channels + 2)
    if told.numel():
        _agreement[_programs(features)](features.contiguous(), told, *_numbers(features, channels))
    return told


def agreement_backward(gradient: Tensor, features: Tensor, told: Tensor) -> Tensor:
    """Its gradient to the features, from that to what was told."""
    out = torch.zeros_like(features, memory_format=torch.contiguous_format)
    if out.numel():
        _to_features[_programs(features)](
            gradient.contiguous(), features.contiguous(), told, out, *_numbers(features, told.shape[-1] // 2 - 1)
        )
    return out


def _programs(features: Tensor) -> tuple[int, int]:
    return triton.cdiv(features.shape[2], BLOCK), features.shape[0]


def _numbers(features: Tensor, channels: int) -> tuple[int, int, int, int, int, int]:
    _, views, count, width = features.shape
    return views, count, width, channels, triton.next_power_of_2(channels), BLOCK


@triton_kernel
def _agreement(
    features, told, views, count, width, channels: tl.constexpr, lanes: tl.constexpr, block: tl.constexpr
):  # fmt: skip
    point, scene = tl.program_id(0) * block + tl.arange(0, block), tl.program_id(1).to(tl.int64)
    inside, lane = point < count, tl.arange(0, lanes)
    real = (lane < channels)[None, :]
    total = tl.zeros((block, lanes), tl.float32)
    number = tl.zeros((block,), tl.float32)
    for view in range(views):
        at = features + ((scene * views + view) * count + point) * width
        seen, value = _shown(at, inside, lane, real, channels)
        total += value
        number += tl.where(seen, 1.0, 0.0)
    least = tl.maximum(number, 1.0)[:, None]
    mean = total / least
    squares = tl.zeros((block, lanes), tl.float32)
    for view in range(views):
        at = features + ((scene * views + view) * count + point) * width
        seen, value = _shown(at, inside, lane, real, channels)
        away = tl.where(seen[:, None], value - mean, 0.0)
        squares += away * away
    spread = tl.sqrt(squares / least + _LEAST * _LEAST) - _LEAST
    out = told + (scene * count + point) * (2 * channels + 2)
    there = inside[:, None] & real
    tl.store(out[:, None] + lane[None, :], mean, mask=there)
    tl.store(out[:, None] + channels + lane[None, :], tl.where(number[:, None] > 1.5, spread, 0.0), mask=there)
    tl.store(out + 2 * channels, tl.where(number == 1.0, 1.0, 0.0), mask=inside)
    tl.store(out + 2 * channels + 1, tl.where(number > 1.5, 1.0, 0.0), mask=inside)


@triton_kernel
def _to_features(
    gradient, features, told, slope, views, count, width, channels: tl.constexpr, lanes: tl.constexpr,
    block: tl.constexpr,
):  # fmt: skip
    point, scene = tl.program_id(0) * block + tl.arange(0, block), tl.program_id(1).to(tl.int64)
    inside, lane = point < count, tl.arange(0, lanes)
    real = (lane < channels)[None, :]
    there, begin = inside[:, None] & real, (scene * count + point) * (2 * channels + 2)
    cell = begin[:, None] + lane[None, :]
    mean = tl.load(told + cell, mask=there, other=0.0)
    spread = tl.load(told + cell + channels, mask=there, other=0.0)
    to_mean = tl.load(gradient + cell, mask=there, other=0.0)
    to_away = tl.load(gradient + cell + channels, mask=there, other=0.0) / (spread + _LEAST)
    number = tl.zeros((block,), tl.float32)
    for view in range(views):
        at = features + ((scene * views + view) * count + point) * width
        number += tl.where(tl.load(at + channels, mask=inside, other=0.0) > 0.0, 1.0, 0.0)
    least = tl.maximum(number, 1.0)[:, None]
    for view in range(views):
        place = ((scene * views + view) * count + point) * width
        seen, value = _shown(features + place, inside, lane, real, channels)
        part = tl.where(seen[:, None], (to_mean + to_away * (value - mean)) / least, 0.0)
        tl.store(slope + place[:, None] + lane[None, :], part, mask=there)


@triton_kernel
def _shown(at, inside, lane, real, channels: tl.constexpr):
    # whether a view sees each point, and what it shows there; 0 where it does not
    seen = tl.load(at + channels, mask=inside, other=0.0) > 0.0
    return seen, tl.load(at[:, None] + lane[None, :], mask=seen[:, None] & real, other=0.0)
