"""The largest answer over views and its gradient in Numba: the twins of `pooled_mlp._largest` and `_to_largest`.

NumPy has no bfloat16. So bits are compared instead, as whole numbers, for every type: those of numbers that are not
negative are in the order of the numbers, and those of negative ones in the opposite order. A NaN is above everything.
"""

import numpy as np
import torch
from torch import Tensor

from diorama.kernels.jit import numba_kernel

BITS = {torch.bfloat16: torch.int16, torch.float32: torch.int32}
"""Types that there is a twin for, and whole numbers of the same size."""


def largest(h: Tensor, keep: Tensor) -> Tensor:
    """See `pooled_mlp`: (row, d), a row for every kept one of (view, point), to (point, d); 0 where no view is kept."""
    pooled = h.new_empty(keep.shape[1], h.shape[1])
    _largest(_bits(h), keep.numpy(), _bits(pooled), *_sign(h))
    return pooled


def to_largest(h: Tensor, keep: Tensor, gradient: Tensor) -> Tensor:
    """See `pooled_mlp`: all of the gradient to the first of the kept views whose answer was the largest."""
    slope = torch.empty_like(h)
    winner, best = np.empty(h.shape[1], np.int16), _bits(h.new_empty(h.shape[1]))
    _to_largest(_bits(h), keep.numpy(), _bits(gradient), _bits(slope), winner, best, *_sign(h))
    return slope


def _bits(tensor: Tensor) -> np.ndarray:
    return tensor.view(BITS[tensor.dtype]).numpy()


def _sign(tensor: Tensor) -> tuple[np.integer, np.integer]:
    # how far to shift bits until the sign is left, and all bits but that
    whole = np.dtype(str(BITS[tensor.dtype]).removeprefix("torch."))
    return whole.type(8 * whole.itemsize - 1), whole.type(np.iinfo(whole).max)


@numba_kernel
def _first_rows(keep):
    # where the rows of each view begin
    row = np.zeros(len(keep), np.int64)
    for view in range(len(keep) - 1):
        row[view + 1] = row[view] + keep[view].sum()
    return row


@numba_kernel
def _largest(h, keep, pooled, shift, rest):
    (views, count), channels, row = keep.shape, h.shape[1], _first_rows(keep)
    for i in range(count):
        first = True
        for view in range(views):
            if not keep[view, i]:
                continue
            answer = h[row[view]]
            row[view] += 1
            for k in range(channels):
                rank = answer[k] ^ ((answer[k] >> shift) & rest)
                pooled[i, k] = rank if first else max(rank, pooled[i, k])
            first = False
        for k in range(channels):
            pooled[i, k] = 0 if first else pooled[i, k] ^ ((pooled[i, k] >> shift) & rest)


@numba_kernel
def _to_largest(h, keep, gradient, slope, winner, best, shift, rest):
    (views, count), channels, row = keep.shape, h.shape[1], _first_rows(keep)
    for i in range(count):
        first = True
        for view in range(views):
            if not keep[view, i]:
                continue
            answer = h[row[view]]
            for k in range(channels):
                rank = answer[k] ^ ((answer[k] >> shift) & rest)
                ahead = first | (rank > best[k])
                best[k] = rank if ahead else best[k]
                winner[k] = np.int16(view) if ahead else winner[k]
            first = False
        for view in range(views):
            if not keep[view, i]:
                continue
            for k in range(channels):
                slope[row[view], k] = gradient[i, k] if winner[k] == np.int16(view) else 0
            row[view] += 1
