"""Photos with cameras, as a layout lists them, become Views: the common end of every reader of posed photos."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras, Lens
from diorama.data.images import image_size, padding_mask, read_depth, read_mask, read_photo
from diorama.data.resample import fit_size
from diorama.data.views import Frame, Views
from diorama.errors import CameraError, InputError, MemoryLimitError, ViewsError

ROTATION_TOLERANCE = 1e-3
"""Stretch or shear of a rotation that is put down to rounding and projected away; more is no rotation."""

ROUNDING = 1e-6
"""Below this a rotation is kept bit for bit, so that written cameras read back equal."""

FARTHEST = 2000.0
"""Distance from the origin, in spreads of the cameras, where float32 begins to blur them by a tenth of a pixel."""

SHAPE_TOLERANCE = 0.02
"""Share by which width / height of a file may differ from that of its camera: sizes are rounded when photos shrink."""

MIN_SIDE = 4
"""Pixels of the shorter side below which a picture shows nothing."""

MAX_MEMORY_SHARE = 0.5
"""Share of the machine's memory that decoded photos may take."""


@dataclass(frozen=True)
class Intrinsics:
    """A lens in pixels of a picture of `size` (width, height); pixel centres at +0.5.

    distortion: k1 k2 k3 k4 p1 p2 as in `Cameras`.
    """

    size: tuple[float, float]
    focal: tuple[float, float]
    centre: tuple[float, float]
    distortion: tuple[float, ...] = (0.0,) * 6
    lens: Lens = "pinhole"

    def scaled(self, width: int, height: int) -> "Intrinsics":
        """The same lens for the picture resampled to width x height."""
        x, y = width / self.size[0], height / self.size[1]
        focal, centre = (self.focal[0] * x, self.focal[1] * y), (self.centre[0] * x, self.centre[1] * y)
        return replace(self, size=(float(width), float(height)), focal=focal, centre=centre)


@dataclass(frozen=True)
class Shot:
    """One posed photo before its pixels are read.

    camera_to_world: 4x4 float64, OpenCV axes, user's frame. ignore_mask: black is not used. object_mask: white is the
    object. depth: 16-bit PNG or .npy in steps of `depth_unit` user units. bounds: near and far, user units.
    """

    name: str
    path: Path
    camera_to_world: np.ndarray
    intrinsics: Intrinsics
    ignore_mask: Path | None = None
    inverted_ignore_mask: bool = False
    object_mask: Path | None = None
    depth: Path | None = None
    depth_unit: float = 1e-3
    bounds: tuple[float, float] | None = None


def views_of(
    shots: Sequence[Shot],
    *,
    layout: str,
    source: Path,
    frame: Frame,
    max_side: int | None = None,
    skipped: Sequence[str] = (),
    points: Float[Tensor, "point xyz=3"] | None = None,
    splits: Mapping[str, tuple[str, ...]] | None = None,
) -> Views:
    """Read the photos and join them with their cameras, scaled by the true ratio of sizes.

    Photos that are absent or cannot be read are left out, a line each in `skipped`; transparent photos give `object`
    coverage; photos of different sizes are padded at the right and the bottom and the padding is ignored.
    Errors: CameraError for a bad pose or lens of a photo that exists, ViewsError where no photo is left,
    MemoryLimitError where the pixels would not fit.
    """
    notes = list(skipped)
    present = _present(shots, notes)
    if not present:
        raise ViewsError(_nothing_left(source, notes))
    poses = checked_poses(np.stack([shot.camera_to_world for shot, _, _ in present]), [s.name for s, _, _ in present])
    sizes = [fit_size(size, max_side) for _, size, _ in present]
    width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
    check_memory(len(present), width, height)
    images, coverage, kept = _read_pixels(present, sizes, max_side, notes)
    if not kept:
        raise ViewsError(_nothing_left(source, notes))
    used = [present[index][0] for index in kept]
    size = torch.tensor([sizes[index] for index in kept], dtype=torch.int64)
    views = Views(
        images,
        tuple(shot.name for shot in used),
        cameras=cameras_of([s.intrinsics for s in used], [s.name for s in used], torch.from_numpy(poses[kept]), size),
        ignore=padding_mask(size, width, height),
        object=coverage,
        points=points,
        bounds=_bounds(used),
        frame=frame,
        source=source,
        layout=layout,
        splits=_existing(splits or {}, used),
    )
    return replace(_with_masks_and_depth(views, used, notes), skipped=tuple(notes))


def safe_name(listed: str) -> str:
    """A listed path as the name of a view: relative, with forward slashes, and never leading out of a folder."""
    parts = [part for part in PurePosixPath(listed.replace("\\", "/")).parts if part not in ("/", "..", ".")]
    return "/".join(parts) or "unnamed"


