"""The scene in the box: a table-top with a few painted solids, used by `diorama demo`, by examples and by tests."""

import math

import torch

from diorama.cameras.pinhole import Cameras
from diorama.worlds.shapes import Ball, Block, Cone, Cylinder, Placement
from diorama.worlds.textures import Checker, Speckle, Stripes, Wood
from diorama.worlds.trace import Light, Solid, World

FOCUS = (0.0, 0.0, 0.16)
"""What the cameras look at: a point a little above the middle of the table, in metres."""


def table_top() -> World:
    """A wooden table on a lawn, with a ball, a brick, a post, a cone and a die; z = 0 is the top of the table."""
    return World(
        name="table_top",
        light=Light(),
        solids=(
            Solid(
                Block(),
                Placement((0.0, 0.0, -0.78), (60.0, 60.0, 0.03)),
                Speckle((0.07, 0.16, 0.035), (0.26, 0.36, 0.10), grain=0.45, octaves=5, contrast=2.0, seed=3),
            ),
            Solid(
                Block(),
                Placement((0.0, 0.0, -0.03), (0.95, 0.70, 0.03), turn=12.0),
                Wood((0.62, 0.36, 0.17), (0.30, 0.14, 0.055), seed=1),
                gloss=0.12,
            ),
            Solid(
                Cylinder(),
                Placement((0.0, 0.0, -0.40), (0.22, 0.22, 0.36)),
                Wood((0.42, 0.24, 0.12), (0.20, 0.10, 0.05), seed=5),
            ),
            Solid(
                Ball(),
                Placement((0.10, -0.20, 0.17), (0.17, 0.17, 0.17), turn=30.0, tilt=35.0),
                Checker((0.85, 0.80, 0.68), (0.70, 0.08, 0.06), side=0.085),
                gloss=0.5,
            ),
            Solid(
                Block(),
                Placement((-0.38, 0.06, 0.13), (0.14, 0.20, 0.13), turn=-28.0),
                Speckle((0.05, 0.20, 0.30), (0.45, 0.75, 0.70), grain=0.07, octaves=4, contrast=2.2, seed=21),
            ),
            Solid(
                Cylinder(),
                Placement((0.44, 0.16, 0.24), (0.10, 0.10, 0.24)),
                Stripes((0.85, 0.62, 0.10), (0.12, 0.10, 0.25), width=0.06),
                gloss=0.25,
            ),
            Solid(
                Cone(),
                Placement((0.02, 0.30, 0.20), (0.15, 0.15, 0.20)),
                Speckle((0.75, 0.25, 0.05), (0.95, 0.78, 0.35), grain=0.05, octaves=3, contrast=2.5, seed=40),
            ),
            Solid(
                Block(),
                Placement((-0.20, -0.36, 0.06), (0.06, 0.06, 0.06), turn=20.0),
                Checker((0.15, 0.45, 0.14), (0.80, 0.85, 0.60), side=0.06),
            ),
        ),
    )


def cameras_around(
    angles: tuple[float, ...],
    *,
    width: int,
    height: int,
    radius: float = 2.0,
    elevation: float = 19.0,
    field_of_view: float = 50.0,
) -> Cameras:
    """Cameras on a circle about the table that look at its middle.

    angles: degrees from the table's front (the side of -y), anticlockwise from above. elevation: degrees above the
    table-top. field_of_view: degrees across the width. Lengths in metres.
    """
    turn = torch.deg2rad(torch.tensor(angles))
    up = math.radians(elevation)
    ring = torch.stack([turn.sin() * math.cos(up), -turn.cos() * math.cos(up), torch.full_like(turn, math.sin(up))], -1)
    forward = -ring
    right = torch.nn.functional.normalize(
        torch.linalg.cross(forward, torch.tensor([0.0, 0.0, 1.0]).expand_as(ring)), dim=-1
    )
    pose = torch.eye(4).repeat(len(angles), 1, 1)
    pose[:, :3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=-1)
    pose[:, :3, 3] = torch.tensor(FOCUS) + radius * ring
    focal = 0.5 * width / math.tan(math.radians(field_of_view) / 2)
    count = len(angles)
    return Cameras.pinhole(
        pose,
        torch.full((count, 2), focal),
        torch.tensor([width / 2, height / 2]).repeat(count, 1),
        torch.tensor([width, height]).repeat(count, 1),
    )
