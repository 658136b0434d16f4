"""A small ray caster: a world and cameras become pictures with exact depth, normals and masks.

Sun, lamps, panels and the sky; soft shadows, occlusion, highlights, mirrors (one bounce). On the CPU the work is done
by Numba (`render_numba`), elsewhere by the torch reference below and in `lighting`; both draw the same picture.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras, pixel_grid
from diorama.cameras.rays import camera_rays
from diorama.data.views import Frame, Views
from diorama.errors import CameraError
from diorama.worlds.lighting import BAYER, Cast, mean_colours, no_light, shade, surface_normals
from diorama.worlds.scene import World
from diorama.worlds.shapes import box_span, first_hit

REACH = 2
"""Pixels to each side over which soft light is averaged: with half weight at the rim, four pixels' worth."""
SAME_NORMAL = 0.9
"""Least cosine between normals of neighbours that share their soft light."""
SAME_PLANE = 0.01
"""How far, relative to its depth, a neighbour may lie from a pixel's plane to share its soft light."""


@dataclass(frozen=True)
class RenderConfig:
    """How carefully pictures are drawn."""

    samples: int = 3
    """Rays a pixel; each asks every sun."""
    lit: int = 2
    """How many of them ask one point of one other light and look once at the surroundings; the rest share what these
    found, where they meet the same surface."""
    pairs: int = 1 << 22
    """Most (ray, solid) pairs that the torch path holds at once."""


@dataclass(frozen=True)
class WorldRendering:
    """What cameras see of a world, all in linear light and metres."""

    colour: Float[Tensor, "view 3 h w"]
    """Linear light, not negative, not limited: what a film makes of it is its own matter."""
    depth: Float[Tensor, "view h w"]
    """Planar, at the pixel centres; inf in the sky."""
    normal: Float[Tensor, "view 3 h w"]
    """At the pixel centres, in the world, towards the camera; 0 in the sky."""
    instance: Int[Tensor, "view h w"]
    """Which thing is at the pixel centre; -1 in the sky."""


def render_world(world: World, cameras: Cameras, config: RenderConfig = RenderConfig()) -> WorldRendering:
    """Pictures by pinhole cameras of one size, on the device of the world, in the dtype of its numbers."""
    if cameras.lens != "pinhole" or bool((cameras.distortion != 0).any()):
        raise CameraError(f"worlds are seen through pinholes, not through a {cameras.lens} lens with distortion.")
    if bool((cameras.size != cameras.size[:1]).any()):
        raise CameraError("cameras of several sizes cannot share a picture. Render each size by itself.")
    if world.device.type == "cpu":
        from diorama.worlds.render_numba import render_world_numba

        return render_world_numba(world, cameras, config)
    return render_world_torch(world, cameras, config)


def first_hits(
    world: World, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"]
) -> tuple[Float[Tensor, "ray"], Int[Tensor, "ray"]]:
    """Distance to, and row of, the first solid on each ray; inf and -1 where there is none."""
    if world.device.type == "cpu":
        from diorama.worlds.render_numba import first_hits_numba

        return first_hits_numba(world, origins, directions)
    return caster(world)(origins, directions, None)


def photograph(world: World, cameras: Cameras, *, samples: int = 9, names: tuple[str, ...] | None = None) -> Views:
    """Photographs on a plain film (exponent 1/2.2, clipped), with exact planar depth at the pixel centres.

    Depth is 0 where there is only sky. The frame is the world's own, in metres.
    """
    seen = render_world(world, cameras, RenderConfig(samples=samples))
    return Views(
        seen.colour.clamp(0, 1) ** (1 / 2.2),
        names or tuple(f"photo_{index:02d}.png" for index in range(len(cameras))),
        cameras,
        depth=torch.where(torch.isfinite(seen.depth), seen.depth, 0.0),
        frame=Frame(f"diorama world `{world.name}`", "metres"),
        layout="world",
    )


