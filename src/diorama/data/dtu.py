"""DTU scans as IDR and NeuS lay them out: image/, mask/ and `cameras_sphere.npz` with world_mat_i and scale_mat_i.

world_mat_i = K [R | t] takes points of the world (millimetres for DTU) to pixels; scale_mat_i takes the unit sphere to
the sphere that holds the object. The user's frame is that of world_mat; scale_mat only tells near and far.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diorama.data.images import list_images
from diorama.data.listing import Listing
from diorama.data.masks import match_masks
from diorama.data.numbers import read_npz, require_finite
from diorama.data.posed import pinhole_shot, rigid
from diorama.data.views import Frame, Views
from diorama.errors import InputError

ARCHIVES = ("cameras_sphere.npz", "cameras.npz")
"""Names of the camera file, the first one found counts (NeuS, IDR)."""

SCAN_SIZES = (49, 64)
"""Cameras of a DTU scan; the same layout with other counts is another data set and ships no split."""

TRAIN_ORDER = (25, 22, 28, 40, 44, 48, 0, 8, 13)
"""The first 3, 6 or 9 of these frames train (spec diffusionerf.md, 5.2)."""

EXCLUDED = (*range(3, 8), *range(16, 22), *range(36, 40))
"""Frames with bad exposure, in neither role."""

PROTOCOL_FRAMES = 49
"""The protocol knows the first 49 frames only."""


def matches(path: Path) -> bool:
    """True for a folder that holds the camera archive."""
    return any((path / name).is_file() for name in ARCHIVES)


def read(path: Path, *, max_side: int | None = None) -> Views:
    """A DTU-style scan in the frame of its world_mat, with object masks, bounds and the split of the protocol.

    Photos go with world_mat_i in sorted order when there are as many of each, else by the number in their file name;
    cameras without a photo are left out and said. Errors: InputError where the archive is cut, a photo has no camera,
    or a matrix is no projection.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path) -> Listing:
    """The photos with their cameras, bounds and masks; see `read`."""
    archive = next(path / name for name in ARCHIVES if (path / name).is_file())
    arrays = read_npz(archive)
    count = sum(1 for name in arrays if re.fullmatch(r"world_mat_\d+", name))
    folder = next((path / name for name in ("image", "images", "rgb") if (path / name).is_dir()), None)
    if folder is None or count == 0:
        raise InputError(
            f"{path}: {count} world_mat_i in {archive.name} and no folder image/ beside it; both are needed."
        )
    files = list_images(folder)
    frames = _frames_of(files, arrays, count, archive)
    skipped = [f"{count - len(files)} of {count} cameras have no photo"] if count > len(files) else []
    masks = _masks(path, files, skipped)
    shots = []
    for file, frame in zip(files, frames, strict=True):
        camera_to_world, intrinsics = decompose_projection(_matrix(arrays, "world_mat", frame, archive))
        sphere = _matrix(arrays, "scale_mat", frame, archive) if f"scale_mat_{frame}" in arrays else None
        bounds = None if sphere is None else sphere_bounds(camera_to_world, sphere)
        mask = masks.get(file.name)
        shots.append(pinhole_shot(file.name, file, camera_to_world, intrinsics, object_mask=mask, bounds=bounds))
    is_scan = count in SCAN_SIZES
    return Listing(
        tuple(shots),
        layout="dtu",
        source=path,
        frame=Frame(f"DTU world_mat of {archive.name}", "millimetres" if is_scan else "arbitrary"),
        skipped=tuple(skipped),
        splits=protocol_split({f: file.name for f, file in zip(frames, files, strict=True)}) if is_scan else {},
    )


