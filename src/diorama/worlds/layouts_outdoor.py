"""Outdoors: hills about a level place with houses, trees, walls and rocks. Metres; the level place is z = 0."""

import math
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.worlds.clutter import carved, plant, turned
from diorama.worlds.draft import Draft, Thing, sky_of
from diorama.worlds.heights import CELLS, height_at, rough_table, steepest
from diorama.worlds.scene import Sky, Stage, World
from diorama.worlds.shapes import (
    BALL,
    BEVELLED,
    BLOCK,
    CUSHION,
    DRUM,
    FRUSTUM,
    GABLE,
    HEIGHTS,
    KNOTS,
    LATHE,
    RING,
    ROUNDED,
)

EXTENT = 45.0
"""Half side of the land."""


def make_outdoor(name: str, dice: Random, generator: torch.Generator, photos: Float[Tensor, "k h w 3"] | None) -> World:
    """A place under the sky."""
    draft = Draft()
    level = dice.uniform(6.0, 14.0)
    table, size = _land(draft, dice, generator, level)
    town = dice.random() < 0.5
    taken: list[tuple[float, float, float]] = []
    for _ in range(dice.randint(2, 7) if town else dice.randint(0, 2)):
        _place(draft, dice, taken, table, size, (0.35 * level, 2.2 * level), 4.5, _house)
    for _ in range(dice.randint(1, 6) if town else dice.randint(4, 14)):
        _place(draft, dice, taken, table, size, (0.2 * level, 3.0 * level), 1.4, _tree)
    for _ in range(dice.randint(4, 16)):
        _place(draft, dice, taken, table, size, (0.0, 1.3 * level), 0.7, dice.choice((_rock, _rock, _shrub, _street)))
    for _ in range(dice.randint(1, 5)):
        _place(draft, dice, taken, table, size, (0.1 * level, 1.2 * level), 1.8, dice.choice((_cart, _fence, _bench)))
    sky = _weather(draft, dice)
    stage = Stage(
        torch.tensor([0.0, 0.0, 1.2]),
        0.6 * level,
        torch.tensor([-0.7 * level, -0.7 * level, 0.6]),
        torch.tensor([0.7 * level, 0.7 * level, dice.choice((1.9, 2.5, 6.0))]),
        inward=dice.random() < 0.5,
    )
    return draft.world(name, sky, stage, generator, photos=photos)


def _land(
    draft: Draft, dice: Random, generator: torch.Generator, level: float
) -> tuple[Float[Tensor, "n n"], tuple[float, float, float]]:
    """Hills that leave a level place in the middle."""
    steps = torch.linspace(-EXTENT, EXTENT, CELLS)
    away = torch.hypot(steps[:, None], steps)
    share = ((away - level) / (1.5 * level)).clamp(0, 1)
    share = share * share * (3 - 2 * share)
    tall = dice.choice((0.5, 2.0, 4.0, 7.0))
    rough = rough_table(generator, coarse=dice.randint(2, 5), gain=dice.uniform(0.3, 0.6))
    small = rough_table(generator, coarse=20, octaves=2)
    metres = (share * (0.5 * tall * rough + 0.3 * tall) + 0.04 * small).clamp(-0.95 * tall - 0.2, 2 * tall)
    half = float(metres.abs().max()) + 0.05
    table = (0.5 * metres / half + 0.5).contiguous()
    size = (EXTENT, EXTENT, half)
    number = draft.table(table)
    draft.thing().add(
        HEIGHTS, (0.0, 0.0, 0.0), size, draft.material("ground"), params=(float(number), steepest(table, size))
    )
    if dice.random() < 0.5:
        turn, wide = dice.uniform(0.0, math.pi), dice.uniform(1.0, 2.5)
        road = draft.thing(dice.uniform(-2.0, 2.0), dice.uniform(-2.0, 2.0), 0.0, turn)
        road.add(BLOCK, (0.0, 0.0, 0.02), (0.95 * level, wide, 0.1), draft.material("ground"))
    return table, size