def sample_shifts(count: int) -> Float[Tensor, "sample xy=2"]:
    """Where in a pixel its samples lie, relative to its centre: pairs opposite each other, so that their mean is the
    centre; an odd one lies there itself."""
    pairs = torch.arange(count // 2, dtype=torch.float64)
    if count == 4:  # the rotated grid
        half = torch.tensor([[-0.125, -0.375], [0.375, -0.125]], dtype=torch.float64)
    else:
        across, along = (0.2 + pairs * 0.7548776662466927) % 1.0, (pairs + 0.5) / max(count // 2, 1)
        half = torch.stack([across - 0.5, 0.5 * along - 0.5], dim=-1)
    centre = torch.zeros(count % 2, 2, dtype=torch.float64)
    return torch.cat([centre, half, -half])


def caster(world: World, pairs: int = RenderConfig.pairs) -> Cast:
    """A function from rays to the solids they meet first, in torch: every ray against the box of every solid, then
    the shapes of the boxes that were met."""
    solids = world.solids

    def cast(origins: Tensor, directions: Tensor, limit: Tensor | None) -> tuple[Tensor, Tensor]:
        distance = torch.full_like(origins[:, 0], math.inf) if limit is None else limit.clone()
        found = torch.full(origins.shape[:1], len(solids), device=origins.device)
        step = max(1, pairs // max(1, len(solids)))
        for start in range(0, len(origins), step):
            part = slice(start, start + step)
            _cast_part(world, origins[part], directions[part], distance[part], found[part])
        none = found == len(solids)
        return torch.where(none, math.inf, distance), torch.where(none, -1, found)

    return cast


def _cast_part(world: World, origins: Tensor, directions: Tensor, distance: Tensor, found: Tensor) -> None:
    """Fill in the nearest hits nearer than `distance`."""
    solids = world.solids
    own = torch.einsum("rsj,sji->rsi", origins[:, None] - solids.centre, solids.rotation)
    way = torch.einsum("rj,sji->rsi", directions, solids.rotation)
    start, end = box_span(own, way, solids.size)
    ray, solid = ((start <= end) & (end > 0) & (start < distance[:, None])).nonzero().unbind(-1)
    shapes = solids.shape[solid]
    rays, rows, distances = [], [], []
    for shape in shapes.unique().tolist():
        which = shapes == shape
        r, s = ray[which], solid[which]
        t = first_hit(shape, own[r, s], way[r, s], solids.size[s], solids.params[s], world.heights)
        rays.append(r)
        rows.append(s)
        distances.append(t)
    if not rays:
        return
    r, s, t = torch.cat(rays), torch.cat(rows), torch.cat(distances)
    nearer = t < distance[r]
    r, s, t = r[nearer], s[nearer], t[nearer]
    distance.scatter_reduce_(0, r, t, "amin")
    first = t == distance[r]
    found.scatter_reduce_(0, r[first], s[first], "amin")


def render_world_torch(world: World, cameras: Cameras, config: RenderConfig = RenderConfig()) -> WorldRendering:
    """The reference; see `render_world`. All pixels of all cameras at once."""
    cameras = cameras.to(world.solids.centre)
    width, height = cameras.size[0].tolist()
    shape = (len(cameras), height, width)
    cast, means = caster(world, config.pairs), mean_colours(world)
    rays = camera_rays(cameras, pixel_grid(width, height).to(world.solids.centre).reshape(1, -1, 2))
    origins, directions = rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3)
    distance, solid = cast(origins, directions, None)
    met = (solid >= 0).nonzero()[:, 0]
    normal = torch.zeros_like(directions)
    points = origins[met] + distance[met, None] * directions[met]
    normal[met] = surface_normals(world, points, directions[met], solid[met])[0]
    instance = torch.where(solid >= 0, world.solids.instance[solid.clamp(min=0)], -1)
    depth = (distance * rays.cosine.reshape(-1)).reshape(shape)
    normal = normal.reshape(*shape, 3).permute(0, 3, 1, 2)
    colour = smoothed(_samples(world, cameras, cast, means, config), depth, normal, cameras)
    return WorldRendering(colour, depth, normal, instance.reshape(shape))


def _samples(
    world: World, cameras: Cameras, cast: Cast, means: Tensor, config: RenderConfig
) -> Float[Tensor, "view 15 h w"]:
    """Means over the samples of each pixel: paint times soft light, soft light of the samples that met something,
    highlights, all that needs no smoothing, paint; three channels each."""
    width, height = cameras.size[0].tolist()
    count, shifts = len(cameras), sample_shifts(config.samples).to(world.solids.centre)
    bayer = torch.tensor(BAYER, device=world.device).reshape(4, 4)
    pattern = bayer.repeat(-(-height // 4), -(-width // 4))[:height, :width].reshape(-1).repeat(count)
    spread = (1 / (cameras.focal[:, 0] * math.sqrt(config.samples))).repeat_interleave(width * height)
    pixels = pixel_grid(width, height).to(shifts).reshape(1, -1, 2)
    total, hits = shifts.new_zeros(len(pattern), 15), shifts.new_zeros(len(pattern), 1)
    light = no_light(total[:, :3])
    for k, shift in enumerate(shifts):
        rays = camera_rays(cameras, pixels + shift).reshape(-1)
        index = (16 * k + pattern).to(shifts)
        fresh = k < config.lit
        sample = shade(world, cast, means, rays.origins, rays.directions, spread, index, light, number=k, fresh=fresh)
        light = sample.light
        parts = (sample.paint * sample.soft, sample.soft, sample.highlight, sample.rest, sample.paint)
        total += torch.cat(parts, dim=-1)
        hits += sample.met[:, None]
    total[:, 3:6] *= config.samples / hits.clamp(min=1)
    return (total / config.samples).reshape(count, height, width, 15).permute(0, 3, 1, 2)


def smoothed(
    light: Float[Tensor, "view 15 h w"],
    depth: Float[Tensor, "view h w"],
    normal: Float[Tensor, "view 3 h w"],
    cameras: Cameras,
) -> Float[Tensor, "view 3 h w"]:
    """Colour from the means over samples, with soft light and highlights averaged over neighbours on the same surface.

    The mean of paint times light is the product of their means, for which the smooth light stands in, and their
    covariance, which is that of edges within a pixel.
    """
    count, height, width = depth.shape
    lit, raw, highlight, rest, paint = light.split(3, dim=1)
    local = cameras.unproject(pixel_grid(width, height).to(depth).reshape(1, -1, 2))
    away = torch.where(torch.isfinite(depth), depth, 0.0)[:, None]
    points = away * local.mT.reshape(count, 3, height, width)
    own = torch.einsum("vij,vihw->vjhw", cameras.camera_to_world[:, :3, :3], normal)
    total, gathered = torch.zeros_like(away), torch.zeros_like(light[:, :6])
    noisy = torch.cat([raw, highlight], dim=1)
    for here, there, weight in _neighbours(height, width):
        alike = (normal[here] * normal[there]).sum(1, keepdim=True) >= SAME_NORMAL
        apart = (own[here] * (points[there] - points[here])).sum(1, keepdim=True).abs()
        near = (apart < SAME_PLANE * away[here]) & (away[there] > 0)
        share = weight * (alike & near)
        total[here] += share
        gathered[here] += share * noisy[there]
    smooth, bright = (gathered / total.clamp(min=1e-9)).split(3, dim=1)
    joined = (paint * smooth + lit - paint * raw).clamp(min=0) + bright + rest
    return torch.where(away > 0, joined, lit + highlight + rest)


def _neighbours(height: int, width: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...], float]]:
    """Pairs of windows (view, channel, rows, columns), the second shifted by up to REACH pixels, and their weight."""
    every = slice(None)
    for i in range(-REACH, REACH + 1):
        for j in range(-REACH, REACH + 1):
            here = slice(max(-i, 0), height - max(i, 0)), slice(max(-j, 0), width - max(j, 0))
            there = slice(max(i, 0), height - max(-i, 0)), slice(max(j, 0), width - max(-j, 0))
            weight = (0.5 if abs(i) == REACH else 1.0) * (0.5 if abs(j) == REACH else 1.0)
            yield (every, every, *here), (every, every, *there), weight
