"""What can be looked at, and the viewer's world: the user's frame, moved and scaled so that every scene feels alike."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import gaze, mean_up
from diorama.scenes.denoising import Denoising
from diorama.scenes.visibility import Observed
from diorama.types import RenderFn, Rendering

ObservedFn = Callable[[Cameras, Rendering], Observed]
"""What the photographs saw of what cameras (of the exhibit's frame) show in their rendering."""

DISTANCE = 20.0
"""How far the photographers stand from what they look at, in units of the viewer's world.

Chosen for viser's depth images, which hold up to 167 units: eight times this distance."""


@dataclass(frozen=True)
class Exhibit:
    """A scene on show: it draws itself from any cameras of its own frame.

    cameras: where the photographs were taken. thumbnails: the photographs, small. near, far: the depths (user units)
    between which the false colours of the depth view run; unset: guessed from the cameras. paths: camera paths by name.
    observed: tells what the photographs saw; unset: that is not offered. denoising: how the views of a sampled scene
    came out of the noise; unset: likewise.
    """

    name: str
    render: RenderFn
    cameras: Cameras
    thumbnails: Float[Tensor, "view 3 h w"] | None = None
    near: float | None = None
    far: float | None = None
    paths: Mapping[str, Cameras] = field(default_factory=dict)
    observed: ObservedFn | None = None
    denoising: Denoising | None = None


@dataclass(frozen=True)
class World:
    """The viewer's world: viewer = scale * (user - origin), axes parallel to the user's; up is a unit vector."""

    scale: float
    origin: Float[Tensor, "xyz=3"]
    up: Float[Tensor, "xyz=3"]

    def to_viewer(self, points: Float[Tensor, "*n xyz=3"]) -> Float[Tensor, "*n xyz=3"]:
        """Points of the user's frame in the viewer's world."""
        return (points.double() - self.origin) * self.scale

    def to_user(self, points: Float[Tensor, "*n xyz=3"]) -> Float[Tensor, "*n xyz=3"]:
        """Points of the viewer's world in the user's frame."""
        return points.double() / self.scale + self.origin


def world_of(exhibit: Exhibit) -> World:
    """The world in which the photographers of an exhibit stand about `DISTANCE` from what they look at."""
    cameras = exhibit.cameras.to("cpu", torch.float64)
    middle = math.sqrt(exhibit.near * exhibit.far) if exhibit.near and exhibit.far else None
    focus, distance = gaze(cameras, middle)
    return World(DISTANCE / float(distance), focus, mean_up(cameras))


def depth_range(exhibit: Exhibit, world: World) -> tuple[float, float]:
    """Depths (user units) at the two ends of the false colours."""
    distance = DISTANCE / world.scale
    near, far = exhibit.near or 0.3 * distance, exhibit.far or 4 * distance
    return (near, far) if 0 < near < far else (0.3 * distance, 4 * distance)


def window(
    world: World,
    position: Float[Tensor, "xyz=3"],
    rotation: Float[Tensor, "3 3"],
    *,
    fov: float,
    aspect: float,
    width: int,
    height: int,
    rows: tuple[int, int] | None = None,
) -> Cameras:
    """One camera in the user's frame that sees what a browser window sees.

    position and rotation (camera-to-world, OpenCV axes) are in the viewer's world; fov is vertical, in radians; aspect
    is that of the window, so that an image of any width and height covers it exactly. rows: only these (first, end).
    """
    first, end = rows or (0, height)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation
    pose[:3, 3] = world.to_user(position)
    half = math.tan(fov / 2)
    return Cameras.pinhole(
        pose[None].float(),
        torch.tensor([[width / 2 / (half * aspect), height / 2 / half]]),
        torch.tensor([[width / 2, height / 2 - first]]),
        torch.tensor([[width, end - first]]),
    )


def vertical_fov(camera: Cameras) -> tuple[float, float]:
    """The vertical field of view (radians) and aspect of a single camera, as viser draws frusta; ignores distortion."""
    width, height = (float(side) for side in camera.size.tolist())
    focal = camera.focal.tolist()
    return 2 * math.atan(height / 2 / focal[1]), (width / focal[0]) / (height / focal[1])
