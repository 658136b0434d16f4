"""Workshops under a roof: another sort of room, kept out of training to be measured on. Metres; the floor is z = 0."""

import math
from collections.abc import Callable
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.worlds.clutter import arch, carved, scatter, tin, turned
from diorama.worlds.draft import Draft, Thing, sky_of
from diorama.worlds.scene import Stage, World
from diorama.worlds.shapes import BEVELLED, BLOCK, DRUM, FRUSTUM, GABLE, LATHE, RING, ROUNDED, TWISTED


def make_workshop(
    name: str, dice: Random, generator: torch.Generator, photos: Float[Tensor, "k h w 3"] | None
) -> World:
    """A long room under a pitched roof with light from above, full of crates, barrels, benches and pipes."""
    draft = Draft()
    wide, deep, knee = dice.uniform(3.5, 5.5), dice.uniform(4.5, 8.0), dice.uniform(1.6, 2.4)
    rise = dice.uniform(0.25, 0.45) * wide
    light = dice.uniform(1.5, 4.0)
    _roof(draft, dice, wide, deep, knee, rise, light)
    taken: list[tuple[float, float, float]] = []
    for _ in range(dice.randint(10, 22)):
        build, radius, at_wall = dice.choice(PIECES)
        for _ in range(8):
            x, y = dice.uniform(-1.0, 1.0) * (0.5 * wide - radius), dice.uniform(-1.0, 1.0) * (0.5 * deep - radius)
            turn = dice.uniform(0.0, math.tau)
            if at_wall:
                side = dice.choice((-1.0, 1.0))
                x, turn = side * (0.5 * wide - radius), -0.5 * math.pi * side + dice.gauss(0.0, 0.05)
            if all(math.hypot(x - a, y - b) > 0.85 * (radius + c) for a, b, c in taken):
                taken.append((x, y, radius))
                build(draft.thing(x, y, 0.0, turn), dice)
                break
    if dice.random() < 0.6:
        place, power = (
            (dice.uniform(-0.5, 0.5), dice.uniform(-0.3, 0.3) * deep, knee + 0.3 * rise),
            dice.uniform(1.0, 4.0),
        )
        draft.lamp(place, 0.08, (power, 0.9 * power, 0.7 * power))
    near_white = (light, light, 1.05 * light)
    bounce = 0.13 * light
    sky = sky_of(
        near_white, near_white, (0.3 * light,) * 3, fill=0.0, bounce=(bounce, 0.97 * bounce, 0.9 * bounce),
        clouds=0.5, seed=dice.randrange(1 << 16), near=0.25,
    )  # fmt: skip
    stage = Stage(
        torch.tensor([0.0, 0.0, 0.9]),
        0.4 * math.hypot(wide, deep),
        torch.tensor([-0.5 * wide + 0.4, -0.5 * deep + 0.4, 0.6]),
        torch.tensor([0.5 * wide - 0.4, 0.5 * deep - 0.4, 1.8]),
        inward=False,
    )
    return draft.world(name, sky, stage, generator, photos=photos)


