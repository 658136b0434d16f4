"""Where along a ray to look: spacings of distance, and stratified bins in them."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.rays import Rays

Spacing = Literal["linear", "inverse", "mixed"]
"""linear: equal steps of distance. inverse: equal steps of 1/distance. mixed: equal steps of distance up to `knee`
metres, of 1/distance beyond (the two join smoothly); for scenes that are near and far at once."""


def to_distance(
    fractions: Float[Tensor, "ray n"],
    near: Float[Tensor, "ray"],
    far: Float[Tensor, "ray"],
    spacing: Spacing,
    knee: float = 1.0,
) -> Float[Tensor, "ray n"]:
    """Fractions of a ray in [0, 1] as distances between its near and far (metres, increasing)."""
    lo, hi = warp_distance(near, spacing, knee)[:, None], warp_distance(far, spacing, knee)[:, None]
    return unwarp_distance(lo + (hi - lo) * fractions, spacing, knee)


def warp_distance(distance: Float[Tensor, "*ray"], spacing: Spacing, knee: float) -> Float[Tensor, "*ray"]:
    """Distance in the coordinate in which bins are equal."""
    match spacing:
        case "linear":
            return distance
        case "inverse":
            return -1.0 / distance
        case "mixed":
            scaled = distance / knee
            return torch.where(scaled < 1.0, scaled, 2.0 - 1.0 / scaled.clamp_min(1.0))


def unwarp_distance(warped: Float[Tensor, "*ray"], spacing: Spacing, knee: float) -> Float[Tensor, "*ray"]:
    """The inverse of `warp_distance`."""
    match spacing:
        case "linear":
            return warped
        case "inverse":
            return -1.0 / warped
        case "mixed":
            return knee * torch.where(warped < 1.0, warped, 1.0 / (2.0 - warped.clamp_min(1.0)))


def stratified_edges(
    rays: int, count: int, generator: torch.Generator | None, device: torch.device
) -> Float[Tensor, "ray edge"]:
    """Edges of `count` equal bins of [0, 1]; with a generator every inner edge moves at random by up to half a bin."""
    edges = torch.linspace(0.0, 1.0, count + 1, device=device).expand(rays, -1)
    if generator is None:
        return edges.contiguous()
    shift = (torch.rand(rays, count - 1, generator=generator, device=generator.device).to(device) - 0.5) / count
    return torch.cat([edges[:, :1], edges[:, 1:-1] + shift, edges[:, -1:]], dim=-1)


def sphere_crossing(
    origins: Float[Tensor, "ray xyz=3"], directions: Float[Tensor, "ray xyz=3"], radius: float
) -> tuple[Float[Tensor, "ray"], Float[Tensor, "ray"]]:
    """Distances at which a ray enters and leaves the ball around the origin; both 0 for a ray that misses it.

    Never negative: a ray that starts inside enters at 0. Source: spec of DiffusioNeRF, section 4 (far is the exit).
    """
    middle = -(origins * directions).sum(-1)
    inside = radius**2 - (origins.square().sum(-1) - middle.square())
    half = inside.clamp_min(0.0).sqrt()
    hits = inside > 0
    return (middle - half).clamp_min(0.0) * hits, (middle + half).clamp_min(0.0) * hits


def ray_limits(
    rays: Rays, near: float, far: float, sphere: float | None
) -> tuple[Float[Tensor, "ray"], Float[Tensor, "ray"]]:
    """Nearest and farthest sample of each ray, metres; `sphere` is the ball that holds everything, if there is one."""
    start = torch.full_like(rays.cosine, near)
    if sphere is None:
        return start, torch.full_like(start, far)
    enters, leaves = sphere_crossing(rays.origins.detach(), rays.directions.detach(), sphere)
    start = torch.maximum(start, enters)
    return start, torch.maximum(leaves, start + 1e-3)
