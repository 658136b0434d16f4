"""Middlebury multi-view stereo: `NAME_par.txt` (imgname K R t per line, world-to-camera) beside its photos.

x = K [R | t] X, image origin at the top-left. README.txt states a tight bounding box of the object: near and far.
"""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diorama.data.numbers import parse_numbers, read_text
from diorama.data.posed import PosedPhoto, inside, read_posed
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
    tables = sorted(path.glob("*_par.txt"))
    if len(tables) != 1:
        raise InputError(f"{path}: {len(tables)} files *_par.txt, exactly one is needed. Put each scene into a folder.")
    photos = _parse(tables[0])
    present = [photo for photo in photos if photo.path.is_file()]
    absent = [photo.name for photo in photos if not photo.path.is_file()]
    if not present:
        raise InputError(f"{path}: none of the {len(photos)} photos that {tables[0].name} lists is there.")
    views = read_posed(present, max_side)
    box = read_bounding_box(path / "README.txt")
    skipped = (f"{len(absent)} listed photos are missing: {', '.join(absent[:3])}",) if absent else ()
    return replace(
        views,
        bounds=None if box is None or views.cameras is None else box_bounds(views.cameras.camera_to_world, box),
        frame=Frame(f"Middlebury {tables[0].name}"),
        source=path,
        layout="middlebury",
        skipped=(*skipped, *views.skipped),
    )


def read_bounding_box(path: Path) -> Float[Tensor, "2 xyz=3"] | None:
    """Lower and upper corner from two lines `(x y z)` after the words "bounding box"; None where there are none."""
    if not path.is_file():
        return None
    _, found, rest = read_text(path).partition("bounding box")
    triples = re.findall(r"\(([^()]*)\)", rest)[:2] if found else []
    if len(triples) < 2:
        return None
    corners = [triple.replace(",", " ").split() for triple in triples]
    if any(len(corner) != 3 for corner in corners):
        return None
    numbers = torch.tensor([parse_numbers(corner, str(path)) for corner in corners])
    if not bool(torch.isfinite(numbers).all()):
        return None
    return torch.stack([numbers.amin(0), numbers.amax(0)])


def box_bounds(camera_to_world: Float[Tensor, "view 4 4"], box: Float[Tensor, "2 xyz=3"]) -> Float[Tensor, "view 2"]:
    """Smallest and largest planar depth of the eight corners of a box, per view."""
    corners = torch.cartesian_prod(box[:, 0], box[:, 1], box[:, 2]).to(camera_to_world)
    depth = torch.einsum("vnx,vx->vn", corners - camera_to_world[:, None, :3, 3], camera_to_world[:, :3, 2])
    far = depth.amax(-1)
    return torch.stack([torch.maximum(depth.amin(-1), SMALLEST_NEAR * far), far], dim=-1)


def _parse(table: Path) -> list[PosedPhoto]:
    """All cameras of a `_par.txt`."""
    lines = [line for line in read_text(table).splitlines() if line.strip()]
    try:
        count = int(lines[0]) if lines else 0
    except ValueError as error:
        raise InputError(f"{table}: the first line is {lines[0][:40]!r}, the number of photos is needed.") from error
    if count != len(lines) - 1 or count == 0:
        raise InputError(f"{table}: announces {count} photos and lists {max(len(lines) - 1, 0)}. Is the file whole?")
    photos = []
    for number, line in enumerate(lines[1:], 2):
        words = line.split()
        if len(words) != WORDS_PER_LINE:
            raise InputError(f"{table}, line {number}: {len(words)} words, {WORDS_PER_LINE} are needed (name K R t).")
        values = np.array(parse_numbers(words[1:], f"{table}, line {number}"))
        rotation, translation = values[9:18].reshape(3, 3), values[18:]
        camera_to_world = np.eye(4)
        camera_to_world[:3, :3], camera_to_world[:3, 3] = rotation.T, -rotation.T @ translation
        photos.append(PosedPhoto(words[0], inside(table.parent, words[0]), camera_to_world, values[:9].reshape(3, 3)))
    return photos
