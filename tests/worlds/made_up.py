"""Solids and worlds of which everything is known."""

import math

import torch

from diorama.worlds import shapes
from diorama.worlds.draft import Draft, sky_of
from diorama.worlds.materials import Materials
from diorama.worlds.patterns import COLUMNS, ONE, PLAIN, STAIN_CELL
from diorama.worlds.scene import Stage

SAMPLES = {
    "block": (shapes.BLOCK, (0.6, 0.4, 0.3), ()),
    "ball": (shapes.BALL, (0.5, 0.7, 0.4), ()),
    "cylinder": (shapes.FRUSTUM, (0.5, 0.5, 0.8), (1.0,)),
    "cone": (shapes.FRUSTUM, (0.5, 0.6, 0.7), (0.2,)),
    "bevelled": (shapes.BEVELLED, (0.6, 0.5, 0.4), (0.15,)),
    "gable": (shapes.GABLE, (0.8, 0.5, 0.4), ()),
    "rounded": (shapes.ROUNDED, (0.6, 0.5, 0.3), (0.12,)),
    "drum": (shapes.DRUM, (0.5, 0.5, 0.4), (0.1,)),
    "ring": (shapes.RING, (0.6, 0.6, 0.15), (0.15,)),
    "cushion": (shapes.CUSHION, (0.6, 0.5, 0.3), (3.5, 2.2)),
    "vase": (shapes.LATHE, (0.4, 0.4, 0.6), (0.5, 0.7, 1.0, 0.9, 0.6, 0.4, 0.5, 0.6, 0.05, 0.9)),
    "bottle": (shapes.LATHE, (0.4, 0.4, 0.6), (0.6, 0.7, 0.8, 0.9, 1.0, 0.6, 0.4, 0.4, 0.0, 1.2)),
    "relief": (shapes.HEIGHTS, (0.8, 0.7, 0.3), (0.0, 2.0)),
    "twisted": (shapes.TWISTED, (0.36, 0.36, 0.6), (0.3, 0.2, 1.5, 0.05)),
    "bent": (shapes.BENT, (0.65, 0.1, 0.65), (0.5, 1.2, 0.12, 0.1, 0.04)),
    "bitten": (
        shapes.CARVED,
        (0.5, 0.5, 0.5),
        (1.0, 0.0, 1.0, 0.05, 0.5, 0.5, 0.5, 0.3, 0.2, 0.4, 0.35, 0.35, 0.35, 0.03),
    ),
    "joined": (shapes.CARVED, (0.7, 0.5, 0.6), (0.0, 1.0, 2.0, 0.1, 0.4, 0.4, 0.4, 0.2, 0.0, 0.2, 0.2, 0.2, 0.4, 0.03)),
    "drilled": (
        shapes.CARVED,
        (0.5, 0.4, 0.4),
        (1.0, 0.0, 3.0, 0.0, 0.5, 0.4, 0.4, 0.0, 0.0, 0.0, 0.8, 0.2, 0.2, 0.03),
    ),
}
"""A solid of every shape: its number, its half sides, what else describes it."""

HEIGHTS = torch.rand(1, 9, 9, generator=torch.Generator().manual_seed(5)).double() * 0.4 + 0.5
"""One table of heights."""


def plain(*colours, gloss=0.0, mirror=0.0):
    """Materials of one colour each."""
    count = len(colours)
    params = torch.zeros(count, COLUMNS)
    params[:, ONE : ONE + 3] = torch.tensor(colours)
    params[:, STAIN_CELL] = 1.0
    kind = torch.full((count,), PLAIN)
    return Materials(
        kind, params, torch.full((count,), gloss), torch.full((count,), 30.0), torch.full((count,), mirror)
    )


def dark_sky(fill=0.0, bounce=0.0):
    """Black, unless it fills with white."""
    white = (1.0, 1.0, 1.0) if fill else (0.0, 0.0, 0.0)
    return sky_of(white, white, white, fill=fill, bounce=(bounce,) * 3, haze=math.inf)


def stage():
    """Somewhere to stand."""
    return Stage(torch.zeros(3), 1.0, torch.tensor([-3.0, -3.0, 0.2]), torch.tensor([3.0, 3.0, 2.0]), True)


def one_solid(name):
    """A world of one solid at the origin."""
    shape, size, params = SAMPLES[name]
    draft = Draft()
    draft.thing().add(shape, (0.0, 0.0, 0.0), size, 0, params=params)
    draft.tables.append(HEIGHTS[0].float())
    return draft.world("one", dark_sky(), stage(), materials=plain((0.5, 0.5, 0.5)))