def decompose_projection(
    projection: Float[np.ndarray, "_ 4"],
) -> tuple[Float[np.ndarray, "4 4"], Float[np.ndarray, "3 3"]]:
    """(camera_to_world 4x4, K 3x3) of a projection matrix K [R | t], given as 3x4 or 4x4.

    K is upper triangular with a positive diagonal and K[2, 2] = 1; R is a rotation whatever the sign of the matrix.
    Source: Hartley and Zisserman, Multiple View Geometry, A4.1.1 (RQ decomposition).
    """
    matrix = projection[:3, :4]
    require_finite(matrix, "projection matrix")
    flip = np.eye(3)[::-1]
    orthogonal, triangular = np.linalg.qr((flip @ matrix[:, :3]).T)
    intrinsics, rotation = flip @ triangular.T @ flip, flip @ orthogonal.T
    signs = np.sign(np.diag(intrinsics))
    if (np.abs(np.diag(intrinsics)) <= 1e-12 * np.abs(matrix).max()).any():
        raise InputError("a projection matrix is singular: no camera has it. Check world_mat_i in the camera file.")
    intrinsics, rotation = intrinsics * signs, signs[:, None] * rotation
    translation = np.linalg.solve(intrinsics, matrix[:, 3])
    if np.linalg.det(rotation) < 0:
        rotation, translation = -rotation, -translation
    intrinsics = intrinsics / intrinsics[2, 2]
    return rigid(rotation.T, -rotation.T @ translation), intrinsics


def sphere_bounds(
    camera_to_world: Float[np.ndarray, "4 4"], scale_mat: Float[np.ndarray, "4 4"]
) -> tuple[float, float]:
    """Near and far (planar depth, user units) of the sphere that scale_mat makes of the unit sphere.

    A camera inside the sphere, or one that looks away from it, gets a hundredth of the radius as near.
    """
    radius = float(np.linalg.norm(scale_mat[:3, 0]))
    depth = float((scale_mat[:3, 3] - camera_to_world[:3, 3]) @ camera_to_world[:3, 2])
    near = max(depth - radius, 0.01 * radius)
    far = depth + radius
    return near, far if far > near else 2 * near


def protocol_split(name_of: dict[int, str]) -> dict[str, tuple[str, ...]]:
    """train, test, train_order and excluded of the few-view protocol, by names; empty where a frame is absent.

    name_of: frame number -> photo name. `train` is already in the fixed order, `train_order` says that it counts.
    """
    test = sorted(set(range(PROTOCOL_FRAMES)) - set(TRAIN_ORDER) - set(EXCLUDED))
    if any(frame not in name_of for frame in (*TRAIN_ORDER, *test)):
        return {}
    train = tuple(name_of[frame] for frame in TRAIN_ORDER)
    excluded = tuple(name for frame, name in sorted(name_of.items()) if frame not in (*TRAIN_ORDER, *test))
    return {"train": train, "test": tuple(name_of[f] for f in test), "train_order": train, "excluded": excluded}


def _masks(path: Path, files: list[Path], skipped: list[str]) -> dict[str, Path]:
    """Object masks by photo name; none, and a line in skipped, where they do not go with the photos."""
    folder = next((path / name for name in ("mask", "masks") if (path / name).is_dir()), None)
    if folder is None:
        return {}
    names = [file.name for file in files]
    try:
        return dict(zip(names, match_masks(names, folder), strict=True))
    except InputError as error:
        skipped.append(f"object masks left out: {error}")
        return {}


def _frames_of(files: list[Path], arrays: dict[str, np.ndarray], count: int, archive: Path) -> list[int]:
    """The number i of world_mat_i for each photo."""
    numbers = [int(name.rpartition("_")[2]) for name in arrays if re.fullmatch(r"world_mat_\d+", name)]
    if len(files) == count:
        return sorted(numbers)
    frames = [int(match[-1]) if (match := re.findall(r"\d+", file.stem)) else -1 for file in files]
    if not files or not set(frames) <= set(numbers) or len(set(frames)) != len(frames):
        raise InputError(
            f"{archive.parent}: {len(files)} photos but {count} cameras in {archive.name}, and the numbers in the file "
            "names do not tell which belong together. Every photo needs its world_mat_i: restore or remove photos."
        )
    return frames


def _matrix(arrays: dict[str, np.ndarray], kind: str, frame: int, archive: Path) -> np.ndarray:
    """A 4x4 matrix of the archive, checked for shape and NaN."""
    matrix = arrays[f"{kind}_{frame}"]
    if matrix.shape not in ((4, 4), (3, 4)) or matrix.dtype.kind not in "fiu":
        raise InputError(f"{archive}: {kind}_{frame} is {matrix.dtype} {matrix.shape}, a 4x4 matrix is needed.")
    require_finite(matrix, f"{archive}: {kind}_{frame}")
    return matrix.astype(np.float64)
