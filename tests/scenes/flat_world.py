"""A floor with a plate above it, seen through any lens: who sees what of it is known exactly."""

import torch

from diorama.cameras.pinhole import Cameras, pixel_grid
from diorama.cameras.rays import camera_rays
from diorama.types import Rendering

PLATE, HEIGHT = 0.25, 1.0
"""Half side of the plate, and how high it floats."""


def from_above(*places, height=2.0, side=64, focal=32.0, lens="pinhole", distortion=(0.0,) * 6):
    """Cameras at (x, y, height) that look straight down."""
    count = len(places)
    pose = torch.tensor([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, height], [0, 0, 0, 1]]).repeat(count, 1, 1)
    pose[:, :2, 3] = torch.tensor(places)
    return Cameras(
        pose,
        torch.full((count, 2), focal),
        torch.full((count, 2), side / 2),
        torch.full((count, 2), side),
        torch.tensor(distortion).repeat(count, 1),
        lens,
    )


def flat_world(plate):
    """A `RenderFn` of the floor z = 0, with or without the plate."""

    def render(cameras):
        width, height = cameras.size[0].tolist()
        rays = camera_rays(cameras, pixel_grid(width, height).to(cameras.focal).reshape(1, -1, 2))
        down = -rays.directions[..., 2]
        distance = torch.where(down > 1e-6, rays.origins[..., 2] / down.clamp(min=1e-6), torch.inf)
        above = (rays.origins[..., 2] - HEIGHT) / down.clamp(min=1e-6)
        on_plate = (rays.at(above)[..., :2].abs() <= PLATE).all(-1) & (down > 1e-6) & (above > 0)
        distance = torch.where(on_plate & plate, above, distance)
        shape = (len(cameras), height, width)
        solid = torch.isfinite(distance).reshape(shape)
        depth = torch.where(solid, (distance * rays.cosine).reshape(shape), 0.0)
        return Rendering(torch.full((len(cameras), 3, height, width), 0.5), depth, solid.to(depth))

    return render


def floor_points(reach=4.0, count=81):
    """Points of the floor, on a grid of which no point lies on a round number."""
    line = torch.linspace(-reach, reach, count) + 0.0123
    x, y = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y, torch.zeros_like(x)], dim=-1).reshape(-1, 3)
