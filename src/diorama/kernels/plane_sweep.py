"""Plane sweep: how well the neighbours of a photo agree with it when its pixels are pushed to one depth after another.

For every inverse depth the neighbours are warped onto the reference photo and compared by zero-mean normalised
cross-correlation (ZNCC) in a square window, which does not care about gain and offset of the exposure. Two twins: the
torch form below is the one to read; the Numba form is the one to run. Sources: Collins 1996 (a space-sweep approach),
Gallup et al. 2007; robust choice among neighbours after Kang, Szeliski and Chai 2001 (best half of the views).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor

EPSILON = 4e-5
"""Added to every variance, grey values squared: (1.6 / 255)^2, so that sensor noise on a blank wall scores nothing."""

MINIMUM_SHARE = 0.5
"""Share of a window that must be seen by both photos for a score."""


@dataclass(frozen=True)
class Sources:
    """The neighbours of one reference photo: pinhole photos, and their poses relative to the reference camera.

    rotation, translation: x_source = rotation @ x_reference + translation (OpenCV axes). focal, centre: pixels,
    centres at +0.5. valid: False where a pixel of the neighbour must not be used.
    """

    images: Float[Tensor, "source hs ws"]
    valid: Bool[Tensor, "source hs ws"]
    rotation: Float[Tensor, "source 3 3"]
    translation: Float[Tensor, "source 3"]
    focal: Float[Tensor, "source 2"]
    centre: Float[Tensor, "source 2"]

    def __len__(self) -> int:
        return len(self.images)


def sweep_scores(
    reference: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"],
    directions: Float[Tensor, "h w 3"],
    sources: Sources,
    inverse_depths: Float[Tensor, "plane"],
    *,
    radius: int = 3,
    best: int = 2,
) -> Float[Tensor, "plane h w"]:
    """ZNCC in [-1, 1] of every pixel at every inverse depth: the mean over its `best` best neighbours.

    reference is grey in [0, 1]; directions are its pixels' rays in its own camera, scaled to z = 1 (so any lens will
    do, and depth is planar); windows are (2 radius + 1) squared. -1 where no neighbour sees the point.
    """
    if reference.device.type == "cpu":
        from diorama.kernels.plane_sweep_numba import sweep_scores_numba

        return sweep_scores_numba(reference, valid, directions, sources, inverse_depths, radius=radius, best=best)
    return sweep_scores_reference(reference, valid, directions, sources, inverse_depths, radius=radius, best=best)


def sweep_scores_reference(
    reference: Float[Tensor, "h w"],
    valid: Bool[Tensor, "h w"],
    directions: Float[Tensor, "h w 3"],
    sources: Sources,
    inverse_depths: Float[Tensor, "plane"],
    *,
    radius: int = 3,
    best: int = 2,
) -> Float[Tensor, "plane h w"]:
    """The readable twin of `sweep_scores`, on any device."""
    if len(sources) == 0 or len(inverse_depths) == 0:
        return reference.new_full((len(inverse_depths), *reference.shape), -1.0)
    planes = []
    for inverse_depth in inverse_depths:
        scores = []
        for index in range(len(sources)):
            warped, seen = _warp(directions / inverse_depth, sources, index)
            scores.append(_zncc(reference, warped, seen & valid, radius))
        top = torch.stack(scores).topk(min(best, len(scores)), dim=0).values
        some = (top > -1).sum(0).clamp_min(1)
        mean = torch.where(top > -1, top, torch.zeros_like(top)).sum(0) / some
        planes.append(torch.where(top[0] > -1, mean, -torch.ones_like(mean)))
    return torch.stack(planes)


def _warp(
    points: Float[Tensor, "h w 3"], sources: Sources, index: int
) -> tuple[Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """The neighbour's grey values at points of the reference camera, and where it has any."""
    height, width = sources.images.shape[1:]
    inside = points @ sources.rotation[index].T + sources.translation[index]
    depth = inside[..., 2]
    front = depth > 1e-9
    pixels = inside[..., :2] / torch.where(front, depth, 1.0)[..., None] * sources.focal[index] + sources.centre[index]
    x, y = pixels[..., 0] - 0.5, pixels[..., 1] - 0.5
    seen = front & (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    column = torch.where(seen, x + 0.5, 0.0).floor().long().clamp(0, width - 1)
    row = torch.where(seen, y + 0.5, 0.0).floor().long().clamp(0, height - 1)
    seen = seen & sources.valid[index][row, column]
    grid = torch.stack([2 * pixels[..., 0] / width - 1, 2 * pixels[..., 1] / height - 1], -1)
    values = F.grid_sample(
        sources.images[index][None, None], grid[None].to(sources.images), padding_mode="border", align_corners=False
    )
    return values[0, 0], seen


def _zncc(
    first: Float[Tensor, "h w"], second: Float[Tensor, "h w"], seen: Bool[Tensor, "h w"], radius: int
) -> Float[Tensor, "h w"]:
    """Correlation in windows over the pixels that count; -1 where the pixel itself or half its window does not."""
    weight = seen.to(torch.float64)
    a, b = (first.double() - 0.5) * weight, (torch.where(seen, second, 0.5).double() - 0.5) * weight
    stack = torch.stack([weight, a, b, a * a, b * b, a * b])[None]
    window = 2 * radius + 1
    count, sum_a, sum_b, sum_aa, sum_bb, sum_ab = (
        F.avg_pool2d(stack, window, stride=1, padding=radius, count_include_pad=True)[0] * window**2
    )
    covariance = count * sum_ab - sum_a * sum_b
    variance_a = (count * sum_aa - sum_a**2).clamp_min(0) + EPSILON * count**2
    variance_b = (count * sum_bb - sum_b**2).clamp_min(0) + EPSILON * count**2
    score = covariance / torch.sqrt(variance_a * variance_b).clamp_min(1e-30)
    enough = seen & (count >= MINIMUM_SHARE * window**2 - 1e-6)
    return torch.where(enough, score.clamp(-1 + 1e-6, 1), -torch.ones_like(score)).to(first.dtype)