def _place(draft, dice, taken, table, size, ring, radius, build) -> None:  # type: ignore[no-untyped-def]
    """Build something of a radius where nothing stands yet, within a ring about the middle."""
    for _ in range(10):
        angle, away = dice.uniform(0.0, math.tau), ring[0] + (ring[1] - ring[0]) * math.sqrt(dice.random())
        x, y = away * math.cos(angle), away * math.sin(angle)
        if all(math.hypot(x - a, y - b) > radius + c for a, b, c in taken) and away < 0.9 * EXTENT:
            taken.append((x, y, radius))
            build(draft.thing(x, y, height_at(table, size, x, y) - 0.04, dice.uniform(0.0, math.tau)), dice)
            return


def _house(thing: Thing, dice: Random) -> None:
    """A house with a roof, windows and a door; its foundation reaches into the ground."""
    a, b, c = dice.uniform(2.0, 3.6), dice.uniform(1.8, 2.8), dice.choice((1.3, 1.5, 2.7)) * dice.uniform(0.9, 1.1)
    wall, trim, glass = (thing.draft.material(role) for role in ("building", "furniture", "thing"))
    thing.add(BLOCK, (0.0, 0.0, c - 1.0), (a, b, c + 1.0), wall)
    top = 2 * c
    if dice.random() < 0.7:
        rise, over = dice.uniform(0.5, 1.3), dice.uniform(0.1, 0.4)
        thing.add(GABLE, (0.0, 0.0, top + rise), (a + over, b + over, rise), thing.draft.material("building"))
        if dice.random() < 0.5:
            thing.add(BLOCK, (dice.uniform(-0.6, 0.6) * a, 0.4 * b, top + 1.5 * rise), (0.2, 0.2, rise), wall)
    else:
        thing.add(BLOCK, (0.0, 0.0, top + 0.1), (a + 0.15, b + 0.15, 0.1), trim)
    for floor in range(2 if c > 2.2 else 1):
        z = 1.45 + 2.6 * floor
        for side in range(4):
            half, away = (a, b) if side % 2 == 0 else (b, a)
            front = thing.part(*_turned(away, side), 0.0, 0.5 * math.pi * side, whole=True)
            columns = dice.randint(1, 3)
            for i in range(columns):
                x = (2 * i + 1 - columns) * half / columns
                if side == 0 and floor == 0 and i == columns // 2:
                    front.add(BLOCK, (x, 0.0, 1.0), (0.48, 0.05, 1.05), trim)
                    front.add(BLOCK, (x, -0.04, 1.0), (0.4, 0.04, 1.0), glass)
                    continue
                front.add(BLOCK, (x, 0.0, z), (0.5, 0.05, 0.62), trim)
                front.add(BLOCK, (x, -0.03, z), (0.43, 0.04, 0.55), glass)
                front.add(BLOCK, (x, -0.06, z), (0.025, 0.03, 0.55), trim)


def _turned(away: float, side: int) -> tuple[float, float]:
    """The middle of a wall: -y first, then anticlockwise from above."""
    angle = 0.5 * math.pi * side
    return away * math.sin(angle), -away * math.cos(angle)


def _tree(thing: Thing, dice: Random) -> None:
    """A trunk and a crown of balls or cones."""
    high, bark, leaf = dice.uniform(1.0, 3.0), thing.draft.material("furniture"), thing.draft.material("ground")
    thick = dice.uniform(0.08, 0.25)
    thing.add(FRUSTUM, (0.0, 0.0, 0.5 * high), (thick, thick, 0.5 * high + 0.2), bark, params=(dice.uniform(0.4, 0.9),))
    if dice.random() < 0.4:
        radius = dice.uniform(0.8, 1.4)
        for i in range(dice.randint(2, 4)):
            r = radius * (1 - 0.22 * i)
            thing.add(FRUSTUM, (0.0, 0.0, high + 0.5 * radius + 0.8 * i * radius), (r, r, 0.7 * radius), leaf,
                      params=(0.1,))  # fmt: skip
        return
    for _ in range(dice.randint(3, 9)):
        r = dice.uniform(0.4, 0.9)
        place = (dice.gauss(0.0, 0.5), dice.gauss(0.0, 0.5), high + 0.4 + dice.uniform(0.0, 1.2))
        thing.add(BALL, place, (r, r * dice.uniform(0.7, 1.1), r * dice.uniform(0.6, 1.0)), leaf,
                  turn=dice.uniform(0.0, math.tau), tilt=dice.gauss(0.0, 0.3))  # fmt: skip