def checked_poses(
    camera_to_world: Float[np.ndarray, "view 4 4"], names: Sequence[str]
) -> Float[np.ndarray, "view 4 4"]:
    """Rigid poses: rotations off by rounding are projected to the nearest rotation, anything worse is an error.

    Errors: CameraError naming the photo for NaN, a stretched, sheared, mirrored or zero rotation, and where all of
    several cameras are one and the same or too far from the origin to be told apart (map coordinates).
    """
    poses = camera_to_world.astype(np.float64).copy()
    for pose, name in zip(poses, names, strict=True):
        if not np.isfinite(pose).all():
            raise CameraError(f"the camera of {name} holds NaN or infinity. Correct its pose or remove the photo.")
        if np.abs(pose[3] - (0, 0, 0, 1)).max() > ROTATION_TOLERANCE:
            raise CameraError(
                f"the last row of the pose of {name} is {pose[3].round(4).tolist()}, it must be 0 0 0 1. "
                "Is the matrix transposed?"
            )
        pose[3] = (0, 0, 0, 1)
        left, stretch, right = np.linalg.svd(pose[:3, :3])
        off = float(np.abs(stretch - 1).max())
        mirrored = np.linalg.det(left) * np.linalg.det(right) < 0
        if off > ROTATION_TOLERANCE or mirrored:
            raise CameraError(
                f"the pose of {name} is no rotation: singular values {stretch.round(5).tolist()}"
                f"{', mirrored' if mirrored else ''}; within {ROTATION_TOLERANCE} of 1 and not mirrored is needed. "
                "Correct its matrix or remove the photo."
            )
        if off > ROUNDING:
            pose[:3, :3] = left @ right
    if len(poses) > 1 and np.ptp(poses, axis=0).max() == 0:
        raise CameraError(
            f"all {len(poses)} cameras stand at one place and look one way: the poses were never filled in, or the "
            "camera did not move. Give true poses, or leave them out and run `diorama pose PHOTOS`."
        )
    spread, farthest = np.ptp(poses[:, :3, 3], axis=0).max(), np.abs(poses[:, :3, 3]).max()
    if 0 < spread * FARTHEST < farthest:
        raise CameraError(
            f"the cameras lie up to {farthest:.6g} from the origin but only {spread:.4g} apart: in single precision "
            f"their places would blur. Subtract a common offset first, such as {poses[0, :3, 3].round().tolist()}."
        )
    return poses


def cameras_of(
    intrinsics: Sequence[Intrinsics],
    names: Sequence[str],
    camera_to_world: Float[Tensor, "view 4 4"],
    size: Tensor,
) -> Cameras:
    """One batch of cameras (float32) at the given sizes (width, height); CameraError where lenses do not go together.

    Pinhole lenses join any other as one without distortion.
    """
    bent = [
        (i.lens, name) for i, name in zip(intrinsics, names, strict=True) if any(i.distortion) or i.lens == "fisheye"
    ]
    kinds = {lens for lens, _ in bent}
    if len(kinds) > 1 or (kinds == {"fisheye"} and len(bent) < len(names)):
        raise CameraError(
            f"fisheye and other lenses in one set ({bent[0][1]} is {bent[0][0]}). One kind is needed: undistort the "
            "photos first, or open those of each lens on their own."
        )
    for lens, name in zip(intrinsics, names, strict=True):
        numbers = (*lens.focal, *lens.centre, *lens.distortion)
        if not np.isfinite(numbers).all() or min(lens.focal) <= 0:
            raise CameraError(
                f"the camera of {name} has focal length {lens.focal}, centre {lens.centre} and distortion "
                f"{lens.distortion}; finite numbers and a positive focal length are needed. Correct its intrinsics."
            )
    scaled = [lens.scaled(w, h) for lens, (w, h) in zip(intrinsics, size.tolist(), strict=True)]
    kind: Lens = next(iter(kinds), "pinhole")
    return Cameras(
        camera_to_world=camera_to_world.float(),
        focal=torch.tensor([lens.focal for lens in scaled]),
        centre=torch.tensor([lens.centre for lens in scaled]),
        size=size,
        distortion=torch.tensor([lens.distortion for lens in scaled]),
        lens=kind,
    )


def check_memory(count: int, width: int, height: int, limit: int | None = None) -> None:
    """MemoryLimitError where the photos, decoded to float32, take more than limit bytes (default: half the memory)."""
    needed = count * width * height * 16
    limit = limit or int(_machine_memory() * MAX_MEMORY_SHARE)
    if needed > limit:
        side = int(max(width, height) * (limit / needed) ** 0.5)
        raise MemoryLimitError(
            f"{count} photos of {width} x {height} take {needed / 2**30:.1f} GB once decoded, {limit / 2**30:.1f} GB "
            f"are allowed on this machine. Read them smaller: --max-side {side}."
        )


def _machine_memory() -> int:
    """Bytes of memory; 16 GB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 16 << 30


def _present(shots: Sequence[Shot], notes: list[str]) -> list[tuple[Shot, tuple[int, int], bool]]:
    """(shot, size of the file, upright) of the photos whose header can be read and whose shape is the camera's."""
    present, seen = [], set()
    for shot in shots:
        try:
            if shot.name in seen:
                raise InputError("listed twice, the first is used")
            if not shot.path.is_file():
                raise InputError(f"listed, but there is no file {shot.path}")
            size, upright = _matching_size(shot)
            if min(size) < MIN_SIDE:
                raise InputError(f"{size[0]} x {size[1]} pixels, at least {MIN_SIDE} x {MIN_SIDE} are needed")
        except CameraError:
            raise
        except InputError as error:
            notes.append(f"{shot.name}: {error}")
            continue
        seen.add(shot.name)
        present.append((shot, size, upright))
    return present


