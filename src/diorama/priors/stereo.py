"""The geometry the photos already hold: depth by plane sweep between views whose poses are known."""

from dataclasses import dataclass, replace
from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.data.neighbours import choose_neighbours
from diorama.data.scale import camera_bounds
from diorama.data.views import Views
from diorama.errors import ViewsError
from diorama.kernels.plane_sweep import Sources, sweep_scores


@dataclass(frozen=True)
class StereoOptions:
    """How the sweep is made and what is believed of it."""

    size: int = 160
    """Long side of the photos it works on, pixels."""
    planes: int = 128
    """Depths tried per pixel, evenly spaced in inverse depth."""
    neighbours: int = 4
    """Photos each photo is compared with, at most."""
    best: int | None = None
    """Of these, how many best ones are averaged: the others may be hidden behind something. None: 1 with up to four
    views, else 2."""
    radius: int = 3
    """Half of the comparison window: 3 means 7 x 7."""
    angle: float = 10.0
    """Most welcome angle between two photos' rays at the surface, degrees (MVSNet, arXiv 1804.02505: 5 to 10)."""
    minimum_score: float = 0.2
    """ZNCC at which trust starts; it is full at `full_score`."""
    full_score: float = 0.8
    """ZNCC of full trust."""
    distinct: float = 0.15
    """Lead in ZNCC over the next best separate depth for full trust."""
    bend: float = 0.15
    """Cost of a depth that differs by one plane from the pixel beside it (costs are 1 - ZNCC)."""
    jump: float = 0.7
    """Cost of a depth that differs by more."""
    agreement: float = 2.0
    """Largest difference, in planes, between two photos' depths of one point."""
    margin: float = 1.3
    """Factor by which given or measured nears and fars are widened before the sweep."""


@dataclass(frozen=True)
class StereoDepth:
    """Depth of every view at the working resolution.

    depth: planar, user units, in the pixels of `cameras` (the views' own cameras, distortion kept, resized); 0 where
    no neighbour sees anything. confidence in [0, 1]: ZNCC score x lead over other depths x agreement between views.
    near, far: the ends of the sweep per view, user units.
    """

    depth: Float[Tensor, "view h w"]
    confidence: Float[Tensor, "view h w"]
    near: Float[Tensor, "view"]
    far: Float[Tensor, "view"]
    cameras: Cameras


def plane_sweep_stereo(
    views: Views,
    *,
    near: Float[Tensor, "view"] | None = None,
    far: Float[Tensor, "view"] | None = None,
    options: StereoOptions | None = None,
) -> StereoDepth:
    """Depth and confidence of every view from its neighbours among exactly these views.

    near and far: where the surfaces lie, per view in user units (for example 1 % and 99 % of triangulated points;
    they are widened by `options.margin`). Without them a wide sweep over the bounds that the camera geometry
    suggests comes first, and its confident depths tighten the second one. One view gives confidence 0 everywhere.
    """
    options = options or StereoOptions()
    if views.cameras is None:
        raise ViewsError("stereo needs cameras with known poses, these views have none. Find them: diorama pose.")
    if near is not None and far is not None:
        return _sweep(views, near / options.margin, far * options.margin, options)
    near, far = camera_bounds(views.cameras)
    wide = _sweep(views, near, far, options)
    return _sweep(views, *tightened(wide, options.margin), options)


def tightened(stereo: StereoDepth, margin: float) -> tuple[Float[Tensor, "view"], Float[Tensor, "view"]]:
    """Near and far from 2 % and 98 % of the confident depths, widened by `margin` and never wider than before.

    A view with fewer than 50 such pixels takes the bounds of all views together.
    """
    trusted = [depth[confidence > 0.5] for depth, confidence in zip(stereo.depth, stereo.confidence, strict=True)]
    everything = torch.cat(trusted)
    if len(everything) < 50:
        return stereo.near, stereo.far
    levels = torch.tensor([0.02, 0.98], dtype=stereo.depth.dtype)
    ends = torch.stack([torch.quantile(d if len(d) >= 50 else everything, levels) for d in trusted])
    near = torch.maximum(ends[:, 0] / margin, stereo.near)
    far = torch.minimum(ends[:, 1] * margin, stereo.far)
    return near, far


