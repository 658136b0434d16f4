"""Masks of two kinds: *ignore* (pixels that must not be used) and *object* (soft coverage of the thing of interest).

Both are white where they apply: an ignore mask is white on what to leave out, an object mask is white on the object.
A mask is an image of any size with its photo's shape; it is area-averaged to the photo's size. Masks are found by name.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from diorama.data.images import image_size, list_images, read_mask
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError

IGNORED_FROM = 0.5
"""Share of an ignore mask within a pixel from which the pixel counts as ignored."""

LARGEST_SHAPE_DIFFERENCE = 0.02
"""Relative difference of the aspect ratios of a mask and its photo that rounding explains."""

LABEL_ONE = 1 / 255
"""Brightest value of a mask that was saved as labels 0 and 1."""

PLACEHOLDERS = ("{name}", "{stem}")


def with_masks(views: Views, *, ignore: Path | str | None = None, object: Path | str | None = None) -> Views:
    """Views with masks from files (`--ignore-masks`, `--object-masks`): a folder or a file pattern for each kind.

    A pattern holds `*` (`masks/*_mask.png`) or names the photo (`masks/{stem}.png`, `masks/{name}.png`). Ignore masks
    are added to what is ignored already; object masks replace those the data set ships.
    Errors: InputError where a photo has no mask, ViewsError where a mask does not have the shape of its photo.
    """
    if ignore is not None:
        covered = read_coverage(views, match_masks(views.names, ignore)) >= IGNORED_FROM
        views = replace(views, ignore=covered if views.ignore is None else views.ignore | covered)
    if object is not None:
        views = replace(views, object=read_coverage(views, match_masks(views.names, object)))
    return views


def match_masks(names: Sequence[str], where: Path | str) -> tuple[Path, ...]:
    """The mask file of each photo, in the order of names.

    In a folder or among the files of a `*` pattern, the first of these rules that gives every photo a mask of its own
    is taken: the photo's file name (with or without `.png` added); its name without suffix; that name with `mask`
    before or after it (`IMG_1_mask.png`); the last number in both names (`000007.jpg` and `007.png`).
    """
    text = str(where)
    if any(placeholder in text for placeholder in PLACEHOLDERS):
        files = [Path(text.format(name=name, stem=Path(name).stem)) for name in names]
        absent = [file for file in files if not file.is_file()]
        if absent:
            raise InputError(f"masks {text}: {len(absent)} of {len(names)} photos have none, {absent[0]} first.")
        return tuple(files)
    if "*" in text:
        pattern = Path(text)
        files = sorted(file for file in pattern.parent.glob(pattern.name) if file.is_file())
    elif Path(text).is_dir():
        files = list_images(Path(text))
    else:
        raise InputError(f"masks {text}: no such folder. Give a folder, or a pattern such as 'masks/{{stem}}.png'.")
    rules: tuple[Callable[[str], object], ...] = (_whole_name, _stem, _stem_without_mask, _last_number)
    best: dict[str, Path] = {}
    for key in rules:
        found = _match(names, files, key)
        if len(found) == len(names):
            return tuple(found[name] for name in names)
        best = max(best, found, key=len)
    absent_names = [name for name in names if name not in best]
    raise InputError(
        f"masks {text}: {len(files)} images there, but {len(absent_names)} of {len(names)} photos find none by name, "
        f"{absent_names[0]} first. Name each mask like its photo, or give a pattern such as 'masks/{{stem}}.png'."
    )


def read_coverage(views: Views, files: Sequence[Path]) -> Float[Tensor, "view h w"]:
    """Coverage in [0, 1] at the size of the photos, one mask file per view; 0 in the padding.

    See `images.read_mask` for what counts in a file with colour and alpha. Label images whose only values are 0 and 1
    count as black and white.
    """
    height, width = views.images.shape[-2:]
    coverage = views.images.new_zeros(len(views), height, width)
    sizes = [(width, height)] * len(views) if views.cameras is None else views.cameras.size.tolist()
    for index, (file, (columns, rows)) in enumerate(zip(files, sizes, strict=True)):
        across, down = image_size(file, upright=False)
        if abs(across / down / (columns / rows) - 1) > LARGEST_SHAPE_DIFFERENCE:
            raise ViewsError(
                f"{file}: {across} x {down} pixels, but {views.names[index]} is {columns} x {rows}. "
                "A mask needs the shape of its photo (any size)."
            )
        mask = read_mask(file, (columns, rows))
        if 0 < float(mask.max()) <= 1.5 * LABEL_ONE:
            mask = mask * (1 / LABEL_ONE)
        coverage[index, :rows, :columns] = mask
    return coverage


def _match(names: Sequence[str], files: Sequence[Path], key: Callable[[str], object]) -> dict[str, Path]:
    """Files by photo name where both have the same key and nobody else has it."""
    photo_keys = [key(name) for name in names]
    by_key: dict[object, list[Path]] = {}
    for file in files:
        by_key.setdefault(key(file.name), []).append(file)
    found = {}
    for name, own in zip(names, photo_keys, strict=True):
        candidates = by_key.get(own, [])
        if own is not None and len(candidates) == 1 and photo_keys.count(own) == 1:
            found[name] = candidates[0]
    return found


def _whole_name(name: str) -> object:
    """`a/IMG_1.jpg` and its mask `IMG_1.jpg.png` have the same key."""
    base = Path(name).name.lower()
    first, dot, last = base.rpartition(".")
    return first if dot and last == "png" and "." in first else base


def _stem(name: str) -> object:
    return Path(name).stem.lower()


def _stem_without_mask(name: str) -> object:
    return re.sub(r"^mask[^a-z0-9]*|[^a-z0-9]*mask$", "", Path(name).stem.lower().replace("color", "")).strip("._-")


def _last_number(name: str) -> object:
    numbers = re.findall(r"\d+", Path(name).stem)
    return int(numbers[-1]) if numbers else None
