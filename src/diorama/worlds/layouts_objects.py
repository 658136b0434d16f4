"""Objects: a few solids of every make, on a table, on the ground or in the void. Metres; the table top is z = 0."""

import math
from collections.abc import Callable
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.worlds.clutter import SMALL, arch, carved, knots_of, turned
from diorama.worlds.draft import Draft, Thing, Triple, sky_of
from diorama.worlds.heights import rough_table, steepest
from diorama.worlds.materials import Role
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
    RING,
    ROUNDED,
    TWISTED,
)

SIMPLE = (BLOCK, BALL, FRUSTUM, BEVELLED, GABLE, ROUNDED, DRUM, CUSHION)
"""Shapes that composed objects are made of."""


def make_object(name: str, dice: Random, generator: torch.Generator, photos: Float[Tensor, "k h w 3"] | None) -> World:
    """One to eight objects under studio lights or the sky."""
    draft = Draft()
    in_void, scale = dice.random() < 0.18, math.exp(dice.uniform(math.log(0.1), math.log(0.45)))
    count = dice.choice((1, 1, 2, 3)) if in_void else dice.choice((1, 3, 4, 5, 6, 8, 10))
    taken: list[tuple[float, float, float]] = []
    for _ in range(count):
        size = scale * dice.uniform(0.5, 1.3)
        for _ in range(20):
            spread = 0.7 * scale * math.sqrt(count) if count > 1 else 0.0
            x, y = dice.gauss(0.0, spread), dice.gauss(0.0, spread)
            if all(math.hypot(x - a, y - b) > 0.9 * (size + c) for a, b, c in taken):
                taken.append((x, y, size))
                thing = draft.thing(x, y, 0.0, dice.uniform(0.0, math.tau))
                _object(thing, dice, size, generator)
                break
    spread = max(math.hypot(x, y) + size for x, y, size in taken)
    if not in_void:
        _ground(draft, dice, spread, scale)
        if scale < 0.15 and dice.random() < 0.4:
            for _ in range(dice.randint(1, 4)):
                angle, away = dice.uniform(0.0, math.tau), spread + dice.uniform(0.12, 0.3)
                maker = dice.choice(SMALL)[0]
                maker(draft.thing(away * math.cos(angle), away * math.sin(angle), 0.0, angle), dice)
    reach = max(spread, scale)
    sky = _lights(draft, dice, reach)
    stage = Stage(
        torch.tensor([0.0, 0.0, 0.7 * scale]),
        reach,
        torch.tensor([-4 * reach - 0.2, -4 * reach - 0.2, -3 * reach if in_void else 0.05 + 0.1 * scale]),
        torch.tensor([4 * reach + 0.2, 4 * reach + 0.2, 4 * reach + 0.2]),
        inward=True,
    )
    return draft.world(name, sky, stage, generator, photos=photos)


def _object(thing: Thing, dice: Random, size: float, generator: torch.Generator) -> None:
    """One object of about a radius."""
    makers: tuple[tuple[Callable[[], None], float], ...] = (
        (lambda: _composed(thing, dice, size), 4.0),
        (lambda: _lathe(thing, dice, size), 2.0),
        (lambda: carved(thing, dice, 0.8 * size, thing.draft.material()), 2.0),
        (lambda: _twisted(thing, dice, size), 1.0),
        (lambda: _arches(thing, dice, size), 1.0),
        (lambda: _relief(thing, dice, size, generator), 1.0),
        (lambda: _piled(thing, dice, size), 1.5),
    )
    (maker,) = dice.choices([each for each, _ in makers], [weight for _, weight in makers])
    maker()


def _part(thing: Thing, dice: Random, place: tuple[float, float, float], s: float, paint: int) -> None:
    """A simple solid of about a half side, in any pose."""
    shape = dice.choice(SIMPLE)
    size = (s * dice.uniform(0.4, 1.0), s * dice.uniform(0.4, 1.0), s * dice.uniform(0.4, 1.0))
    if shape == DRUM:
        size = (size[0], size[0], size[2])
    edge = dice.uniform(0.1, 0.5) * min(size)
    params = {
        FRUSTUM: (dice.choice((1.0, 1.0, dice.uniform(0.0, 0.9))),),
        CUSHION: (dice.uniform(2.0, 7.0), dice.uniform(2.0, 7.0)),
    }.get(shape, (edge,))
    upright = dice.random() < 0.6
    tilt, lean = (0.0, 0.0) if upright else (dice.uniform(-1.5, 1.5), dice.uniform(-1.5, 1.5))
    thing.add(shape, place, size, paint, params=params, turn=dice.uniform(0.0, math.tau), tilt=tilt, lean=lean)