def _rock(thing: Thing, dice: Random) -> None:
    """A stone, a block or a ruin of one."""
    s = math.exp(dice.uniform(math.log(0.15), math.log(1.0)))
    stone = thing.draft.material("ground" if dice.random() < 0.6 else "building")
    pick = dice.random()
    if pick < 0.4:
        size = (s, s * dice.uniform(0.5, 1.0), s * dice.uniform(0.4, 0.8))
        thing.add(CUSHION, (0.0, 0.0, 0.6 * size[2]), size, stone, params=(dice.uniform(2.0, 4.0), 2.3),
                  tilt=dice.gauss(0.0, 0.3), lean=dice.gauss(0.0, 0.3))  # fmt: skip
    elif pick < 0.65:
        carved(thing, dice, 0.7 * s, stone)
    else:
        size = (s, s * dice.uniform(0.3, 1.0), s * dice.uniform(0.3, 1.0))
        thing.add(dice.choice((BLOCK, BEVELLED, ROUNDED)), (0.0, 0.0, 0.8 * size[2]), size, stone,
                  params=(0.2 * min(size),), tilt=dice.gauss(0.0, 0.1), lean=dice.gauss(0.0, 0.1))  # fmt: skip


def _shrub(thing: Thing, dice: Random) -> None:
    """A bush or a plant in a tub."""
    if dice.random() < 0.4:
        plant(thing, dice, dice.uniform(2.0, 4.0))
        return
    leaf = thing.draft.material("ground")
    for _ in range(dice.randint(3, 7)):
        r = dice.uniform(0.15, 0.4)
        thing.add(BALL, (dice.gauss(0.0, 0.3), dice.gauss(0.0, 0.3), 0.8 * r), (r, r, r * dice.uniform(0.7, 1.1)), leaf)


def _street(thing: Thing, dice: Random) -> None:
    """A lamp post, a barrel, a bollard, a pillar, a tyre or a signpost."""
    metal, pick = thing.draft.material("furniture"), dice.randrange(5)
    if pick == 0:
        high = dice.uniform(2.2, 4.0)
        thing.add(FRUSTUM, (0.0, 0.0, 0.5 * high), (0.07, 0.07, 0.5 * high), metal, params=(0.6,))
        thing.add(BALL, (0.0, 0.0, high), (0.18, 0.18, 0.18), thing.draft.material("wall"))
    elif pick == 1:
        thing.add(LATHE, (0.0, 0.0, 0.45), (0.32, 0.32, 0.45), metal,
                  params=(0.78, 0.85, 0.96, 1.0, 1.0, 0.96, 0.85, 0.78, 0.0, 0.5))  # fmt: skip
    elif pick == 2:
        knots = [0.5 + 0.5 * dice.random() for _ in range(KNOTS)]
        turned(thing, (0.0, 0.0, 0.0), dice.uniform(0.15, 0.3), dice.uniform(0.7, 2.2), knots,
               thing.draft.material("building"))  # fmt: skip
    elif pick == 3:
        for i in range(dice.randint(1, 4)):
            thing.add(RING, (0.0, 0.0, 0.11 + 0.22 * i), (0.36, 0.36, 0.11), metal, params=(0.11,))
    else:
        thing.add(FRUSTUM, (0.0, 0.0, 0.9), (0.035, 0.035, 0.9), metal, params=(1.0,))
        size = (dice.uniform(0.25, 0.6), 0.015, dice.uniform(0.15, 0.4))
        thing.add(BLOCK, (0.0, -0.05, 1.7), size, thing.draft.material())


