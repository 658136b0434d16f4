"""How surfaces are lit: the readable reference, for any device. `lighting_numba` holds the scalar twin.

Every sample of a pixel asks one point of each sun, one point of one lamp or panel, and one direction of the hemisphere.
Which ones is fixed by the pixel's place in a 4 x 4 pattern and the sample's number: no random numbers, no noise that
differs between twins, and an average over 4 x 4 pixels has seen them all (interleaved sampling: Keller and Heidrich,
2001). Light is radiance of a white surface, that is, irradiance over pi.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.worlds.noise import layered_noise
from diorama.worlds.scene import LAMP, PANEL, SUN, Lights, Sky, World
from diorama.worlds.shapes import normals
from diorama.worlds.textures import texture_colour

BAYER = (0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5)
"""Order of the 16 pixels of a pattern: neighbours are far apart."""
PICK, FIRST, SECOND = 0.8191725133961645, 0.6710436067037893, 0.5497004779019703
"""Steps of an evenly filling sequence in a cube: which light, and where on it. Source: Roberts, "The unreasonable
effectiveness of quasirandom sequences" (2018): powers of the root of x^4 = x + 1."""
UP, AROUND = 0.7548776662466927, 0.5698402909980532
"""The same in a square, for directions of the hemisphere: powers of the root of x^3 = x + 1."""
LIFT = 5e-4
"""Metres by which a ray starts above its surface."""
HIGHLIGHT = 0.25
"""Strength of the highlight of a material of gloss 1."""
LEAST_REFLECTION = 0.02
"""Reflections weaker than this are not followed."""
MIRROR_BOUNCE = 0.5
"""Share of the bounced light that surfaces in a mirror get, which are not asked what hides them."""
SAME_LIGHT = 0.95
"""Least cosine between the normals of samples of one pixel and one solid that may share their soft light."""
WIDE_SUN = 0.02
"""Radius in radians from which a sun counts as soft light. The shadows of a smaller one are not smoothed, so all pixels
ask the same points of it: no pattern is left, and edges stay sharp."""
PROBES = ((-0.43, 0.11, 0.2), (0.07, -0.36, -0.31), (0.32, 0.27, 0.45), (-0.14, -0.05, -0.08),
          (0.23, 0.41, -0.22), (-0.3, 0.36, 0.05), (0.45, -0.17, 0.13), (-0.08, 0.19, -0.46))  # fmt: skip
"""Points at which a texture is asked for its mean colour, metres."""
PROBE_FOOTPRINT = 0.3
"""Metres of surface that each of them stands for."""

Cast = Callable[[Float[Tensor, "ray 3"], Float[Tensor, "ray 3"], Tensor | None], tuple[Tensor, Tensor]]
"""Distance and solid that rays meet first; the third argument, distances, asks only whether they meet one before."""


@dataclass(frozen=True)
class Surface:
    """What rays have met."""

    point: Float[Tensor, "ray 3"]
    """In the world, lifted off the surface."""
    normal: Float[Tensor, "ray 3"]
    """In the world, towards the viewer."""
    direction: Float[Tensor, "ray 3"]
    """Of the ray."""
    facing: Float[Tensor, "ray"]
    """Cosine between the normal and the way back."""
    paint: Float[Tensor, "ray 3"]
    material: Int[Tensor, "ray"]
    shine: Float[Tensor, "ray"]
    index: Float[Tensor, "ray"]
    """Place in the sequences of light samples."""
    steady: Float[Tensor, "ray"]
    """The same, but alike in all pixels."""

    def __getitem__(self, which: Tensor) -> "Surface":
        """Some of them."""
        return Surface(*(getattr(self, each.name)[which] for each in fields(self)))


@dataclass(frozen=True)
class Sample:
    """What a sample adds to its pixel, before smoothing; each "ray 3"."""

    soft: Tensor
    """Light of lamps, panels and surroundings."""
    highlight: Tensor
    rest: Tensor
    """All that needs no smoothing: sun, sky, glow, mirrors, haze."""
    paint: Tensor
    """Dimmed by haze and by what is mirrored."""
    met: Bool[Tensor, "ray"]
    light: "SoftLight"
    """What the pixel's next sample may share."""


