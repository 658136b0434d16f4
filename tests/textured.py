"""A wall and a box of solid noise, cast exactly: photos with known depth for stereo and structure from motion."""

import torch
import torch.nn.functional as F  # noqa: N812

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import look_at
from diorama.data.views import Views

LOW, HIGH = torch.tensor([-0.7, -0.5, 2.2]), torch.tensor([0.5, 0.6, 2.8])
WALL = 3.6


def arc_cameras(count: int = 5, degrees: float = 8.0, size: tuple[int, int] = (160, 120)) -> Cameras:
    """Cameras on an arc around (0, 0, 2.7), `degrees` apart, that look at it."""
    angle = torch.deg2rad((torch.arange(count) - (count - 1) / 2) * degrees)
    eye = torch.stack([2.7 * torch.sin(angle), 0.25 * torch.cos(3 * angle) - 0.1, 2.7 - 2.7 * torch.cos(angle)], -1)
    target = torch.tensor([0.0, 0.0, 2.7]).expand(count, 3)
    poses = torch.stack([look_at(e, t, torch.tensor([0.0, -1.0, 0.0])) for e, t in zip(eye, target, strict=True)])
    width, height = size
    focal, centre = torch.full((count, 2), 0.9 * width), torch.tensor([[width / 2, height / 2]]).expand(count, 2)
    return Cameras.pinhole(poses, focal, centre, torch.tensor([[width, height]]).expand(count, 2))


def exact_depth(cameras: Cameras, directions: torch.Tensor) -> torch.Tensor:
    """Planar depth along camera-frame directions (view n 3, z = 1), so that distance and depth are one number."""
    world = directions @ cameras.camera_to_world[:, :3, :3].mT
    origins = cameras.origins[:, None]
    wall = (WALL - origins[..., 2]) / world[..., 2]
    first, second = (LOW - origins) / world, (HIGH - origins) / world
    enter, leave = torch.minimum(first, second).amax(-1), torch.maximum(first, second).amin(-1)
    return torch.where((enter < leave) & (enter > 0), torch.minimum(enter, wall), wall)


def solid_noise(points: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Colours (n 3) of a block of noise with details of several sizes."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(points), 3)
    for cells, strength in ((12, 0.5), (30, 0.5), (64, 0.5)):
        block = torch.rand(1, 3, cells, cells, cells, generator=generator) - 0.5
        place = ((points - torch.tensor([0.0, 0.0, 2.7])) / 2.6).reshape(1, -1, 1, 1, 3)
        total += strength * F.grid_sample(block, place, padding_mode="reflection", align_corners=True)[0, :, :, 0, 0].T
    return (total + 0.5).clamp(0, 1)


def textured_views(cameras: Cameras, supersample: int = 2) -> Views:
    """Photos (averaged over subpixels) and exact depth at pixel centres."""
    width, height = cameras.size[0].tolist()
    fine = supersample
    grid = torch.meshgrid(
        (torch.arange(width * fine) + 0.5) / fine, (torch.arange(height * fine) + 0.5) / fine, indexing="xy"
    )
    pixels = torch.stack(grid, -1).reshape(1, -1, 2).expand(len(cameras), -1, -1)
    directions = cameras.unproject(pixels)
    depth = exact_depth(cameras, directions)
    points = (directions * depth[..., None]) @ cameras.camera_to_world[:, :3, :3].mT + cameras.origins[:, None]
    colours = (
        solid_noise(points.reshape(-1, 3)).reshape(len(cameras), height * fine, width * fine, 3).permute(0, 3, 1, 2)
    )
    centres = torch.stack(torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy"), -1)
    exact = exact_depth(cameras, cameras.unproject(centres.reshape(1, -1, 2).expand(len(cameras), -1, -1)))
    return Views(
        F.avg_pool2d(colours, fine),
        tuple(f"{index:03d}.png" for index in range(len(cameras))),
        cameras,
        depth=exact.reshape(len(cameras), height, width),
    )
