"""A small ray caster: sun, soft shadows, light from the sky, gloss. Exact in colour, distance and pose.

A photograph averages several rays a pixel; ray k of every pixel looks at the same point of the sun and of the sky dome,
so shadows are soft and free of noise, and two photographs of one surface agree.
"""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras, pixel_grid
from diorama.cameras.rays import camera_rays
from diorama.data.views import Frame, Views
from diorama.worlds.shapes import NOTHING, Placement, Shape, intersect
from diorama.worlds.textures import Colour, Texture, colour_of, layered_noise, mix

_LIFT = 1e-4
"""Metres by which a shadow ray starts above its surface."""


@dataclass(frozen=True)
class Solid:
    """A shape, where it stands, and what it is painted with."""

    shape: Shape
    placement: Placement
    texture: Texture
    gloss: float = 0.0
    """Strength of the sun's highlight; 0 is matt."""


@dataclass(frozen=True)
class Light:
    """Sun and sky, in linear light."""

    towards_sun: tuple[float, float, float] = (0.5, 0.35, 0.8)
    sun: Colour = (2.3, 2.1, 1.8)
    sun_radius: float = 0.06
    """Radians: how soft the edges of shadows are."""
    dome: Colour = (0.50, 0.60, 0.75)
    """Light that arrives from every direction above."""
    zenith: Colour = (0.10, 0.27, 0.62)
    horizon: Colour = (0.62, 0.72, 0.82)
    clouds: float = 0.7
    """How white the clouds are; 0 is a clear sky."""
    haze: float = 30.0
    """Metres after which the ground has faded into the horizon; inf for none."""


@dataclass(frozen=True)
class World:
    """A scene: solids under a light."""

    solids: tuple[Solid, ...]
    light: Light = field(default_factory=Light)
    name: str = "world"


@dataclass(frozen=True)
class Hits:
    """What rays met: colour in [0, 1] as a screen wants it, distance along the ray (inf for sky), index of the solid
    (-1 for sky)."""

    colour: Float[Tensor, "ray 3"]
    distance: Float[Tensor, "ray"]
    solid: Int[Tensor, "ray"]


def first_hits(
    world: World, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"]
) -> tuple[Float[Tensor, "ray"], Float[Tensor, "ray 3"], Int[Tensor, "ray"]]:
    """Distance, normal and index of the nearest solid in front of each origin; inf, 0 and -1 where there is none."""
    distance = torch.full_like(origins[:, 0], NOTHING)
    normal = torch.zeros_like(origins)
    solid = torch.full(origins.shape[:1], -1, dtype=torch.long, device=origins.device)
    for index, thing in enumerate(world.solids):
        t, n = intersect(thing.shape, thing.placement, origins, directions)
        closer = t < distance
        distance = torch.where(closer, t, distance)
        normal = torch.where(closer[:, None], n, normal)
        solid = torch.where(closer, index, solid)
    return distance, normal, solid


def trace(world: World, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"], sample: int = 0) -> Hits:
    """Follow unit rays into the world. `sample` numbers the point of the sun and of the dome that lights a surface."""
    distance, normal, solid = first_hits(world, origins, directions)
    colour = sky(world.light, directions)
    hit = solid >= 0
    if hit.any():
        points = origins[hit] + directions[hit] * distance[hit][:, None]
        lit = _shade(world, points, directions[hit], normal[hit], solid[hit], sample)
        fade = 1 - torch.exp(-((distance[hit] / world.light.haze) ** 2))[:, None]
        horizon = torch.tensor(world.light.horizon).to(lit)
        colour = colour.masked_scatter(hit[:, None], lit + (horizon - lit) * fade)
    return Hits(colour.clamp(0, 1) ** (1 / 2.2), distance, solid)


def sky(light: Light, directions: Float[Tensor, "ray 3"]) -> Float[Tensor, "ray 3"]:
    """Linear colour of the sky in a direction: from horizon to zenith, with clouds on a flat ceiling."""
    height = directions[:, 2].clamp(min=0)
    colour = mix(light.horizon, light.zenith, height.sqrt())
    ceiling = torch.cat([directions[:, :2] / (height[:, None] + 0.15), torch.zeros_like(directions[:, :1])], dim=-1)
    cover = ((layered_noise(ceiling * 1.5, 4, seed=11) - 0.5) * 4).clamp(0, 1) * (height * 6).clamp(max=1)
    return colour + light.clouds * cover[:, None] * (0.95 - colour)


def photograph(world: World, cameras: Cameras, *, samples: int = 9, names: tuple[str, ...] | None = None) -> Views:
    """Photographs by cameras of one size, with `samples` rays a pixel, and exact planar depth at the pixel centres.

    Depth is 0 where there is only sky. The frame is the world's own, in metres.
    """
    width, height = (int(side) for side in cameras.size[0])
    centres = pixel_grid(width, height).to(cameras.focal).reshape(1, -1, 2)
    images, depths = [], []
    for index in range(len(cameras)):
        camera = cameras[[index]]
        colour = torch.zeros(width * height, 3).to(cameras.focal)
        for sample in range(samples):
            shift = torch.tensor(_spread(sample, samples)).to(centres) - 0.5
            rays = camera_rays(camera, centres + shift)
            colour += trace(world, rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3), sample).colour / samples
        rays = camera_rays(camera, centres)
        distance, _, _ = first_hits(world, rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3))
        depth = torch.where(torch.isfinite(distance), distance * rays.cosine.reshape(-1), 0.0)
        images.append(colour.reshape(height, width, 3).permute(2, 0, 1))
        depths.append(depth.reshape(height, width))
    return Views(
        torch.stack(images),
        names or tuple(f"photo_{index:02d}.png" for index in range(len(cameras))),
        cameras,
        depth=torch.stack(depths),
        frame=Frame(f"diorama world `{world.name}`", "metres"),
        layout="world",
    )


