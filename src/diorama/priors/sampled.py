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

LEAST_TRUST = 1e-3
"""Pixels that count less are not drawn."""


@dataclass(frozen=True)
class SampledConfig:
    """How loudly sampled views speak in a fit."""

    weight: Ramp = Ramp(0.1, 0.0, 0.1, 0.6)
    """Of the colours of sampled pixels, relative to those of photographs."""
    depth: Ramp = Ramp(0.01, 0.0, 0.0, 0.3)
    """Of the samples' depth, where no photograph has stereo: it starts density, and no more."""
    depth_alone: Ramp = Ramp(0.3, 0.0, 0.0, 0.3)
    """In place of `depth` in a scene without stereo, whose surfaces nothing else places."""
    least_placed: float = 0.01
    """A scene is without stereo if it has depth for less than this share of the sampled pixels."""
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
    placed: pixels whose surface photographs have stereo depth for. cut_out: an object before white, where nothing tells
    white matter from none: a fit is compared before white too, and the samples' depth does not count.
    """

    cameras: Cameras
    colour: Float[Tensor, "view 3 h w"]
    deviation: Float[Tensor, "view h w"]
    depth: Float[Tensor, "view h w"]
    observed: Bool[Tensor, "view h w"]
    placed: Bool[Tensor, "view h w"]
    cut_out: bool = False

    def trust(self, doubt: float) -> Float[Tensor, "view h w"]:
        """(not observed) / (1 + (deviation / doubt)^2): what each pixel's colour counts."""
        return (~self.observed).float() / (1.0 + (self.deviation / doubt).square())

    def depth_trust(self, doubt: float) -> Float[Tensor, "view h w"]:
        """(no stereo) / (1 + (deviation / doubt)^2): what each pixel's depth counts; 0 where there is none, and of what
        is cut out."""
        told = (self.depth > 0) & (not self.cut_out)
        return (~self.placed & told).float() / (1.0 + (self.deviation / doubt).square())


@dataclass(frozen=True)
class SampledBatch:
    """Some pixels of sampled views: side^2 rays each, and what their mean should be."""

    rays: Rays
    colour: Float[Tensor, "pixel rgb=3"]
    trust: Float[Tensor, "pixel"]
    depth: Float[Tensor, "pixel"]
    depth_trust: Float[Tensor, "pixel"]

    def to(self, device: torch.device) -> "SampledBatch":
        """The batch on another device."""
        parts = (self.colour, self.trust, self.depth, self.depth_trust)
        return SampledBatch(self.rays.to(device), *(part.to(device) for part in parts))


class SampledPool:
    """Draws pixels of sampled views: those alone whose colour or depth counts.

    depth: how loudly depth speaks, by whether there is stereo.
    """

    def __init__(self, views: SampledViews, config: SampledConfig) -> None:
        self.views, self.config = views, config
        self.trusted, self.depth_trusted = views.trust(config.doubt), views.depth_trust(config.doubt)
        self.depth = config.depth if float(views.placed.float().mean()) >= config.least_placed else config.depth_alone
        self.found: dict[tuple[bool, bool], Tensor] = {}

    def usable(self, step: int, steps: int) -> Int[Tensor, "n"]:
        """Flat indices of the pixels that have something to say at a step."""
        speaks = (self.config.weight.at(step, steps) > 0, self.depth.at(step, steps) > 0)
        if speaks not in self.found:
            counts = torch.zeros_like(self.trusted, dtype=torch.bool)
            for some, trusted in zip(speaks, (self.trusted, self.depth_trusted), strict=True):
                if some:
                    counts |= trusted > LEAST_TRUST
            self.found[speaks] = counts.flatten().nonzero()[:, 0]
        return self.found[speaks]

    def speaks_at(self, step: int, steps: int) -> bool:
        """Whether a draw is due."""
        return step % self.config.every == 0 and len(self.usable(step, steps)) > 0

    def draw(self, step: int, steps: int, generator: torch.Generator) -> SampledBatch:
        """Random pixels, each with rays through the middles of side x side equal parts of its area."""
        views, side = self.views, self.config.side
        height, width = self.trusted.shape[1:]
        usable = self.usable(step, steps)
        place = usable[torch.randint(len(usable), (self.config.pixels,), generator=generator)]
        view, rest = place // (height * width), place % (height * width)
        corner = torch.stack([rest % width, rest // width], dim=-1).float()
        part = (torch.arange(side) + 0.5) / side
        inside = torch.stack(torch.meshgrid(part, part, indexing="xy"), dim=-1).reshape(1, -1, 2)
        pixels = (corner[:, None] + inside).reshape(-1, 2)
        owner = view.repeat_interleave(side * side)
        cameras = views.cameras
        plane = (pixels - cameras.centre[owner]) / cameras.focal[owner]
        rays = rays_through(cameras.camera_to_world[owner], plane)
        at = (view, rest // width, rest % width)
        colour, depth = views.colour.movedim(1, -1)[at], views.depth[at]
        return SampledBatch(rays, colour, self.trusted[at], depth, self.depth_trusted[at])


def area_error(rendered: Float[Tensor, "ray rgb=3"], batch: SampledBatch, rays_a_pixel: int) -> Float[Tensor, ""]:
    """Mean over pixels of trust times the squared error between the mean of a pixel's rays and its sampled colour.

    Pixels whose colour counts for nothing do not lessen the mean.
    """
    mean = rendered.reshape(len(batch.trust), rays_a_pixel, 3).mean(1)
    return mean_of_trusted(batch.trust * (mean - batch.colour).square().mean(-1), batch.trust)


def mean_of_trusted(errors: Float[Tensor, "n"], trust: Float[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean of weighted errors over those whose weight is not 0."""
    return errors.sum() / (trust > 0).sum().clamp_min(1)
