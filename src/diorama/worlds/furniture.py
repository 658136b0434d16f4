"""Furniture, metres. Each function builds one piece in a frame whose x runs along the wall behind it and whose -y looks
into the room; z = 0 is the floor. It returns the surfaces on which small things may stand."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from diorama.worlds.clutter import plant, row_of_books, turned
from diorama.worlds.draft import Thing
from diorama.worlds.shapes import BALL, BEVELLED, BLOCK, CUSHION, DRUM, FRUSTUM, KNOTS, ROUNDED


@dataclass(frozen=True)
class Shelf:
    """A place for small things: a rectangle about (x, y) at height z, with some room above."""

    x: float
    y: float
    z: float
    half: tuple[float, float]
    headroom: float = 2.0


@dataclass(frozen=True)
class Piece:
    """A kind of furniture."""

    build: Callable[[Thing, Random, float, float], list[Shelf]]
    width: tuple[float, float]
    """Least and largest extent along the wall."""
    depth: tuple[float, float]
    at_wall: float
    """How likely it stands against a wall."""
    weight: float
    """How often it is chosen."""


def legs(thing: Thing, dice: Random, half: tuple[float, float], height: float, paint: int) -> None:
    """Four legs."""
    thick = dice.uniform(0.015, 0.04)
    shape, taper = (BLOCK, 1.0) if dice.random() < 0.5 else (FRUSTUM, dice.uniform(0.9, 1.0))
    for x in (-1, 1):
        for y in (-1, 1):
            place = (x * (half[0] - 1.5 * thick), y * (half[1] - 1.5 * thick), 0.5 * height)
            thing.add(shape, place, (thick, thick, 0.5 * height), paint, params=(taper,))


def table(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """A table, high or low, square or round."""
    high = dice.choice((0.4, 0.72, 0.75, 0.9)) * dice.uniform(0.95, 1.05)
    a, b, c = 0.5 * width, 0.5 * depth, dice.uniform(0.012, 0.035)
    paint = thing.draft.material("furniture")
    wood = paint if dice.random() < 0.5 else thing.draft.material("furniture")
    if dice.random() < 0.3:
        a = b = min(a, b)
        thing.add(DRUM, (0.0, 0.0, high - c), (a, a, c), paint, params=(0.5 * c,))
        knots = [dice.uniform(0.3, 1.0) for _ in range(KNOTS)]
        turned(thing, (0.0, 0.0, 0.0), 0.25 * a, high - 2 * c, knots, wood)
        thing.add(FRUSTUM, (0.0, 0.0, 0.02), (0.5 * a, 0.5 * a, 0.02), wood, params=(0.8,))
        a, b = 0.7 * a, 0.7 * a
    else:
        shape = dice.choice((BLOCK, ROUNDED, BEVELLED))
        thing.add(shape, (0.0, 0.0, high - c), (a, b, c), paint, params=(0.4 * c,))
        legs(thing, dice, (a, b), high - 2 * c, wood)
        if dice.random() < 0.4:
            thing.add(BLOCK, (0.0, 0.0, high - 2 * c - 0.05), (a - 0.06, b - 0.06, 0.05), wood)
        if dice.random() < 0.3:
            thing.add(BLOCK, (0.0, 0.0, 0.2 * high), (a - 0.05, b - 0.05, 0.012), wood)
    return [Shelf(0.0, 0.0, high, (0.85 * a, 0.8 * b))]


def chair(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """A chair or a stool."""
    high, a, b = dice.uniform(0.42, 0.48), 0.5 * width, 0.5 * depth
    paint = thing.draft.material("furniture")
    seat = thing.draft.material("furniture") if dice.random() < 0.5 else paint
    thing.add(dice.choice((BLOCK, ROUNDED)), (0.0, 0.0, high - 0.02), (a, b, 0.02), seat, params=(0.012,))
    legs(thing, dice, (a, b), high - 0.04, paint)
    if dice.random() < 0.75:
        back = dice.uniform(0.35, 0.55)
        for x in (-1, 1):
            thing.add(BLOCK, (x * (a - 0.02), b - 0.02, high + 0.5 * back), (0.016, 0.016, 0.5 * back), paint)
        for i in range(dice.randint(1, 4)):
            half = dice.uniform(0.02, 0.07)
            thing.add(BLOCK, (0.0, b - 0.02, high + back * (0.95 - 0.25 * i) - half), (a - 0.03, 0.01, half), seat)
    if dice.random() < 0.3:
        cushion(thing, dice, (0.0, 0.0, high), (0.9 * a, 0.9 * b, 0.035))
    return []


def cushion(
    thing: Thing, dice: Random, foot: tuple[float, float, float], size: tuple[float, float, float], *,
    tilt: float = 0.0, turn: float = 0.0,
) -> None:  # fmt: skip
    """A cushion whose lowest point is at `foot` while it lies flat."""
    rise = size[2] if tilt == 0.0 else size[1] * abs(math.sin(tilt)) + size[2] * abs(math.cos(tilt))
    thing.add(CUSHION, (foot[0], foot[1], foot[2] + rise), size, thing.draft.material("fabric"),
              params=(dice.uniform(3.0, 7.0), dice.uniform(2.0, 2.6)), tilt=tilt, turn=turn)  # fmt: skip


def sofa(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """A sofa or an armchair with cushions."""
    a, b, high = 0.5 * width, 0.5 * depth, dice.uniform(0.36, 0.44)
    cloth = thing.draft.material("fabric")
    arm, round_edge = dice.uniform(0.07, 0.13), dice.uniform(0.03, 0.06)
    thing.add(ROUNDED, (0.0, 0.0, 0.5 * high), (a, b, 0.5 * high - 0.04), cloth, params=(round_edge,))
    thing.add(ROUNDED, (0.0, b - 0.12, 0.5 * high + 0.22), (a, 0.12, 0.26 + 0.5 * high - 0.06), cloth,
              params=(round_edge,))  # fmt: skip
    for x in (-1, 1):
        thing.add(ROUNDED, (x * (a - arm), -0.02, 0.42 * high + 0.15), (arm, b - 0.03, 0.42 * high + 0.08), cloth,
                  params=(min(round_edge, 0.8 * arm),))  # fmt: skip
    seats = max(1, round((width - 4 * arm) / 0.65))
    half = (a - 2 * arm) / seats
    for i in range(seats):
        middle = (2 * i + 1 - seats) * half
        thing.add(CUSHION, (middle, -0.12, high + 0.03), (half, b - 0.13, 0.09), cloth, params=(7.0, 3.0))
        if dice.random() < 0.6:
            size = (dice.uniform(0.18, 0.24), dice.uniform(0.18, 0.22), dice.uniform(0.06, 0.09))
            cushion(thing, dice, (middle + dice.uniform(-0.1, 0.1), b - 0.36, high + 0.08), size,
                    tilt=dice.uniform(1.0, 1.3), turn=dice.gauss(0.0, 0.2))  # fmt: skip
    return []


def bed(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """A bed with its head against the wall."""
    a, b, high = 0.5 * width, 0.5 * depth, dice.uniform(0.3, 0.45)
    frame, cloth = thing.draft.material("furniture"), thing.draft.material("fabric")
    thing.add(BLOCK, (0.0, 0.0, 0.3 * high), (a, b, 0.3 * high), frame)
    thing.add(dice.choice((BLOCK, ROUNDED)), (0.0, b - 0.03, 0.5), (a, 0.03, dice.uniform(0.4, 0.6)), frame,
              params=(0.02,))  # fmt: skip
    thing.add(ROUNDED, (0.0, -0.03, 0.75 * high), (a - 0.03, b - 0.06, 0.35 * high), thing.draft.material("fabric"),
              params=(0.06,))  # fmt: skip
    thing.add(ROUNDED, (0.0, -0.25 * b, 0.75 * high + 0.02), (a + 0.01, 0.72 * b, 0.35 * high + 0.02), cloth,
              params=(0.05,))  # fmt: skip
    for i in range(2 if width > 1.2 else 1):
        x = 0.0 if width <= 1.2 else (i - 0.5) * width * 0.5
        cushion(thing, dice, (x, b - 0.35, 1.08 * high), (0.35, 0.22, 0.09), tilt=dice.uniform(0.0, 0.5))
    return []


def bookcase(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """Shelves with books and other things."""
    high, a, b = dice.uniform(0.8, 2.2), 0.5 * width, 0.5 * depth
    wood, thick = thing.draft.material("furniture"), dice.uniform(0.008, 0.016)
    for x in (-1, 1):
        thing.add(BLOCK, (x * (a - thick), 0.0, 0.5 * high), (thick, b, 0.5 * high), wood)
    if dice.random() < 0.7:
        thing.add(BLOCK, (0.0, b - 0.005, 0.5 * high), (a - 2 * thick, 0.005, 0.5 * high - 0.01), wood)
    count = max(2, round(high / dice.uniform(0.3, 0.45)))
    shelves = []
    for i in range(count + 1):
        z = thick + (high - 2 * thick) * i / count
        thing.add(BLOCK, (0.0, -0.003, z), (a - 2 * thick, b - 0.004, thick), wood)
        room = (high - 2 * thick) / count - 2 * thick
        if i < count and dice.random() < 0.6:
            length = (width - 6 * thick) * dice.uniform(0.3, 0.95)
            shift = dice.choice((-1, 1)) * 0.5 * (width - 6 * thick - length)
            row_of_books(thing.part(shift, 0.0, z + thick, whole=True), dice, length, min(room, 0.36))
        else:
            shelves.append(Shelf(0.0, -0.05, z + thick, (0.8 * a, 0.25 * b), room if i < count else 2.0))
    return shelves


def cabinet(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """A chest of drawers, a cupboard or a sideboard."""
    high, a, b = dice.choice((0.5, 0.8, 0.9, 1.2, 1.9)) * dice.uniform(0.9, 1.1), 0.5 * width, 0.5 * depth
    body = thing.draft.material("furniture")
    front = body if dice.random() < 0.5 else thing.draft.material("furniture")
    metal = thing.draft.material()
    thing.add(BLOCK, (0.0, 0.0, 0.5 * high), (a, b, 0.5 * high), body)
    columns, rows = max(1, round(width / dice.uniform(0.4, 0.8))), dice.randint(1, 4) if high > 0.4 else 1
    for i in range(columns):
        for j in range(rows):
            half_x, half_z = a / columns - 0.01, 0.5 * high / rows - 0.012
            x, z = -a + (2 * i + 1) * a / columns, (j + 0.5) * high / rows
            thing.add(BEVELLED, (x, -b - 0.008, z), (half_x, 0.01, half_z), front, params=(0.006,))
            if dice.random() < 0.9:
                thing.add(BALL, (x + (0.7 * half_x if rows == 1 else 0.0), -b - 0.03, z), (0.014, 0.014, 0.014), metal)
    return [Shelf(0.0, 0.0, high, (0.85 * a, 0.6 * b))] if high < 1.4 else []


def floor_lamp(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """A lamp that stands."""
    del depth
    high, metal = dice.uniform(1.2, 1.7), thing.draft.material("furniture")
    thing.add(FRUSTUM, (0.0, 0.0, 0.015), (0.13, 0.13, 0.015), metal, params=(0.9,))
    thing.add(FRUSTUM, (0.0, 0.0, 0.5 * high), (0.011, 0.011, 0.5 * high), metal, params=(1.0,))
    shade(thing, dice, (0.0, 0.0, high + 0.1), 0.5 * width, dice.uniform(0.1, 0.16))
    return []


def shade(
    thing: Thing, dice: Random, centre: tuple[float, float, float], radius: float, half: float, strength: float = 1.0
) -> None:
    """A lamp shade that glows, and its light above and below."""
    warm = dice.uniform(0.0, 1.0)
    colour = (1.0, 0.92 - 0.22 * warm, 0.8 - 0.45 * warm)
    power = strength * dice.uniform(0.3, 1.2)
    glow = (power * colour[0], power * colour[1], power * colour[2])
    shape, params = dice.choice(((FRUSTUM, (dice.uniform(0.4, 1.0),)), (BALL, ()), (DRUM, (0.4 * half,))))
    thing.add(shape, centre, (radius, radius, half), thing.draft.material("wall"), params=params, glow=glow)
    for side in (-1.0, 1.0):
        x, y, z = thing.to_world((centre[0], centre[1], centre[2] + side * (half + 0.06)))
        thing.draft.lamp((x, y, z), 0.05, (0.5 * glow[0], 0.5 * glow[1], 0.5 * glow[2]))


def pot(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """A large plant."""
    del depth
    plant(thing, dice, 4.0 * width)
    return []


def boxes(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """Cartons or crates, one on another."""
    z: float = 0.0
    a, b = 0.5 * width, 0.5 * depth
    for _ in range(dice.randint(1, 3)):
        c = dice.uniform(0.1, 0.22)
        thing.add(dice.choice((BLOCK, BLOCK, ROUNDED)), (dice.gauss(0.0, 0.02), dice.gauss(0.0, 0.02), z + c),
                  (a, b, c), thing.draft.material(), params=(0.03,), turn=dice.gauss(0.0, 0.12))  # fmt: skip
        z, a, b = z + 2 * c, a * dice.uniform(0.75, 1.0), b * dice.uniform(0.75, 1.0)
    return [Shelf(0.0, 0.0, z, (0.5 * a, 0.5 * b))]


def screen(thing: Thing, dice: Random, width: float, depth: float) -> list[Shelf]:
    """A television on a low board."""
    shelf = Shelf(0.0, -0.1, 0.45, (0.45 * width, 0.05))
    thing.add(BLOCK, (0.0, 0.0, 0.225), (0.5 * width, 0.5 * depth, 0.225), thing.draft.material("furniture"))
    half, glow = 0.4 * width, dice.uniform(0.0, 0.5) * (dice.random() < 0.4)
    thing.add(BLOCK, (0.0, 0.05, 0.5 + 0.57 * half), (half, 0.02, 0.57 * half), thing.draft.material())
    thing.add(BLOCK, (0.0, 0.028, 0.5 + 0.57 * half), (0.97 * half, 0.004, 0.54 * half), thing.draft.material(),
              glow=(glow, glow, glow))  # fmt: skip
    thing.add(BLOCK, (0.0, 0.05, 0.47), (0.1, 0.06, 0.03), thing.draft.material())
    return [shelf]


PIECES = (
    Piece(table, (0.5, 1.8), (0.45, 0.95), 0.35, 2.0),
    Piece(chair, (0.38, 0.5), (0.38, 0.5), 0.2, 2.0),
    Piece(sofa, (0.9, 2.3), (0.8, 1.0), 0.75, 1.5),
    Piece(bed, (0.9, 1.8), (1.9, 2.1), 1.0, 0.7),
    Piece(bookcase, (0.5, 1.6), (0.25, 0.38), 1.0, 1.8),
    Piece(cabinet, (0.5, 1.8), (0.35, 0.6), 1.0, 1.8),
    Piece(floor_lamp, (0.25, 0.45), (0.45, 0.45), 0.7, 0.6),
    Piece(pot, (0.3, 0.5), (0.4, 0.5), 0.7, 0.8),
    Piece(boxes, (0.3, 0.6), (0.3, 0.5), 0.4, 1.0),
    Piece(screen, (1.0, 1.8), (0.35, 0.45), 1.0, 0.6),
)
"""What rooms are furnished with."""
