"""Posed photo files become Views: what every format with one camera file or row per photo shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.data.images import read_photo, stack_photos
from diorama.data.numbers import require_finite
from diorama.data.views import Views
from diorama.errors import CameraError, InputError

LARGEST_ROTATION_ERROR = 1e-2
"""Entry of R^T R - 1 beyond which a matrix is no rotation; files round to as few as four digits."""


@dataclass(frozen=True)
class PosedPhoto:
    """A photo file with its pinhole camera.

    camera_to_world: 4x4, OpenCV axes, the user's frame. intrinsics: K (3x3) in pixels of a photo of `size` (width,
    height), pixel (0, 0) being the top-left corner; size None means the size of the file itself.
    """

    name: str
    path: Path
    camera_to_world: np.ndarray
    intrinsics: np.ndarray
    size: tuple[int, int] | None = None


def read_posed(photos: Sequence[PosedPhoto], max_side: int | None = None) -> Views:
    """Views with images, names, cameras (and `ignore` where photos of different size were padded).

    Pixels are taken as stored, whatever EXIF says of their orientation: cameras describe those. Photos that cannot be
    read are left out and said in `skipped`: take names, not positions, from the result.
    Errors: CameraError for NaN or a matrix that is no rotation; InputError where no photo is left.
    """
    colours, kept, intrinsics, notes = [], [], [], []
    for photo in photos:
        check_camera(photo)
        try:
            read = read_photo(photo.path, max_side, upright=False)
        except InputError as error:
            notes.append(str(error))
            continue
        stated = photo.size or read.size
        scale = (read.colour.shape[2] / stated[0], read.colour.shape[1] / stated[1], 1.0)
        intrinsics.append(np.diag(scale) @ photo.intrinsics)
        colours.append(read.colour)
        kept.append(photo)
        notes.extend([read.note] if read.note else [])
    if not kept:
        raise InputError(f"none of {len(photos)} photos could be read. {' '.join(notes[:2])}")
    images, sizes, padding = stack_photos(colours)
    matrix = torch.from_numpy(np.stack(intrinsics)).float()
    cameras = Cameras.pinhole(
        camera_to_world=torch.from_numpy(np.stack([photo.camera_to_world for photo in kept])).float(),
        focal=torch.stack([matrix[:, 0, 0], matrix[:, 1, 1]], dim=-1),
        centre=matrix[:, :2, 2].contiguous(),
        size=sizes,
    )
    names = tuple(photo.name for photo in kept)
    return Views(images, names, cameras=cameras, ignore=padding, skipped=tuple(notes))


def check_camera(photo: PosedPhoto) -> None:
    """CameraError where the pose is not rigid or a focal length is not a positive number."""
    require_finite(photo.camera_to_world, f"the camera of {photo.name}")
    require_finite(photo.intrinsics, f"the camera of {photo.name}")
    rotation = photo.camera_to_world[:3, :3]
    error = float(np.abs(rotation.T @ rotation - np.eye(3)).max())
    if error > LARGEST_ROTATION_ERROR or np.linalg.det(rotation) < 0:
        raise CameraError(
            f"the camera of {photo.name} has no rotation: R^T R differs from 1 by {error:.2g}, determinant "
            f"{np.linalg.det(rotation):.2g}. Check the pose file, or remove that photo."
        )
    if min(photo.intrinsics[0, 0], photo.intrinsics[1, 1]) <= 0:
        raise CameraError(f"the camera of {photo.name} has no positive focal length. Check its intrinsics.")


def inside(folder: Path, name: str) -> Path:
    """The file a data set names, which must lie inside its folder; InputError for `../` and absolute paths."""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()) or "\0" in name:
        raise InputError(f"{folder}: names the file {name[:80]!r}, which lies outside the folder. That is not read.")
    return file


def pad_to(plane: Float[Tensor, "a b"], image: Float[Tensor, "c h w"]) -> Float[Tensor, "h w"]:
    """A plane in the top-left corner of the (padded) size of an image, 0 elsewhere."""
    padding = (0, image.shape[2] - plane.shape[1], 0, image.shape[1] - plane.shape[0])
    return torch.nn.functional.pad(plane, padding)
