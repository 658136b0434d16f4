"""`transforms.json` of nerfstudio and instant-ngp, read and written. OpenGL camera-to-world matrices.

nerfstudio: docs.nerf.studio, "Data conventions"; instant-ngp: docs/nerf_dataset_tips.md and testbed's nerf_loader.
"""

import json
import math
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from diorama.cameras.camera_file import load_json
from diorama.cameras.convert import from_opengl, to_opengl
from diorama.cameras.pinhole import Cameras, Lens
from diorama.data.images import SUFFIXES, image_size
from diorama.data.listing import Listing
from diorama.data.shots import Intrinsics, Shot, safe_name
from diorama.data.views import Frame, Views
from diorama.errors import CameraError, InputError, OutputError

LENSES: Mapping[str, Lens] = {
    "SIMPLE_PINHOLE": "pinhole",
    "PINHOLE": "pinhole",
    "SIMPLE_RADIAL": "opencv",
    "RADIAL": "opencv",
    "OPENCV": "opencv",
    "OPENCV_FISHEYE": "fisheye",
}
"""`camera_model` -> lens."""


def matches(path: Path) -> bool:
    """True for a folder that holds transforms.json, and for any .json file given by itself."""
    return (path / "transforms.json").is_file() or (path.is_file() and path.suffix.lower() == ".json")


