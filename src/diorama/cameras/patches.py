"""Where patches are looked at from: windows of a virtual camera, and poses that wander off the photos.

A patch prior knows pictures of one angular size alone: every patch is a small window of one virtual camera.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from diorama.cameras.pinhole import Cameras, in_frustum
from diorama.cameras.rotations import axis_rotation

ROUNDING = 1e-3
"""Pixels by which a window may touch a photo's border from outside: what single precision cannot tell."""


@dataclass(frozen=True)
class PatchWindow:
    """The virtual camera that patches are cut from, and how large they are; pixels."""

    size: int = 48
    """Pixels a side [paper]."""
    focal: float = 175.0
    """Focal length: 48 pixels span 15.6 degrees; 700 of the full 1024 x 768 by the downscaling of 4 [code]."""
    width: int = 256
    height: int = 192
    margin: int = 24
    """How far a window may reach over the virtual picture's border; on all four sides (the code forgot one)."""

    @property
    def angle(self) -> float:
        """The angle (radians) that a patch in the middle of the picture spans."""
        return 2.0 * math.atan(0.5 * self.size / self.focal)


STANDARD_WINDOW = PatchWindow()
"""The window of DiffusioNeRF's prior and of ours."""


def random_centres(window: PatchWindow, count: int, generator: torch.Generator) -> Float[Tensor, "patch xy=2"]:
    """Principal points of windows whose place on the virtual picture, margin included, is uniform.

    With the defaults x lies in [-104, 152] and y in [-72, 120]. Source: spec of DiffusioNeRF, section 2.1.
    """
    picture = torch.tensor([window.width, window.height], dtype=torch.float32)
    room = picture + 2 * window.margin - window.size
    corner = torch.rand(count, 2, generator=generator) * room - window.margin
    return 0.5 * picture - corner


def window_cameras(
    pose: Float[Tensor, "patch 4 4"], centre: Float[Tensor, "patch xy=2"], window: PatchWindow
) -> Cameras:
    """The pinhole cameras of windows: one per pose and principal point."""
    count = len(pose)
    size = torch.full((count, 2), window.size, dtype=torch.int64, device=pose.device)
    return Cameras.pinhole(pose, pose.new_full((count, 2), window.focal), centre.to(pose), size)


def random_rotation_vectors(count: int, generator: torch.Generator) -> Float[Tensor, "n xyz=3"]:
    """Axis times angle (radians, at most pi) of rotations drawn uniformly from all of them."""
    quaternion = normalize(torch.randn(count, 4, generator=generator), dim=-1)
    real, imaginary = quaternion[:, :1].abs(), quaternion[:, 1:] * quaternion[:, :1].sign()
    angle = 2.0 * torch.atan2(imaginary.norm(dim=-1, keepdim=True), real)
    return normalize(imaginary, dim=-1) * angle


def wander(
    pose: Float[Tensor, "n 4 4"], shift: float, turn: float, generator: torch.Generator
) -> Float[Tensor, "n 4 4"]:
    """Poses near the given ones.

    The centre moves by up to `shift` along each axis of the world; the camera turns about a random axis by `turn`
    times the angle of a uniform random rotation, so by up to `turn` * 180 degrees. Source: spec of DiffusioNeRF, 2.1.
    """
    moved = pose.clone()
    moved[:, :3, 3] += (shift * (2.0 * torch.rand(len(pose), 3, generator=generator) - 1.0)).to(pose)
    vector = turn * random_rotation_vectors(len(pose), generator)
    turned = axis_rotation(vector, vector.norm(dim=-1)).to(pose)
    moved[:, :3, :3] = turned @ pose[:, :3, :3]
    return moved


def border_pixels(size: int) -> Float[Tensor, "n xy=2"]:
    """Points all along the outline of a square picture: corners and every pixel border between them."""
    line = torch.arange(size + 1, dtype=torch.float32)
    zero, full = torch.zeros_like(line), torch.full_like(line, float(size))
    sides = [torch.stack(pair, dim=-1) for pair in ((line, zero), (line, full), (zero, line), (full, line))]
    return torch.cat(sides)


def within_picture(windows: Cameras, photo: Cameras) -> Bool[Tensor, "patch"]:
    """Whether the outline of each window lies inside a photo that was taken from the same place.

    photo: one camera (batch shape ()) of any lens.
    """
    size = int(windows.size.reshape(-1, 2)[0, 0])
    outline = border_pixels(size).clamp(ROUNDING, size - ROUNDING).to(windows.focal)
    points = windows.origins[:, None] + windows.ray_directions(outline)
    inside = in_frustum(photo, points.reshape(-1, 3).to(photo.focal))
    return inside.reshape(len(windows), -1).all(-1)


def largest_fit(window: PatchWindow, photo: Cameras) -> bool:
    """Whether a window looking straight along the optical axis fits into a photo (one camera)."""
    middle = torch.full((1, 2), 0.5 * window.size)
    return bool(within_picture(window_cameras(photo.camera_to_world[None], middle, window), photo)[0])