@dataclass(frozen=True)
class SoftLight:
    """Light of lamps, panels and surroundings where the last ray of each pixel looked for it."""

    solid: Int[Tensor, "ray"]
    """-1: nowhere yet."""
    normal: Float[Tensor, "ray 3"]
    direct: Float[Tensor, "ray 3"]
    around: Float[Tensor, "ray 3"]
    bright: Float[Tensor, "ray 3"]
    """The highlights of `direct`."""


def mean_colours(world: World) -> Float[Tensor, "material 3"]:
    """About the mean colour of every material: what it hands on of the light it gets."""
    materials = world.materials
    count = len(materials)
    points = world.solids.centre.new_tensor(PROBES).repeat(count, 1)
    each = torch.arange(count, device=world.device).repeat_interleave(len(PROBES))
    up = torch.zeros_like(points)
    up[:, 2] = 1.0
    footprint = torch.full_like(points[:, 0], PROBE_FOOTPRINT)
    colour = texture_colour(materials.kind[each], materials.params[each], points, up, footprint, world.photos)
    return colour.reshape(count, len(PROBES), 3).mean(1)


def surface_normals(
    world: World, points: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"], solid: Int[Tensor, "ray"]
) -> tuple[Float[Tensor, "ray 3"], Float[Tensor, "ray 3"], Float[Tensor, "ray 3"]]:
    """Normals in the world towards the viewer; points and normals in the solids' own frames."""
    solids = world.solids
    rotation = solids.rotation[solid]
    own = ((points - solids.centre[solid])[:, None] @ rotation)[:, 0]
    own_normal = torch.zeros_like(own)
    shapes = solids.shape[solid]
    for shape in shapes.unique().tolist():
        which = (shapes == shape).nonzero()[:, 0]
        row = solid[which]
        own_normal[which] = normals(shape, own[which], solids.size[row], solids.params[row], world.heights)
    normal = (rotation @ own_normal[..., None])[..., 0]
    away = (normal * directions).sum(-1, keepdim=True) > 0
    return torch.where(away, -normal, normal), own, own_normal


def surface(
    world: World, origins: Tensor, directions: Tensor, distance: Tensor, solid: Tensor, footprint: Tensor,
    index: Tensor, steady: Tensor,
) -> Surface:  # fmt: skip
    """The surfaces that rays meet at these distances; footprint: metres a pixel covers square to the ray."""
    points = origins + distance[:, None] * directions
    normal, own, own_normal = surface_normals(world, points, directions, solid)
    material = world.solids.material[solid]
    facing = -(normal * directions).sum(-1)
    row, wide = world.materials, footprint / facing.clamp(min=0.05).sqrt()
    paint = texture_colour(row.kind[material], row.params[material].to(own), own, own_normal, wide, world.photos)
    shine = row.shine[material].to(own)
    return Surface(points + LIFT * normal, normal, directions, facing, paint.to(own), material, shine, index, steady)


