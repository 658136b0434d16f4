"""A ray becomes a pixel: coarse bins are weighed, fine bins drawn where the weight lies, colours composited."""

from dataclasses import dataclass, fields
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from diorama.cameras.rays import Rays
from diorama.kernels.compositing import ray_weights
from diorama.kernels.resample import resample
from diorama.rendering.sampling import Spacing, stratified_edges, to_distance
from diorama.types import DensityFn


@dataclass(frozen=True)
class SamplingConfig:
    """How rays are sampled."""

    coarse: int = 48
    """Bins that are only weighed."""
    fine: int = 24
    """Bins drawn where the coarse weight lies; colour is looked up in these."""
    union: bool = False
    """Colour at the sorted union of coarse and fine bins (preset `paper`) instead of the fine ones alone."""
    spacing: Spacing = "mixed"
    knee: float = 3.0
    """Where mixed spacing turns from distance to inverse distance, metres."""
    near: float = 0.2
    """Nearest sample, metres."""
    far: float = 1000.0
    """Farthest sample, metres; a field in a sphere stops at the sphere."""
    colour_threshold: float = 1e-4
    """Samples that weigh less get no colour (spec section 4)."""
    padding: float = 0.01
    """Share of the fine bins that is spread evenly, so that no place is beyond hope."""
    last_opaque: bool = True
    """The last bin stops all light that is left (contracted space: there is always a sky)."""


