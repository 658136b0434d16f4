"""The Numba twin of `resample`: both edges lists are walked once, side by side."""

from functools import partial

import numpy as np
import torch
from torch import Tensor

from diorama.kernels.jit import numba_kernel
from diorama.kernels.resample import EPSILON, PADDING
from diorama.kernels.twins import run_tasks, spans

SPAN = 512
"""Rays per task."""

f32 = np.float32


def resample_numba(edges: Tensor, weights: Tensor, count: int, jitter: Tensor | None) -> Tensor:
    """See `resample.resample`."""
    rays = weights.shape[0]
    out = torch.empty(rays, count + 1)
    shift = torch.full((rays, 1), 0.5) if jitter is None else jitter
    arrays = [_plain(tensor) for tensor in (edges, weights, shift, out)]
    run_tasks([partial(_resample, *arrays, *span) for span in spans(rays, SPAN)])
    return out


def outer_bound_numba(
    fine_edges: Tensor, fine_weights: Tensor, proposal_edges: Tensor, proposal_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """See `resample.outer_bound`: the loss, and its slope by the proposal's weights."""
    rays = fine_weights.shape[0]
    loss, slope = torch.empty(rays), torch.empty(proposal_weights.shape)
    tensors = (fine_edges, fine_weights, proposal_edges, proposal_weights, loss, slope)
    arrays = [_plain(tensor) for tensor in tensors]
    run_tasks([partial(_outer_bound, *arrays, *span) for span in spans(rays, SPAN)])
    return loss, slope


def _plain(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to(torch.float32).contiguous().numpy()


@numba_kernel
def _resample(edges, weights, jitter, out, start, stop):
    bins, count = weights.shape[1], out.shape[1] - 1
    same = jitter.shape[1] == 1
    for ray in range(start, stop):
        total = 0.0
        for i in range(bins):
            total += weights[ray, i]
        padding = (PADDING * total + 1e-30) / bins
        total += padding * bins
        out[ray, 0] = edges[ray, 0]
        i, before, mass = 0, 0.0, weights[ray, 0] + padding
        for k in range(1, count):
            wanted = (k + (np.float64(jitter[ray, 0 if same else k]) - 0.5)) / count * total
            while i < bins - 1 and before + mass <= wanted:
                before += mass
                i += 1
                mass = weights[ray, i] + padding
            place = min(max((wanted - before) / mass, 0.0), 1.0)
            left = np.float64(edges[ray, i])
            value = f32(left + place * (np.float64(edges[ray, i + 1]) - left))
            out[ray, k] = max(value, out[ray, k - 1])
        out[ray, count] = max(edges[ray, bins], out[ray, count - 1])


@numba_kernel
def _outer_bound(fine_edges, fine_weights, edges, weights, loss, slope, start, stop):
    fine, bins = fine_weights.shape[1], weights.shape[1]
    total = np.zeros(bins + 1)
    steps = np.empty(bins + 1)
    for ray in range(start, stop):
        for j in range(bins):
            total[j + 1] = total[j] + weights[ray, j]
        steps[:] = 0.0
        missed = 0.0
        first = last = 0
        for i in range(fine):
            while first < bins and edges[ray, first + 1] <= fine_edges[ray, i]:
                first += 1
            while last < bins and edges[ray, last] < fine_edges[ray, i + 1]:
                last += 1
            weight = np.float64(fine_weights[ray, i])
            excess = weight - (total[max(first, last)] - total[first])
            if excess > 0.0:
                missed += excess * excess / (weight + EPSILON)
                steps[first] -= 2.0 * excess / (weight + EPSILON)
                steps[max(first, last)] += 2.0 * excess / (weight + EPSILON)
        loss[ray] = missed
        running = 0.0
        for j in range(bins):
            running += steps[j]
            slope[ray, j] = running
