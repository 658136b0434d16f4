"""More cameras of a scene, between and around those that photographed it.

For models that draw what no photograph shows: they are asked for pictures from places that, with the photographs, cover
the scene. In the frame of the cameras, and the same in any other frame. All choices here are ours.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.paths import interpolate, walking_order
from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import capture_shape, gaze, look_at, mean_up
from diorama.errors import CameraError

TIE = 1e-3
"""Radians by which one place must be better than another to be told from rounding."""

HIGHEST = math.radians(80.0)
"""Elevation above or below what is looked at, beyond which nobody stands."""

ONE_PLACE = 1e-5
"""Spread of the cameras, relative to the distance at which they look, below which they stand in one place."""

FRAMES_BETWEEN = 8
"""Places that are tried between two neighbours which look at different things."""


@dataclass(frozen=True)
class CoverConfig:
    """Where further cameras may stand. Angles are about the point that the given cameras look at."""

    reach: float = math.radians(20.0)
    """How far beside the given cameras, radians; for a single one they stand on an arc of so much to either side."""
    rise: float = math.radians(12.0)
    """How far above or below them, radians."""


def cover(cameras: Cameras, count: int, distance: float = 1.0, config: CoverConfig = CoverConfig()) -> Cameras:
    """`count` further cameras that look where the given ones look, from places that are not yet taken.

    A single camera (or several in one place) gets an arc about the point `distance` ahead of it. Where cameras look at
    a common point (`poses.gaze`) places half-way between them come first, as long as these are farther from everyone
    than `reach`, then places around them, always the one farthest from all others. Cameras that look outwards get
    others on the way from one to the next. The lens is the median of the given ones, which must share one size.
    Raises CameraError where there is no camera, sizes differ, or more are wanted than there are places.
    """
    sizes = cameras.size.reshape(-1, 2)
    if len(sizes) == 0 or bool((sizes != sizes[0]).any()) or count < 0:
        raise CameraError(f"{count} more beside {len(sizes)} cameras. Needed: one at least, and all of one size.")
    if count == 0:
        return cameras[:0]
    exact = cameras.to("cpu", torch.float64)
    spread = float((exact.origins - exact.origins.mean(0)).norm(dim=-1).amax())
    reach = max(float(exact.origins.norm(dim=-1).amax()), distance)
    alone = spread <= ONE_PLACE * reach
    if alone and float((exact.axes @ exact.axes[0]).amin()) > math.cos(config.reach):
        poses = _arc(exact[:1], count, distance, config)
    elif capture_shape(exact) == "inside-out":
        poses = _on_the_way(exact, count, max(spread, ONE_PLACE * reach))
    else:
        poses = _around(exact, count, distance, config)
    return _with_median_lens(cameras, poses)


@dataclass(frozen=True)
class _Dome:
    """Places about a point as azimuth, elevation and distance; azimuth 0 is where the first camera stands."""

    focus: Float[Tensor, "3"]
    up: Float[Tensor, "3"]
    axes: Float[Tensor, "two=2 3"]

    @staticmethod
    def of(cameras: Cameras, distance: float) -> "_Dome":
        focus, up = gaze(cameras, distance)[0], mean_up(cameras)
        towards = cameras.origins[0] - focus
        towards = towards - (towards @ up) * up
        if float(towards.norm()) < 1e-6 * distance:
            towards = torch.linalg.cross(cameras.camera_to_world[0, :3, 0], up)
        first = torch.nn.functional.normalize(towards, dim=0)
        return _Dome(focus, up, torch.stack([first, torch.linalg.cross(up, first)]))

    def numbers(self, places: Float[Tensor, "n 3"]) -> Float[Tensor, "n azimuth_elevation_distance=3"]:
        offset = places - self.focus
        across, height = offset @ self.axes.mT, offset @ self.up
        azimuth = torch.atan2(across[:, 1], across[:, 0])
        return torch.stack([azimuth, torch.atan2(height, across.norm(dim=-1)), offset.norm(dim=-1)], dim=-1)

    def directions(self, numbers: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        azimuth, elevation = numbers[:, 0], numbers[:, 1].clamp(-HIGHEST, HIGHEST)
        flat = torch.stack([azimuth.cos(), azimuth.sin()], dim=-1) @ self.axes
        return elevation.cos()[:, None] * flat + elevation.sin()[:, None] * self.up

    def poses(self, numbers: Float[Tensor, "n 3"]) -> Float[Tensor, "n 4 4"]:
        return look_at(self.focus + numbers[:, 2:] * self.directions(numbers), self.focus, self.up)


def _arc(camera: Cameras, count: int, distance: float, config: CoverConfig) -> Float[Tensor, "count 4 4"]:
    """Evenly from `-reach` to `reach`, less the camera's own place (of an even number, one of the two beside it)."""
    dome = _Dome.of(camera, distance)
    angles = torch.linspace(-config.reach, config.reach, count + 1, dtype=torch.float64)
    own = dome.numbers(camera.origins).expand(count, 3).clone()
    own[:, 0] += angles[torch.arange(count + 1) != count // 2]
    return dome.poses(own)


def _around(cameras: Cameras, count: int, distance: float, config: CoverConfig) -> Float[Tensor, "count 4 4"]:
    """Between cameras that look at one point, and beside, above and below them."""
    dome = _Dome.of(cameras, distance)
    known = dome.numbers(cameras.origins)
    tried = []
    for share in (0.5, 0.25, 0.75):
        for one, other in combinations(known, 2):
            way = other - one
            way[0] = (way[0] + math.pi) % (2 * math.pi) - math.pi
            tried.append(one + share * way)
    for turns in (1, 2, 3):
        for azimuth, elevation in ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0)):
            step = torch.tensor([azimuth * config.reach, elevation * config.rise, 0.0], dtype=torch.float64)
            tried += [place + turns * step for place in known]
    numbers = torch.stack(tried)
    places, taken = dome.directions(numbers), dome.directions(known)
    apart = torch.acos((places @ torch.cat([taken, places]).mT).clamp(-1, 1)).clamp(max=config.reach)
    return dome.poses(numbers[_farthest(apart, len(known), count)])


