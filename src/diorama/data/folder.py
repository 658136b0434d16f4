"""A bare folder of photos: no cameras, only what EXIF tells."""

import math
from pathlib import Path

import torch

from diorama.data.images import Photo, image_size, list_images, padding_mask, read_photo, stack_photos
from diorama.data.resample import fit_size
from diorama.data.shots import MIN_SIDE, check_memory
from diorama.data.views import Frame, Views
from diorama.errors import InputError, ViewsError

PHOTO_FOLDERS = ("images", "photos", "rgb", "image", "input")
"""Where the photos may lie when the folder itself holds none."""


def matches(path: Path) -> bool:
    """True for a folder with image files in it (or in `images/` and the like), and for one image file."""
    return (path.is_file() and path.suffix.lower() in _suffixes()) or bool(photo_files(path))


def read(path: Path, *, max_side: int | None = None) -> Views:
    """Photos as they are, turned upright, with focal hints from EXIF and without cameras.

    Photos that cannot be read are left out and said. Errors: ViewsError where none is left.
    """
    files = [path] if path.is_file() else photo_files(path)
    if not files:
        raise ViewsError(f"{path}: no photos. Needed are image files: JPEG, PNG, WebP, or HEIC.")
    notes: list[str] = []
    largest = [fit_size(size, max_side) for file in files if (size := _header(file, notes)) is not None]
    if largest:
        check_memory(len(largest), max(w for w, _ in largest), max(h for _, h in largest))
    photos: list[Photo] = []
    names = []
    for file in files:
        if any(note.startswith(f"{file.name}: ") for note in notes):
            continue
        try:
            photos.append(read_photo(file, max_side))
            names.append(file.name)
            notes += [photos[-1].note] if photos[-1].note else []
        except InputError as error:
            notes.append(f"{file.name}: {error}")
    if not photos:
        raise ViewsError(f"{path}: none of {len(files)} photos can be read. {notes[0]}")
    images, sizes, padding = stack_photos([photo.colour for photo in photos])
    coverage = None
    if any(photo.coverage is not None and bool((photo.coverage < 1).any()) for photo in photos):
        coverage = torch.zeros(len(photos), *images.shape[-2:])
        for plane, photo, (w, h) in zip(coverage, photos, sizes.tolist(), strict=True):
            plane[:h, :w] = 1.0 if photo.coverage is None else photo.coverage
    return Views(
        images,
        tuple(names),
        ignore=padding,
        object=coverage,
        frame=Frame("none yet: photos without cameras"),
        source=path,
        layout="folder",
        skipped=tuple(notes),
        focal_hints=torch.tensor([photo.focal_hint or math.nan for photo in photos]),
        sizes=None if padding_mask(sizes, *images.shape[:1:-1]) is None else sizes,
    )


def photo_files(path: Path) -> list[Path]:
    """The photos of a folder: those in it, else those of its first sub-folder that holds photos by name."""
    if not path.is_dir():
        return []
    places = [path, *(path / name for name in PHOTO_FOLDERS if (path / name).is_dir())]
    return next((files for place in places if (files := list_images(place))), [])


def _header(file: Path, notes: list[str]) -> tuple[int, int] | None:
    """The size of a photo, or None and a note why it is left out."""
    try:
        size = image_size(file)
        if min(size) < MIN_SIDE:
            raise InputError(f"{size[0]} x {size[1]} pixels, at least {MIN_SIDE} x {MIN_SIDE} are needed")
    except InputError as error:
        notes.append(f"{file.name}: {error}")
        return None
    return size


def _suffixes() -> tuple[str, ...]:
    from diorama.data.images import HEIF_SUFFIXES, SUFFIXES

    return SUFFIXES + HEIF_SUFFIXES
