"""Rooms: walls with windows, furniture along them, things on the furniture. Metres; the floor is z = 0."""

import math
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.worlds.clutter import scatter
from diorama.worlds.draft import Draft, Thing, Triple, sky_of
from diorama.worlds.furniture import PIECES, Piece, shade
from diorama.worlds.scene import Stage, World
from diorama.worlds.shapes import BLOCK, DRUM, FRUSTUM

REFLECTED = 0.45
"""Mean reflectance of rooms, for the estimate of bounced light."""

Opening = tuple[float, float, float, float]
"""Of a wall: from, to along it; from, to in height."""


def make_room(name: str, dice: Random, generator: torch.Generator, photos: Float[Tensor, "k h w 3"] | None) -> World:
    """A furnished room."""
    draft = Draft()
    wide, deep, high = dice.uniform(2.6, 6.5), dice.uniform(2.6, 5.5), dice.uniform(2.2, 3.2)
    daylight = dice.random() < 0.8
    sky_light = dice.uniform(0.8, 2.5) if daylight else 0.01
    blue = dice.uniform(0.0, 0.35)
    zenith = (sky_light * (0.75 - blue), sky_light * 0.85, sky_light * (1.0 + 0.5 * blue))
    horizon = (sky_light * 1.05, sky_light * 1.05, sky_light)
    windows = _shell(draft, dice, wide, deep, high, horizon)
    taken = _partition(draft, dice, wide, deep, high)
    _furnish(draft, dice, wide, deep, high, taken)
    _decorate(draft, dice, wide, deep, high)
    if not windows or not daylight or dice.random() < 0.4:
        _ceiling_lamps(draft, dice, wide, deep, high)
    if windows and daylight and dice.random() < 0.6:
        _sun(draft, dice, windows)
    bounce = _bounced(draft, 2 * (wide * deep + wide * high + deep * high))
    sky = sky_of(
        zenith, horizon, (0.35 * sky_light, 0.35 * sky_light, 0.3 * sky_light), fill=0.0, bounce=bounce,
        clouds=dice.uniform(0.0, 0.8), seed=dice.randrange(1 << 16), near=dice.uniform(0.15, 0.35),
    )  # fmt: skip
    stage = Stage(
        torch.tensor([0.0, 0.0, 0.4 * high]),
        0.5 * math.hypot(wide, deep),
        torch.tensor([-0.5 * wide + 0.3, -0.5 * deep + 0.3, 0.5]),
        torch.tensor([0.5 * wide - 0.3, 0.5 * deep - 0.3, min(high - 0.3, 1.9)]),
        inward=False,
    )
    return draft.world(name, sky, stage, generator, photos=photos)


def _bounced(draft: Draft, surface: float) -> Triple:
    """Radiance of white surfaces after many reflections, as in an integrating sphere: power over surface."""
    total = [0.0, 0.0, 0.0]
    for kind, _, first, second, colour in draft.lights:
        across = math.hypot(*first) * math.hypot(*second)
        strength = (0.3, 4.0, 4.0 * across)[kind]
        total = [t + strength * c for t, c in zip(total, colour, strict=True)]
    red, green, blue = (each / (surface * (1 - REFLECTED)) + 0.01 for each in total)
    return red, green, blue


def _shell(draft: Draft, dice: Random, wide: float, deep: float, high: float, light: Triple) -> list[Thing]:
    """Floor, ceiling and four walls, some with windows; the frames of the windows, whose -y looks into the room."""
    draft.thing().add(BLOCK, (0.0, 0.0, -0.1), (0.5 * wide + 0.3, 0.5 * deep + 0.3, 0.1), draft.material("floor"))
    ceiling = draft.thing()
    ceiling.add(BLOCK, (0.0, 0.0, high + 0.1), (0.5 * wide + 0.3, 0.5 * deep + 0.3, 0.1), draft.material("ceiling"))
    if dice.random() < 0.2:
        beam = draft.material("furniture")
        for i in range(3):
            ceiling.add(BLOCK, ((i - 1) * wide / 3, 0.0, high - 0.08), (0.07, 0.5 * deep, 0.08), beam)
    paint, trim = draft.material("wall"), draft.material("wall")
    board = dice.uniform(0.03, 0.07) if dice.random() < 0.7 else 0.0
    windows: list[Thing] = []
    chosen = dice.sample(range(4), dice.choice((0, 1, 1, 2, 2, 3)))
    for side in range(4):
        length, away = (wide, deep) if side % 2 == 0 else (deep, wide)
        turn = (0.0, -0.5 * math.pi, math.pi, 0.5 * math.pi)[side]
        wall = draft.thing(0.5 * away * math.sin(-turn), 0.5 * away * math.cos(turn), 0.0, turn)
        own = draft.material("wall") if dice.random() < 0.2 else paint
        opening = _opening(dice, length, high) if side in chosen else None
        _wall(wall, length, high, own, opening)
        if opening is not None:
            windows.append(_window(wall, dice, opening, trim, light))
        elif dice.random() < 0.35:
            _door(wall, dice, length, trim)
        if board and (opening is None or opening[2] > 0.1):
            wall.add(BLOCK, (0.0, -0.006, board), (0.5 * length, 0.006, board), trim)
    return windows