def _cart(thing: Thing, dice: Random) -> None:
    """A car or a van: boxes on wheels."""
    a, b = dice.uniform(1.7, 2.2), dice.uniform(0.75, 0.9)
    paint, glass, tyre = thing.draft.material(), thing.draft.material(), thing.draft.material("furniture")
    thing.add(ROUNDED, (0.0, 0.0, 0.62), (a, b, 0.36), paint, params=(0.15,))
    thing.add(ROUNDED, (dice.uniform(-0.3, 0.0), 0.0, 1.1), (0.55 * a, 0.88 * b, 0.34), paint, params=(0.14,))
    thing.add(BLOCK, (-0.15, 0.0, 1.14), (0.48 * a, 0.9 * b, 0.18), glass)
    for x in (-1, 1):
        for y in (-1, 1):
            thing.add(DRUM, (0.62 * a * x, (b - 0.06) * y, 0.32), (0.32, 0.32, 0.11), tyre, params=(0.04,),
                      tilt=0.5 * math.pi)  # fmt: skip


def _fence(thing: Thing, dice: Random) -> None:
    """A fence or a wall."""
    length, paint = dice.uniform(1.5, 4.0), thing.draft.material("building")
    if dice.random() < 0.4:
        thing.add(BLOCK, (0.0, 0.0, 0.3), (length, 0.15, dice.uniform(0.6, 1.1)), paint)
        return
    for z in (0.4, 0.85):
        thing.add(BLOCK, (0.0, 0.03, z), (length, 0.02, 0.05), paint)
    count = int(length / 0.3)
    for i in range(-count, count + 1):
        thing.add(BLOCK, (i * length / count, 0.0, 0.5), (0.05, 0.015, 0.6), paint)


def _bench(thing: Thing, dice: Random) -> None:
    """A bench."""
    wood, stone = thing.draft.material("furniture"), thing.draft.material("building")
    a = dice.uniform(0.6, 0.9)
    for x in (-0.7, 0.7):
        thing.add(BLOCK, (x * a, 0.0, 0.2), (0.06, 0.2, 0.25), stone)
    for y in (-0.14, 0.0, 0.14):
        thing.add(BLOCK, (0.0, y, 0.47), (a, 0.055, 0.02), wood)
    for z in (0.65, 0.82):
        thing.add(BLOCK, (0.0, 0.22, z), (a, 0.015, 0.055), wood)


def _weather(draft: Draft, dice: Random) -> Sky:
    """Sun, or clouds and no sun."""
    clouds, seed = dice.uniform(0.0, 1.0), dice.randrange(1 << 16)
    haze = math.exp(dice.uniform(math.log(60.0), math.log(500.0)))
    if dice.random() < 0.25:
        grey = dice.uniform(0.5, 0.9)
        return sky_of((0.8 * grey, 0.85 * grey, 0.95 * grey), (grey, grey, grey), (0.25, 0.25, 0.24), fill=1.2,
                      bounce=(0.35, 0.35, 0.35), clouds=0.4 * clouds, seed=seed, haze=haze, near=1.0)  # fmt: skip
    rise, angle, warm = dice.uniform(0.15, 1.2), dice.uniform(0.0, math.tau), dice.uniform(0.0, 1.0)
    low = math.exp(-3.0 * rise)
    towards = (math.cos(angle) * math.cos(rise), math.sin(angle) * math.cos(rise), math.sin(rise))
    draft.sun(
        towards, dice.choice((0.005, 0.005, 0.05)), (4.0, 3.8 - 1.2 * low - 0.2 * warm, 3.4 - 2.2 * low - 0.4 * warm)
    )
    blue = dice.uniform(0.5, 1.0)
    return sky_of(
        (0.12 + 0.1 * (1 - blue), 0.26, 0.62 * blue + 0.1), (0.62 + 0.25 * low, 0.68, 0.76 - 0.2 * low),
        (0.3, 0.29, 0.25), fill=dice.uniform(0.6, 1.0), bounce=(0.5, 0.5, 0.48), clouds=clouds, seed=seed, haze=haze,
        near=1.0,
    )  # fmt: skip