def _on_the_way(cameras: Cameras, count: int, spread: float) -> Float[Tensor, "count 4 4"]:
    """Between neighbours that look outwards."""
    walked = cameras[walking_order(cameras)]
    segments = len(cameras) - 1
    film = interpolate(walked, FRAMES_BETWEEN * segments + 1)
    places = film[torch.arange(len(film)) % FRAMES_BETWEEN != 0]
    both = torch.cat([walked.origins, places.origins]), torch.cat([walked.axes, places.axes])
    moved = torch.cdist(places.origins, both[0]) / spread
    turned = torch.acos((places.axes @ both[1].mT).clamp(-1, 1))
    return places.camera_to_world[_farthest(moved + turned, len(walked), count)]


def _farthest(apart: Float[Tensor, "place all"], known: int, count: int) -> list[int]:
    """One place after the other, always the first of those that are farthest from all that are taken.

    apart: between every place and, first, the `known` ones that are taken from the start, then the places themselves.
    """
    if count > len(apart):
        raise CameraError(f"{count} further cameras; only {len(apart)} places are known. Ask for fewer.")
    nearest, chosen = apart[:, :known].amin(1), []
    for _ in range(count):
        best = int((nearest >= nearest.amax() - TIE).nonzero()[0])
        chosen.append(best)
        nearest = torch.minimum(nearest, apart[:, known + best])
        nearest[best] = -1.0
    return chosen


def _with_median_lens(cameras: Cameras, poses: Float[Tensor, "n 4 4"]) -> Cameras:
    """Pinholes of the cameras' size whose principal points lie in the middle."""
    count = len(poses)
    focal = cameras.focal.reshape(-1, 2).median(0).values
    size = cameras.size.reshape(-1, 2)[:1].expand(count, 2).clone()
    pose = poses.to(cameras.camera_to_world)
    return Cameras.pinhole(pose, focal.expand(count, 2).clone(), 0.5 * size.to(focal), size)
