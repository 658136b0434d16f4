"""LLFF captures: poses_bounds.npy beside images/ (or images_4/, images_8/).

Each row holds a 3x5 matrix and two bounds. The matrix is camera-to-world with columns [down, right, back], the camera
centre, and (height, width, focal length). Rows follow the sorted file names. Source: github.com/Fyusion/LLFF, README.
"""

import re
from pathlib import Path

import numpy as np
import torch

from diorama.cameras.convert import from_llff
from diorama.data.images import list_images, read_array
from diorama.data.listing import Listing
from diorama.data.shots import Intrinsics, Shot
from diorama.data.views import Frame, Views
from diorama.errors import CameraError, InputError, ViewsError

POSES = "poses_bounds.npy"


def matches(path: Path) -> bool:
    """True for a folder that holds poses_bounds.npy."""
    return (path / POSES).is_file()


def read(path: Path, *, max_side: int | None = None) -> Views:
    """The photos of an LLFF capture with their near and far bounds.

    images/ is taken, or the largest of images_2/, images_4/, ... where that is absent or has other photos than poses;
    intrinsics are scaled by the true ratio of sizes. Errors: InputError for an array of another kind, ViewsError where
    photos and rows differ in number, CameraError for a bad pose.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path) -> Listing:
    """The photos with their cameras and bounds; see `read`."""
    file = path / POSES
    rows = read_array(file)
    if rows.ndim != 2 or rows.shape[1] != 17 or rows.dtype.kind not in "fiu":
        raise InputError(f"{file}: {rows.dtype} {rows.shape}, but one row of 17 numbers per photo is needed.")
    rows = rows.astype(np.float64)
    photos = _photos(path, len(rows))
    for photo, row in zip(photos, rows, strict=True):
        height, width, focal, near, far = row[[4, 9, 14, 15, 16]]
        if not (np.isfinite(row).all() and min(height, width, focal) > 0 and 0 < near < far):
            raise CameraError(
                f"the row of {photo.name} in {POSES} states size {width:g} x {height:g}, focal length {focal:g} and "
                f"bounds {near:g} to {far:g}; finite positive numbers, and near before far, are needed. "
                "Correct or remove it."
            )
    cameras, bounds = from_llff(torch.from_numpy(rows))
    shots = [
        Shot(
            photo.name,
            photo,
            pose.numpy(),
            Intrinsics(tuple(2 * c for c in middle), tuple(focal), tuple(middle)),
            bounds=tuple(limits),
        )
        for photo, pose, focal, middle, limits in zip(
            photos,
            cameras.camera_to_world,
            cameras.focal.tolist(),
            cameras.centre.tolist(),
            bounds.tolist(),
            strict=True,
        )
    ]
    return Listing(tuple(shots), layout="llff", source=path, frame=Frame("LLFF poses_bounds.npy"))


def _photos(path: Path, count: int) -> list[Path]:
    """The photos, from the best folder that has as many as there are poses."""
    smaller = [child for child in path.iterdir() if re.fullmatch(r"images_\d+", child.name) and child.is_dir()]
    folders = [path / "images", *sorted(smaller, key=lambda folder: int(folder.name[7:]))]
    found = {folder: list_images(folder) for folder in folders if folder.is_dir()}
    for photos in found.values():
        if len(photos) == count:
            return photos
    counts = ", ".join(f"{len(photos)} in {folder.name}/" for folder, photos in found.items()) or "none in images/"
    raise ViewsError(
        f"{path / POSES} has {count} poses, but there are other numbers of photos: {counts}. Poses belong to photos by "
        "sorted name, so each needs the other: restore the photos, or remove the rows of those that are gone."
    )
