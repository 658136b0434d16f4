"""Where cameras stand in a world: orbits, walks, forward-facing rows, turning on the spot; sets whose views overlap."""

import math
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras, pixel_grid
from diorama.cameras.poses import look_at
from diorama.cameras.rays import camera_rays
from diorama.worlds.scene import Stage, World
from diorama.worlds.trace import first_hits

Policy = Literal["free", "orbit", "walk", "forward", "inside-out"]
"""Each camera on its own; around something; through something; side by side; turning on the spot."""

PROBE = (24, 18)
"""Pixels of the small pictures by which places are judged."""


@dataclass(frozen=True)
class Standing:
    """What makes a place a good one."""

    near: float = 0.25
    """Metres: closer things are too close; in small worlds, half of the stage's reach is."""
    near_share: float = 0.04
    """Most of a picture that may be too close."""
    sky_share: float = 0.6
    """Most of a picture that may be sky."""
    tries: int = 6
    """How often as many places as are missing are drawn again before what is left is taken as it is."""


@dataclass(frozen=True)
class Overlap:
    """What it means that two views overlap."""

    least: float = 0.25
    """Share of the pixels of one view (either one) whose surface points the other sees too."""
    tolerance: float = 0.03
    """How far apart, relative to depth, two surface points may be to count as one."""
    tries: int = 8
    """How often a set is drawn again, each time closer together."""
    closer: float = 0.7
    """By how much the set shrinks each time."""


def sample_cameras(
    world: World,
    count: int,
    generator: torch.Generator,
    *,
    width: int,
    height: int,
    focal: float,
    overlap: Overlap | None = None,
    policy: Policy | None = None,
    standing: Standing = Standing(),
) -> Cameras:
    """Pinhole cameras in a world (focal in pixels, centred), that stand free and see something.

    With `overlap` every pair of views does overlap, and the cameras follow one policy (drawn unless given); without,
    each camera is drawn by itself unless a policy is given.
    """
    if overlap is None:
        chosen = policy or "free"
        drawn = _cameras(poses(world.stage, chosen, count, generator), width, height, focal)
        for _ in range(standing.tries):
            bad = ~stands(world, drawn, standing)
            if not bool(bad.any()):
                break
            again = poses(world.stage, chosen, count, generator)
            drawn = replace(drawn, camera_to_world=torch.where(bad[:, None, None], again, drawn.camera_to_world))
        return drawn
    spread = 1.0
    for _ in range(overlap.tries):
        chosen = policy or _policy(world.stage, generator)
        many = _cameras(poses(world.stage, chosen, 2 * count, generator, spread), width, height, focal)
        kept = _overlapping(world, many, overlap, standing)
        if len(kept) >= count:
            order = torch.tensor(sorted(kept[:count])) if chosen == "walk" else torch.tensor(kept[:count])
            return many[order]
        spread *= overlap.closer
    return _huddled(world, count, generator, width, height, focal, standing)


def stands(world: World, cameras: Cameras, standing: Standing) -> Bool[Tensor, "view"]:
    """Which cameras stand free and see something."""
    return _good(world, _probe(world, cameras)[1], standing)


def shared_views(cameras: Cameras, depth: Float[Tensor, "view h w"], tolerance: float) -> Float[Tensor, "view view"]:
    """Share of the pixels of view i whose surface points view j sees too, by comparing depths; sky is never shared."""
    count, height, width = depth.shape
    points = camera_rays(cameras, pixel_grid(width, height).to(depth).reshape(1, -1, 2))
    finite = torch.where(torch.isfinite(depth), depth, 1.0).reshape(count, -1)
    surface = points.at(finite / points.cosine)
    shared = torch.zeros(count, count)
    for j in range(count):
        pixels, z = cameras[[j]].project(surface.reshape(1, -1, 3))
        x, y = pixels[0].floor().long().unbind(-1)
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height) & (z[0] > 0)
        there = depth[j, y.clamp(0, height - 1), x.clamp(0, width - 1)]
        seen = inside & (z[0] < there * (1 + tolerance) + 0.02)
        shared[:, j] = (seen.reshape(count, -1) & torch.isfinite(depth).reshape(count, -1)).float().mean(1)
    return shared


