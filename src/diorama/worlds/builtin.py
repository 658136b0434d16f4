"""The scene in the box: a table-top with a few painted solids, used by `diorama demo`, by examples and by tests."""

import math

import torch

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import look_at
from diorama.worlds import patterns as row
from diorama.worlds.draft import Draft, Triple, sky_of
from diorama.worlds.materials import Materials
from diorama.worlds.scene import Stage, World
from diorama.worlds.shapes import BALL, BLOCK, FRUSTUM

FOCUS = (0.0, 0.0, 0.16)
"""What the cameras look at: a point a little above the middle of the table, in metres."""

LAWN, TABLE, LEG, PAINTED_BALL, BRICK, POST, CONE, DIE = range(8)
"""Materials of the table-top."""


def table_top() -> World:
    """A wooden table on a lawn, with a ball, a brick, a post, a cone and a die; z = 0 is the top of the table."""
    draft = Draft()
    draft.thing().add(BLOCK, (0.0, 0.0, -0.78), (60.0, 60.0, 0.03), LAWN)
    table = draft.thing()
    table.add(BLOCK, (0.0, 0.0, -0.03), (0.95, 0.70, 0.03), TABLE, turn=math.radians(12.0))
    table.add(FRUSTUM, (0.0, 0.0, -0.405), (0.22, 0.22, 0.345), LEG, params=(1.0,))
    ball = draft.thing(0.10, -0.20, 0.17)
    ball.add(BALL, (0.0, 0.0, 0.0), (0.17, 0.17, 0.17), PAINTED_BALL, turn=math.radians(30.0), tilt=math.radians(35.0))
    draft.thing(-0.38, 0.06, 0.13, math.radians(-28.0)).add(BLOCK, (0.0, 0.0, 0.0), (0.14, 0.20, 0.13), BRICK)
    draft.thing(0.44, 0.16, 0.24).add(FRUSTUM, (0.0, 0.0, 0.0), (0.10, 0.10, 0.24), POST, params=(1.0,))
    draft.thing(0.02, 0.30, 0.20).add(FRUSTUM, (0.0, 0.0, 0.0), (0.15, 0.15, 0.20), CONE)
    draft.thing(-0.20, -0.36, 0.06, math.radians(20.0)).add(BLOCK, (0.0, 0.0, 0.0), (0.06, 0.06, 0.06), DIE)
    draft.sun((0.5, 0.35, 0.8), 0.06, (3.9, 3.6, 3.1))
    sky = sky_of(
        (0.10, 0.27, 0.62), (0.62, 0.72, 0.82), (0.30, 0.36, 0.25),
        fill=0.8, bounce=(0.4, 0.42, 0.4), clouds=0.7, seed=11, haze=30.0, near=0.1,
    )  # fmt: skip
    stage = Stage(torch.tensor(FOCUS), 0.8, torch.tensor([-3.0, -3.0, 0.1]), torch.tensor([3.0, 3.0, 2.0]), True)
    return draft.world("table_top", sky, stage, materials=_paints())


def _paints() -> Materials:
    """The materials of the table-top, row by row."""
    rows = (
        _paint(row.NOISE, 3, 0.45, (0.07, 0.16, 0.035), (0.26, 0.36, 0.10), (0.2, 0.3, 0.08), contrast=1.0),
        _paint(row.WOOD, 1, 0.035, (0.62, 0.36, 0.17), (0.30, 0.14, 0.055), (0.12, 0.06, 0.03), width=0.25),
        _paint(row.WOOD, 5, 0.03, (0.42, 0.24, 0.12), (0.20, 0.10, 0.05), (0.1, 0.05, 0.03), width=0.5, axis=2),
        _paint(row.STRIPES, 7, 0.09, (0.85, 0.80, 0.68), (0.70, 0.08, 0.06), (0.70, 0.08, 0.06)),
        _paint(row.NOISE, 21, 0.07, (0.05, 0.20, 0.30), (0.45, 0.75, 0.70), (0.3, 0.5, 0.5), contrast=1.1),
        _paint(row.STRIPES, 9, 0.12, (0.85, 0.62, 0.10), (0.12, 0.10, 0.25), (0.12, 0.10, 0.25), axis=2),
        _paint(row.NOISE, 40, 0.05, (0.75, 0.25, 0.05), (0.95, 0.78, 0.35), (0.9, 0.6, 0.3), contrast=1.2),
        _paint(row.CHECKS, 2, 0.06, (0.15, 0.45, 0.14), (0.80, 0.85, 0.60), (0.80, 0.85, 0.60)),
    )
    kinds, params = zip(*rows, strict=True)
    gloss = torch.zeros(len(rows))
    gloss[[TABLE, PAINTED_BALL, POST]] = torch.tensor([0.12, 0.5, 0.25])
    shine = torch.full_like(gloss, 60.0)
    return Materials(torch.tensor(kinds), torch.tensor(params), gloss, shine, torch.zeros_like(gloss))


def _paint(
    kind: int, seed: int, cell: float, one: Triple, two: Triple, three: Triple, *,
    contrast: float = 0.8, width: float = 0.25, axis: int = 0,
) -> tuple[int, list[float]]:  # fmt: skip
    """One row of a material's numbers; see `patterns`."""
    numbers = [0.0] * row.COLUMNS
    numbers[row.SEED], numbers[row.CELL], numbers[row.CONTRAST] = float(seed), cell, contrast
    for start, colour in ((row.ONE, one), (row.ONE + 3, two), (row.ONE + 6, three)):
        numbers[start : start + 3] = colour
    numbers[row.GAIN], numbers[row.WARP], numbers[row.STAIN], numbers[row.STAIN_CELL] = 0.6, 0.3, 0.03, 0.3
    numbers[row.STAIN_GAIN], numbers[row.COSINE], numbers[row.ASPECT], numbers[row.JOINT] = 0.7, 1.0, 1.0, 0.5
    numbers[row.AXIS], numbers[row.WIDTH] = float(axis), width
    return kind, numbers


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
    focus = torch.tensor(FOCUS)
    pose = look_at(focus + radius * ring, focus, torch.tensor([0.0, 0.0, 1.0]))
    focal = 0.5 * width / math.tan(math.radians(field_of_view) / 2)
    count = len(angles)
    return Cameras.pinhole(
        pose,
        torch.full((count, 2), focal),
        torch.tensor([width / 2, height / 2]).repeat(count, 1),
        torch.tensor([width, height]).repeat(count, 1),
    )
