"""What the verbs that show a scene share: the scene they take, its camera paths, and its frame in words."""

import math
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.paths import interpolate, orbit, spiral, tour, walking_order, yaw_pitch_grid, zoom
from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import gaze, mean_up
from diorama.data.views import Frame
from diorama.errors import InputError
from diorama.types import RenderFn, Rendering

PathName = Literal["tour", "orbit", "spiral", "interpolate", "grid", "zoom"]
"""tour: what suits the capture. orbit: around what the photographs look at. spiral: to and fro in front of it.
interpolate: through all photographs. grid: one photograph swung sideways and up. zoom: closer and closer."""

PATHS: tuple[PathName, ...] = ("tour", "orbit", "spiral", "interpolate", "grid", "zoom")

GRID_ROWS, GRID_YAW, GRID_PITCH = 5, math.radians(25.0), math.radians(12.0)
"""The grid: rows of pitch, and the largest yaw and pitch to either side."""


@runtime_checkable
class Shown(Protocol):
    """What `render`, `export` and `view` need of a scene; see `scenes.scene.Scene`."""

    @property
    def cameras(self) -> Cameras:
        """The context views' cameras, user frame: where photographs were taken, or invented ones."""

    @property
    def photographed(self) -> Cameras:
        """Those of them that photographs were taken with: none where all views were invented."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all of them."""

    @property
    def frame(self) -> Frame:
        """The user's frame."""

    @property
    def near(self) -> float:
        """Depth (user units) in front of which nothing lies."""

    @property
    def far(self) -> float:
        """Depth (user units) at which what matters ends."""

    @property
    def thumbnails(self) -> Float[Tensor, "view 3 h w"] | None:
        """The context photographs, small."""

    def render(self, cameras: Cameras, *, max_memory: int = ...) -> Rendering:
        """Colour, depth and opacity from cameras of the user's frame."""

    def density(self, points: Float[Tensor, "*n xyz=3"], *, max_memory: int = ...) -> Float[Tensor, "*n"]:
        """Density per user unit."""

    def colour(
        self, points: Float[Tensor, "*n xyz=3"], directions: Float[Tensor, "*n xyz=3"], *, max_memory: int = ...
    ) -> Float[Tensor, "*n rgb=3"]:
        """Colour at points along unit directions."""

    def bounds(self) -> Float[Tensor, "two xyz=3"]:
        """Lowest and highest corner of what was reconstructed."""


def frame_words(frame: Frame) -> str:
    """The user's frame in words, for the terminal and for notes in files."""
    scale = "of arbitrary scale" if frame.units == "arbitrary" else f"in {frame.units}"
    return f"the frame of {frame.name}, {scale}"


def image_size(cameras: Cameras, width: int | None, height: int | None, *, even: bool = False) -> tuple[int, int]:
    """Width and height of the pictures: as asked, else those of the first camera; one number keeps the aspect.

    even: rounded to even numbers, as films need. Raises InputError for sizes that are none.
    """
    full_width, full_height = (int(side) for side in cameras.size[0].tolist())
    if width is None and height is None:
        width, height = full_width, full_height
    elif height is None and width is not None:
        height = max(1, round(full_height * width / full_width))
    elif width is None and height is not None:
        width = max(1, round(full_width * height / full_height))
    assert width is not None
    assert height is not None
    if not (0 < width <= 16384 and 0 < height <= 16384):
        raise InputError(f"pictures of {width} x {height} pixels are not possible. Give --width from 1 to 16384.")
    return (width + width % 2, height + height % 2) if even else (width, height)


def camera_path(scene: Shown, name: PathName, count: int, size: tuple[int, int]) -> Cameras:
    """A path of `count` pinhole cameras in the user's frame, with pictures of `size` (width, height)."""
    cameras = scene.cameras
    focus, _ = gaze(cameras, math.sqrt(scene.near * scene.far))
    match name:
        case "tour":
            return tour(cameras, count, size=size)
        case "orbit":
            return orbit(cameras, count, focus=focus, size=size)
        case "spiral":
            return spiral(cameras, count, focus=focus, size=size)
        case "interpolate":
            return interpolate(cameras[walking_order(cameras)], count, size=size)
        case "zoom":
            return zoom(central_camera(cameras, size), count)
        case "grid":
            rows = min(GRID_ROWS, count)
            columns = math.ceil(count / rows)
            yaws, pitches = torch.linspace(-GRID_YAW, GRID_YAW, columns), torch.linspace(-GRID_PITCH, GRID_PITCH, rows)
            swung = yaw_pitch_grid(central_camera(cameras, size), yaws, pitches, focus=focus, up=mean_up(cameras))
            row, column = torch.arange(rows * columns) // columns, torch.arange(rows * columns) % columns
            return swung[row, torch.where(row % 2 == 0, column, columns - 1 - column)][:count]  # to and fro


def central_camera(cameras: Cameras, size: tuple[int, int]) -> Cameras:
    """The photograph (a batch of one) nearest to the middle of all, as a pinhole for pictures of another size.

    Pixels keep their shape, and nothing is seen beyond the photograph's sides.
    """
    origins = cameras.origins.double()
    index = int((origins - origins.mean(0)).norm(dim=-1).argmin())
    chosen, wanted = cameras[index : index + 1], torch.tensor([size])
    focal = chosen.focal * (wanted / chosen.size).amax().to(chosen.focal)
    return Cameras.pinhole(chosen.camera_to_world, focal, (0.5 * wanted).to(focal), wanted)


def scene_folders(path: Path) -> list[Path]:
    """The scenes at a path: itself and, if it is the first of several samples, the others; or, where it is a folder of
    scenes (`diorama generate`), all of these."""
    from diorama.pipelines.uncertainty import sample_folders

    within = sorted(card.parent for card in path.glob("*/scene.json"))
    return within if within and not (path / "scene.json").is_file() else sample_folders(path)


def open_scene(path: Path, *, device: str | None = None, max_memory: str | None = None) -> tuple[Shown, RenderFn]:
    """A scene from disk, and how to render it within a limit of memory (`4GB`). Raises InputError with advice."""
    from diorama.pipelines.quantities import memory_limit
    from diorama.pipelines.reconstruct import choose_device
    from diorama.scenes.storage import load_scene

    scene = load_scene(path, device=choose_device(device))
    limit = memory_limit(max_memory)

    def render(cameras: Cameras) -> Rendering:
        return scene.render(cameras, max_memory=limit)

    return scene, render