def shade(
    world: World, cast: Cast, means: Float[Tensor, "material 3"], origins: Float[Tensor, "ray 3"],
    directions: Float[Tensor, "ray 3"], spread: Float[Tensor, "ray"], index: Float[Tensor, "ray"],
    light: SoftLight, *, number: int, fresh: bool,
) -> Sample:  # fmt: skip
    """What sample `number` of each pixel sees.

    spread: metres that a pixel widens per metre. light: what earlier samples of the pixels found; a sample that is not
    `fresh` shares it where it meets the same surface.
    """
    distance, solid = cast(origins, directions, None)
    met = solid >= 0
    soft, highlight, paint = (torch.zeros_like(directions) for _ in range(3))
    rest = sky_colour(world.sky, directions, clouds=True)
    which = met.nonzero()[:, 0]
    if len(which) == 0:
        return Sample(soft, highlight, rest, paint, met, light)
    t, row = distance[which], solid[which]
    seen = surface(
        world,
        origins[which],
        directions[which],
        t,
        row,
        t * spread[which],
        index[which],
        torch.full_like(t, 16.0 * number),
    )
    fade = torch.exp(-((t / world.sky.look[2]) ** 2))[:, None]
    gloss = world.materials.gloss[seen.material].to(t)[:, None]
    plain = world.materials.mirror[seen.material].to(t)[:, None]
    mirror = plain + (1 - plain) * torch.maximum(plain, gloss) * (1 - seen.facing[:, None]) ** 5
    body = fade * (1 - mirror)
    own = fade * world.solids.glow[row] + (1 - fade) * world.sky.horizon
    for sun in suns(world.lights, wide=False):
        strength, bright = sunlight(world.lights, sun, cast, seen, seen.steady)
        colour = strength[:, None] * world.lights.colour[sun]
        own = own + body * colour * (seen.paint + HIGHLIGHT * gloss * bright[:, None])
    same = (light.solid[which] == row) & ((light.normal[which] * seen.normal).sum(-1) > SAME_LIGHT)
    asked = torch.ones_like(row, dtype=torch.bool) if fresh else ~same
    light = find_light(world, cast, means, seen[asked], which[asked], row[asked], light)
    soft[which] = light.direct[which] + light.around[which]
    highlight[which] = body * HIGHLIGHT * gloss * light.bright[which]
    paint[which] = body * seen.paint
    shiny = (mirror[:, 0] > LEAST_REFLECTION).nonzero()[:, 0]
    if len(shiny):
        image = reflection(world, cast, seen[shiny], t[shiny], spread[which[shiny]])
        own = own.index_add(0, shiny, (fade * mirror)[shiny] * image)
    return Sample(soft, highlight, rest.index_copy(0, which, own), paint, met, light)


def no_light(like: Float[Tensor, "ray 3"]) -> SoftLight:
    """What pixels know before their first sample."""
    none, zero = torch.full_like(like[:, 0], -1, dtype=torch.long), torch.zeros_like(like)
    return SoftLight(none, zero, zero, zero, zero)


def find_light(
    world: World, cast: Cast, means: Tensor, seen: Surface, pixel: Int[Tensor, "some"], solid: Int[Tensor, "some"],
    light: SoftLight,
) -> SoftLight:  # fmt: skip
    """What pixels know of soft light once some of them have looked."""
    if len(pixel) == 0:
        return light
    direct, lobed = soft_light(world.lights, cast, seen)
    bright = lobed[:, None] * direct
    for number in suns(world.lights, wide=True):
        strength, lobed = sunlight(world.lights, number, cast, seen, seen.index)
        colour = strength[:, None] * world.lights.colour[number]
        direct, bright = direct + colour, bright + lobed[:, None] * colour
    return SoftLight(
        light.solid.index_copy(0, pixel, solid),
        light.normal.index_copy(0, pixel, seen.normal),
        light.direct.index_copy(0, pixel, direct),
        light.around.index_copy(0, pixel, surroundings(world, cast, means, seen)),
        light.bright.index_copy(0, pixel, bright),
    )


def reflection(
    world: World, cast: Cast, seen: Surface, before: Float[Tensor, "ray"], spread: Float[Tensor, "ray"]
) -> Float[Tensor, "ray 3"]:
    """What a mirror shows: matt surfaces under direct light, without occlusion of the bounced light."""
    directions = seen.direction + 2 * seen.facing[:, None] * seen.normal
    origins = seen.point
    distance, solid = cast(origins, directions, None)
    image = sky_colour(world.sky, directions, clouds=True)
    which = (solid >= 0).nonzero()[:, 0]
    if len(which) == 0:
        return image
    t, row = distance[which], solid[which]
    there = surface(
        world,
        origins[which],
        directions[which],
        t,
        row,
        (before[which] + t) * spread[which],
        seen.steady[which],
        seen.steady[which],
    )
    light, _ = soft_light(world.lights, cast, there)
    for sun in suns(world.lights, wide=False) + suns(world.lights, wide=True):
        strength, _ = sunlight(world.lights, sun, cast, there, there.steady)
        light = light + strength[:, None] * world.lights.colour[sun]
    up = 0.5 + 0.5 * there.normal[:, 2:]
    light = light + MIRROR_BOUNCE * world.sky.bounce + up * world.sky.fill * world.sky.zenith
    return image.index_copy(0, which, there.paint * light + world.solids.glow[row])


