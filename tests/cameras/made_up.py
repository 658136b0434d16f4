"""Cameras made up from a seed, and the settings under which hypothesis tries them."""

import math

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from diorama.cameras.pinhole import Cameras, Lens
from diorama.cameras.poses import Similarity, look_at
from diorama.cameras.rotations import quaternion_to_rotation

few = settings(max_examples=25, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31 - 1)
lenses = st.sampled_from(["pinhole", "opencv", "fisheye"])

MILD = (0.2, 0.05, 0.02, 0.01, 0.003, 0.003)
"""Typical sizes of k1 k2 k3 k4 p1 p2 in photographs."""


def normal(seed: int, *shape: int) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(seed: int, low: float, high: float, *shape: int) -> Tensor:
    """Even numbers in float64."""
    share = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return low + (high - low) * share


def rotations(seed: int, *shape: int) -> Tensor:
    """Evenly random rotation matrices."""
    return quaternion_to_rotation(normal(seed, *shape, 4))


def poses(seed: int, *shape: int) -> Tensor:
    """Random camera-to-world matrices a few units from the origin."""
    pose = torch.eye(4, dtype=torch.float64).expand(*shape, 4, 4).clone()
    pose[..., :3, :3] = rotations(seed, *shape)
    pose[..., :3, 3] = 3 * normal(seed + 1, *shape, 3)
    return pose


def cameras(seed: int, *shape: int, lens: Lens = "pinhole", strength: float = 1.0) -> Cameras:
    """Random cameras of 640 x 480, with mild distortion unless pinholes."""
    bent = torch.tensor(MILD, dtype=torch.float64) * strength * uniform(seed + 2, -1, 1, *shape, 6)
    return Cameras(
        poses(seed, *shape),
        uniform(seed + 3, 400, 800, *shape, 2),
        torch.tensor([320.0, 240.0], dtype=torch.float64) + 10 * normal(seed + 4, *shape, 2),
        torch.tensor([640, 480]).expand(*shape, 2).clone(),
        bent if lens != "pinhole" else torch.zeros_like(bent),
        lens,
    )


def similarities(seed: int) -> Similarity:
    """A random similarity with a scale between 0.1 and 10."""
    scale = 10 ** float(uniform(seed, -1, 1, 1))
    return Similarity(scale, rotations(seed + 1), 3 * normal(seed + 2, 3))


def ring(count: int, *, radius: float = 3.0, height: float = 1.0, arc: float = 2 * math.pi) -> Cameras:
    """Cameras on an arc about the z axis that look at the origin."""
    angles = torch.arange(count, dtype=torch.float64) * arc / count
    positions = torch.stack([radius * angles.cos(), radius * angles.sin(), torch.full_like(angles, height)], dim=-1)
    return looking(positions, torch.zeros(3, dtype=torch.float64))


def looking(positions: Tensor, target: Tensor) -> Cameras:
    """Upright (z up) cameras of 320 x 240 at positions that look at a target."""
    count = len(positions)
    return Cameras.pinhole(
        look_at(positions, target, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)),
        torch.full((count, 2), 300.0, dtype=torch.float64),
        torch.tensor([160.0, 120.0], dtype=torch.float64).expand(count, 2).clone(),
        torch.tensor([320, 240]).expand(count, 2).clone(),
    )
