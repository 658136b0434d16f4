"""Strecha et al. 2008 (fountain-P11, Herz-Jesu): one `PHOTO.camera` per undistorted photo, cameras from a laser scan.

A `.camera` holds K (3x3), three distortion zeros, R (camera-to-world, 3x3), the camera centre, width and height; units
are metres.
"""

from pathlib import Path

import numpy as np

from diorama.data.images import list_images
from diorama.data.listing import Listing
from diorama.data.numbers import parse_numbers, read_text
from diorama.data.posed import pinhole_shot, rigid
from diorama.data.shots import Shot
from diorama.data.views import Frame, Views
from diorama.errors import InputError

NUMBERS_PER_CAMERA = 26
"""9 of K, 3 zeros, 9 of R, 3 of the centre, width and height."""


def matches(path: Path) -> bool:
    """True for a folder with `.camera` files in it or in a folder right below it."""
    return path.is_dir() and (any(path.glob("*.camera")) or any(path.glob("*/*.camera")))


def read(path: Path, *, max_side: int | None = None) -> Views:
    """All photos that have a `.camera` file of their name; the others are left out and said.

    Errors: InputError where a `.camera` is cut or distorted, or no photo has one.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path) -> Listing:
    """The photos with their cameras; see `read`."""
    cameras = {file.name.removesuffix(".camera"): file for file in _camera_files(path)}
    files = {file.name: file for folder in reversed(_photo_folders(path)) for file in list_images(folder)}
    shared = sorted(set(cameras) & set(files))
    if not shared:
        raise InputError(
            f"{path}: {len(cameras)} .camera files and {len(files)} photos, but none share a name. "
            "A photo 0000.jpg needs 0000.jpg.camera."
        )
    skipped = []
    for what, names in (("photo", set(files) - set(cameras)), (".camera file", set(cameras) - set(files))):
        if names:
            skipped.append(f"{len(names)} x {what} without its partner: {', '.join(sorted(names)[:3])}")
    return Listing(
        tuple(_read_camera(cameras[name], name, files[name]) for name in shared),
        layout="strecha",
        source=path,
        frame=Frame("Strecha .camera files", "metres"),
        skipped=tuple(skipped),
    )


def _photo_folders(path: Path) -> list[Path]:
    """The folder itself and those right below it."""
    return [path, *sorted(folder for folder in path.iterdir() if folder.is_dir())]


def _camera_files(path: Path) -> list[Path]:
    """All `.camera` files in the folder and right below it."""
    return [file for folder in _photo_folders(path) for file in sorted(folder.glob("*.camera"))]


def _read_camera(file: Path, name: str, photo: Path) -> Shot:
    """One `.camera`; its K is for the width and height it states."""
    words = read_text(file).split()
    if len(words) < NUMBERS_PER_CAMERA:
        raise InputError(f"{file}: {len(words)} numbers, {NUMBERS_PER_CAMERA} are needed. Is the file whole?")
    values = np.array(parse_numbers(words[:NUMBERS_PER_CAMERA], str(file)))
    if np.any(values[9:12] != 0):
        raise InputError(f"{file}: distortion {values[9:12]}, zeros are needed here. Undistort the photos first.")
    width, height = values[24:26]
    if not (1 <= width < 1e6 and 1 <= height < 1e6):
        raise InputError(f"{file}: a photo of {width} x {height} pixels cannot be. Is the file whole?")
    camera_to_world = rigid(values[12:21].reshape(3, 3), values[21:24])
    return pinhole_shot(name, photo, camera_to_world, values[:9].reshape(3, 3), size=(float(width), float(height)))
