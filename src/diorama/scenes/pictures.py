"""Whole pictures of scenes that multi-view models made: the views that were denoised, or others."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.cameras.rays import Rays
from diorama.data.multiview import MultiViews
from diorama.data.targets import targets_at
from diorama.fields.ib_planes import OwnPlane, Planes, others_of
from diorama.rendering.chunk import Chunk
from diorama.rendering.render import RayRendering, SamplingConfig


@runtime_checkable
class Painter(Protocol):
    """A multi-view model that renders rays through planes."""

    def render(
        self,
        planes: Planes,
        rays: Rays,
        keep: Bool[Tensor, "scene view ray"] | None = None,
        *,
        sampling: SamplingConfig | None = None,
    ) -> RayRendering:
        """Rays (scene, ray) of the normalised worlds, each painted by the planes that are kept for it."""
        ...


@dataclass(frozen=True)
class Pictures:
    """Whole pictures of some scenes, rendered."""

    colour: Float[Tensor, "scene view 3 h w"]
    depth: Float[Tensor, "scene view h w"]
    """Planar, normalised units."""
    opacity: Float[Tensor, "scene view h w"]
    near_mass: Float[Tensor, "scene view h w"]
    """Share of each ray's light that is stopped nearer than `near_limit` of the true depth; zero without truth."""


@torch.no_grad()
def render_views(
    painter: Painter,
    planes: Planes,
    views: MultiViews,
    own: OwnPlane,
    *,
    which: Int[Tensor, "picture"] | None = None,
    sampling: SamplingConfig | None = None,
    chunk: Chunk | int = 4096,
    near_limit: float = 0.5,
) -> Pictures:
    """All pixels of all views, or of those that `which` numbers. own: whether view k is painted by plane k too.

    chunk: rays at a time, over all scenes; it decides nothing of the result. Raises MemoryLimitError.
    """
    which = torch.arange(views.images.shape[1], device=views.images.device) if which is None else which
    views = views.each(lambda part: part[:, which])
    chunk = Chunk(chunk) if isinstance(chunk, int) else chunk
    scenes, number, _, height, width = views.images.shape
    pixel = torch.arange(height * width, device=views.images.device).expand(scenes, number, -1)
    targets = targets_at(views, pixel % width, pixel // width)
    encoded, limit = planes.present.shape[1], near_limit * views.depth.flatten(1)

    def painted(here: slice) -> Tensor:
        rays, keep = targets.rays[:, here], others_of(which[targets.view[:, here]], encoded, own)
        return _looked_at(painter.render(planes, rays, keep, sampling=sampling), rays, limit[:, here])

    parts = list(chunk.pieces(painted, targets.view.shape[1], scenes))
    whole = torch.cat([targets.colour.new_empty(scenes, 0, 6), *parts], dim=1).reshape(scenes, number, height, width, 6)
    return Pictures(whole[..., :3].movedim(-1, 2).clamp(0, 1), whole[..., 3], whole[..., 4], whole[..., 5])


def _looked_at(
    seen: RayRendering, rays: Rays, limit: Float[Tensor, "scene ray"]
) -> Float[Tensor, "scene ray numbers=6"]:
    """Of every ray: colour, planar depth, opacity, and the share of light that is stopped nearer than a limit."""
    cosine = rays.cosine[..., None]
    middle = 0.5 * (seen.edges[:, 1:] + seen.edges[:, :-1]).reshape(*limit.shape, -1) * cosine
    near = (seen.weights.reshape(middle.shape) * (middle < limit[..., None])).sum(-1, keepdim=True)
    colour, distance, opacity = (part.reshape(*limit.shape, -1) for part in (seen.colour, seen.distance, seen.opacity))
    return torch.cat([colour, distance * cosine, opacity, near], dim=-1)
