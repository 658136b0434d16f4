"""Lists of cameras, read from JSON: `transforms.json` (NeRF, instant-ngp, nerfstudio) and the paths that the viewer of
nerfstudio writes. Only the cameras are read; photos beside them are the business of `diorama.data`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from diorama.cameras.convert import from_opengl
from diorama.cameras.pinhole import Cameras
from diorama.errors import CameraError, InputError

LARGEST_FILE = 256 << 20
"""Bytes; no list of cameras is longer."""

COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2")


def read_cameras(path: Path | str) -> tuple[Cameras, tuple[str, ...]]:
    """The cameras of a JSON file and their names (`file_path` as written, or `frame_00000`), in the file's own world.

    `frames` with `transform_matrix` (OpenGL axes) and intrinsics fl_x fl_y cx cy w h, k1..k4 p1 p2 or camera_angle_x,
    per frame or for all; or nerfstudio's `camera_path` with `camera_to_world` and a vertical `fov` in degrees.
    InputError where it is neither.
    """
    path = Path(path)
    content = load_json(path)
    if isinstance(content.get("camera_path"), list):
        entries = [_path_entry(content, frame) for frame in content["camera_path"]]
    elif isinstance(content.get("frames"), list):
        entries = [{**content, **frame} if isinstance(frame, dict) else frame for frame in content["frames"]]
    else:
        raise InputError(f"{path}: neither `frames` nor `camera_path`. A transforms.json or a camera path is needed.")
    if not entries:
        raise InputError(f"{path}: its list of cameras is empty. At least one is needed.")
    poses, lenses, names = [], [], []
    for index, entry in enumerate(entries):
        try:
            pose = torch.tensor(entry["transform_matrix"], dtype=torch.float64).reshape(-1, 4)
            poses.append(torch.cat([pose[:3], pose.new_tensor([[0.0, 0.0, 0.0, 1.0]])]).reshape(4, 4))
            lenses.append(_intrinsics(entry))
            names.append(str(entry.get("file_path") or f"frame_{index:05d}"))
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{path}: frame {index} is no camera ({error!r}). Needed: transform_matrix 4x4, w, h, and fl_x or "
                "camera_angle_x."
            ) from error
    kinds = {_lens(entry) for entry in entries}
    fisheye = "fisheye" in kinds
    if fisheye and len(kinds) > 1:
        raise InputError(f"{path}: fisheye and other lenses in one list. Split it into one file per lens.")
    numbers = torch.tensor(lenses, dtype=torch.float64)
    bent = bool((numbers[:, 6:] != 0).any())
    cameras = Cameras(
        from_opengl(torch.stack(poses)).to(torch.float32),
        numbers[:, 0:2].to(torch.float32),
        numbers[:, 2:4].to(torch.float32),
        numbers[:, 4:6].round().to(torch.int64),
        numbers[:, 6:].to(torch.float32),
        "fisheye" if fisheye else "opencv" if bent else "pinhole",
    )
    try:
        return cameras.validate(), tuple(names)
    except CameraError as error:
        raise CameraError(f"{path}: {error}") from error


def load_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; InputError where it is absent, huge, cut, or not an object."""
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise InputError(
                f"{file}: larger than {LARGEST_FILE >> 20} MB, no list of cameras is. Is it the right file?"
            )
        content = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror or error}). Check the file and its rights."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not readable as JSON ({error}). It may be cut: copy or make it again.") from error
    if not isinstance(content, dict):
        raise InputError(
            f"{file}: a JSON {type(content).__name__}, but an object with `frames` is needed. Is it another file?"
        )
    return content


def _path_entry(content: Mapping[str, Any], frame: Any) -> Any:
    """A camera of nerfstudio's viewer, in the words of transforms.json."""
    if not isinstance(frame, dict):
        return frame
    entry = {
        "w": content.get("render_width"),
        "h": content.get("render_height"),
        "transform_matrix": frame.get("camera_to_world"),
    }
    if isinstance(entry["transform_matrix"], list) and len(entry["transform_matrix"]) == 16:
        flat = entry["transform_matrix"]
        entry["transform_matrix"] = [flat[start : start + 4] for start in range(0, 16, 4)]
    if isinstance(frame.get("fov"), int | float):
        entry["camera_angle_y"] = math.radians(frame["fov"])
    return entry


def _lens(entry: Mapping[str, Any]) -> str:
    if str(entry.get("camera_model", "")).upper() in ("OPENCV_FISHEYE", "FISHEYE") or entry.get("is_fisheye"):
        return "fisheye"
    return "other"


def _intrinsics(entry: Mapping[str, Any]) -> list[float]:
    """fl_x fl_y cx cy w h k1 k2 k3 k4 p1 p2 of a frame; what is left out follows from the rest."""
    width, height = float(entry["w"]), float(entry["h"])
    focal_x, focal_y = entry.get("fl_x"), entry.get("fl_y")
    if focal_x is None and entry.get("camera_angle_x") is not None:
        focal_x = 0.5 * width / math.tan(0.5 * float(entry["camera_angle_x"]))
    if focal_y is None and entry.get("camera_angle_y") is not None:
        focal_y = 0.5 * height / math.tan(0.5 * float(entry["camera_angle_y"]))
    focal_x = focal_y if focal_x is None else focal_x
    if focal_x is None:
        raise KeyError("fl_x")
    focal_y = focal_x if focal_y is None else focal_y
    centre = [float(entry.get("cx", 0.5 * width)), float(entry.get("cy", 0.5 * height))]
    bent = [float(entry.get(name) or 0.0) for name in COEFFICIENTS]
    return [float(focal_x), float(focal_y), *centre, width, height, *bent]
