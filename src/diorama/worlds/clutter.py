"""Small things that lie and stand about: on tables, shelves and floors. Metres; z = 0 is what a thing stands on."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

from diorama.worlds.draft import Thing
from diorama.worlds.shapes import (
    BALL,
    BENT,
    BEVELLED,
    BLOCK,
    CARVED,
    CUSHION,
    DRUM,
    FRUSTUM,
    KNOTS,
    LATHE,
    RING,
    ROUNDED,
    TWISTED,
)

UNION, DIFFERENCE, INTERSECTION = 0.0, 1.0, 2.0
BOX_PART, BALL_PART, UPRIGHT_PART, LYING_PART = 0.0, 1.0, 2.0, 3.0


def turned(
    thing: Thing, foot: tuple[float, float, float], radius: float, height: float, knots: Sequence[float],
    material: int, *, wall: float = 0.0,
) -> None:  # fmt: skip
    """A turned solid of `KNOTS` radii from foot to top; a vessel if it has a wall (metres)."""
    widest = max(knots)
    shares = [each / widest for each in knots]
    steepest = max(abs(b - a) for a, b in pairwise(shares)) * radius * (KNOTS - 2) / height
    thing.add(
        LATHE, (foot[0], foot[1], foot[2] + 0.5 * height), (radius, radius, 0.5 * height), material,
        params=(*shares, wall, steepest),
    )  # fmt: skip


def knots_of(dice: Random, low: float = 0.3, smooth: float = 0.45) -> list[float]:
    """Radii of a turned solid: a random walk between `low` and 1."""
    value = dice.uniform(low, 1.0)
    knots = []
    for _ in range(KNOTS):
        knots.append(value)
        value = min(1.0, max(low, value + dice.uniform(-smooth, smooth)))
    return knots


def books(thing: Thing, dice: Random) -> None:
    """A stack of books, or a few that stand."""
    if dice.random() < 0.5:
        z = 0.0
        for _ in range(dice.randint(1, 5)):
            a, b, c = dice.uniform(0.08, 0.13), dice.uniform(0.06, 0.1), dice.uniform(0.006, 0.022)
            thing.add(BLOCK, (dice.uniform(-0.02, 0.02), dice.uniform(-0.02, 0.02), z + c), (a, b, c),
                      thing.draft.material(), turn=dice.gauss(0.0, 0.15))  # fmt: skip
            z += 2 * c
    else:
        row_of_books(thing, dice, dice.uniform(0.1, 0.3), 0.28)


def row_of_books(thing: Thing, dice: Random, length: float, tallest: float) -> None:
    """Books side by side along x, their spines towards -y."""
    x, last = -0.5 * length, 0
    while True:
        c, b, a = dice.uniform(0.007, 0.025), dice.uniform(0.06, 0.1), tallest * dice.uniform(0.3, 0.48)
        if x + 2 * c > 0.5 * length:
            return
        if last == 0 or dice.random() < 0.7:
            last = thing.draft.material()
        lean = dice.gauss(0.0, 0.04)
        thing.add(BLOCK, (x + c, b - 0.09, a), (c, b, a), last, lean=lean)
        x += 2 * c + abs(lean) * a * 0.5 + 0.001


def cup(thing: Thing, dice: Random) -> None:
    """A mug with its handle."""
    radius, height, paint = dice.uniform(0.03, 0.045), dice.uniform(0.07, 0.11), thing.draft.material()
    base = dice.uniform(0.6, 1.0)
    knots = [base + (1 - base) * i / (KNOTS - 1) for i in range(KNOTS)]
    turned(thing, (0.0, 0.0, 0.0), radius, height, knots, paint, wall=0.004)
    tube = 0.005
    thing.add(RING, (radius * 0.98, 0.0, 0.5 * height), (0.32 * height, 0.32 * height, tube), paint,
              params=(tube,), tilt=0.5 * math.pi)  # fmt: skip


def vase(thing: Thing, dice: Random) -> None:
    """A vase or a bottle."""
    radius, height = dice.uniform(0.035, 0.1), dice.uniform(0.15, 0.4)
    wall = 0.1 * radius if dice.random() < 0.6 else 0.0
    turned(thing, (0.0, 0.0, 0.0), radius, height, knots_of(dice, 0.25), thing.draft.material(), wall=wall)


def bowl(thing: Thing, dice: Random) -> None:
    """A bowl with fruit."""
    radius, height = dice.uniform(0.08, 0.16), dice.uniform(0.05, 0.1)
    knots = [0.35 + 0.65 * math.sqrt(i / (KNOTS - 1)) for i in range(KNOTS)]
    turned(thing, (0.0, 0.0, 0.0), radius, height, knots, thing.draft.material(), wall=0.006)
    fruit = thing.draft.material()
    for _ in range(dice.randint(0, 6)):
        r, away, angle = dice.uniform(0.025, 0.042), dice.uniform(0.0, 0.55) * radius, dice.uniform(0.0, math.tau)
        squash = dice.uniform(0.85, 1.15)
        thing.add(BALL, (away * math.cos(angle), away * math.sin(angle), height * 0.5 + r), (r, r, r * squash),
                  fruit if dice.random() < 0.7 else thing.draft.material(), tilt=dice.uniform(0.0, 1.0))  # fmt: skip


def carton(thing: Thing, dice: Random) -> None:
    """A box, perhaps with round or cut edges."""
    a, b, c = (dice.uniform(0.03, 0.14) for _ in range(3))
    kind = dice.choice((BLOCK, BLOCK, ROUNDED, BEVELLED))
    edge = dice.uniform(0.05, 0.3) * min(a, b, c)
    thing.add(kind, (0.0, 0.0, c), (a, b, c), thing.draft.material(), params=(edge,))
    if dice.random() < 0.3:
        thing.add(BLOCK, (0.0, 0.0, 2 * c + 0.004), (1.03 * a, 1.03 * b, 0.004), thing.draft.material())


def ball(thing: Thing, dice: Random) -> None:
    """A ball, an egg or a pebble."""
    r = dice.uniform(0.02, 0.11)
    size = (r, r, r) if dice.random() < 0.5 else (r, r * dice.uniform(0.6, 1.0), r * dice.uniform(0.5, 1.0))
    thing.add(BALL, (0.0, 0.0, size[2]), size, thing.draft.material(), turn=dice.uniform(0.0, math.tau))


def tin(thing: Thing, dice: Random) -> None:
    """A tin, a jar or a candle, perhaps with a lid."""
    r, c = dice.uniform(0.025, 0.08), dice.uniform(0.03, 0.13)
    shape, params = (FRUSTUM, (dice.choice((1.0, 1.0, dice.uniform(0.5, 0.95))),))
    if dice.random() < 0.4:
        shape, params = DRUM, (dice.uniform(0.05, 0.4) * min(r, c),)
    thing.add(shape, (0.0, 0.0, c), (r, r, c), thing.draft.material(), params=params)
    if dice.random() < 0.5:
        lid = dice.uniform(0.005, 0.015)
        thing.add(FRUSTUM, (0.0, 0.0, 2 * c + lid), (0.9 * r, 0.9 * r, lid), thing.draft.material(), params=(1.0,))


def toy(thing: Thing, dice: Random) -> None:
    """A cone, a ring, a wedge of cheese, a twisted candle, a bent pipe."""
    s, paint = dice.uniform(0.03, 0.1), thing.draft.material()
    pick = dice.randrange(5)
    if pick == 0:
        thing.add(FRUSTUM, (0.0, 0.0, s), (0.6 * s, 0.6 * s, s), paint, params=(dice.uniform(0.0, 0.4),))
    elif pick == 1:
        tube = s * dice.uniform(0.15, 0.4)
        thing.add(RING, (0.0, 0.0, tube), (s, s, tube), paint, params=(tube,))
    elif pick == 2:
        carved(thing, dice, s, paint)
    elif pick == 3:
        half = 0.3 * s
        thing.add(TWISTED, (0.0, 0.0, 1.5 * s), (1.42 * half, 1.42 * half, 1.5 * s), paint,
                  params=(half, half * dice.uniform(0.5, 1.0), dice.uniform(0.5, 2.5) / s, 0.2 * half))  # fmt: skip
    else:
        arch(thing, s, dice.uniform(0.8, 1.5), 0.3 * s, paint)


def carved(thing: Thing, dice: Random, s: float, paint: int) -> None:
    """Two simple parts, joined or one cut out of the other, within a cube of half side s that stands on z = 0."""
    way = dice.choice((UNION, DIFFERENCE, DIFFERENCE, INTERSECTION))
    one = dice.choice((BOX_PART, BALL_PART, UPRIGHT_PART, LYING_PART))
    two = dice.choice((BOX_PART, BALL_PART, UPRIGHT_PART, LYING_PART))
    a = (s, s, s) if way != UNION else (0.75 * s, 0.75 * s, 0.75 * s)
    b = tuple(s * dice.uniform(0.4, 0.9) for _ in range(3))
    if way == DIFFERENCE and two == UPRIGHT_PART:
        b = (b[0], b[1], 2.2 * s)
    if way == DIFFERENCE and two == LYING_PART:
        b = (2.2 * s, b[1], b[2])
    room = [s - min(each, s) if way == UNION else 0.6 * s for each in b]
    if way == UNION:
        room = [min(room[0], room[1], room[2])] * 3
        b = (min(b), min(b), min(b)) if two in (BALL_PART,) else b
    away = tuple(dice.uniform(-1.0, 1.0) * each for each in room)
    seam = dice.choice((0.0, 0.0, 0.2 * s))
    thing.add(CARVED, (0.0, 0.0, s), (s, s, s), paint, params=(way, one, two, seam, *a, *away, *b, 0.04 * s))


def arch(thing: Thing, radius: float, half_angle: float, thick: float, paint: int) -> None:
    """A bar bent upwards into an arch that stands on z = 0."""
    width = 0.5 * thick
    foot = radius * math.cos(half_angle) - (width if half_angle > 0.5 * math.pi else 0.0)
    reach = radius + width
    thing.add(BENT, (0.0, 0.0, -foot), (reach, width, reach), paint,
              params=(radius, half_angle, width, width, 0.25 * width))  # fmt: skip


def pillow(thing: Thing, dice: Random) -> None:
    """A pillow that lies."""
    a, b, c = dice.uniform(0.15, 0.3), dice.uniform(0.12, 0.25), dice.uniform(0.05, 0.09)
    thing.add(CUSHION, (0.0, 0.0, 0.8 * c), (a, b, c), thing.draft.material("fabric"),
              params=(dice.uniform(3.0, 6.0), 2.0), turn=dice.uniform(0.0, math.tau))  # fmt: skip


def plant(thing: Thing, dice: Random, scale: float = 1.0) -> None:
    """A pot with leaves."""
    radius, height = scale * dice.uniform(0.06, 0.12), scale * dice.uniform(0.1, 0.18)
    base = dice.uniform(0.55, 0.9)
    knots = [base + (1 - base) * i / (KNOTS - 1) for i in range(KNOTS)]
    turned(thing, (0.0, 0.0, 0.0), radius, height, knots, thing.draft.material(), wall=0.1 * radius)
    thing.add(FRUSTUM, (0.0, 0.0, 0.7 * height), (0.85 * radius, 0.85 * radius, 0.1 * height),
              thing.draft.material("ground"), params=(1.0,))  # fmt: skip
    leaf = thing.draft.material()
    for _ in range(dice.randint(5, 12)):
        angle, rise, length = dice.uniform(0.0, math.tau), dice.uniform(0.3, 1.4), scale * dice.uniform(0.08, 0.2)
        wide = length * dice.uniform(0.12, 0.4)
        out = 0.3 * radius + length * math.cos(rise)
        thing.add(BALL, (out * math.cos(angle), out * math.sin(angle), height + length * math.sin(rise)),
                  (length, wide, 0.06 * length + 0.002), leaf, turn=angle, lean=-rise)  # fmt: skip


SMALL: tuple[tuple[Callable[[Thing, Random], None], float], ...] = (
    (books, 2.0), (cup, 1.0), (vase, 1.5), (bowl, 0.8), (carton, 2.5), (ball, 1.5), (tin, 1.5), (toy, 1.5),
    (plant, 0.6),
)  # fmt: skip
"""What lies about, and how often."""


def scatter(surface: Thing, dice: Random, half: tuple[float, float], count: int, headroom: float = 9.0) -> None:
    """Up to `count` small things on a rectangle about the origin of `surface`, each clear of the others."""
    makers, weights = zip(*SMALL, strict=True)
    taken: list[tuple[float, float]] = []
    for _ in range(count):
        x, y = dice.uniform(-half[0], half[0]), dice.uniform(-half[1], half[1])
        if any((x - a) ** 2 + (y - b) ** 2 < 0.17**2 for a, b in taken):
            continue
        taken.append((x, y))
        maker = dice.choices(makers, weights)[0]
        if headroom < 0.4 and maker in (vase, plant):
            maker = carton
        maker(surface.part(x, y, 0.0, dice.uniform(0.0, math.tau)), dice)
