"""How a prior's score becomes a gradient of a rendered patch, and at which noise level it is asked.

Source: spec of DiffusioNeRF, sections 2.2 and 2.3. Constants marked [code] are the authors'.
"""

from dataclasses import dataclass
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Raw:
    """The score times a weight."""

    weight: float


@dataclass(frozen=True)
class NormFixed:
    """The direction of the score alone: a push of this L2 norm over all of the patch's channels concerned."""

    norm: float


@dataclass(frozen=True)
class DepthScaled:
    """The score times a weight and the pixel's depth (metres): undoes one of the two 1/z of disparity's slope."""

    weight: float
    furthest: float = 20.0
    """Depths beyond (metres; ours) count as this: the sky must not outweigh everything. Published scenes end before."""


Policy = Raw | NormFixed | DepthScaled


@dataclass(frozen=True)
class InjectionConfig:
    """How strongly the two halves of a score push."""

    colour: Policy = NormFixed(3e-6)
    """1e-9 times 3000, whatever the noise level [code]."""
    disparity: Policy = DepthScaled(2e-6)
    """"Uniform in depth space" [code]."""
    centred: bool = False
    """Take the mean over the patch out of each channel's score (ours). A patch of a thousand pixels tells its own mean
    so well that a true score hardly moves it; a network's small error there is the same in all pixels and moves it
    first: that of ours pushed clean patches towards the camera."""


def push(
    score: Float[Tensor, "batch 4 h w"],
    depth: Float[Tensor, "batch h w"],
    config: InjectionConfig,
    *,
    colour_known: bool = False,
) -> Float[Tensor, "batch 4 h w"]:
    """The gradient (of the log-density, weighted) that a patch is to follow; no graph.

    depth: planar, metres. colour_known: colours come from a photo, so they get no push.
    """
    fixed = score.detach()
    if config.centred:
        fixed = fixed - fixed.mean((-2, -1), keepdim=True)
    colour = torch.zeros_like(fixed[:, :3]) if colour_known else _weighted(fixed[:, :3], depth, config.colour)
    return torch.cat([colour, _weighted(fixed[:, 3:], depth, config.disparity)], dim=1)


def surrogate(patch: Float[Tensor, "batch c h w"], wanted: Float[Tensor, "batch c h w"]) -> Float[Tensor, ""]:
    """A loss whose gradient with respect to the patch is minus `wanted`: descent moves the patch along it.

    A sum over pixels; its value means nothing.
    """
    return -(wanted.detach() * patch).sum()


def _weighted(score: Tensor, depth: Tensor, policy: Policy) -> Tensor:
    match policy:
        case Raw(weight):
            return weight * score
        case NormFixed(norm):
            length = torch.linalg.vector_norm(score, dim=(1, 2, 3), keepdim=True)
            return norm * score / length.clamp_min(torch.finfo(score.dtype).tiny)
        case DepthScaled(weight, furthest):
            return weight * depth.detach().clamp_max(furthest)[:, None] * score
        case _:
            assert_never(policy)