def _opening(dice: Random, length: float, high: float) -> Opening:
    """A window or a glass door."""
    width = min(dice.uniform(0.7, 2.4), length - 0.6)
    middle = dice.uniform(-0.5, 0.5) * (length - width - 0.5)
    low = dice.choice((0.02, dice.uniform(0.5, 1.0), dice.uniform(0.8, 1.1)))
    top = min(high - 0.15, low + dice.uniform(0.8, 1.4) if low > 0.1 else dice.uniform(1.95, 2.2))
    return middle - 0.5 * width, middle + 0.5 * width, low, top


def _wall(wall: Thing, length: float, high: float, paint: int, opening: Opening | None) -> None:
    """A wall whose face is y = 0 and whose body lies behind it, around an opening."""
    thick = 0.12
    left, right = -0.5 * length - 2 * thick, 0.5 * length + 2 * thick

    def block(x0: float, x1: float, z0: float, z1: float) -> None:
        if x1 - x0 > 1e-3 and z1 - z0 > 1e-3:
            centre = (0.5 * (x0 + x1), thick, 0.5 * (z0 + z1))
            wall.add(BLOCK, centre, (0.5 * (x1 - x0), thick, 0.5 * (z1 - z0)), paint)

    if opening is None:
        block(left, right, 0.0, high)
        return
    x0, x1, z0, z1 = opening
    block(left, x0, 0.0, high)
    block(x1, right, 0.0, high)
    block(x0, x1, 0.0, z0)
    block(x0, x1, z1, high)


def _window(wall: Thing, dice: Random, opening: Opening, trim: int, light: Triple) -> Thing:
    """Frame, bars, sill, perhaps curtains; and the panel that stands for the sky."""
    x0, x1, z0, z1 = opening
    x, z, a, c = 0.5 * (x0 + x1), 0.5 * (z0 + z1), 0.5 * (x1 - x0), 0.5 * (z1 - z0)
    bar = dice.uniform(0.02, 0.04)
    for side in (-1, 1):
        wall.add(BLOCK, (x + side * (a - bar), 0.12, z), (bar, 0.03, c), trim)
        wall.add(BLOCK, (x, 0.12, z + side * (c - bar)), (a, 0.03, bar), trim)
    for i in range(1, dice.randint(1, 3)):
        wall.add(BLOCK, (x - a + 2 * a * i / 2, 0.12, z), (0.6 * bar, 0.02, c), trim)
    if dice.random() < 0.4:
        wall.add(BLOCK, (x, 0.12, z + dice.uniform(-0.2, 0.4) * c), (a, 0.02, 0.6 * bar), trim)
    if z0 > 0.1 and dice.random() < 0.7:
        wall.add(BLOCK, (x, -0.02, z0 - 0.012), (a + 0.06, 0.09, 0.012), trim)
    if dice.random() < 0.45:
        _curtains(wall, dice, x, a, z1)
    first, second = wall.direction((0.9 * a, 0.0, 0.0)), wall.direction((0.0, 0.0, 0.9 * c))
    wall.draft.panel(wall.to_world((x, 0.06, z)), first, second, light)
    return wall.part(x, 0.1, z, whole=True)


def _curtains(wall: Thing, dice: Random, x: float, a: float, top: float) -> None:
    """Cloth in folds on both sides of a window."""
    cloth, fold = wall.draft.material("fabric"), dice.uniform(0.03, 0.06)
    low = 0.02 if dice.random() < 0.6 else 0.5 * top
    half = 0.5 * (top + 0.1 - low)
    for side in (-1, 1):
        for i in range(dice.randint(3, 6)):
            place = (x + side * (a + 0.04 - 1.5 * fold * (i - 1)), -0.07 - 0.3 * fold * (i % 2), low + half)
            wall.add(FRUSTUM, place, (fold, 0.6 * fold, half), cloth, params=(dice.uniform(0.85, 1.0),))
    wall.add(BLOCK, (x, -0.07, low + 2 * half + 0.01), (a + 0.2, 0.012, 0.012), cloth)


