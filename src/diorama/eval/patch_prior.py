"""What a patch prior is worth before any scene is fitted: how well it denoises, and where its score points.

Both go on the model card. Source: issue of the RGBD prior; Tweedie's formula as in arXiv 2011.13456.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.priors.levels import noise_level
from diorama.priors.prior import Prior

LEVELS = (3, 7, 19, 47, 99)
"""Noise levels of the card: those that a fit asks for."""

SCORE_LEVELS = (19, 47, 99)


@dataclass(frozen=True)
class DenoisingGain:
    """By how many dB one step of the prior brings a noisy patch nearer to the clean one than it was.

    joint: over the four channels. colour, disparity: of these alone. Means over patches, known pixels only.
    """

    level: int
    joint: float
    colour: float
    disparity: float


@torch.no_grad()
def denoising_gain(
    prior: Prior,
    patches: Float[Tensor, "n 4 h w"],
    level: int,
    generator: torch.Generator,
    known: Bool[Tensor, "n h w"] | None = None,
    chunk: int = 64,
) -> DenoisingGain:
    """The clean estimate (x + s^2 score) / a against the noisy x / a, in PSNR over all patches together.

    known: where depth is; disparity is judged there alone.
    """
    signal, noise = noise_level(level, prior.encoding.steps)
    white = torch.randn(patches.shape, generator=generator)
    before, after = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    area = torch.zeros(4, dtype=torch.float64)
    for start in range(0, len(patches), chunk):
        clean = patches[start : start + chunk]
        noisy = signal * clean + noise * white[start : start + chunk]
        estimate = (noisy + noise**2 * prior.score(noisy, level)) / signal
        mask = torch.ones_like(clean)
        if known is not None:
            mask[:, 3] = known[start : start + chunk].to(mask)
        before += ((noisy / signal - clean).square() * mask).double().sum((0, 2, 3))
        after += ((estimate - clean).square() * mask).double().sum((0, 2, 3))
        area += mask.double().sum((0, 2, 3))

    def gain(channels: slice) -> float:
        return 10.0 * math.log10(float(before[channels].sum() / after[channels].sum().clamp_min(1e-30)))

    return DenoisingGain(level, gain(slice(0, 4)), gain(slice(0, 3)), gain(slice(3, 4)))


Damage = Callable[[Tensor, torch.Generator], Tensor]
"""Clean patches (n 4 h w) -> what a bad fit might have rendered instead."""


def with_noise(patches: Float[Tensor, "n 4 h w"], generator: torch.Generator) -> Float[Tensor, "n 4 h w"]:
    """White noise of 0.05 on colour and disparity."""
    return patches + 0.05 * torch.randn(patches.shape, generator=generator)


def with_floater(patches: Float[Tensor, "n 4 h w"], generator: torch.Generator) -> Float[Tensor, "n 4 h w"]:
    """A soft grey blob that floats in front of everything."""
    n, _, h, w = patches.shape
    centre = 0.25 + 0.5 * torch.rand(n, 2, 1, 1, generator=generator)
    y = (torch.arange(h) + 0.5)[None, :, None] / h - centre[:, 0]
    x = (torch.arange(w) + 0.5)[None, None, :] / w - centre[:, 1]
    opacity = 0.7 * torch.exp(-(x.square() + y.square()) / (2 * 0.08**2))
    nearest = patches[:, 3].amax((1, 2))
    blob = torch.zeros(n, 4, 1, 1)
    blob[:, 3, 0, 0] = (nearest + 0.3).clamp_max(1.0)
    return torch.lerp(patches, blob.expand_as(patches), opacity[:, None])


def with_tilted_depth(patches: Float[Tensor, "n 4 h w"], generator: torch.Generator) -> Float[Tensor, "n 4 h w"]:
    """Disparity replaced by a plane through its mean, tilted at random: colour without its shape."""
    n, _, h, w = patches.shape
    tilt = 0.3 * torch.randn(n, 2, 1, 1, generator=generator)
    y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, h), torch.linspace(-0.5, 0.5, w), indexing="ij")
    plane = patches[:, 3].mean((1, 2), keepdim=True) + tilt[:, 0] * x + tilt[:, 1] * y
    return torch.cat([patches[:, :3], plane[:, None].clamp(-1.0, 1.0)], dim=1)


def with_shifted_depth(patches: Float[Tensor, "n 4 h w"], generator: torch.Generator) -> Float[Tensor, "n 4 h w"]:
    """Disparity moved sideways by an eighth of the patch against its colour."""
    del generator
    shift = max(1, patches.shape[-1] // 8)
    moved = torch.nn.functional.pad(patches[:, 3:], (shift, 0, 0, 0), mode="replicate")[..., :-shift]
    return torch.cat([patches[:, :3], moved], dim=1)


def as_billboard(patches: Float[Tensor, "n 4 h w"], generator: torch.Generator) -> Float[Tensor, "n 4 h w"]:
    """Everything painted on a plane across the view, half as far away: how a camera wears its own picture."""
    del generator
    near = patches[:, 3].mean((1, 2), keepdim=True)
    flat = (2.0 * (near + 1.0) - 1.0).clamp_max(1.0).expand_as(patches[:, 3])
    return torch.cat([patches[:, :3], flat[:, None]], dim=1)


def with_blur(patches: Float[Tensor, "n 4 h w"], generator: torch.Generator) -> Float[Tensor, "n 4 h w"]:
    """A mean over 5 x 5 pixels; only to be reported: smoothing raises the density under most priors."""
    del generator
    padded = torch.nn.functional.pad(patches, (2, 2, 2, 2), mode="replicate")
    return torch.nn.functional.avg_pool2d(padded, 5, stride=1)


DAMAGES: dict[str, Damage] = {
    "noise": with_noise,
    "floating blob": with_floater,
    "tilted depth": with_tilted_depth,
    "shifted depth": with_shifted_depth,
    "billboard": as_billboard,
    "blur": with_blur,
}


@torch.no_grad()
def repair_rate(
    prior: Prior, patches: Float[Tensor, "n 4 h w"], damage: Damage, level: int, generator: torch.Generator
) -> float:
    """Share of damaged patches x' whose score points back to the clean x: <score(x'), x - x'> > 0.

    Chance is a half. Patches that the damage left as they were are not counted; NaN if none is left.
    """
    damaged = damage(patches, generator)
    way = patches - damaged
    changed = way.flatten(1).abs().amax(1) > 1e-6
    if not bool(changed.any()):
        return math.nan
    pull = (prior.score(damaged[changed], level) * way[changed]).sum((1, 2, 3))
    return float((pull > 0).double().mean())