def _sweep(
    views: Views, near: Float[Tensor, "view"], far: Float[Tensor, "view"], options: StereoOptions
) -> StereoDepth:
    images, valid, cameras = _working_copy(views, options.size)
    near, far = near.to(images), far.to(images)
    height, width = images.shape[1:]
    neighbours = choose_neighbours(cameras, near, far, count=options.neighbours, angle=options.angle)
    grid = torch.stack(torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy"), -1)
    directions = cameras.unproject(grid.reshape(1, -1, 2).expand(len(views), -1, -1).to(images))
    directions = directions.reshape(len(views), height, width, 3)
    straight, straight_valid, straight_cameras = _straightened(images, valid, cameras)
    depths, confidences = [], []
    best = options.best or (1 if len(views) <= 4 else 2)
    for index, others in enumerate(neighbours):
        sources = _sources(straight, straight_valid, straight_cameras, cameras[[index]], others)
        planes = torch.lerp(1 / far[index], 1 / near[index], torch.linspace(0, 1, options.planes).to(near))
        scores = sweep_scores(
            images[index], valid[index], directions[index], sources, planes, radius=options.radius, best=best
        )
        smooth = 1.0 - aggregate_costs(1.0 - scores.clamp_min(0.0), options.bend, options.jump)
        depth, confidence = _winner(scores, smooth, planes, options)
        depths.append(depth)
        confidences.append(confidence)
    depth, confidence = torch.stack(depths), torch.stack(confidences)
    step = (1 / near - 1 / far) / (options.planes - 1)
    agreed = _agreement(depth, confidence, directions, cameras, neighbours, step * options.agreement)
    return StereoDepth(depth, confidence * agreed, near, far, cameras)


def _working_copy(views: Views, size: int) -> tuple[Float[Tensor, "view h w"], Bool[Tensor, "view h w"], Cameras]:
    """Small grey photos, what may be used of them, and their cameras; mixed sizes keep their common padding."""
    cameras = cast(Cameras, views.cameras)
    full_height, full_width = views.images.shape[-2:]
    factor = min(1.0, size / max(full_height, full_width))
    height, width = max(1, round(full_height * factor)), max(1, round(full_width * factor))
    grey = (views.images.float() * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1)
    row, column = torch.arange(full_height)[:, None], torch.arange(full_width)[None, :]
    usable = (column < cameras.size[:, 0, None, None]) & (row < cameras.size[:, 1, None, None])
    if views.ignore is not None:
        usable = usable & ~views.ignore
    weight = F.interpolate(usable.float()[:, None], (height, width), mode="area")[:, 0]
    images = F.interpolate((grey * usable)[:, None], (height, width), mode="area")[:, 0] / weight.clamp_min(1e-6)
    scale = torch.tensor([width / full_width, height / full_height], dtype=cameras.focal.dtype)
    resized = replace(
        cameras,
        focal=cameras.focal * scale,
        centre=cameras.centre * scale,
        size=(cameras.size * scale).round().long().clamp_min(1),
    )
    return images, weight > 0.99, resized.to(torch.float32)


def _straightened(
    images: Float[Tensor, "view h w"], valid: Bool[Tensor, "view h w"], cameras: Cameras
) -> tuple[Float[Tensor, "view h w"], Bool[Tensor, "view h w"], Cameras]:
    """The same photos as pinhole ones (same focal, centre and size), for warping."""
    if cameras.lens == "pinhole":
        return images, valid, cameras
    height, width = images.shape[1:]
    straight = Cameras.pinhole(cameras.camera_to_world, cameras.focal, cameras.centre, cameras.size)
    grid = torch.stack(torch.meshgrid(torch.arange(width) + 0.5, torch.arange(height) + 0.5, indexing="xy"), -1)
    local = straight.unproject(grid.reshape(1, -1, 2).expand(len(images), -1, -1).to(images))
    points = local @ cameras.camera_to_world[:, :3, :3].mT + cameras.origins[:, None]
    pixels, _ = cameras.project(points)
    normal = (2 * pixels / torch.tensor([width, height]) - 1).reshape(len(images), height, width, 2)
    stack = torch.stack([images, valid.float()], 1)
    warped = F.grid_sample(stack, normal, align_corners=False, padding_mode="zeros")
    return warped[:, 0], warped[:, 1] > 0.99, straight


def _sources(
    images: Float[Tensor, "view h w"],
    valid: Bool[Tensor, "view h w"],
    cameras: Cameras,
    reference: Cameras,
    others: list[int],
) -> Sources:
    """The chosen neighbours with poses relative to the reference camera."""
    rotation = cameras.camera_to_world[others, :3, :3].mT
    offset = reference.origins - cameras.origins[others]
    return Sources(
        images[others],
        valid[others],
        rotation @ reference.camera_to_world[0, :3, :3],
        (rotation @ offset[..., None])[..., 0],
        cameras.focal[others],
        cameras.centre[others],
    )


def aggregate_costs(costs: Float[Tensor, "plane h w"], bend: float, jump: float) -> Float[Tensor, "plane h w"]:
    """Matching costs that know of their neighbourhood: the mean over four directions of the best path to each pixel.

    A path pays `bend` to move by one plane between two pixels and `jump` to move further. Source: semi-global
    matching (Hirschmueller, PAMI 2008), eq. 13, along rows and columns both ways.
    """
    total = torch.zeros_like(costs)
    for axis in (1, 2):
        lines = costs.movedim(axis, 0)
        for order in (range(lines.shape[0]), range(lines.shape[0] - 1, -1, -1)):
            path = torch.zeros_like(lines[0])
            summed = total.movedim(axis, 0)
            for index in order:
                least = path.amin(0, keepdim=True)
                near = torch.minimum(path, least + jump)
                near[1:] = torch.minimum(near[1:], path[:-1] + bend)
                near[:-1] = torch.minimum(near[:-1], path[1:] + bend)
                path = lines[index] + near - least
                summed[index] += path
    return total / 4.0


def _winner(
    scores: Float[Tensor, "plane h w"],
    smooth: Float[Tensor, "plane h w"],
    planes: Float[Tensor, "plane"],
    options: StereoOptions,
) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """The best depth between the planes (parabola through three smooth scores), and how much it stands out."""
    count = len(planes)
    best, place = smooth.max(0)
    inner = place.clamp(1, count - 2)
    left, middle, right = (smooth.gather(0, (inner + k)[None])[0] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    usable = (place == inner) & (bend < -1e-6)
    shift = torch.where(usable, 0.5 * (left - right) / torch.where(usable, bend, -1.0), 0.0).clamp(-0.5, 0.5)
    inverse = planes[0] + (place + shift) * (planes[1] - planes[0])
    others = smooth.masked_fill((torch.arange(count)[:, None, None] - place).abs() <= 2, -torch.inf)
    lead = best - others.amax(0)
    raw = scores.gather(0, place[None])[0]
    score = ((raw - options.minimum_score) / (options.full_score - options.minimum_score)).clamp(0, 1)
    confidence = score * (lead / options.distinct).clamp(0, 1) * ((place > 0) & (place < count - 1))
    seen = raw > -1
    return torch.where(seen, 1 / inverse, 0.0), torch.where(seen, confidence, 0.0)


def _agreement(
    depth: Float[Tensor, "view h w"],
    confidence: Float[Tensor, "view h w"],
    directions: Float[Tensor, "view h w 3"],
    cameras: Cameras,
    neighbours: list[list[int]],
    tolerance: Float[Tensor, "view"],
) -> Float[Tensor, "view h w"]:
    """The left-right check: 1 where the depth map of some neighbour puts the same point at the same place.

    A point is carried into the neighbour; the neighbour's own inverse depth there must equal the point's within
    `tolerance` (per view, 1 / user units). The weight fades with the square of the difference.
    """
    height, width = depth.shape[1:]
    result = torch.zeros_like(depth)
    for index, others in enumerate(neighbours):
        points = directions[index] * depth[index, ..., None]
        world = points @ cameras.camera_to_world[index, :3, :3].T + cameras.origins[index]
        for other in others:
            pixels, distance = cameras[[other]].project(world.reshape(1, -1, 3))
            x, y = (pixels[0].reshape(height, width, 2).floor().long()).unbind(-1)
            distance = distance.reshape(height, width)
            inside = (distance > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height) & (depth[index] > 0)
            theirs = depth[other][y.clamp(0, height - 1), x.clamp(0, width - 1)]
            trusted = confidence[other][y.clamp(0, height - 1), x.clamp(0, width - 1)] > 0
            gap = (1 / theirs.clamp_min(1e-12) - 1 / distance.clamp_min(1e-12)).abs()
            fade = (1 - (gap / torch.maximum(tolerance[index], tolerance[other])) ** 2).clamp_min(0)
            result[index] = torch.maximum(result[index], fade * (inside & trusted))
    return result