def _spread(index: int, count: int, turn: int = 0) -> tuple[float, float]:
    """Point `index` of a plastic-number sequence in the unit square; `turn` gives unrelated sequences."""
    plastic = 1.324717957244746
    offset = 0.5 + 0.137 * turn
    first = (offset + (index + turn * count) / plastic) % 1.0
    return first, (offset + (index + turn * count) / plastic**2) % 1.0


def _shade(world: World, points: Tensor, directions: Tensor, normal: Tensor, solid: Tensor, sample: int) -> Tensor:
    """Linear colour of surface points: paint times (sun in sight + dome in sight), plus the sun's highlight."""
    light = world.light
    paint, gloss = torch.zeros_like(points), torch.zeros_like(points[:, 0])
    for index, thing in enumerate(world.solids):
        mine = solid == index
        if mine.any():
            paint = paint.masked_scatter(
                mine[:, None], colour_of(thing.texture, thing.placement.to_own(points[mine])).to(paint)
            )
            gloss = torch.where(mine, thing.gloss, gloss)
    above = points + normal * _LIFT
    sun = _sun_direction(light, sample).to(points).expand_as(points)
    facing = (normal * sun).sum(-1).clamp(min=0)
    facing = facing * torch.isinf(first_hits(world, above, sun)[0])
    dome = _dome_direction(normal, sample)
    open_sky = torch.isinf(first_hits(world, above, dome)[0]).to(points)
    bounce = 0.25 + 0.75 * open_sky
    sun_colour, dome_colour = torch.tensor(light.sun).to(points), torch.tensor(light.dome).to(points)
    half = torch.nn.functional.normalize(sun - directions, dim=-1)
    highlight = gloss * facing * (normal * half).sum(-1).clamp(min=0) ** 60
    return (
        paint * (facing[:, None] * sun_colour + bounce[:, None] * dome_colour) * 0.55 + highlight[:, None] * sun_colour
    )


def _sun_direction(light: Light, sample: int) -> Float[Tensor, "3"]:
    """A point of the sun's disc, as a unit direction."""
    towards = torch.nn.functional.normalize(torch.tensor(light.towards_sun), dim=0)
    side = torch.nn.functional.normalize(torch.linalg.cross(towards, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    first, second = _spread(sample, 1, turn=1)
    radius, angle = light.sun_radius * math.sqrt(first), math.tau * second
    shifted = towards + radius * (math.cos(angle) * side + math.sin(angle) * torch.linalg.cross(side, towards))
    return torch.nn.functional.normalize(shifted, dim=0)


def _dome_direction(normal: Float[Tensor, "ray 3"], sample: int) -> Float[Tensor, "ray 3"]:
    """A direction about each normal, cosine-weighted: the normal plus a point of the unit sphere."""
    first, second = _spread(sample, 1, turn=2)
    z, angle = 2 * first - 1, math.tau * second
    radius = math.sqrt(max(0.0, 1 - z * z))
    point = torch.tensor([radius * math.cos(angle), radius * math.sin(angle), z]).to(normal)
    return torch.nn.functional.normalize(normal + point * 0.999, dim=-1)