def poses(
    stage: Stage, policy: Policy, count: int, generator: torch.Generator, spread: float = 1.0
) -> Float[Tensor, "view 4 4"]:
    """Camera-to-world matrices by a policy; spread below 1 brings them closer together."""
    match policy:
        case "free":
            place, target = _free(stage, count, generator)
        case "orbit":
            place, target = _orbit(stage, count, generator, spread)
        case "walk":
            place, target = _walk(stage, count, generator, spread)
        case "forward":
            place, target = _forward(stage, count, generator, spread)
        case "inside-out":
            place, target = _inside_out(stage, count, generator, spread)
        case _:
            assert_never(policy)
    roll = 0.04 * torch.randn(count, generator=generator)
    up = torch.stack([roll, torch.zeros_like(roll), torch.ones_like(roll)], dim=-1)
    return look_at(place, target, up)


def _policy(stage: Stage, generator: torch.Generator) -> Policy:
    inward: tuple[Policy, ...] = ("orbit", "orbit", "orbit", "forward", "walk")
    outward: tuple[Policy, ...] = ("walk", "walk", "orbit", "forward", "inside-out")
    choice = inward if stage.inward else outward
    return choice[int(torch.randint(len(choice), (1,), generator=generator))]


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Float[Tensor, "{count}"]:
    return low + (high - low) * torch.rand(count, generator=generator)


def _within(stage: Stage, count: int, generator: torch.Generator) -> Float[Tensor, "{count} 3"]:
    return stage.low + (stage.high - stage.low) * torch.rand(count, 3, generator=generator)


def _on_dome(
    stage: Stage, angle: Tensor, rise: Tensor, distance: Tensor, middle: Float[Tensor, "3"]
) -> Float[Tensor, "view 3"]:
    """Places about a point by angle, elevation and distance, kept within the stage."""
    flat = distance * rise.cos()
    away = torch.stack([flat * angle.cos(), flat * angle.sin(), distance * rise.sin()], dim=-1)
    return torch.minimum(torch.maximum(middle + away, stage.low), stage.high)


