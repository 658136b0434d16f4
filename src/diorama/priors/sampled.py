"""Views that a generative model imagined as a loss: a fit may follow them where no photograph says otherwise.

A sample is small (tens of pixels a side) and several samples of one input disagree where the photographs do not decide.
So a render is averaged over the area of each of the sample's pixels before it is compared, unobserved pixels count,
and the more the samples vary the less they do. The weight fades: in the end the fit hears the photographs alone.
Source: ours; issue of GIBR, part 5.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.rays import Rays
from diorama.data.pixels import rays_through
from diorama.priors.schedule import Ramp


@dataclass(frozen=True)
class SampledConfig:
    """How loudly sampled views speak in a fit."""

    weight: Ramp = Ramp(0.3, 0.0, 0.1, 0.6)
    """Of the colours of sampled pixels, relative to those of photographs."""
    depth: Ramp = Ramp(0.03, 0.0, 0.0, 0.3)
    """Of the samples' depth, where no photograph has stereo: it starts density, and no more."""
    pixels: int = 128
    """Sampled pixels a draw."""
    side: int = 2
    """Rays a pixel, along one side."""
    every: int = 2
    """Steps between two draws; the weight is multiplied by it."""
    doubt: float = 0.05
    """Standard deviation over samples (colour in [0, 1]) at which a pixel counts half."""


@dataclass(frozen=True)
class SampledViews:
    """What several samples of a scene look like from some cameras, in the frame of the fit.

    colour: mean over samples, [0, 1]. deviation: standard deviation over samples, root mean square over channels.
    depth: planar, mean over samples, 0 where they stop no light. observed: pixels whose surface a photograph shows.
    """

    cameras: Cameras
    colour: Float[Tensor, "view 3 h w"]
    deviation: Float[Tensor, "view h w"]
    depth: Float[Tensor, "view h w"]
    observed: Bool[Tensor, "view h w"]

    def trust(self, doubt: float) -> Float[Tensor, "view h w"]:
        """(not observed) / (1 + (deviation / doubt)^2): what each pixel counts."""
        return (~self.observed).float() / (1.0 + (self.deviation / doubt).square())


@dataclass(frozen=True)
class SampledBatch:
    """Some pixels of sampled views: side^2 rays each, and what their mean should be."""

    rays: Rays
    colour: Float[Tensor, "pixel rgb=3"]
    trust: Float[Tensor, "pixel"]
    depth: Float[Tensor, "pixel"]

    def to(self, device: torch.device) -> "SampledBatch":
        """The batch on another device."""
        return SampledBatch(self.rays.to(device), self.colour.to(device), self.trust.to(device), self.depth.to(device))


class SampledPool:
    """Draws pixels of sampled views, those that count alone."""

    def __init__(self, views: SampledViews, config: SampledConfig) -> None:
        self.views, self.config = views, config
        self.trusted = views.trust(config.doubt)
        self.usable: Int[Tensor, "n"] = (self.trusted.flatten() > 1e-3).nonzero()[:, 0]

    def speaks_at(self, step: int, steps: int) -> bool:
        """Whether a draw is due."""
        heard = self.config.weight.at(step, steps) > 0 or self.config.depth.at(step, steps) > 0
        return heard and len(self.usable) > 0 and step % self.config.every == 0

    def draw(self, generator: torch.Generator) -> SampledBatch:
        """Random pixels, each with rays through the middles of side x side equal parts of its area."""
        views, side = self.views, self.config.side
        height, width = self.trusted.shape[1:]
        place = self.usable[torch.randint(len(self.usable), (self.config.pixels,), generator=generator)]
        view, rest = place // (height * width), place % (height * width)
        corner = torch.stack([rest % width, rest // width], dim=-1).float()
        part = (torch.arange(side) + 0.5) / side
        inside = torch.stack(torch.meshgrid(part, part, indexing="xy"), dim=-1).reshape(1, -1, 2)
        pixels = (corner[:, None] + inside).reshape(-1, 2)
        owner = view.repeat_interleave(side * side)
        cameras = views.cameras
        plane = (pixels - cameras.centre[owner]) / cameras.focal[owner]
        rays = rays_through(cameras.camera_to_world[owner], plane)
        y, x = rest // width, rest % width
        return SampledBatch(rays, views.colour[view, :, y, x], self.trusted[view, y, x], views.depth[view, y, x])


def area_error(rendered: Float[Tensor, "ray rgb=3"], batch: SampledBatch, rays_a_pixel: int) -> Float[Tensor, ""]:
    """Mean over pixels of trust times the squared error between the mean of a pixel's rays and its sampled colour."""
    mean = rendered.reshape(len(batch.trust), rays_a_pixel, 3).mean(1)
    return (batch.trust * (mean - batch.colour).square().mean(-1)).mean()