@runtime_checkable
class RadianceField(Protocol):
    """What the renderer asks of a field."""

    @property
    def proposal(self) -> DensityFn | None:
        """Weighs the coarse bins; None leaves that to the field itself."""
        ...

    def geometry(
        self, positions: Float[Tensor, "*batch xyz=3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch g"]]:
        """Density per metre, and features for the colour."""
        ...

    def harmonics(self, directions: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch k"]:
        """What the colour may know of the direction."""
        ...

    def colour(self, geometry: Float[Tensor, "n g"], harmonics: Float[Tensor, "n k"]) -> Float[Tensor, "n rgb=3"]:
        """Colour in [0, 1]."""
        ...


@dataclass(frozen=True)
class RayRendering:
    """What a bundle of rays saw.

    colour is composited over the background that was given. distance: along the ray, metres, the mean of the stopped
    light (normalised by opacity; with an opaque last bin that bin is left out of it). weights: share of light stopped
    in each bin; edges: bin edges in metres; fractions: the same in [0, 1] of the warped ray.
    coarse: fractions and weights of the coarse bins (for the proposal's loss).
    """

    colour: Float[Tensor, "ray rgb=3"]
    distance: Float[Tensor, "ray"]
    opacity: Float[Tensor, "ray"]
    weights: Float[Tensor, "ray n"]
    edges: Float[Tensor, "ray n+1"]
    fractions: Float[Tensor, "ray n+1"]
    coarse: tuple[Float[Tensor, "ray edge"], Float[Tensor, "ray coarse"]]


Background = Literal["grey", "white", "black", "random", "none"]
"""What shows where light was not stopped; grey is the 206/255 of the DiffusioNeRF code."""


def background_colour(kind: Background, rays: int, generator: torch.Generator | None, like: Tensor) -> Tensor:
    """A background (ray, 3). `random` without a generator is grey."""
    if kind == "random" and generator is not None:
        return torch.rand(rays, 3, generator=generator, device=generator.device).to(like)
    level = {"white": 1.0, "black": 0.0, "none": 0.0}.get(kind, 206.0 / 255.0)
    return like.new_full((rays, 3), level)


def points_along(rays: Rays, edges: Float[Tensor, "ray edge"]) -> Float[Tensor, "ray edge-1 xyz=3"]:
    """Midpoints of the bins."""
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    return rays.origins[:, None] + rays.directions[:, None] * middle[..., None]


def render_rays(
    field: RadianceField,
    rays: Rays,
    near: Float[Tensor, "ray"],
    far: Float[Tensor, "ray"],
    config: SamplingConfig,
    background: Float[Tensor, "ray rgb=3"],
    generator: torch.Generator | None = None,
    anneal: float = 1.0,
) -> RayRendering:
    """Render rays through a field; random bins with a generator, the same every time without one.

    near, far: metres along each ray. anneal: power of the coarse weights, 0 ignores them, 1 trusts them. Gradients
    reach the field through the fine bins, and the proposal through the returned coarse weights.
    """
    count = len(rays.origins)
    fractions = stratified_edges(count, config.coarse, generator, rays.origins.device)
    edges = to_distance(fractions, near, far, config.spacing, config.knee)
    points = points_along(rays, edges)
    if field.proposal is not None:
        coarse_density = field.proposal(points)
    else:
        with torch.no_grad():
            coarse_density = field.geometry(points)[0]
    coarse_weights = ray_weights(coarse_density, edges, last_opaque=config.last_opaque)
    jitter = None
    if generator is not None:
        jitter = torch.rand(count, 1, generator=generator, device=generator.device).to(rays.origins)
    trusted = coarse_weights.detach()
    if anneal < 1.0:
        trusted = (trusted + 1e-6).pow(anneal)
    fine = resample(fractions, trusted + config.padding / config.coarse, config.fine, jitter)
    if config.union:
        fine = torch.cat([fractions, fine[:, 1:-1]], dim=-1).sort(dim=-1).values
    edges = to_distance(fine, near, far, config.spacing, config.knee)

    density, geometry = field.geometry(points_along(rays, edges))
    weights = ray_weights(density, edges, last_opaque=config.last_opaque)
    colours = coloured_samples(field, rays, geometry, weights.detach() > config.colour_threshold)
    opacity = weights.sum(-1)
    colour = (weights[..., None] * colours).sum(-2) + (1.0 - opacity)[:, None] * background
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    solid = weights[:, :-1] if config.last_opaque else weights
    distance = (solid * middle[:, : solid.shape[1]]).sum(-1) / solid.sum(-1).clamp_min(1e-6)
    return RayRendering(colour, distance, opacity, weights, edges, fine, (fractions, coarse_weights))


def render_in_pieces(
    field: RadianceField,
    rays: Rays,
    near: Float[Tensor, "ray"],
    far: Float[Tensor, "ray"],
    config: SamplingConfig,
    background: Float[Tensor, "ray rgb=3"],
    generator: torch.Generator | None = None,
    anneal: float = 1.0,
    *,
    at_once: int,
) -> RayRendering:
    """As `render_rays`, but `at_once` rays at a time, with memory for one such piece: what its gradient needs is
    computed again when the gradient is.

    Values and gradients are those of `render_rays` without a generator; with one, pieces draw one after another, so
    that other pieces draw other random bins.
    """
    pieces = []
    for start in range(0, len(rays), at_once):
        part = slice(start, start + at_once)
        own = _Replayed(generator)

        def draw(part: slice = part, own: _Replayed = own) -> RayRendering:
            piece = rays[part], near[part], far[part]
            return render_rays(field, *piece, config, background[part], own.again(), anneal)

        pieces.append(checkpoint(draw, use_reentrant=False, preserve_rng_state=False))
    joined = {
        item.name: torch.cat([getattr(piece, item.name) for piece in pieces])
        for item in fields(RayRendering)
        if item.name != "coarse"
    }
    edges, weights = (torch.cat(both) for both in zip(*(piece.coarse for piece in pieces), strict=True))
    return RayRendering(**joined, coarse=(edges, weights))


class _Replayed:
    """A generator that advances the first time it is asked for, and gives the same numbers every further time."""

    def __init__(self, generator: torch.Generator | None) -> None:
        self.generator, self.state = generator, None if generator is None else generator.get_state()
        self.used = False

    def again(self) -> torch.Generator | None:
        if self.generator is None or self.state is None or not self.used:
            self.used = True
            return self.generator
        copy = torch.Generator(self.generator.device)
        copy.set_state(self.state)
        return copy


def coloured_samples(
    field: RadianceField, rays: Rays, geometry: Float[Tensor, "ray n g"], wanted: Bool[Tensor, "ray n"]
) -> Float[Tensor, "ray n rgb=3"]:
    """Colours of the wanted samples, black elsewhere."""
    harmonics = field.harmonics(rays.directions)
    ray, sample = wanted.nonzero(as_tuple=True)
    flat = ray * wanted.shape[1] + sample
    chosen = field.colour(geometry.reshape(-1, geometry.shape[-1])[flat], harmonics[ray])
    colours = chosen.new_zeros(wanted.numel(), 3).index_put((flat,), chosen)
    return colours.reshape(*wanted.shape, 3)