def _door(wall: Thing, dice: Random, length: float, trim: int) -> None:
    """A door leaf in its frame."""
    x, a, c = dice.uniform(-0.4, 0.4) * (length - 1.2), 0.42, 1.0
    leaf = wall.draft.material("furniture")
    wall.add(BLOCK, (x, -0.01, c), (a, 0.015, c), leaf)
    for side in (-1, 1):
        wall.add(BLOCK, (x + side * (a + 0.04), -0.012, c), (0.04, 0.022, c + 0.08), trim)
    wall.add(BLOCK, (x, -0.012, 2 * c + 0.04), (a, 0.022, 0.04), trim)
    for z in (0.55, 1.45):
        wall.add(BLOCK, (x, -0.028, z), (0.28, 0.006, 0.3), leaf)
    wall.add(DRUM, (x + 0.34, -0.06, 1.0), (0.02, 0.02, 0.04), wall.draft.material(), params=(0.008,), tilt=1.57)


def _partition(draft: Draft, dice: Random, wide: float, deep: float, high: float) -> list[tuple[float, ...]]:
    """Perhaps a column or a piece of inner wall; rectangles of the floor that are taken."""
    taken: list[tuple[float, ...]] = []
    if dice.random() < 0.25 and wide > 3.5:
        x, length = dice.uniform(-0.25, 0.25) * wide, dice.uniform(0.25, 0.45) * deep
        side = dice.choice((-1, 1))
        y = side * (0.5 * deep - 0.5 * length)
        draft.thing().add(BLOCK, (x, y, 0.5 * high), (0.06, 0.5 * length, 0.5 * high), draft.material("wall"))
        taken.append((x, y, 0.1, 0.5 * length))
    if dice.random() < 0.15:
        x, y, r = dice.uniform(-0.3, 0.3) * wide, dice.uniform(-0.3, 0.3) * deep, dice.uniform(0.1, 0.2)
        shape, params = dice.choice(((BLOCK, ()), (FRUSTUM, (1.0,))))
        draft.thing().add(shape, (x, y, 0.5 * high), (r, r, 0.5 * high), draft.material("wall"), params=params)
        taken.append((x, y, r + 0.05, r + 0.05))
    return taken


def _furnish(draft: Draft, dice: Random, wide: float, deep: float, high: float, taken: list[tuple[float, ...]]) -> None:
    """Furniture that does not overlap, with small things on it and on the floor."""
    weights = [piece.weight for piece in PIECES]
    for _ in range(dice.randint(5, 14)):
        piece = dice.choices(PIECES, weights)[0]
        spot = _spot(dice, piece, wide, deep, taken)
        if spot is None:
            continue
        x, y, turn, width, depth = spot
        thing = draft.thing(x, y, 0.0, turn)
        for shelf in piece.build(thing, dice, width, depth):
            if shelf.z < high - 0.5:
                area = shelf.half[0] * shelf.half[1]
                count = min(6, int(dice.uniform(0.0, 1.0) * (2 + 25 * area)))
                scatter(thing.part(shelf.x, shelf.y, shelf.z, whole=True), dice, shelf.half, count, shelf.headroom)
    if dice.random() < 0.5:
        half = (dice.uniform(0.5, 1.2), dice.uniform(0.4, 1.0))
        rug = draft.thing(dice.uniform(-0.5, 0.5), dice.uniform(-0.5, 0.5), 0.0, dice.choice((0.0, 0.0, 0.4)))
        size = (min(half[0], 0.4 * wide), min(half[1], 0.4 * deep), 0.006)
        rug.add(BLOCK, (0.0, 0.0, 0.006), size, draft.material("fabric"))
    for _ in range(dice.randint(0, 5)):
        x, y = dice.uniform(-0.42, 0.42) * wide, dice.uniform(-0.42, 0.42) * deep
        if all(abs(x - a) > b + 0.15 or abs(y - c) > d + 0.15 for a, c, b, d in taken):
            scatter(draft.thing(x, y, 0.012, dice.uniform(0.0, math.tau)), dice, (0.01, 0.01), 1)


