"""RealEstate10K: a text file of cameras per clip, and a folder of its frames, named by their time.

    CLIP.txt    first the address of the video, then a row per frame:
                time in microseconds | fx fy cx cy as shares of width and height | 0 0 | world-to-camera, 3x4, by rows
    CLIP/       frames TIME.png or TIME.jpg; downloaders that count milliseconds are understood too

The data set ships the text files alone; frames are beside them, or where `FRAMES` says. Axes are OpenCV's.
Source: google.github.io/realestate10k, "Dataset format".
"""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from diorama.cameras.convert import from_world_to_camera
from diorama.data.images import list_images
from diorama.data.listing import Listing
from diorama.data.numbers import parse_numbers, read_text, require_finite
from diorama.data.posed import pinhole_shot, stored_size
from diorama.data.views import Frame
from diorama.errors import InputError

NUMBERS_PER_ROW = 19

FRAMES = (
    "{clip}",
    "frames/{clip}",
    "images/{clip}",
    "../frames/{clip}",
    "../images/{clip}",
    "../../dataset/{split}/{clip}",
)
"""Where the frames of a clip may lie, seen from the folder of its text file, which may be called after the split."""

START = 4096
"""Bytes of a text file that are looked at to recognise it."""


def matches(path: Path) -> bool:
    """True for the text file of a clip: an address in the first line, a row of 19 numbers in the second."""
    if path.suffix != ".txt" or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            lines = file.read(START).decode("utf-8", "replace").splitlines()
    except OSError:
        return False
    return len(lines) > 1 and "://" in lines[0] and len(lines[1].split()) == NUMBERS_PER_ROW


def find_clips(path: Path) -> dict[str, tuple[Path, Path]] | None:
    """Clips of a folder by name: the text file and the folder of frames; those without frames are left out.

    The text files lie in the folder itself or in `cameras/`; None where there are none.
    """
    places = [folder for folder in (path, path / "cameras") if folder.is_dir()]
    files = next((texts for folder in places if (texts := sorted(folder.glob("*.txt"))) and matches(texts[0])), None)
    if files is None:
        return None
    found = ((file, frame_folder(file)) for file in files)
    return {file.stem: (file, folder) for file, folder in found if folder is not None}


def frame_folder(file: Path) -> Path | None:
    """Where the frames of a clip lie; None if nowhere."""
    split = file.absolute().parent.name
    places = (file.parent / place.format(clip=file.stem, split=split) for place in FRAMES)
    return next((place for place in places if place.is_dir()), None)


def listed(file: Path, frames: Path) -> Listing:
    """The frames of a clip that are there, in the order of time, with their cameras.

    Errors: InputError where the text is cut, a row is no camera, or no frame is there.
    """
    times, cameras = read_clip(file)
    photos = {int(photo.stem): photo for photo in list_images(frames) if photo.stem.isdecimal()}
    unit = 1 if any(time in photos for time in times) else 1000
    there = [(photos[time // unit], row) for time, row in zip(times, cameras, strict=True) if time // unit in photos]
    if not there:
        raise InputError(
            f"{frames}: {len(photos)} frames named by a number, none is one of the {len(times)} times in {file.name} "
            f"({times[0]} first). Needed: {times[0]}.png or .jpg, or the same in milliseconds."
        )
    size = next((found for photo, _ in there if (found := stored_size(photo)) != (1.0, 1.0)), (1.0, 1.0))
    absent = len(times) - len(there)
    return Listing(
        tuple(pinhole_shot(photo.name, photo, _pose(row), _matrix(row, *size), size=size) for photo, row in there),
        layout="realestate10k",
        source=frames,
        frame=Frame("RealEstate10K camera file"),
        skipped=(f"{absent} of {len(times)} cameras have no frame",) if absent else (),
    )


def read_clip(file: Path) -> tuple[list[int], Float[np.ndarray, "frame 16"]]:
    """Times in microseconds, and fx fy cx cy (shares of the sides) with the 3x4 world-to-camera matrix, by rows."""
    rows = [line.split() for line in read_text(file).splitlines()[1:] if line.strip()]
    wrong = next((number for number, row in enumerate(rows, 2) if len(row) != NUMBERS_PER_ROW), None)
    if not rows or wrong is not None:
        found = "no row of numbers" if wrong is None else f"{len(rows[wrong - 2])} numbers in line {wrong}"
        raise InputError(f"{file}: {found}; {NUMBERS_PER_ROW} are needed for every frame. Is the file whole?")
    numbers = np.array([parse_numbers(row, str(file)) for row in rows])
    require_finite(numbers, str(file))
    if np.any(numbers[:, 5:7] != 0) or np.any(numbers[:, 1:3] <= 0):
        raise InputError(
            f"{file}: a row whose focal lengths are not above zero, or whose sixth and seventh number are not zero "
            "(what they would mean is not known). Download the file again."
        )
    return [int(row[0]) for row in numbers.tolist()], np.concatenate([numbers[:, 1:5], numbers[:, 7:]], axis=1)


def _matrix(row: Float[np.ndarray, "16"], width: float, height: float) -> Float[np.ndarray, "3 3"]:
    fx, fy, cx, cy = row[:4]
    return np.array([[fx * width, 0.0, cx * width], [0.0, fy * height, cy * height], [0.0, 0.0, 1.0]])


def _pose(row: Float[np.ndarray, "16"]) -> Float[np.ndarray, "4 4"]:
    matrix = torch.from_numpy(row[4:].reshape(3, 4).copy())
    return from_world_to_camera(matrix[:, :3], matrix[:, 3]).numpy()