def _roof(draft: Draft, dice: Random, wide: float, deep: float, knee: float, rise: float, light: float) -> None:
    """Floor, low walls, gables, a roof with skylights, rafters."""
    shell = draft.thing()
    wall, boards, wood = (draft.material(role) for role in ("building", "ceiling", "furniture"))
    shell.add(BLOCK, (0.0, 0.0, -0.1), (0.5 * wide + 0.3, 0.5 * deep + 0.3, 0.1), draft.material("floor"))
    for side in (-1.0, 1.0):
        shell.add(BLOCK, (side * (0.5 * wide + 0.1), 0.0, 0.5 * knee), (0.1, 0.5 * deep + 0.2, 0.5 * knee), wall)
        end = side * (0.5 * deep + 0.1)
        shell.add(BLOCK, (0.0, end, 0.5 * knee), (0.5 * wide + 0.2, 0.1, 0.5 * knee), wall)
        shell.add(GABLE, (0.0, end, knee + 0.5 * rise), (0.1, 0.5 * wide + 0.05, 0.5 * rise), wall, turn=0.5 * math.pi)
    pitch = math.atan2(rise, 0.5 * wide)
    slope = 0.5 * math.hypot(rise, 0.5 * wide)
    lit = dice.sample((-1.0, 1.0), dice.choice((1, 1, 2)))
    for side in (-1.0, 1.0):
        middle, out = (0.25 * wide * side, knee + 0.5 * rise), 0.06
        x, z = middle[0] + side * out * math.sin(pitch), middle[1] + out * math.cos(pitch)
        gap, at = (dice.uniform(0.3, 0.6), dice.uniform(-0.25, 0.25) * deep) if side in lit else (0.0, 0.0)
        spans = ((-0.5 * deep - 0.2, at - gap), (at + gap, 0.5 * deep + 0.2))
        for low, high in spans:
            size = (slope + 0.08, 0.5 * (high - low), out)
            shell.add(BLOCK, (x, 0.5 * (low + high), z), size, boards, lean=side * pitch)
        if gap:
            for share in (-0.75, 0.75):
                place = (x + share * slope * math.cos(pitch), at, z - side * share * slope * math.sin(pitch))
                shell.add(BLOCK, place, (0.25 * slope + 0.04, gap, out), boards, lean=side * pitch)
            half = 0.5 * slope
            along = (half * math.cos(pitch), 0.0, -side * half * math.sin(pitch))
            draft.panel((x, at, z), (0.0, 0.9 * gap, 0.0), along, (light,) * 3)  # shines down
            if dice.random() < 0.4:
                towards = (side * math.sin(pitch) + dice.gauss(0.0, 0.3), dice.gauss(0.0, 0.4), math.cos(pitch))
                power = light * dice.uniform(2.0, 5.0)
                draft.sun(towards, 0.005, (power, 0.92 * power, 0.75 * power))
    for i in range(dice.randint(2, 5)):
        y = -0.5 * deep + (i + 0.5) * deep / 4
        shell.add(BLOCK, (0.0, y, knee), (0.5 * wide, 0.06, 0.08), wood)
        shell.add(BLOCK, (0.0, y, knee + 0.45 * rise), (0.05, 0.05, 0.45 * rise), wood)


def _crates(thing: Thing, dice: Random) -> None:
    """Slatted boxes, one on another."""
    wood, z, s = thing.draft.material("furniture"), 0.0, dice.uniform(0.2, 0.35)
    for _ in range(dice.randint(1, 3)):
        part = thing.part(0.0, 0.0, z, dice.gauss(0.0, 0.1), whole=True)
        part.add(BLOCK, (0.0, 0.0, 0.7 * s), (0.94 * s, 0.94 * s, 0.68 * s), wood)
        for i in range(3):
            for y in (-1, 1):
                part.add(BLOCK, (0.0, y * 0.96 * s, (0.25 + 0.45 * i) * s), (s, 0.04 * s, 0.17 * s), wood)
        z, s = z + 1.4 * s, s * dice.uniform(0.7, 1.0)


def _barrel(thing: Thing, dice: Random) -> None:
    """A barrel with hoops, standing or lying."""
    r, c, paint = dice.uniform(0.22, 0.32), dice.uniform(0.3, 0.45), thing.draft.material("furniture")
    knots = (0.78, 0.86, 0.96, 1.0, 1.0, 0.96, 0.86, 0.78)
    thing.add(LATHE, (0.0, 0.0, c), (r, r, c), paint, params=(*knots, 0.0, 0.6 * r / c))
    hoop = thing.draft.material()
    for z in (0.45, 1.55):
        thing.add(RING, (0.0, 0.0, z * c), (0.97 * r, 0.97 * r, 0.018), hoop, params=(0.018,))


def _bench(thing: Thing, dice: Random) -> None:
    """A workbench with a vice, tools and tins."""
    a, b, high = dice.uniform(0.6, 1.0), 0.35, dice.uniform(0.8, 0.95)
    wood = thing.draft.material("furniture")
    thing.add(BLOCK, (0.0, 0.0, high - 0.04), (a, b, 0.04), wood)
    for x in (-1, 1):
        for y in (-1, 1):
            thing.add(BLOCK, (x * (a - 0.08), y * (b - 0.08), 0.5 * high - 0.04), (0.05, 0.05, 0.5 * high - 0.04), wood)
    thing.add(BLOCK, (0.0, 0.0, 0.25), (a - 0.1, b - 0.06, 0.015), wood)
    carved(thing.part(0.7 * a, -0.8 * b, high, whole=True), dice, 0.08, thing.draft.material())
    scatter(thing.part(0.0, 0.0, high, whole=True), dice, (0.8 * a, 0.7 * b), dice.randint(2, 7))
    scatter(thing.part(0.0, 0.0, 0.265, whole=True), dice, (0.7 * a, 0.5 * b), dice.randint(0, 4), 0.4)


