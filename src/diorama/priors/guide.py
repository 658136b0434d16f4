"""A prior at work in a fit: which patch, at which noise level, how loudly. It renders nothing itself.

Source: spec of DiffusioNeRF, section 2. Numbers marked [paper] or [code] are the authors'; all others are ours.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.data.rgbd_coding import encode_with_disparity, to_disparity
from diorama.data.views import Views
from diorama.priors.levels import level_of
from diorama.priors.patches import Patch, PatchSampler, PatchSamplingConfig
from diorama.priors.photometric import over
from diorama.priors.prior import NullPrior, Prior
from diorama.priors.schedule import Ramp, constant
from diorama.priors.score import InjectionConfig, noisy_score, push, surrogate


@dataclass(frozen=True)
class PriorConfig:
    """When and how strongly a prior speaks during a fit. The defaults are the published run."""

    tau: Ramp = Ramp(0.1, 0.0, 0.0, 2500.0, "steps")
    """Time of the prior: which noise level it is asked at [paper; code]."""
    weight: Ramp = constant(0.2)
    """Factor on both pushes [code]."""
    injection: InjectionConfig = InjectionConfig()
    patches: PatchSamplingConfig = PatchSamplingConfig()
    every: int = 1
    """Steps between two patches; the weight is multiplied by it. 1 [code]."""
    coarse: int | None = 128
    """Bins of a patch's rays that are only weighed [code]; None: as many as a photo's rays have."""
    fine: int = 128
    """Bins that are drawn where the weight lies [code]."""
    empty_is_far: bool = False
    """What light is left counts as infinitely far (sky, cut-out background), instead of depth being normalised by
    opacity as in the paper."""
    geometry: float = 1.0
    """Weight of a patch's ray in the distortion and frustum terms, relative to a photo's ray [code]."""
    frustum_wanted: int = 1
    """Cameras that must see a place on a patch's ray: only what nobody sees is penalised [code]."""
    gradient_share: float | None = None
    """Set the loudness by measuring: the prior's gradient is this share of the photos' in that part of the field
    (tables, density head, colour head) where it is largest. None: leave it to `weight`, whose published value belongs
    to the published batch and units."""
    draws: int = 0
    """Noisy copies of a patch that the prior is asked about, averaged; 0: the patch as it was rendered, neither scaled
    nor noised [paper; code]. A network takes what it is shown for noisy, and smooths what such noise would hide."""
    measure_every: int = 8
    """Patches between two measurements."""
    smoothing: float = 0.7
    """Share of the loudness so far in the new one (geometric mean): single patches differ a lot."""
    settled_below: float = 0.05
    """tau from which on the loudness stays, so that the prior's own growth with 1/sigma is kept."""

    @property
    def between_measurements(self) -> int:
        """Steps from one measurement of the loudness to the next."""
        return self.every * self.measure_every


class PatchGuide:
    """Draws a patch, and turns its rendering into a loss that follows the prior."""

    def __init__(self, prior: Prior, config: PriorConfig, views: Views, steps: int) -> None:
        self.prior, self.config, self.steps = prior, config, steps
        self.sampler = PatchSampler(views, prior.encoding.window, config.patches)

    def speaks_at(self, step: int) -> bool:
        """Whether a patch is due."""
        return step % self.config.every == 0 and self.weight(step) > 0

    def level(self, step: int) -> int:
        """The noise level at a step, within those at which the prior is valid."""
        first, last = self.prior.encoding.levels
        level = level_of(self.config.tau.at(step, self.steps), self.prior.encoding.steps)
        return min(max(level, first), last)

    def weight(self, step: int) -> float:
        """Factor on the pushes at a step; where loudness is measured, it is measured without it."""
        return self.config.weight.at(step, self.steps)

    def settled(self, step: int) -> bool:
        """Whether the loudness no longer changes."""
        return self.config.tau.at(step, self.steps) < self.config.settled_below

    def loss(
        self,
        patch: Patch,
        colour: Float[Tensor, "ray rgb=3"],
        depth: Float[Tensor, "ray"],
        opacity: Float[Tensor, "ray"],
        background: Float[Tensor, "ray rgb=3"],
        step: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, ""]:
        """The surrogate of a rendered patch: its gradient is minus the prior's push (spec 2.2, steps 1 to 3).

        depth: planar, metres, of what stopped the light; opacity: how much was stopped before the sky. Pixels that a
        photo's mask ignores keep the rendered colour, which is not pushed in patches of photos. generator: of noise.
        `weight` is not in it.
        """
        encoding, config = self.prior.encoding, self.config
        side = encoding.window.size
        if patch.photo is not None:
            known = patch.photo.reshape(3, -1).T.to(colour)
            whole = known.new_ones(len(known)) if patch.coverage is None else patch.coverage.reshape(-1).to(colour)
            known = over(known, whole, background)
            if patch.ignored is not None:
                known = torch.where(patch.ignored.reshape(-1, 1).to(colour.device), colour, known)
            colour = known
        disparity = to_disparity(depth.reshape(1, side, side), encoding.depth_floor)
        if config.empty_is_far:
            disparity = disparity * opacity.reshape(1, side, side)
        x = encode_with_disparity(colour.T.reshape(1, 3, side, side), disparity)
        score = noisy_score(self.prior, x.detach(), self.level(step), config.draws, generator)
        far = encoding.depth_floor / disparity.detach().clamp_min(1e-6)
        wanted = push(score, far, config.injection, colour_known=patch.photo is not None)
        return surrogate(x, wanted)

    def describe(self) -> dict[str, Any]:
        """What a scene notes about the prior it was made with."""
        return {"kind": self.prior.kind, "checksum": self.prior.checksum, "photo_share": self.sampler.photo_share}


def guide_of(prior: Prior | None, config: PriorConfig, views: Views, steps: int) -> PatchGuide | None:
    """None for no prior and for the null prior: then no patch is drawn or rendered at all."""
    return None if prior is None or isinstance(prior, NullPrior) else PatchGuide(prior, config, views, steps)


def gradient_norms(loss: Float[Tensor, ""], parts: list[list[torch.nn.Parameter]]) -> list[float]:
    """L2 norm of a loss's gradient over each list of parameters; the graph stays."""
    flat = [parameter for part in parts for parameter in part]
    squares = [
        0.0 if gradient is None else float(gradient.square().sum())
        for gradient in torch.autograd.grad(loss, flat, retain_graph=True, allow_unused=True)
    ]
    norms, start = [], 0
    for part in parts:
        norms.append(math.sqrt(sum(squares[start : start + len(part)])))
        start += len(part)
    return norms


def scale_warning(prior: Prior, median_depth: float) -> str | None:
    """A sentence where the field's median depth (metres) is not near the prior's; None where it is."""
    known = prior.encoding.median_depth
    if not prior.encoding.metric or known / 3.0 <= median_depth <= 3.0 * known:
        return None
    return (
        f"warning: the prior was made from scenes with a median depth of {known:.3g} m, this one is fitted with "
        f"{median_depth:.3g} m: it will be taken for something much {'nearer' if median_depth < known else 'farther'}. "
        "Give --scale METRES_PER_UNIT, or leave it out for the automatic scale."
    )