def fraction(index: Float[Tensor, "ray"], step: float) -> Float[Tensor, "ray"]:
    """Place `index` of a sequence that fills [0, 1) evenly."""
    return (0.5 + index * step) % 1.0


def lobe(seen: Surface, towards: Float[Tensor, "ray 3"]) -> Float[Tensor, "ray"]:
    """Blinn and Phong's highlight, with the energy of its sharpness."""
    half = torch.nn.functional.normalize(towards - seen.direction, dim=-1, eps=1e-9)
    return 0.125 * (seen.shine + 8) * (seen.normal * half).sum(-1).clamp(min=0) ** seen.shine


def suns(lights: Lights, *, wide: bool) -> list[int]:
    """The suns that count as soft light, or the others."""
    return ((lights.kind == SUN) & ((lights.first[:, 0] >= WIDE_SUN) == wide)).nonzero()[:, 0].tolist()


def sunlight(
    lights: Lights, light: int, cast: Cast, seen: Surface, index: Float[Tensor, "ray"]
) -> tuple[Float[Tensor, "ray"], Float[Tensor, "ray"]]:
    """Cosine over pi of a point of the sun's disc that is in sight, else 0, and its highlight."""
    middle, size = lights.place[light], lights.first[light, 0]
    axis = middle.new_tensor([0.0, 0.0, 1.0] if float(middle[2].abs()) < 0.9 else [1.0, 0.0, 0.0])
    side = torch.nn.functional.normalize(torch.linalg.cross(middle, axis), dim=0)
    radius = size * fraction(index, FIRST).sqrt()
    angle = math.tau * fraction(index, SECOND)
    shift = (radius * angle.cos())[:, None] * side + (radius * angle.sin())[:, None] * torch.linalg.cross(middle, side)
    towards = torch.nn.functional.normalize(middle + shift, dim=-1)
    cosine = (seen.normal * towards).sum(-1).clamp(min=0)
    strength = unblocked(cast, seen, towards, torch.full_like(cosine, math.inf), cosine / math.pi)
    return strength, torch.where(strength > 0, lobe(seen, towards), 0.0)


def unblocked(cast: Cast, seen: Surface, towards: Tensor, limit: Tensor, strength: Tensor) -> Tensor:
    """The strength where nothing lies in the way, else 0."""
    asked = (strength > 0).nonzero()[:, 0]
    if len(asked) == 0:
        return strength
    _, blocker = cast(seen.point[asked], towards[asked], limit[asked])
    return strength.index_copy(0, asked, torch.where(blocker >= 0, 0.0, strength[asked]))


def soft_light(lights: Lights, cast: Cast, seen: Surface) -> tuple[Float[Tensor, "ray 3"], Float[Tensor, "ray"]]:
    """Light of one point of one lamp or panel, chosen by how much it may matter; and its highlight."""
    if not bool((lights.kind != SUN).any()):
        return torch.zeros_like(seen.paint), torch.zeros_like(seen.index)
    weight = _weights(lights, seen)
    total = weight.sum(-1)
    rise = weight.cumsum(-1)
    past = (fraction(seen.index, PICK) * total)[:, None] >= rise
    last = (weight > 0).to(torch.int8) * torch.arange(1, len(lights) + 1, device=weight.device)
    chosen = torch.minimum(past.sum(-1), last.amax(-1) - 1).clamp(min=0)
    chance = weight.gather(-1, chosen[:, None])[:, 0] / total.clamp(min=1e-30)
    first, second = fraction(seen.index, FIRST), fraction(seen.index, SECOND)
    away = lights.place[chosen] - seen.point
    radius = lights.first[chosen, 0]
    lamp = lights.kind[chosen] == LAMP
    up, angle = 1 - 2 * first, math.tau * second
    ring = radius * (1 - up * up).clamp(min=0).sqrt()
    on_ball = torch.stack([ring * angle.cos(), ring * angle.sin(), radius * up], -1)
    on_panel = (2 * first - 1)[:, None] * lights.first[chosen] + (2 * second - 1)[:, None] * lights.second[chosen]
    way = away + torch.where(lamp[:, None], on_ball, on_panel)
    limit = torch.where(lamp, away.norm(dim=-1) - 1.05 * radius, 0.99 * way.norm(dim=-1))
    square = (way * way).sum(-1).clamp(min=1e-4)
    towards = way / square.sqrt()[:, None]
    strength = (seen.normal * towards).sum(-1).clamp(min=0) / (math.pi * square * chance.clamp(min=1e-30))
    shining, area = _shining(lights)
    to_panel = area[chosen] * -(shining[chosen] * towards).sum(-1).clamp(max=0)
    strength = torch.where(total > 0, strength * torch.where(lamp, 1.0, to_panel), 0.0)
    strength = unblocked(cast, seen, towards, limit, strength)
    return strength[:, None] * lights.colour[chosen], torch.where(strength > 0, lobe(seen, towards), 0.0)