def _read_pixels(
    present: Sequence[tuple[Shot, tuple[int, int], bool]],
    sizes: Sequence[tuple[int, int]],
    max_side: int | None,
    notes: list[str],
) -> tuple[Float[Tensor, "view 3 h w"], Float[Tensor, "view h w"] | None, list[int]]:
    """(padded images, coverage if any photo is transparent, which photos could be read)."""
    width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
    images, alphas, kept = torch.zeros(len(present), 3, height, width), {}, []
    for index, ((shot, _, upright), (w, h)) in enumerate(zip(present, sizes, strict=True)):
        try:
            photo = read_photo(shot.path, max_side, upright)
        except InputError as error:
            notes.append(f"{shot.name}: {error}")
            continue
        notes += [photo.note] if photo.note else []
        images[index, :, :h, :w] = photo.colour
        if photo.coverage is not None and bool((photo.coverage < 1).any()):
            alphas[index] = photo.coverage
        kept.append(index)
    coverage = None
    if alphas:
        coverage = torch.zeros(len(kept), height, width)
        for plane, index in zip(coverage, kept, strict=True):
            w, h = sizes[index]
            plane[:h, :w] = alphas.get(index, torch.ones(()))
    return images if len(kept) == len(present) else images[kept], coverage, kept


def _matching_size(shot: Shot) -> tuple[tuple[int, int], bool]:
    """The size of the file and whether EXIF orientation is followed: only where that alone fits the camera."""
    stated = shot.intrinsics.size
    if not (np.isfinite(stated).all() and min(stated) > 0):
        raise CameraError(f"the camera of {shot.name} states a size of {stated}. Correct w and h, or leave them out.")
    stored, turned = image_size(shot.path, upright=False), image_size(shot.path)
    for size, upright in ((stored, False), (turned, True)):
        if abs(size[0] * stated[1] / (size[1] * stated[0]) - 1) < max(SHAPE_TOLERANCE, 1.5 / min(size)):
            return size, upright
    raise InputError(
        f"the file is {stored[0]} x {stored[1]}, but its camera is for {stated[0]:g} x {stated[1]:g}, another shape. "
        "Was it cropped or turned? Correct the camera or restore the photo"
    )


def _bounds(shots: Sequence[Shot]) -> Tensor | None:
    """Near and far per view, where every photo has them."""
    if any(shot.bounds is None for shot in shots):
        return None
    return torch.tensor([shot.bounds for shot in shots])


def _existing(splits: Mapping[str, tuple[str, ...]], shots: Sequence[Shot]) -> dict[str, tuple[str, ...]]:
    """The split without photos that are not there."""
    names = {shot.name for shot in shots}
    return {role: tuple(name for name in listed if name in names) for role, listed in splits.items()}


def _with_masks_and_depth(views: Views, shots: Sequence[Shot], notes: list[str]) -> Views:
    """Add the mask and depth files that the shots name; one that cannot be read is left out and said."""
    if views.cameras is None or not any(shot.ignore_mask or shot.object_mask or shot.depth for shot in shots):
        return views
    height, width = views.images.shape[-2:]
    sizes = views.cameras.size.tolist()
    ignore = torch.zeros(len(shots), height, width, dtype=torch.bool) if views.ignore is None else views.ignore.clone()
    coverage = torch.ones(len(shots), height, width) if views.object is None else views.object.clone()
    depth = torch.zeros(len(shots), height, width)
    for index, (shot, (w, h)) in enumerate(zip(shots, sizes, strict=True)):
        for path in (shot.ignore_mask, shot.object_mask, shot.depth):
            try:
                if path is None:
                    continue
                if path is shot.depth:
                    depth[index, :h, :w] = read_depth(path, shot.depth_unit, (w, h))
                elif path is shot.ignore_mask:
                    bright = read_mask(path, (w, h)) > 0.5
                    ignore[index, :h, :w] |= bright if shot.inverted_ignore_mask else ~bright
                else:
                    coverage[index, :h, :w] = read_mask(path, (w, h))
            except InputError as error:
                notes.append(f"{shot.name} is used without a file that belongs to it: {error}")
    return replace(
        views,
        ignore=ignore if views.ignore is not None or bool(ignore.any()) else None,
        object=coverage if views.object is not None or any(shot.object_mask for shot in shots) else None,
        depth=depth if bool((depth > 0).any()) else None,
    )


def _nothing_left(source: Path, notes: Sequence[str]) -> str:
    first = "; ".join(notes[:3])
    return f"{source}: none of the listed photos can be used. {first}. Check that the photos lie where they are listed."