def _composed(thing: Thing, dice: Random, size: float) -> None:
    """A union of parts that touch each other, some paired left and right."""
    paints = [thing.draft.material() for _ in range(dice.randint(1, 3))]
    x, y, z, s = 0.0, 0.0, 0.7 * size, 0.65 * size
    _part(thing, dice, (x, y, z), s, paints[0])
    for _ in range(dice.randint(1, 5)):
        angle, rise = dice.uniform(0.0, math.tau), dice.uniform(-0.5, 1.3)
        away, small = 0.8 * s, s * dice.uniform(0.3, 0.8)
        dx, dy = away * math.cos(rise) * math.cos(angle), away * math.cos(rise) * math.sin(angle)
        place = (x + dx, y + dy, max(z + away * math.sin(rise), small))
        paint = dice.choice(paints)
        _part(thing, dice, place, small, paint)
        if dice.random() < 0.35:
            _part(thing, dice, (x - dx, y - dy, place[2]), small, paint)
        if dice.random() < 0.3:
            x, y, z, s = *place, small


def _lathe(thing: Thing, dice: Random, size: float) -> None:
    wall = dice.choice((0.0, 0.06 * size))
    radius = size * dice.uniform(0.4, 0.9)
    turned(thing, (0.0, 0.0, 0.0), radius, 2 * size * dice.uniform(0.6, 1.0), knots_of(dice, 0.2),
           thing.draft.material(), wall=wall)  # fmt: skip
    if dice.random() < 0.3:
        tube = 0.08 * size
        thing.add(RING, (0.8 * radius, 0.0, 0.9 * size), (0.45 * size, 0.45 * size, tube), thing.draft.material(),
                  params=(tube,), tilt=0.5 * math.pi)  # fmt: skip


def _twisted(thing: Thing, dice: Random, size: float) -> None:
    a, b = size * dice.uniform(0.2, 0.45), size * dice.uniform(0.15, 0.45)
    thing.add(TWISTED, (0.0, 0.0, size), (math.hypot(a, b), math.hypot(a, b), size), thing.draft.material(),
              params=(a, b, dice.uniform(-2.0, 2.0) / size, 0.25 * min(a, b)))  # fmt: skip
    if dice.random() < 0.5:
        c = 0.08 * size
        thing.add(BLOCK, (0.0, 0.0, c), (0.6 * size, 0.6 * size, c), thing.draft.material())


def _arches(thing: Thing, dice: Random, size: float) -> None:
    paint = thing.draft.material()
    for _ in range(dice.randint(1, 3)):
        part = thing.part(0.0, dice.uniform(-0.5, 0.5) * size, 0.0, dice.uniform(-0.6, 0.6), whole=True)
        arch(part, 0.8 * size, dice.uniform(0.9, 1.6), size * dice.uniform(0.12, 0.35), paint)


def _relief(thing: Thing, dice: Random, size: float, generator: torch.Generator) -> None:
    """A block whose top is a little landscape."""
    table = rough_table(generator, coarse=dice.randint(2, 5), gain=dice.uniform(0.3, 0.6))
    table = ((0.22 * table).clamp(-0.5, 0.5) + 0.5).contiguous()
    half = (0.9 * size, 0.9 * size * dice.uniform(0.5, 1.0), size * dice.uniform(0.15, 0.4))
    number = thing.draft.table(table)
    thing.add(HEIGHTS, (0.0, 0.0, half[2]), half, thing.draft.material(), params=(float(number), steepest(table, half)))


def _piled(thing: Thing, dice: Random, size: float) -> None:
    """Parts one on another."""
    z = 0.0
    for _ in range(dice.randint(2, 5)):
        a, b, c = (size * dice.uniform(0.25, 0.7) for _ in range(3))
        c = 0.5 * c
        shape = dice.choice((BLOCK, ROUNDED, BEVELLED, FRUSTUM, DRUM))
        b = a if shape == DRUM else b
        thing.add(shape, (0.0, 0.0, z + c), (a, b, c), thing.draft.material(),
                  params=(1.0 if shape == FRUSTUM else 0.3 * min(a, b, c),), turn=dice.uniform(0.0, 0.7))  # fmt: skip
        z += 2 * c


