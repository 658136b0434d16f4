"""How a prior's score becomes a gradient of a rendered patch, and at which noise level it is asked.

Source: spec of DiffusioNeRF, sections 2.2 and 2.3. Constants marked [code] are the authors'.
"""

from dataclasses import dataclass
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.priors.gaussian import dct, inverse_dct
from diorama.priors.levels import noise_level
from diorama.priors.prior import Prior


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
    slowest: int = 0
    """Cosine waves of fewer half periods than this, along both sides of the patch, are taken out of each channel's
    score (ours). 0: none [paper; code]; 1: the mean. How far a whole patch is away, and how it is tilted, photos know
    better than a prior, whose small errors are the same in all pixels there and move it first."""


def noisy_score(
    prior: Prior,
    patch: Float[Tensor, "batch 4 h w"],
    level: int,
    draws: int = 0,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch 4 h w"]:
    """The score at a patch, or the mean of it over noisy copies of the patch (ours).

    With draws, the noise that was added is given back to each answer: the mean stays what it was, and spreads less. A
    prior that knows no noise is asked about the patch itself. generator: of the noise.
    """
    if not draws or not prior.diffuses:
        return prior.score(patch, level)
    signal, sigma = noise_level(level, prior.encoding.steps)
    answers = []
    for _ in range(draws):
        noise = torch.randn(patch.shape, generator=generator).to(patch)
        answers.append(prior.score(signal * patch + sigma * noise, level) + noise / sigma)
    return torch.stack(answers).mean(0)


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
    if config.slowest:
        waves = dct(fixed)
        waves[..., : config.slowest, : config.slowest] = 0.0
        fixed = inverse_dct(waves)
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
