"""Where cameras stand when there is no photograph: around a point, side by side, or along a way.

The world is z-up and its unit is about the distance from the cameras to what they look at, the origin.
"""

import math
from typing import Literal, assert_never

import torch

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import look_at
from diorama.errors import CameraError

Layout = Literal["orbit", "forward", "walk"]
"""orbit: about the origin. forward: side by side, all looking the same way. walk: along a way past it."""

STEP = math.radians(37.0)
"""Between neighbours of an orbit; less where that would be more than a circle."""

RISE = math.radians(23.0)
"""Elevation of all cameras above the origin."""

ASIDE = 0.25
"""Half of the width of `forward`."""

WAY = 0.9
"""Length of a walk."""

ZOOM = 1.1
"""Focal length in widths of the picture: 49 degrees across."""


def layout_cameras(layout: Layout, count: int, side: int) -> Cameras:
    """`count` pinhole cameras with square pictures of `side` pixels. CameraError where there are none."""
    if count < 1 or side < 1:
        raise CameraError(f"{count} cameras of {side} pixels; at least one of each is needed.")
    share = torch.linspace(-0.5, 0.5, count, dtype=torch.float64) if count > 1 else torch.zeros(1, dtype=torch.float64)
    zero, up = torch.zeros_like(share), torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    height, away = math.sin(RISE), math.cos(RISE)
    match layout:
        case "orbit":
            angle = share * min(STEP * (count - 1), 2 * math.pi * (count - 1) / count)
            place = torch.stack([away * angle.sin(), -away * angle.cos(), zero + height], dim=-1)
            target = torch.zeros_like(place)
        case "forward":
            turn = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
            shift = ASIDE * torch.stack([turn.cos(), zero, 0.6 * turn.sin()], dim=-1) * (count > 1)
            place = torch.tensor([0.0, -away, height], dtype=torch.float64) + shift
            target = 0.5 * shift
        case "walk":
            place = torch.stack([WAY * share, -away - 0.3 * WAY * share, zero + height], dim=-1)
            target = torch.stack([0.4 * WAY * share, zero, zero], dim=-1)
        case _:
            assert_never(layout)
    size = torch.full((count, 2), side, dtype=torch.int64)
    focal = torch.full((count, 2), ZOOM * side)
    return Cameras.pinhole(look_at(place, target, up).float(), focal, 0.5 * size.float(), size)
