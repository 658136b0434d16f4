"""A world while it is being put together: solids, lights and materials in lists, then tensors once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.worlds.materials import Materials, Role, join_materials, sample_materials
from diorama.worlds.scene import LAMP, PANEL, SHAPE_COLUMNS, SUN, Lights, Sky, Solids, Stage, World

Triple = tuple[float, float, float]
Rotation = tuple[Triple, Triple, Triple]

BLACK: Triple = (0.0, 0.0, 0.0)


@dataclass
class Draft:
    """What has been put into a world so far."""

    solids: list[tuple[int, Triple, Rotation, Triple, tuple[float, ...], int, int, Triple]] = field(
        default_factory=list
    )
    lights: list[tuple[int, Triple, Triple, Triple, Triple]] = field(default_factory=list)
    roles: list[Role] = field(default_factory=list)
    tables: list[Float[Tensor, "n n"]] = field(default_factory=list)
    things: int = 0

    def material(self, role: Role = "thing") -> int:
        """A new material, drawn once all are known."""
        self.roles.append(role)
        return len(self.roles) - 1

    def thing(self, x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: float = 0.0) -> "Thing":
        """A new thing, whose parts are placed in its own frame: origin in metres, turn (radians) about the vertical."""
        self.things += 1
        return Thing(self, self.things - 1, (x, y, z), turn)

    def sun(self, towards: Triple, radius: float, colour: Triple) -> None:
        """A far disc of a radius in radians; colour: irradiance square to it."""
        length = math.sqrt(sum(each * each for each in towards))
        unit = (towards[0] / length, towards[1] / length, towards[2] / length)
        self.lights.append((SUN, unit, (radius, 0.0, 0.0), BLACK, colour))

    def lamp(self, place: Triple, radius: float, colour: Triple) -> None:
        """A ball that shines; colour: radiant intensity."""
        self.lights.append((LAMP, place, (radius, 0.0, 0.0), BLACK, colour))

    def panel(self, place: Triple, first: Triple, second: Triple, colour: Triple) -> None:
        """A rectangle with these half sides that shines along first x second; colour: radiance."""
        self.lights.append((PANEL, place, first, second, colour))

    def table(self, heights: Float[Tensor, "n n"]) -> int:
        """Add a table of heights in [0, 1]; all of one world are of one size."""
        self.tables.append(heights)
        return len(self.tables) - 1

    def world(
        self,
        name: str,
        sky: Sky,
        stage: Stage,
        generator: torch.Generator | None = None,
        *,
        materials: Materials | None = None,
        photos: Float[Tensor, "photo h w rgb=3"] | None = None,
    ) -> World:
        """The finished world. Materials are drawn from the generator unless they are given."""
        shape, centre, rotation, size, params, material, instance, glow = zip(*self.solids, strict=True)
        if materials is None:
            assert generator is not None
            materials = self._materials(generator, 0 if photos is None else len(photos))
        kind, place, first, second, colour = zip(*self.lights, strict=True) if self.lights else ((),) * 5
        columns = [each + (0.0,) * (SHAPE_COLUMNS - len(each)) for each in params]
        return World(
            name,
            Solids(
                torch.tensor(shape),
                torch.tensor(centre),
                torch.tensor(rotation),
                torch.tensor(size),
                torch.tensor(columns),
                torch.tensor(material),
                torch.tensor(instance),
                torch.tensor(glow),
            ),
            materials,
            Lights(
                torch.tensor(kind, dtype=torch.long),
                *(torch.tensor(each).reshape(-1, 3) for each in (place, first, second, colour)),
            ),
            sky,
            stage,
            torch.stack(self.tables) if self.tables else torch.zeros(1, 3, 3),
            photos,
        )

    def _materials(self, generator: torch.Generator, photos: int) -> Materials:
        """One row for every role asked for, in that order."""
        kinds = sorted(set(self.roles))
        asked = {role: [i for i, each in enumerate(self.roles) if each == role] for role in kinds}
        drawn = [sample_materials(len(asked[role]), generator, role=role, photos=photos) for role in kinds]
        order = torch.tensor([i for role in kinds for i in asked[role]]).argsort()
        return join_materials(drawn)[order]


@dataclass(frozen=True)
class Thing:
    """A frame in which parts are placed: one instance."""

    draft: Draft
    number: int
    place: Triple
    turn: float

    def add(
        self,
        shape: int,
        centre: Triple,
        size: Triple,
        material: int,
        *,
        params: Sequence[float] = (),
        turn: float = 0.0,
        tilt: float = 0.0,
        lean: float = 0.0,
        glow: Triple = BLACK,
    ) -> None:
        """A part. size: half its extents. Radians: tilt about its own x, first; lean about y; turn about z, last."""
        rotation = rotation_of(self.turn + turn, tilt, lean)
        self.draft.solids.append(
            (shape, self.to_world(centre), rotation, size, tuple(map(float, params)), material, self.number, glow)
        )

    def to_world(self, point: Triple) -> Triple:
        """A point of this frame in the world."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        x, y, z = self.place
        return x + c * point[0] - s * point[1], y + s * point[0] + c * point[1], z + point[2]

    def direction(self, vector: Triple) -> Triple:
        """A vector of this frame in the world."""
        c, s = math.cos(self.turn), math.sin(self.turn)
        return c * vector[0] - s * vector[1], s * vector[0] + c * vector[1], vector[2]

    def part(self, x: float, y: float, z: float, turn: float = 0.0, *, whole: bool = False) -> "Thing":
        """A frame within this frame, a thing of its own unless it is a part of the whole."""
        px, py, pz = self.to_world((x, y, z))
        if whole:
            return Thing(self.draft, self.number, (px, py, pz), self.turn + turn)
        return self.draft.thing(px, py, pz, self.turn + turn)


def rotation_of(turn: float, tilt: float = 0.0, lean: float = 0.0) -> Rotation:
    """Own axes to world axes: about x by tilt, then about y by lean, then about z by turn; radians."""
    ct, st, cl, sl, cx, sx = (f(angle) for angle in (turn, lean, tilt) for f in (math.cos, math.sin))
    return (
        (ct * cl, ct * sl * sx - st * cx, ct * sl * cx + st * sx),
        (st * cl, st * sl * sx + ct * cx, st * sl * cx - ct * sx),
        (-sl, cl * sx, cl * cx),
    )


def sky_of(
    zenith: Triple, horizon: Triple, ground: Triple, *, fill: float = 1.0, bounce: Triple = (0.3, 0.3, 0.3),
    clouds: float = 0.0, seed: int = 0, haze: float = math.inf, near: float = 0.3,
) -> Sky:  # fmt: skip
    """A sky from plain numbers; see `Sky`."""
    return Sky(
        torch.tensor(zenith),
        torch.tensor(horizon),
        torch.tensor(ground),
        torch.full((3,), float(fill)),
        torch.tensor(bounce),
        torch.tensor([clouds, float(seed), haze, near]),
    )