def read(path: Path, *, max_side: int | None = None) -> Views:
    """The photos a transforms.json lists, in its own world; those without a file are skipped and said.

    Names are the paths as listed, without what all of them share. `split` lists (`train_filenames`,
    `test_filenames`) become `Views.splits`. Errors: InputError for JSON that is cut or of another program.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path) -> Listing:
    """The frames that have a file, with their cameras; see `read`."""
    file = path if path.is_file() else path / "transforms.json"
    content = load_json(file)
    entries = frames_of(content, file)
    names, shots, skipped = named_shots([{**content, **entry} for entry in entries], file.parent)
    splits = {
        role.removesuffix("_filenames"): tuple(
            name for entry, name in zip(entries, names, strict=True) if entry["file_path"] in content[role]
        )
        for role in ("train_filenames", "val_filenames", "test_filenames")
        if isinstance(content.get(role), list)
    }
    return Listing(
        tuple(shots),
        layout="transforms",
        source=path,
        frame=Frame(str(content.get("frame_name") or file.name), str(content.get("units") or "arbitrary")),
        skipped=tuple(skipped),
        splits=splits,
    )


def frames_of(content: Mapping[str, Any], file: Path) -> list[dict[str, Any]]:
    """The frames of a transforms.json, each with a file_path and a 4x4 transform_matrix."""
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        found = ", ".join(list(content)[:6]) or "nothing"
        raise InputError(
            f"{file}: no list `frames` (found: {found}). A transforms.json of nerfstudio or instant-ngp is needed."
        )
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str) or not frame["file_path"]:
            raise InputError(
                f"{file}: frame {index} has no file_path. Every frame needs file_path and transform_matrix."
            )
    return frames


def short_names(listed: Sequence[str]) -> list[str]:
    """Listed paths without the folders that all of them share: `images/0001.jpg` is called `0001.jpg`."""
    paths = [PurePosixPath(safe_name(path)) for path in listed]
    common = posixpath.commonpath([str(path.parent) for path in paths])
    return [str(path.relative_to(common or ".")) for path in paths]


def named_shots(entries: Sequence[Mapping[str, Any]], root: Path) -> tuple[list[str], list[Shot], list[str]]:
    """(a name for every frame, the frames that have a readable file, a line for each that has none).

    Names are the listed paths without the folders all of them share, with the suffix their file has.
    """
    names, shots, skipped = [], [], []
    for entry, name in zip(entries, short_names([str(entry["file_path"]) for entry in entries]), strict=True):
        file = find_file(root, entry["file_path"])
        if file is None:
            names.append(name)
            skipped.append(f"{name}: listed, but there is no such file")
            continue
        names.append(name if PurePosixPath(name).suffix == file.suffix else name + file.suffix)
        shot = shot_of(entry, root, file, names[-1], skipped)
        shots += [shot] if shot else []
    return names, shots, skipped


def shot_of(entry: Mapping[str, Any], root: Path, file: Path, name: str, skipped: list[str]) -> Shot | None:
    """One frame as a Shot; None, and a line in skipped, where the header of its file cannot be read."""
    pose = pose_of(entry, name)
    try:
        intrinsics = intrinsics_of(entry, file, name)
    except CameraError:
        raise
    except InputError as error:
        skipped.append(f"{name}: {error}")
        return None
    stem = Path(entry["file_path"])
    dynamic = find_file(root, str(stem.with_name(f"dynamic_mask_{stem.stem}.png")))
    mask = find_file(root, entry["mask_path"]) if isinstance(entry.get("mask_path"), str) else None
    unit = number(entry, "depth_unit_scale_factor", 1e-3)
    depth = entry.get("depth_file_path")
    if not isinstance(depth, str):
        depth, unit = entry.get("depth_path"), number(entry, "integer_depth_scale", 1e-3)
    for kind, listed in (("mask", entry.get("mask_path")), ("depth map", depth)):
        if isinstance(listed, str) and find_file(root, listed) is None:
            skipped.append(f"{name} is used without its {kind}: there is no file {listed}")
    return Shot(
        name=name,
        path=file,
        camera_to_world=pose,
        intrinsics=intrinsics,
        ignore_mask=mask or dynamic,
        inverted_ignore_mask=mask is None and dynamic is not None,
        depth=find_file(root, depth) if isinstance(depth, str) else None,
        depth_unit=unit,
    )


def find_file(root: Path, listed: str) -> Path | None:
    """The file a frame means: as listed, or with the suffix it leaves out; None where there is none."""
    path = root / listed.replace("\\", "/")
    try:
        if path.is_file():
            return path
        if path.suffix.lower() in SUFFIXES:
            return None
        spellings = [suffix for lower in SUFFIXES for suffix in (lower, lower.upper())]
        return next((full for suffix in spellings if (full := path.with_name(path.name + suffix)).is_file()), None)
    except (OSError, ValueError):  # a name no file can have
        return None


def pose_of(entry: Mapping[str, Any], name: str) -> Float[np.ndarray, "4 4"]:
    """The camera-to-world matrix of a frame (float64), in OpenCV axes."""
    try:
        matrix = np.array(entry.get("transform_matrix"), dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise CameraError(f"the transform_matrix of {name} does not hold numbers ({error}). Correct it.") from error
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0, 0, 0, 1]])
    if matrix.shape != (4, 4):
        raise CameraError(f"the transform_matrix of {name} has shape {matrix.shape}, 4x4 is needed. Correct it.")
    return from_opengl(torch.from_numpy(matrix)).numpy()


def intrinsics_of(entry: Mapping[str, Any], file: Path, name: str) -> Intrinsics:
    """The lens of a frame, from its own numbers before those of the whole file.

    Focal length: fl_x, fl_y (pixels), else camera_angle_x, camera_angle_y (radians), else x_fov, y_fov (degrees).
    """
    if "w" in entry and "h" in entry:
        size = (number(entry, "w", math.nan), number(entry, "h", math.nan))
    else:
        width, height = image_size(file)
        size = (float(width), float(height))
    if not 0 < min(size) <= max(size) < math.inf:
        raise CameraError(f"w and h of {name} are {size[0]:g} and {size[1]:g}. Correct them, or leave both out.")
    along = (_focal(entry, "x", size[0]), _focal(entry, "y", size[1]))
    fx = along[0] or along[1]
    if fx is None:
        raise CameraError(
            f"no focal length for {name}: none of fl_x, camera_angle_x, x_fov is there. Add one to "
            "its frame or to the whole file."
        )
    centre = (number(entry, "cx", size[0] / 2), number(entry, "cy", size[1] / 2))
    distortion = tuple(number(entry, key, 0.0) for key in ("k1", "k2", "k3", "k4", "p1", "p2"))
    lens = _lens(entry, distortion, name)
    match lens:
        case "pinhole":
            distortion = (0.0,) * 6
        case "fisheye":
            distortion = (*distortion[:4], 0.0, 0.0)
    return Intrinsics(size, (fx, along[1] or fx), centre, distortion, lens)


def _focal(entry: Mapping[str, Any], axis: str, side: float) -> float | None:
    if f"fl_{axis}" in entry:
        return number(entry, f"fl_{axis}", math.nan)
    for key, unit in ((f"camera_angle_{axis}", 1.0), (f"{axis}_fov", math.pi / 180)):
        if key in entry:
            angle = number(entry, key, math.nan) * unit
            return side / 2 / math.tan(angle / 2) if 0 < angle < math.pi else math.nan
    return None


def _lens(entry: Mapping[str, Any], distortion: Sequence[float], name: str) -> Lens:
    if any(key in entry for key in ("ftheta_p0", "latlong")) or entry.get("is_latlong"):
        raise CameraError(
            f"the camera of {name} is an f-theta or panorama lens, which is not read. Undistort the photos."
        )
    model = entry.get("camera_model")
    if model is not None and model not in LENSES:
        raise CameraError(
            f"the camera_model of {name} is {model}; read are {', '.join(LENSES)}. Undistort the photos first."
        )
    if entry.get("is_fisheye") or model == "OPENCV_FISHEYE":
        return "fisheye"
    return "opencv" if any(distortion) and model not in ("PINHOLE", "SIMPLE_PINHOLE") else "pinhole"


def number(entry: Mapping[str, Any], key: str, default: float) -> float:
    """A number of the file; CameraError where something else stands there."""
    value = entry.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        raise CameraError(f"{key} is {str(value)[:40]!r} in transforms.json, a number is needed. Correct it.")
    return float(value)


def write_transforms(
    path: Path,
    cameras: Cameras,
    names: Sequence[str],
    frame: Frame | None = None,
    *,
    folder: str = "",
    depth_folder: str | None = None,
    depth_unit: float = 1e-3,
    mask_folder: str | None = None,
) -> None:
    """Write cameras as a transforms.json that nerfstudio reads; `read` gives back the same numbers, bit for bit.

    names: file names; each frame's file_path is `folder/name`. depth_folder: where 16-bit depth PNGs of the same stem
    lie, in steps of depth_unit. mask_folder: likewise masks, black where ignored. Intrinsics stand in every frame.
    """
    if len(names) != len(cameras):
        raise InputError(f"{len(names)} names but {len(cameras)} cameras; every camera needs one name.")
    model = {"pinhole": "PINHOLE", "opencv": "OPENCV", "fisheye": "OPENCV_FISHEYE"}[cameras.lens]
    frames = []
    for index, name in enumerate(names):
        camera = cameras[index].to(torch.float64)
        entry: dict[str, Any] = {"file_path": str(PurePosixPath(folder) / name)}
        entry |= dict(zip(("w", "h"), camera.size.tolist(), strict=True))
        entry |= dict(zip(("fl_x", "fl_y"), camera.focal.tolist(), strict=True))
        entry |= dict(zip(("cx", "cy"), camera.centre.tolist(), strict=True))
        if cameras.lens != "pinhole":
            entry |= dict(zip(("k1", "k2", "k3", "k4", "p1", "p2"), camera.distortion.tolist(), strict=True))
        entry["transform_matrix"] = to_opengl(camera.camera_to_world).tolist()
        stem = str(PurePosixPath(name).with_suffix(".png"))
        if depth_folder is not None:
            entry["depth_file_path"] = str(PurePosixPath(depth_folder) / stem)
        if mask_folder is not None:
            entry["mask_path"] = str(PurePosixPath(mask_folder) / stem)
        frames.append(entry)
    content: dict[str, Any] = {"camera_model": model}
    if frame is not None:
        content |= {"frame_name": frame.name, "units": frame.units}
    if depth_folder is not None:
        content["depth_unit_scale_factor"] = depth_unit
    content["frames"] = frames
    try:
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} could not be written ({error.strerror or error}). Choose another place.") from error