def _free(stage: Stage, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    shake = torch.randn(count, 3, generator=generator)
    if stage.inward:
        angle, rise = _uniform(count, 0.0, math.tau, generator), _uniform(count, 0.05, 1.1, generator)
        distance = stage.reach * _uniform(count, 0.9, 2.0, generator)
        return _on_dome(stage, angle, rise, distance, stage.focus), stage.focus + 0.25 * stage.reach * shake
    place = _within(stage, count, generator)
    target = stage.focus + 0.45 * (stage.high - stage.low) * shake * torch.tensor([1.0, 1.0, 0.6])
    near = (target - place).norm(dim=-1, keepdim=True) < 0.8
    return place, torch.where(near, 2 * stage.focus - place, target)


def _orbit(stage: Stage, count: int, generator: torch.Generator, spread: float) -> tuple[Tensor, Tensor]:
    """An arc about a point of interest, looking at it."""
    arc = spread * float(_uniform(1, 0.5, 2.5 if stage.inward else 1.2, generator))
    start, middle = float(_uniform(1, 0.0, math.tau, generator)), stage.focus
    if not stage.inward:
        middle = stage.focus + 0.25 * (stage.high - stage.low) * torch.randn(3, generator=generator)
    angle = start + arc * (torch.arange(count) / max(count - 1, 1) - 0.5)
    angle = angle[torch.randperm(count, generator=generator)] + 0.03 * torch.randn(count, generator=generator)
    rise = float(_uniform(1, 0.1, 0.9, generator)) + spread * 0.1 * torch.randn(count, generator=generator)
    distance = (
        stage.reach
        * float(_uniform(1, 1.1, 2.0, generator))
        * (1 + 0.1 * spread * torch.randn(count, generator=generator))
    )
    target = middle + 0.05 * stage.reach * torch.randn(count, 3, generator=generator)
    return _on_dome(stage, angle, rise.clamp(0.03, 1.3), distance, middle), target


def _walk(stage: Stage, count: int, generator: torch.Generator, spread: float) -> tuple[Tensor, Tensor]:
    """A smooth path, hand held, looking at a point that drifts."""
    (place,), (target,) = (each[:1] for each in _free(stage, 1, generator))
    step = torch.randn(2, 3, generator=generator) * torch.tensor([1.0, 1.0, 0.25])
    share = torch.linspace(-0.5, 0.5, count)[:, None]
    reach = spread * (0.8 if stage.inward else 0.35) * stage.reach
    way = reach * (share * step[0] + share.square() * step[1])
    shake = torch.randn(2, count, 3, generator=generator)
    drift = 0.4 * reach * share * torch.randn(3, generator=generator)
    place = torch.minimum(torch.maximum(place + way + 0.01 * stage.reach * shake[0], stage.low), stage.high)
    return place, target + drift + 0.02 * stage.reach * shake[1]


def _forward(stage: Stage, count: int, generator: torch.Generator, spread: float) -> tuple[Tensor, Tensor]:
    """Side by side, all looking the same way."""
    (place,), (target,) = (each[:1] for each in _free(stage, 1, generator))
    away = target - place
    length = away.norm()
    side = torch.nn.functional.normalize(torch.linalg.cross(away, torch.tensor([0.0, 0.0, 1.0])), dim=0)
    above = torch.linalg.cross(side, away / length)
    shift = spread * 0.15 * length * torch.randn(count, 3, generator=generator) @ torch.stack([side, above, 0 * side])
    place = torch.minimum(torch.maximum(place + shift, stage.low), stage.high)
    return place, target + 0.5 * shift + 0.01 * length * torch.randn(count, 3, generator=generator)


def _inside_out(stage: Stage, count: int, generator: torch.Generator, spread: float) -> tuple[Tensor, Tensor]:
    """On the spot, turning."""
    (place,), (target,) = (each[:1] for each in _free(stage, 1, generator))
    away = target - place
    turn = spread * 0.7 * (torch.rand(count, generator=generator) - 0.5)
    c, s = turn.cos(), turn.sin()
    turned = torch.stack([c * away[0] - s * away[1], s * away[0] + c * away[1], away[2].expand(count)], dim=-1)
    place = place + 0.04 * stage.reach * torch.randn(count, 3, generator=generator)
    return place, place + turned + 0.1 * spread * away.norm() * torch.randn(count, 3, generator=generator)


def _cameras(pose: Float[Tensor, "view 4 4"], width: int, height: int, focal: float) -> Cameras:
    count = len(pose)
    return Cameras.pinhole(
        pose,
        torch.full((count, 2), float(focal)),
        torch.tensor([0.5 * width, 0.5 * height]).repeat(count, 1),
        torch.tensor([width, height]).repeat(count, 1),
    )


def _probe(world: World, cameras: Cameras) -> tuple[Cameras, Float[Tensor, "view h w"]]:
    """Small pictures of the same cameras, depth alone."""
    small = cameras.resize(*PROBE)
    rays = camera_rays(small, pixel_grid(*PROBE).reshape(1, -1, 2))
    origins, directions = rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3)
    distance, _ = first_hits(world, origins.to(world.device), directions.to(world.device))
    return small, (distance.cpu().reshape(rays.cosine.shape) * rays.cosine).reshape(-1, PROBE[1], PROBE[0])


def _good(world: World, depth: Float[Tensor, "view h w"], standing: Standing) -> Bool[Tensor, "view"]:
    crowded = (depth < min(standing.near, 0.5 * world.stage.reach)).float().mean((1, 2)) > standing.near_share
    return ~crowded & (torch.isinf(depth).float().mean((1, 2)) <= standing.sky_share)


def _overlapping(world: World, cameras: Cameras, overlap: Overlap, standing: Standing) -> list[int]:
    """As many good views as can be found, one after another, that all overlap each other."""
    small, depth = _probe(world, cameras)
    good = _good(world, depth, standing)
    shared = shared_views(small, depth, overlap.tolerance)
    either = torch.maximum(shared, shared.T) >= overlap.least
    either &= good & good[:, None]
    start = int(either.sum(1).argmax())
    kept = [start] if bool(good[start]) else []
    for view in (-either.sum(1)).argsort(stable=True).tolist():
        if view not in kept and kept and bool(either[view, kept].all()):
            kept.append(view)
    return kept


def _huddled(
    world: World, count: int, generator: torch.Generator, width: int, height: int, focal: float, standing: Standing
) -> Cameras:
    """The last resort: one good camera, and others so close to it that they must see the same."""
    one = sample_cameras(world, 1, generator, width=width, height=height, focal=focal, standing=standing)
    pose = one.camera_to_world.repeat(count, 1, 1)
    pose[:, :3, 3] += 0.02 * torch.randn(count, 3, generator=generator)
    return _cameras(pose, width, height, focal)
