"""The Numba twin of `plane_sweep.sweep_scores`: one warp per plane and neighbour, window sums by running totals."""

from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.kernels.jit import numba_kernel
from diorama.kernels.plane_sweep import EPSILON, MINIMUM_SHARE, Sources
from diorama.kernels.twins import run_tasks


def sweep_scores_numba(
    reference: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"],
    directions: Float[Tensor, "h w 3"],
    sources: Sources,
    inverse_depths: Float[Tensor, "plane"],
    *,
    radius: int = 3,
    best: int = 2,
) -> Float[Tensor, "plane h w"]:
    """See `plane_sweep.sweep_scores`; CPU tensors, float32 inside."""

    def plain(tensor: Tensor) -> np.ndarray:
        return np.ascontiguousarray(tensor.detach().to(torch.float32).numpy())

    scores = np.full((len(inverse_depths), *reference.shape), -1.0, np.float32)
    if len(sources) == 0 or reference.numel() == 0:
        return torch.from_numpy(scores).to(reference.dtype)
    photo: tuple[Any, ...] = plain(reference), np.ascontiguousarray(valid.numpy()), plain(directions)
    neighbours: tuple[Any, ...] = (
        plain(sources.images),
        np.ascontiguousarray(sources.valid.numpy()),
        plain(sources.rotation),
        plain(sources.translation),
        plain(sources.focal),
        plain(sources.centre),
    )
    planes, top = plain(inverse_depths), min(best, len(sources))
    parts = max(1, min(torch.get_num_threads(), len(planes)))
    run_tasks(
        [
            partial(_sweep, *photo, *neighbours, planes[start::parts], radius, top, scores[start::parts])
            for start in range(parts)
        ]
    )
    return torch.from_numpy(scores).to(reference.dtype)


@numba_kernel
def _sweep(
    reference,
    valid,
    directions,
    images,
    image_valid,
    rotation,
    translation,
    focal,
    centre,
    inverse_depths,
    radius,
    best,
    out,
):
    height, width = reference.shape
    count = len(images)
    warped = np.empty((height, width), np.float32)
    seen = np.empty((height, width), np.float32)
    scores = np.empty((count, height, width), np.float32)
    for plane in range(len(inverse_depths)):
        for source in range(count):
            _warp(
                directions,
                inverse_depths[plane],
                images[source],
                image_valid[source],
                rotation[source],
                translation[source],
                focal[source],
                centre[source],
                valid,
                warped,
                seen,
            )
            _zncc(reference, warped, seen, radius, scores[source])
        _best_mean(scores, best, out[plane])


@numba_kernel
def _warp(directions, inverse_depth, image, image_valid, rotation, translation, focal, centre, valid, warped, seen):
    height, width = valid.shape
    rows, columns = image.shape
    shift = translation * inverse_depth
    for i in range(height):
        for j in range(width):
            seen[i, j] = 0.0
            warped[i, j] = 0.5
            if not valid[i, j]:
                continue
            a, b, c = directions[i, j, 0], directions[i, j, 1], directions[i, j, 2]
            z = rotation[2, 0] * a + rotation[2, 1] * b + rotation[2, 2] * c + shift[2]
            if z <= 1e-9:
                continue
            x = (rotation[0, 0] * a + rotation[0, 1] * b + rotation[0, 2] * c + shift[0]) / z
            y = (rotation[1, 0] * a + rotation[1, 1] * b + rotation[1, 2] * c + shift[1]) / z
            x = x * focal[0] + centre[0] - np.float32(0.5)
            y = y * focal[1] + centre[1] - np.float32(0.5)
            if not (x >= 0.0 and x <= columns - 1 and y >= 0.0 and y <= rows - 1):
                continue
            if not image_valid[int(y + np.float32(0.5)), int(x + np.float32(0.5))]:
                continue
            left, top = int(x), int(y)
            right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
            u, v = x - left, y - top
            upper = image[top, left] + u * (image[top, right] - image[top, left])
            lower = image[bottom, left] + u * (image[bottom, right] - image[bottom, left])
            warped[i, j] = upper + v * (lower - upper)
            seen[i, j] = 1.0


@numba_kernel
def _zncc(first, second, seen, radius, out):
    height, width = first.shape
    window = 2 * radius + 1
    least = MINIMUM_SHARE * window * window - 1e-6
    columns = np.zeros((6, width))  # sums over the rows of the window, one per column
    for i in range(-radius, height):
        entering, leaving = i + radius, i - radius - 1
        if entering < height:
            _add_row(first, second, seen, entering, 1.0, columns)
        if leaving >= 0:
            _add_row(first, second, seen, leaving, -1.0, columns)
        if i < 0:
            continue
        n = a = b = aa = bb = ab = 0.0
        for j in range(-radius, width):
            if j + radius < width:
                k = j + radius
                n, a, b = n + columns[0, k], a + columns[1, k], b + columns[2, k]
                aa, bb, ab = aa + columns[3, k], bb + columns[4, k], ab + columns[5, k]
            if j - radius - 1 >= 0:
                k = j - radius - 1
                n, a, b = n - columns[0, k], a - columns[1, k], b - columns[2, k]
                aa, bb, ab = aa - columns[3, k], bb - columns[4, k], ab - columns[5, k]
            if j < 0:
                continue
            if seen[i, j] == 0.0 or n < least:
                out[i, j] = -1.0
                continue
            spread = (max(n * aa - a * a, 0.0) + EPSILON * n * n) * (max(n * bb - b * b, 0.0) + EPSILON * n * n)
            score = (n * ab - a * b) / np.sqrt(spread)
            out[i, j] = min(max(score, -1.0 + 1e-6), 1.0)


@numba_kernel
def _add_row(first, second, seen, row, sign, columns):
    for j in range(first.shape[1]):
        if seen[row, j] == 0.0:
            continue
        a, b = float(first[row, j]) - 0.5, float(second[row, j]) - 0.5
        columns[0, j] += sign
        columns[1, j] += sign * a
        columns[2, j] += sign * b
        columns[3, j] += sign * a * a
        columns[4, j] += sign * b * b
        columns[5, j] += sign * a * b


@numba_kernel
def _best_mean(scores, best, out):
    count, height, width = scores.shape
    top = np.empty(best, np.float32)
    for i in range(height):
        for j in range(width):
            top[:] = -1.0
            for source in range(count):
                score = scores[source, i, j]
                for place in range(best):
                    if score > top[place]:
                        top[place], score = score, top[place]
            total, some = np.float32(0.0), 0
            for place in range(best):
                if top[place] > -1.0:
                    total += top[place]
                    some += 1
            out[i, j] = total / some if some else -1.0
