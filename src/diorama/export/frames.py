"""How rendered PNG files are called, and what the numbers of depth images and of observed maps mean."""

import json
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.errors import InputError

DEEPEST = 65534
"""The largest step of a 16-bit depth PNG that is read back as a depth."""

NOTHING, MOST = 255, 254
"""Values of an observed map where no surface is, and where this many photographs or more saw it."""


def depth_scale(deepest: float, units: str) -> float:
    """User units per step of a 16-bit depth image that reaches `deepest`.

    Where units are known it is a millimetre if that reaches, as other programs expect; else 1, 2 or 5 times a power of
    ten, the smallest that reaches.
    """
    if not (math.isfinite(deepest) and deepest > 0):
        return 1.0
    millimetre = {"metres": 1e-3, "millimetres": 1.0}.get(units)
    if millimetre is not None and deepest <= millimetre * DEEPEST:
        return millimetre
    least = deepest / DEEPEST
    power = 10.0 ** math.floor(math.log10(least))
    return float(f"{next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9)):.12g}")


def write_depth_note(path: Path, *, scale: float, units: str, frame: str) -> None:
    """The JSON beside depth images that says what their numbers mean."""
    note = {
        "depth = scale * value": f"along the optical axis; 0: nothing there, or deeper than {scale * DEEPEST:g}",
        "scale": scale,
        "units": units,
        "frame": frame,
    }
    path.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def count_levels(count: Int[Tensor, "h w"], surface: Bool[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """An observed map as a picture in [0, 1] whose bytes are the numbers of photographs."""
    return count.clamp(max=MOST).masked_fill(~surface, NOTHING) / 255.0


def write_observed_note(path: Path, *, photographs: int) -> None:
    """The JSON beside observed maps that says what their numbers mean."""
    note = {
        "observed = value": f"how many of {photographs} photographs saw the surface; {MOST}: or more; "
        f"{NOTHING}: no surface",
        "in pictures": "what no photograph saw is pale: reddish where something stood before it in all that had it in "
        "their image, bluish where none had",
        "photographs": photographs,
    }
    path.write_text(json.dumps(note, indent=2) + "\n", encoding="utf-8")


def png_names(names: Sequence[str]) -> list[str]:
    """One PNG name per frame, after the frame's own file: `images/0001.jpg` becomes `0001.png`.

    Where two frames would collide, folders are kept (`train/0001.png`); names never lead out of the folder.
    Raises InputError where names still collide.
    """
    short = [with_png(safe_parts(name)[-1]) for name in names]
    if len(set(short)) == len(short):
        return short
    long = ["/".join([*safe_parts(name)[:-1], with_png(safe_parts(name)[-1])]) for name in names]
    if len(set(long)) == len(long):
        return long
    twice = next(name for name in long if long.count(name) > 1)
    raise InputError(f"two frames would both be written to {twice}. Give every frame a file_path of its own.")


def with_png(name: str) -> str:
    """The name with `.png` in place of the suffix of an image, or behind anything else (`view.1` stays whole)."""
    images = {".png", ".jpg", ".jpeg", ".webp", ".heic", ".tif", ".tiff", ".bmp", ".exr", ".avif", ".gif"}
    stem = name[: -len(PurePosixPath(name).suffix)] if PurePosixPath(name).suffix.lower() in images else name
    return f"{stem}.png"


def safe_parts(name: str) -> list[str]:
    """The folders and the file of a name, without drive, root, `.` and `..`."""
    parts = [
        part for part in PureWindowsPath(name).parts if part not in (".", "..") and part[-1:] not in ("\\", "/", ":")
    ]
    return parts or ["frame"]