def _shining(lights: Lights) -> tuple[Float[Tensor, "light 3"], Float[Tensor, "light"]]:
    """Unit direction in which a panel shines, and its area."""
    across = torch.linalg.cross(lights.first, lights.second)
    length = across.norm(dim=-1).clamp(min=1e-12)
    return across / length[:, None], 4 * length


def _weights(lights: Lights, seen: Surface) -> Float[Tensor, "ray light"]:
    """About how much each lamp and panel lights each point, were nothing in the way."""
    way = lights.place - seen.point[:, None]
    square = (way * way).sum(-1) + 1e-4
    length = square.sqrt()
    power = lights.colour.sum(-1) * (((way * seen.normal[:, None]).sum(-1) / length).clamp(min=0) + 0.1)
    shining, area = _shining(lights)
    aligned = (-(way * shining).sum(-1) / length).clamp(min=0) + 0.05
    panel = power * area * aligned / (square + 0.25 * area)
    weight = torch.where(lights.kind == LAMP, power / square, panel)
    return torch.where((lights.kind == LAMP) | (lights.kind == PANEL), weight, 0.0)


def surroundings(world: World, cast: Cast, means: Float[Tensor, "material 3"], seen: Surface) -> Float[Tensor, "ray 3"]:
    """Radiance from one cosine-weighted direction: open sky, or what other surfaces hand on; near ones hand on less."""
    up = 2 * fraction(seen.index, UP) - 1
    angle = math.tau * fraction(seen.index, AROUND)
    ring = (1 - up * up).clamp(min=0).sqrt() * 0.999
    point = torch.stack([ring * angle.cos(), ring * angle.sin(), 0.999 * up], -1)
    directions = torch.nn.functional.normalize(seen.normal + point, dim=-1)
    distance, solid = cast(seen.point, directions, None)
    open_sky = sky_colour(world.sky, directions, clouds=False) * world.sky.fill
    near = torch.where(solid >= 0, distance, 0.0)
    near = near / (near + world.sky.look[3])
    handed_on = near[:, None] * means.to(near)[world.solids.material[solid.clamp(min=0)]] * world.sky.bounce
    return torch.where((solid >= 0)[:, None], handed_on, open_sky)


def sky_colour(sky: Sky, directions: Float[Tensor, "ray 3"], *, clouds: bool) -> Float[Tensor, "ray 3"]:
    """Radiance of the sky: horizon to zenith with clouds on a flat ceiling; below, haze over the ground."""
    height = directions[:, 2:]
    below = sky.ground + torch.exp(12 * height.clamp(max=0)) * (sky.horizon - sky.ground)
    above = sky.horizon + height.clamp(min=0).sqrt() * (sky.zenith - sky.horizon)
    if clouds and float(sky.look[0]) > 0:
        rise = height.clamp(min=0)
        ceiling = torch.cat([directions[:, :2] * 1.5 / (rise + 0.15), torch.full_like(rise, 0.3)], -1)
        plain = torch.ones_like(rise[:, 0])
        cover = layered_noise(ceiling, torch.full_like(plain, float(sky.look[1])).long(), 0.6 * plain, 0.02 * plain)
        cover = (1.6 * cover + 0.3).clamp(0, 1)[:, None] * sky.look[0] * (6 * rise).clamp(max=1)
        above = above + cover * (1.2 * sky.horizon.max() - above)
    return torch.where(height > 0, above, below)