def _rack(thing: Thing, dice: Random) -> None:
    """An open rack with tins."""
    a, b, high, metal = dice.uniform(0.4, 0.7), 0.2, dice.uniform(1.2, 1.9), thing.draft.material("furniture")
    for x in (-1, 1):
        for y in (-1, 1):
            thing.add(BLOCK, (x * a, y * b, 0.5 * high), (0.02, 0.02, 0.5 * high), metal)
    for i in range(3):
        z = 0.15 + i * (high - 0.2) / 3
        thing.add(BLOCK, (0.0, 0.0, z), (a, b, 0.012), metal)
        for j in range(dice.randint(2, 5)):
            tin(thing.part(-0.8 * a + 0.4 * a * j, dice.uniform(-0.5, 0.5) * b, z + 0.012), dice)


def _pipes(thing: Thing, dice: Random) -> None:
    """Pipes, arches and twisted columns that lean about."""
    paint = thing.draft.material()
    arch(thing, dice.uniform(0.2, 0.45), dice.uniform(1.0, 1.6), dice.uniform(0.06, 0.14), paint)
    for _ in range(dice.randint(0, 4)):
        c, r = dice.uniform(0.4, 1.0), dice.uniform(0.015, 0.04)
        thing.add(FRUSTUM, (dice.gauss(0.0, 0.15), dice.gauss(0.0, 0.15), 0.95 * c), (r, r, c), paint, params=(1.0,),
                  tilt=dice.gauss(0.0, 0.2), lean=dice.gauss(0.0, 0.2))  # fmt: skip
    if dice.random() < 0.3:
        thing.add(TWISTED, (0.3, 0.0, 0.5), (0.11, 0.11, 0.5), thing.draft.material("furniture"),
                  params=(0.08, 0.07, dice.uniform(2.0, 7.0), 0.02))  # fmt: skip


def _wheels(thing: Thing, dice: Random) -> None:
    """Tyres in a stack, a drum, a pulley."""
    r, tube = dice.uniform(0.25, 0.4), dice.uniform(0.06, 0.12)
    paint = thing.draft.material("furniture")
    for i in range(dice.randint(1, 4)):
        thing.add(RING, (dice.gauss(0.0, 0.02), 0.0, tube * (2 * i + 1)), (r, r, tube), paint, params=(tube,))
    if dice.random() < 0.5:
        thing.add(DRUM, (0.0, 0.0, 0.1), (0.5 * r, 0.5 * r, 0.1), thing.draft.material(), params=(0.02,))


def _machine(thing: Thing, dice: Random) -> None:
    """A machine of boxes, drums and a turned column."""
    a, b, c = (dice.uniform(0.2, 0.4) for _ in range(3))
    paint, metal = thing.draft.material("furniture"), thing.draft.material()
    thing.add(BEVELLED, (0.0, 0.0, c), (a, b, c), paint, params=(0.05,))
    knots = [dice.uniform(0.3, 1.0) for _ in range(8)]
    turned(thing, (0.3 * a, 0.0, 2 * c), 0.4 * a, dice.uniform(0.3, 0.6), knots, metal)
    thing.add(ROUNDED, (-0.4 * a, 0.0, 2 * c + 0.12), (0.4 * a, 0.6 * b, 0.14), paint, params=(0.04,))
    thing.add(DRUM, (0.0, -b - 0.03, 1.2 * c), (0.12, 0.12, 0.03), metal, params=(0.01,), tilt=0.5 * math.pi)


PIECES: tuple[tuple[Callable[[Thing, Random], None], float, bool], ...] = (
    (_crates, 0.4, False), (_barrel, 0.33, False), (_bench, 0.6, True), (_rack, 0.45, True), (_pipes, 0.45, False),
    (_wheels, 0.42, False), (_machine, 0.45, False), (_crates, 0.4, True),
)  # fmt: skip
"""What stands about: its builder, about its radius, whether it stands along a wall."""
