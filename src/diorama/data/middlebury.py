"""Middlebury multi-view stereo: `NAME_par.txt` (imgname K R t per line, world-to-camera) beside its photos.

x = K [R | t] X, image origin at the top-left. README.txt states a tight bounding box of the object: near and far.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diorama.data.listing import Listing
from diorama.data.numbers import parse_numbers, read_text
from diorama.data.posed import pinhole_shot, rigid
from diorama.data.shots import Shot
from diorama.data.views import Frame, Views
from diorama.errors import InputError

WORDS_PER_LINE = 22
"""Photo name, nine numbers of K, nine of R, three of t."""

SMALLEST_NEAR = 0.01
"""Near as a share of far where a camera stands inside the bounding box."""


def matches(path: Path) -> bool:
    """True for a folder that holds a `*_par.txt`."""
    return path.is_dir() and any(path.glob("*_par.txt"))


def read(path: Path, *, max_side: int | None = None) -> Views:
    """The photos of one `*_par.txt`, with near and far from the bounding box where README.txt states one.

    Errors: InputError where the count in the first line and the lines disagree, or a line holds no camera.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path) -> Listing:
    """The photos with their cameras and bounds; see `read`."""
    tables = sorted(path.glob("*_par.txt"))
    if len(tables) != 1:
        raise InputError(f"{path}: {len(tables)} files *_par.txt, exactly one is needed. Put each scene into a folder.")
    box = read_bounding_box(path / "README.txt")
    return Listing(
        tuple(_parse(tables[0], box)),
        layout="middlebury",
        source=path,
        frame=Frame(f"Middlebury {tables[0].name}"),
    )


def read_bounding_box(path: Path) -> Float[np.ndarray, "2 3"] | None:
    """Lower and upper corner from two lines `(x y z)` after the words "bounding box"; None where there are none."""
    if not path.is_file():
        return None
    _, found, rest = read_text(path).partition("bounding box")
    corners = [triple.replace(",", " ").split() for triple in re.findall(r"\(([^()]*)\)", rest)[:2]] if found else []
    if [len(corner) for corner in corners] != [3, 3]:
        return None
    numbers = np.array([parse_numbers(corner, str(path)) for corner in corners])
    return np.stack([numbers.min(0), numbers.max(0)]) if np.isfinite(numbers).all() else None


def box_bounds(camera_to_world: Float[np.ndarray, "4 4"], box: Float[np.ndarray, "2 3"]) -> tuple[float, float]:
    """Smallest and largest planar depth of the eight corners of a box."""
    corners = np.stack(np.meshgrid(*box.T, indexing="ij"), axis=-1).reshape(-1, 3)
    depth = (corners - camera_to_world[:3, 3]) @ camera_to_world[:3, 2]
    far = float(depth.max())
    return max(float(depth.min()), SMALLEST_NEAR * abs(far)), far


def _parse(table: Path, box: Float[np.ndarray, "2 3"] | None) -> list[Shot]:
    """All cameras of a `_par.txt`."""
    lines = [line for line in read_text(table).splitlines() if line.strip()]
    try:
        count = int(lines[0]) if lines else 0
    except ValueError as error:
        raise InputError(f"{table}: the first line is {lines[0][:40]!r}, the number of photos is needed.") from error
    if count != len(lines) - 1 or count == 0:
        raise InputError(f"{table}: announces {count} photos and lists {max(len(lines) - 1, 0)}. Is the file whole?")
    shots = []
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        if len(words) != WORDS_PER_LINE:
            raise InputError(f"{table}, line {number}: {len(words)} words, {WORDS_PER_LINE} are needed (name K R t).")
        values = np.array(parse_numbers(words[1:], f"{table}, line {number}"))
        rotation, translation = values[9:18].reshape(3, 3), values[18:]
        camera_to_world = rigid(rotation.T, -rotation.T @ translation)
        bounds = None if box is None else box_bounds(camera_to_world, box)
        file = table.parent / words[0]
        shots.append(pinhole_shot(words[0], file, camera_to_world, values[:9].reshape(3, 3), bounds=bounds))
    return shots
