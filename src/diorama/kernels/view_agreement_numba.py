"""The Numba twin of `view_agreement`: pieces of the points of a scene, each written by one task alone."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from diorama.kernels.jit import numba_kernel
from diorama.kernels.twins import run_tasks, spans
from diorama.kernels.view_agreement import LEAST_SPREAD

SPAN = 8192
"""Points per task."""

f32 = np.float32
_LEAST = f32(LEAST_SPREAD)


def agreement(features: Tensor, channels: int) -> Tensor:
    """See `view_agreement.view_agreement`."""
    scenes, _, count, _ = features.shape
    told = np.empty((scenes, count, 2 * channels + 2), f32)
    arrays, kind = (_plain(features), told), (0,) * channels
    run_tasks(
        [partial(_agreement, *arrays, kind, scene, *span) for scene in range(scenes) for span in spans(count, SPAN)]
    )
    return torch.from_numpy(told)


def agreement_backward(gradient: Tensor, features: Tensor, told: Tensor) -> Tensor:
    """Its gradient to the features, from that to what was told."""
    scenes, _, count, _ = features.shape
    out, kind = np.empty(features.shape, f32), (0,) * (told.shape[-1] // 2 - 1)
    arrays = (_plain(gradient), _plain(features), _plain(told), out)
    run_tasks(
        [partial(_to_features, *arrays, kind, scene, *span) for scene in range(scenes) for span in spans(count, SPAN)]
    )
    return torch.from_numpy(out)


def _plain(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


@numba_kernel
def _agreement(features, told, kind, scene, start, stop):
    # kind: as many entries as there are channels, whose number is known to the compiler then
    views, channels = features.shape[1], len(kind)
    for i in range(start, stop):
        mean, spread, seen = told[scene, i, :channels], told[scene, i, channels : 2 * channels], 0
        mean[:] = f32(0)
        spread[:] = f32(0)
        for view in range(views):
            if features[scene, view, i, channels] > f32(0):
                seen += 1
                for k in range(channels):
                    mean[k] += features[scene, view, i, k]
        told[scene, i, 2 * channels], told[scene, i, 2 * channels + 1] = f32(seen == 1), f32(seen > 1)
        if seen < 2:
            continue
        share = f32(1) / f32(seen)
        for k in range(channels):
            mean[k] *= share
        for view in range(views):
            if features[scene, view, i, channels] > f32(0):
                for k in range(channels):
                    away = features[scene, view, i, k] - mean[k]
                    spread[k] += away * away
        for k in range(channels):
            spread[k] = np.sqrt(spread[k] * share + _LEAST * _LEAST) - _LEAST


@numba_kernel
def _to_features(gradient, features, told, out, kind, scene, start, stop):
    views, channels, width = features.shape[1], len(kind), features.shape[3]
    for i in range(start, stop):
        seen = 0
        for view in range(views):
            seen += int(features[scene, view, i, channels] > f32(0))
        share = f32(1) / f32(max(seen, 1))
        for view in range(views):
            sees = features[scene, view, i, channels] > f32(0)
            for k in range(channels):
                away = features[scene, view, i, k] - told[scene, i, k]
                slope = gradient[scene, i, channels + k] / (told[scene, i, channels + k] + _LEAST)
                out[scene, view, i, k] = share * (gradient[scene, i, k] + slope * away) if sees else f32(0)
            for k in range(channels, width):
                out[scene, view, i, k] = f32(0)
