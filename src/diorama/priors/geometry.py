"""What geometry ought to look like, without having learned it: each opinion is a loss per ray.

Source: spec of DiffusioNeRF, section 3, with the defects of section 4.1 fixed; the other sources are named below.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras


def distortion(weights: Float[Tensor, "ray n"], edges: Float[Tensor, "ray n+1"]) -> Float[Tensor, "ray"]:
    """How far apart along the ray the weight lies: sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 (edge length).

    In the unit of the edges (metres, or normalised distance). Source: mip-NeRF 360 (arXiv 2111.12077), eq. 15.
    """
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    before = weights.cumsum(-1) - weights
    moment = (weights * middle).cumsum(-1) - weights * middle
    between = 2.0 * (weights * (middle * before - moment)).sum(-1)
    within = (weights.square() * edges.diff(dim=-1)).sum(-1) / 3.0
    return between + within


def must_hit(opacity: Float[Tensor, "ray"]) -> Float[Tensor, "ray"]:
    """(1 - opacity)^2: the ray ought to meet something (the fg term)."""
    return (1.0 - opacity).square()


def seen_by(points: Float[Tensor, "n xyz=3"], cameras: Cameras, near: float) -> Float[Tensor, "n"]:
    """How many cameras have a point in their image and beyond `near`; carries no gradient."""
    with torch.no_grad():
        world = torch.cat([points, torch.ones_like(points[:, :1])], dim=-1)
        to_camera = torch.linalg.inv(cameras.camera_to_world)
        local = torch.einsum("vij,nj->vni", to_camera[:, :3], world)
        depth = local[..., 2]
        pixels = local[..., :2] / depth.clamp_min(1e-6)[..., None] * cameras.focal[:, None] + cameras.centre[:, None]
        inside = (pixels > 0).all(-1) & (pixels < cameras.size[:, None].to(pixels)).all(-1) & (depth >= near)
        return inside.sum(0).to(points)


def frustum(weights: Float[Tensor, "ray n"], seen: Float[Tensor, "ray n"], wanted: int) -> Float[Tensor, "ray"]:
    """Weight in places that fewer than `wanted` cameras see, times how many are missing."""
    return (weights * (wanted - seen).clamp_min(0.0)).sum(-1)


def near_field(
    weights: Float[Tensor, "ray n"], edges: Float[Tensor, "ray n+1"], limit: Float[Tensor, "ray"]
) -> Float[Tensor, "ray"]:
    """Weight closer to the camera than `limit` (metres along the ray)."""
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    return (weights * (middle < limit[:, None])).sum(-1)


def entropy(weights: Float[Tensor, "ray n"]) -> Float[Tensor, "ray"]:
    """Shannon entropy (nats) of where the stopped light was stopped. Source: InfoNeRF (arXiv 2112.15399), eq. 4."""
    share = weights / weights.sum(-1, keepdim=True).clamp_min(1e-6)
    return -(share * (share + 1e-8).log()).sum(-1)


def inverse_depth_error(
    weights: Float[Tensor, "ray n"],
    edges: Float[Tensor, "ray n+1"],
    cosine: Float[Tensor, "ray"],
    measured: Float[Tensor, "ray"],
    confidence: Float[Tensor, "ray"],
    unit: float,
) -> Float[Tensor, "ray"]:
    """How far from a measured planar depth the light is stopped: sum over bins of weight x robust inverse-depth error.

    In units of 1/`unit`, times confidence (0 where not measured). Every bin is compared by itself, so that fog whose
    mean depth is right still pays (as in the line-of-sight loss of Urban Radiance Fields, arXiv 2111.14643, eq. 8).
    Charbonnier with a scale of 0.05: quadratic for small errors, linear for outliers.
    """
    known = (measured > 0) & (confidence > 0)
    target = unit / torch.where(known, measured, torch.ones_like(measured))
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1]) * cosine[:, None]
    error = unit / middle.clamp_min(1e-3) - target[:, None]
    robust = 0.05 * (((error / 0.05).square() + 1.0).sqrt() - 1.0)
    return torch.where(known, confidence * (weights * robust).sum(-1), torch.zeros_like(target))


def smoothness(
    depth: Float[Tensor, "patch h w"], colour: Float[Tensor, "patch h w rgb=3"], unit: float
) -> Float[Tensor, "patch"]:
    """Edge-aware first differences of inverse depth (in units of 1/`unit`): free where the colour changes.

    Source: Monodepth (arXiv 1609.03677), eq. 3.
    """
    inverse = unit / depth.clamp_min(1e-3)
    shade = colour.detach()
    across = (inverse.diff(dim=2).abs() * (-10.0 * shade.diff(dim=2).abs().mean(-1)).exp()).mean((1, 2))
    down = (inverse.diff(dim=1).abs() * (-10.0 * shade.diff(dim=1).abs().mean(-1)).exp()).mean((1, 2))
    return across + down
