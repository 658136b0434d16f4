"""Posed RGB-D folders: `frame-NNNNNN.{color.jpg,depth.png,pose.txt}` and `camera-intrinsics.txt` (3x3).

Depth is 16-bit millimetres, 0 or 65535 where there is none; poses are camera-to-world with OpenCV axes in metres. Where
colour has intrinsics of its own (`camera-intrinsics-color*.txt`, as in 7-Scenes), `camera-intrinsics.txt` is the depth
camera's, and depth is resampled into the colour camera: both are taken to look from the same place.
Source: github.com/andyzeng/tsdf-fusion-python (data/).
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diorama.data.images import read_depth
from diorama.data.listing import Listing
from diorama.data.numbers import read_matrix
from diorama.data.posed import pinhole_shot
from diorama.data.views import Frame, Views
from diorama.errors import InputError

INTRINSICS = "camera-intrinsics.txt"
COLOUR_INTRINSICS = "camera-intrinsics-color*.txt"

METRES_PER_STEP = 1e-3
"""Depth files count millimetres."""


def matches(path: Path) -> bool:
    """True for a folder that holds a `frame-*.pose.txt` and a `frame-*.color.*`."""
    return path.is_dir() and any(path.glob("frame-*.pose.txt")) and any(path.glob("frame-*.color.*"))


def read(path: Path, *, max_side: int | None = None) -> Views:
    """All frames with a pose; depth in metres in the colour camera, 0 where unknown.

    A pose with NaN or infinity is how trackers say that they were lost: those frames are left out and counted.
    Errors: InputError where intrinsics are absent or a matrix is cut, CameraError where a pose is no rotation.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path) -> Listing:
    """The frames with their cameras and depth; see `read`."""
    if not (path / INTRINSICS).is_file():
        raise InputError(f"{path}: frames but no {INTRINSICS} (nine numbers, the 3x3 matrix K), which is needed.")
    depth_intrinsics = read_matrix(path / INTRINSICS, 3, 3)
    own = sorted(path.glob(COLOUR_INTRINSICS))
    colour_intrinsics = read_matrix(own[0], 3, 3) if own else depth_intrinsics
    shots, lost, unposed = [], 0, 0
    for file in sorted(path.glob("frame-*.color.*")):
        pose_file = path / f"{_stem(file.name)}.pose.txt"
        if not pose_file.is_file():
            unposed += 1
            continue
        pose = read_matrix(pose_file, 4, 4)
        if np.isfinite(pose).all():
            depth = None if own else path / f"{_stem(file.name)}.depth.png"
            shots.append(pinhole_shot(file.name, file, pose, colour_intrinsics, depth=depth))
        else:
            lost += 1
    notes = [f"{unposed} photos have no pose.txt"] if unposed else []
    notes += [f"{lost} poses hold NaN or infinity: the tracker was lost there"] if lost else []
    if not shots:
        raise InputError(f"{path}: no frame has a usable pose. {'; '.join(notes)}. Use `diorama pose` to find poses.")
    return Listing(
        tuple(shots),
        layout="rgbd",
        source=path,
        frame=Frame("RGB-D pose.txt files", "metres"),
        skipped=tuple(notes),
        complete=partial(_with_resampled_depth, path=path, intrinsics=depth_intrinsics) if own else None,
    )


def resample_depth(
    depth: Float[Tensor, "a b"],
    intrinsics: Float[Tensor, "3 3"],
    target: Float[Tensor, "3 3"],
    width: int,
    height: int,
) -> Float[Tensor, "height width"]:
    """Planar depth as a camera with intrinsics `target` sees it from the same place and direction.

    Both pictures are planes through the same rays, so each target pixel looks up the nearest depth pixel on its ray:
    no holes, no occlusion, and planar depth itself does not change. 0 beyond the borders of the depth picture.
    """
    x = (torch.arange(width).to(target) + 0.5 - target[0, 2]) / target[0, 0]
    y = (torch.arange(height).to(target) + 0.5 - target[1, 2]) / target[1, 1]
    columns = torch.floor(x * intrinsics[0, 0] + intrinsics[0, 2]).long()
    rows = torch.floor(y * intrinsics[1, 1] + intrinsics[1, 2]).long()
    inside = ((rows >= 0) & (rows < depth.shape[0]))[:, None] & ((columns >= 0) & (columns < depth.shape[1]))
    found = depth[rows.clamp(0, depth.shape[0] - 1)[:, None], columns.clamp(0, depth.shape[1] - 1)]
    return torch.where(inside, found, torch.zeros_like(found))


def _with_resampled_depth(views: Views, path: Path, intrinsics: Float[np.ndarray, "3 3"]) -> Views:
    """Add the depth files of a depth camera with intrinsics of its own, as the colour camera sees them."""
    assert views.cameras is not None
    depth, notes = torch.zeros(len(views), *views.images.shape[-2:]), list(views.skipped)
    for index, name in enumerate(views.names):
        camera = views.cameras[index]
        target = torch.eye(3)
        target[0, 0], target[1, 1] = camera.focal
        target[:2, 2] = camera.centre
        width, height = camera.size.tolist()
        try:
            measured = read_depth(path / f"{_stem(name)}.depth.png", METRES_PER_STEP)
        except InputError as error:
            notes.append(f"{name} is used without its depth: {error}")
            continue
        resampled = resample_depth(measured, torch.from_numpy(intrinsics).float(), target, width, height)
        depth[index, :height, :width] = resampled
    return replace(views, depth=depth if bool((depth > 0).any()) else None, skipped=tuple(notes))


def _stem(name: str) -> str:
    """`frame-000007` of `frame-000007.color.jpg`."""
    return name.partition(".color.")[0]
