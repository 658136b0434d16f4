"""From a row of a camera file to a `Shot`: what the benchmark formats share, pinhole cameras with a matrix K."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

from diorama.data.images import image_size
from diorama.data.shots import Intrinsics, Shot
from diorama.errors import CameraError, InputError

LARGEST_SKEW = 1e-2
"""Skew of K, as a share of the focal length, beyond which a camera with square angles does not describe it."""


def pinhole_shot(
    name: str,
    path: Path,
    camera_to_world: Float[np.ndarray, "4 4"],
    matrix: Float[np.ndarray, "3 3"],
    *,
    size: tuple[float, float] | None = None,
    object_mask: Path | None = None,
    depth: Path | None = None,
    bounds: tuple[float, float] | None = None,
) -> Shot:
    """A photo with its pinhole camera. matrix: K in pixels of a photo of `size` (width, height), (0, 0) its corner.

    size None stands for that of the file as stored. Errors: CameraError where K is none (NaN, no unit, skewed).
    """
    if not np.isfinite(matrix).all() or abs(matrix[2, 2]) < 1e-12:
        raise CameraError(f"the matrix K of {name} is {matrix.round(4).tolist()}. Correct it or remove the photo.")
    scaled = matrix / matrix[2, 2]
    if abs(scaled[0, 1]) > LARGEST_SKEW * abs(scaled[0, 0]):
        raise CameraError(
            f"the camera of {name} has skew {scaled[0, 1]:.1f} px at focal length {scaled[0, 0]:.1f} px; square pixels "
            "are needed. Undistort the photos first."
        )
    focal, centre = (float(scaled[0, 0]), float(scaled[1, 1])), (float(scaled[0, 2]), float(scaled[1, 2]))
    lens = Intrinsics(size or stored_size(path), focal, centre)
    return Shot(name, path, camera_to_world, lens, object_mask=object_mask, depth=depth, bounds=bounds)


def stored_size(path: Path) -> tuple[float, float]:
    """(width, height) of a photo as stored; (1, 1) where it is no image, which `views_of` will leave out and say."""
    try:
        width, height = image_size(path, upright=False)
    except InputError:
        return 1.0, 1.0
    return float(width), float(height)


def rigid(rotation: Float[np.ndarray, "3 3"], centre: Float[np.ndarray, "3"]) -> Float[np.ndarray, "4 4"]:
    """A camera-to-world matrix from its rotation and the camera centre."""
    camera_to_world = np.eye(4)
    camera_to_world[:3, :3], camera_to_world[:3, 3] = rotation, centre
    return camera_to_world