def _spot(
    dice: Random, piece: Piece, wide: float, deep: float, taken: list[tuple[float, ...]]
) -> tuple[float, float, float, float, float] | None:
    """Where a piece finds room: x, y, turn, width, depth; None after some tries."""
    for _ in range(12):
        width, depth = dice.uniform(*piece.width), dice.uniform(*piece.depth)
        side = dice.randrange(4)
        turn = (0.0, -0.5 * math.pi, math.pi, 0.5 * math.pi)[side]
        a, b = (0.5 * width, 0.5 * depth) if side % 2 == 0 else (0.5 * depth, 0.5 * width)
        if a > 0.45 * wide or b > 0.45 * deep:
            continue
        gap = dice.uniform(0.02, 0.08)
        x = dice.uniform(-1.0, 1.0) * (0.5 * wide - a - gap - 0.1)
        y = dice.uniform(-1.0, 1.0) * (0.5 * deep - b - gap - 0.1)
        if dice.random() < piece.at_wall:
            x = (x, 0.5 * wide - a - gap, x, -0.5 * wide + a + gap)[side]
            y = (0.5 * deep - b - gap, y, -0.5 * deep + b + gap, y)[side]
        else:
            turn += dice.gauss(0.0, 0.1)
        if all(abs(x - u) > a + p + 0.06 or abs(y - v) > b + q + 0.06 for u, v, p, q in taken):
            taken.append((x, y, a, b))
            return x, y, turn, width, depth
    return None


def _decorate(draft: Draft, dice: Random, wide: float, deep: float, high: float) -> None:
    """Pictures and boards on the walls."""
    for _ in range(dice.randint(0, 6)):
        side = dice.randrange(4)
        length, away = (wide, deep) if side % 2 == 0 else (deep, wide)
        turn = (0.0, -0.5 * math.pi, math.pi, 0.5 * math.pi)[side]
        wall = draft.thing(0.5 * away * math.sin(-turn), 0.5 * away * math.cos(turn), 0.0, turn)
        a, c = dice.uniform(0.1, 0.45), dice.uniform(0.12, 0.4)
        x, z = dice.uniform(-0.5, 0.5) * (length - 2 * a - 0.2), min(dice.uniform(1.2, 1.8), high - c - 0.1)
        rim = dice.uniform(0.01, 0.03)
        wall.add(BLOCK, (x, -0.012, z), (a, 0.013, c), draft.material("furniture"))
        wall.add(BLOCK, (x, -0.026, z), (a - rim, 0.003, c - rim), draft.material())


def _ceiling_lamps(draft: Draft, dice: Random, wide: float, deep: float, high: float) -> None:
    """One or two lamps that hang, or panels in the ceiling."""
    for _ in range(dice.choice((1, 1, 2))):
        x, y = dice.uniform(-0.3, 0.3) * wide, dice.uniform(-0.3, 0.3) * deep
        if dice.random() < 0.5:
            drop, thing = dice.uniform(0.15, 0.7), draft.thing(x, y, 0.0)
            thing.add(FRUSTUM, (0.0, 0.0, high - 0.5 * drop), (0.006, 0.006, 0.5 * drop), draft.material(),
                      params=(1.0,))  # fmt: skip
            shade(thing, dice, (0.0, 0.0, high - drop - 0.1), dice.uniform(0.1, 0.25), 0.1, strength=1.5)
        else:
            a, b, power = dice.uniform(0.15, 0.6), dice.uniform(0.15, 0.4), dice.uniform(2.0, 6.0)
            colour = (power, power * dice.uniform(0.85, 1.0), power * dice.uniform(0.6, 1.0))
            draft.thing(x, y, high - 0.02).add(
                BLOCK, (0.0, 0.0, 0.0), (a, b, 0.02), draft.material("ceiling"), glow=colour
            )
            draft.panel((x, y, high - 0.05), (0.0, b, 0.0), (a, 0.0, 0.0), colour)


def _sun(draft: Draft, dice: Random, windows: list[Thing]) -> None:
    """A sun that shines in through one of the windows."""
    rise, aside = dice.uniform(0.25, 1.0), dice.uniform(-0.8, 0.8)
    towards = dice.choice(windows).direction((math.sin(aside), math.cos(aside), math.tan(rise)))
    power, warm = dice.uniform(3.0, 14.0), dice.uniform(0.0, 1.0)
    draft.sun(towards, 0.005, (power, power * (0.97 - 0.15 * warm), power * (0.92 - 0.4 * warm)))