def _ground(draft: Draft, dice: Random, spread: float, scale: float) -> None:
    """A table, a cloth, the floor of a room, perhaps with walls behind."""
    pick = dice.random()
    half = max(1.3 * spread, 0.35)
    if pick < 0.55:
        table = draft.thing(0.0, 0.0, 0.0, dice.uniform(0.0, math.tau))
        thick = dice.uniform(0.015, 0.04)
        wide = half * dice.uniform(1.0, 2.0)
        if dice.random() < 0.3:
            size, shape = (wide, wide, thick), DRUM
        else:
            size, shape = (wide, half * dice.uniform(1.0, 1.6), thick), dice.choice((BLOCK, ROUNDED, BEVELLED))
        table.add(shape, (0.0, 0.0, -thick), size, draft.material("furniture"), params=(0.4 * thick,))
        floor = -dice.uniform(0.4, 0.8)
        draft.thing().add(BLOCK, (0.0, 0.0, floor - 0.1), (9.0, 9.0, 0.1), draft.material("floor"))
        for x in (-1, 1):
            for y in (-1, 1):
                place = (0.6 * x * size[0], 0.6 * y * size[1], 0.5 * floor - thick)
                table.add(FRUSTUM, place, (0.03, 0.03, -0.5 * floor - thick), draft.material("furniture"),
                          params=(1.0,))  # fmt: skip
    else:
        role: Role = "ground" if dice.random() < 0.5 else "floor"
        draft.thing().add(BLOCK, (0.0, 0.0, -0.1), (30 * half, 30 * half, 0.1), draft.material(role))
    if dice.random() < 0.5:
        paint, away = draft.material("wall"), max(4.5 * max(spread, scale) + 0.4, 1.0)
        for i in range(dice.randint(1, 4)):
            wall = draft.thing(0.0, 0.0, 0.0, 0.5 * math.pi * i)
            wall.add(BLOCK, (0.0, away, 1.0), (9.0, 0.1, 3.0), paint)


def _lights(draft: Draft, dice: Random, reach: float) -> Sky:
    """A sky of one colour and lamps or panels about the objects, or sun and sky."""
    tint = (dice.uniform(0.6, 1.0), dice.uniform(0.6, 1.0), dice.uniform(0.6, 1.0))
    if dice.random() < 0.35:
        draft.sun((dice.gauss(0.0, 1.0), dice.gauss(0.0, 1.0), dice.uniform(0.4, 2.0)), dice.choice((0.005, 0.03, 0.1)),
                  (3.5, dice.uniform(3.0, 3.4), dice.uniform(2.2, 3.2)))  # fmt: skip
        return sky_of((0.15, 0.3, 0.7), (0.7, 0.75, 0.8), (0.35, 0.33, 0.3), fill=dice.uniform(0.5, 1.0),
                      bounce=(0.5, 0.5, 0.5), clouds=dice.uniform(0.0, 1.0), seed=dice.randrange(1 << 16),
                      near=0.3 * reach)  # fmt: skip
    for _ in range(dice.randint(1, 3)):
        angle, rise, away = dice.uniform(0.0, math.tau), dice.uniform(0.3, 1.4), reach * dice.uniform(3.0, 6.0)
        place = (
            away * math.cos(rise) * math.cos(angle),
            away * math.cos(rise) * math.sin(angle),
            away * math.sin(rise),
        )
        power, warm = dice.uniform(0.3, 1.0), dice.uniform(0.0, 0.5)
        colour = (power, power * (1 - 0.3 * warm), power * (1 - 0.7 * warm))
        side = reach * dice.uniform(0.3, 2.0)
        if dice.random() < 0.4:
            draft.lamp(place, 0.2 * side, _times(colour, 4.0 * away * away))
            continue
        u = (-math.sin(angle) * side, math.cos(angle) * side, 0.0)
        c, d = math.cos(rise), math.sin(rise)
        v = (-side * d * math.cos(angle), -side * d * math.sin(angle), side * c)
        strength = 4.0 * away * away / (4 * side * side)
        draft.panel(place, u, v, _times(colour, strength))
    level = dice.uniform(0.1, 0.9)
    top, rim = _times(tint, level), _times(tint, level * dice.uniform(0.5, 1.0))
    return sky_of(top, rim, _times(rim, 0.8), fill=1.0, bounce=(0.4, 0.4, 0.4), near=0.3 * reach)


def _times(colour: Triple, strength: float) -> Triple:
    return colour[0] * strength, colour[1] * strength, colour[2] * strength
