"""What cameras see becomes coloured points: each pixel with a known surface, at its depth, in the user's frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.rays import camera_rays
from diorama.types import Rendering


@dataclass(frozen=True)
class PointConfig:
    """Which pixels become points."""

    opacity: float = 0.9
    """The least opacity of a pixel whose depth is believed."""
    jump: float = 0.05
    """Pixels whose neighbours differ in depth by more than this share are dropped: they float between two surfaces."""


@dataclass(frozen=True)
class PointCloud:
    """Surface points; colours are sRGB in [0, 1].

    normals: unit, towards the camera. directions: unit, of the rays that saw the points. observed: how many photographs
    saw each; None where nobody asked.
    """

    points: Float[Tensor, "point xyz=3"]
    colours: Float[Tensor, "point rgb=3"]
    normals: Float[Tensor, "point xyz=3"]
    directions: Float[Tensor, "point xyz=3"]
    observed: Int[Tensor, "point"] | None = None

    def __len__(self) -> int:
        return len(self.points)


def surface_points(rendering: Rendering, cameras: Cameras, config: PointConfig) -> PointCloud:
    """Points of the surfaces that one rendered batch of cameras shows (all of one size, the rendering's)."""
    count, height, width = rendering.depth.shape
    rows, columns = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([columns, rows], dim=-1).reshape(1, -1, 2).expand(count, -1, 2).to(cameras.focal)
    rays = camera_rays(cameras, pixels)
    distance = rendering.depth.reshape(count, -1).to(rays.cosine) / rays.cosine
    points = (rays.origins + rays.directions * distance[..., None]).reshape(count, height, width, 3)
    directions = rays.directions.reshape(count, height, width, 3)
    keep = believable(rendering.depth, rendering.opacity, config)
    keep &= points.isfinite().all(-1)
    normals = image_normals(points, directions)
    return PointCloud(points[keep], rendering.colour.permute(0, 2, 3, 1)[keep], normals[keep], directions[keep])


def believable(
    depth: Float[Tensor, "view h w"], opacity: Float[Tensor, "view h w"], config: PointConfig
) -> Bool[Tensor, "view h w"]:
    """Pixels with a surface: opaque, with depth, away from depth jumps and from the image border (one pixel).

    A plane seen at any angle changes its inverse depth linearly over the image, so second differences of inverse depth
    are jumps; a rendered jump is some pixels wide, so its neighbours go with it.
    """
    keep = (opacity >= config.opacity) & (depth > 0) & torch.isfinite(depth)
    if min(depth.shape[1:]) < 3:
        return torch.zeros_like(keep)
    inverse = 1 / depth.clamp(min=torch.finfo(depth.dtype).tiny)
    middle = inverse[:, 1:-1, 1:-1]
    across = 0.5 * (inverse[:, 1:-1, 2:] + inverse[:, 1:-1, :-2]) / middle - 1
    down = 0.5 * (inverse[:, 2:, 1:-1] + inverse[:, :-2, 1:-1]) / middle - 1
    bend = torch.maximum(across.abs(), down.abs()).nan_to_num(nan=torch.inf)
    inside = torch.zeros_like(keep)
    inside[:, 1:-1, 1:-1] = torch.nn.functional.max_pool2d(bend[:, None], 3, 1, 1)[:, 0] < config.jump
    return keep & inside


def image_normals(
    points: Float[Tensor, "view h w xyz=3"], directions: Float[Tensor, "view h w xyz=3"]
) -> Float[Tensor, "view h w xyz=3"]:
    """Unit normals of the surface through neighbouring pixels' points, towards the camera (away where undefined)."""
    normals = -directions.clone()
    if min(points.shape[1:3]) < 3:
        return normals
    across = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    cross = torch.linalg.cross(across, down)
    length = cross.norm(dim=-1, keepdim=True)
    facing = torch.where((cross * directions[:, 1:-1, 1:-1]).sum(-1, keepdim=True) > 0, -cross, cross)
    tiny = torch.finfo(length.dtype).tiny
    normals[:, 1:-1, 1:-1] = torch.where(length > tiny, facing / length.clamp(min=tiny), normals[:, 1:-1, 1:-1])
    return normals


def join(clouds: Sequence[PointCloud]) -> PointCloud:
    """All points of several clouds, before anybody asks who saw them."""
    return PointCloud(
        torch.cat([cloud.points for cloud in clouds]),
        torch.cat([cloud.colours for cloud in clouds]),
        torch.cat([cloud.normals for cloud in clouds]),
        torch.cat([cloud.directions for cloud in clouds]),
    )
