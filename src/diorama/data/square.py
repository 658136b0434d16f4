"""Photos of any shape become squares of one size, and their cameras with them."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from diorama.cameras.pinhole import Cameras
from diorama.cameras.undistortion import undistort_images
from diorama.data.resample import area_average
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError

Window = tuple[int, int, int]
"""Of a photo: left, top and side of a square, pixels."""

Cut = tuple[int, Window]
"""A photo's number, and a square of it."""

NEARLY_SQUARE = 1.2
"""A photo that is at most so many times as long as it is wide is one square, its middle; a longer one is several."""


def square_crop(views: Views, size: int) -> tuple[Views, str]:
    """The largest square in the middle of every photo at size x size pixels, and what became of the photos, in words.

    Shrinking averages areas, enlarging is bilinear; depth takes the nearest pixel; a pixel is ignored if any part of it
    was. Lenses are straightened first. A principal point outside the crop stays valid. Photos without cameras are
    cropped alike; their focal hints are scaled.
    """
    straight, blank = straightened(views)
    cropped = _cut(straight, _middles(straight.true_sizes), size)
    return cropped, _in_words(views, straight, cropped, [1] * len(views), blank)


def square_tiles(views: Views, size: int) -> tuple[Views, str]:
    """Every photo as squares of size x size pixels which together show all of it, and what was done, in words.

    A photo that is nearly a square is its middle one, under its own name; the squares of a longer one overlap, and are
    called `NAME (1 of 2)`. All else is as in `square_crop`. The squares of a photo have one pose, and principal points
    of their own, which may lie outside of them. InputError without a photo or a pixel, here and in `square_crop`.
    """
    straight, blank = straightened(views)
    tiles = [tile_windows(one) for one in _pairs(straight.true_sizes)]
    cut = _cut(straight, _numbered(tiles), size)
    names = tuple(
        name if len(windows) == 1 else f"{name} ({number + 1} of {len(windows)})"
        for name, windows in zip(views.names, tiles, strict=True) for number in range(len(windows))
    )  # fmt: skip
    cut = replace(cut, names=names)
    return cut, _in_words(views, straight, cut, [len(windows) for windows in tiles], blank)


def squares_anywhere(views: Views, size: int, generator: torch.Generator, least: float) -> Views:
    """One square of every photo at size x size pixels, each anywhere in it: what a model of squares is trained on.

    least: the squares of one call all have the same share of the photo's shorter side, uniform between this and 1.
    Principal points are then off the middle, as those of `square_tiles` are. All else is as in `square_crop`.
    InputError without a photo or a pixel.
    """
    straight, _ = straightened(views)
    share = least + (1 - least) * float(torch.rand((), generator=generator))
    windows: list[Window] = []
    for width, height in _pairs(straight.true_sizes):
        side = max(1, round(share * min(width, height)))
        left = int(torch.randint(width - side + 1, (), generator=generator))
        top = int(torch.randint(height - side + 1, (), generator=generator))
        windows.append((left, top, side))
    return _cut(straight, list(enumerate(windows)), size)


def crop_cameras(cameras: Cameras, size: int) -> Cameras:
    """The cameras of `square_crop`, without photos: one each, size x size pixels. They must be pinholes."""
    return _cut_cameras(cameras, _middles(cameras.size), size)


def tile_cameras(cameras: Cameras, size: int) -> Cameras:
    """The cameras of `square_tiles`, without photos: in its order, size x size pixels. They must be pinholes."""
    return _cut_cameras(cameras, _numbered(map(tile_windows, _pairs(cameras.size))), size)


def middle_window(size: tuple[int, int]) -> Window:
    """The largest square in the middle of a photo of (width, height) pixels."""
    width, height = size
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side


def tile_windows(size: tuple[int, int]) -> list[Window]:
    """As few of the largest squares as cover a photo of (width, height) pixels, evenly from one end to the other."""
    side, longer = min(size), max(size)
    if longer <= NEARLY_SQUARE * side:
        return [middle_window(size)]
    count = math.ceil(longer / side)
    starts = [round(number * (longer - side) / (count - 1)) for number in range(count)]
    return [(start, 0, side) if size[0] == longer else (0, start, side) for start in starts]


def on_background(views: Views, shade: float) -> Views:
    """The object of every view before a plain background of this grey (0 black, 1 white); ViewsError without masks."""
    if views.object is None:
        raise ViewsError(f"{views.source or views.names[0]}: no object masks, so no background can be told. Add masks.")
    coverage = views.object[:, None]
    depth = None if views.depth is None else torch.where(views.object > 0.5, views.depth, 0.0)
    return replace(views, images=views.images * coverage + shade * (1 - coverage), depth=depth)


def straightened(views: Views) -> tuple[Views, float]:
    """Views as pinholes would have taken them, and the share of their pixels that no photo holds (black, ignored)."""
    if views.cameras is None or views.cameras.lens == "pinhole":
        return views, 0.0
    images, cameras, valid = undistort_images(views.images, views.cameras)
    object_mask, depth, ignore = views.object, views.depth, views.ignore
    if object_mask is not None:
        object_mask = undistort_images(object_mask[:, None], views.cameras)[0][:, 0]
    if depth is not None:
        depth = undistort_images(depth[:, None], views.cameras, mode="nearest")[0][:, 0]
    if ignore is not None:
        ignore = undistort_images(ignore[:, None].float(), views.cameras, mode="nearest")[0][:, 0] > 0.5
    ignore = ~valid if ignore is None else ignore | ~valid
    inside = float(views.true_sizes.prod(-1).sum())
    return replace(views, images=images, cameras=cameras, object=object_mask, depth=depth, ignore=ignore), 1.0 - float(
        valid.sum()
    ) / inside


def _pairs(sizes: Int[Tensor, "view wh=2"]) -> list[tuple[int, int]]:
    return [(width, height) for width, height in sizes.tolist()]


def _numbered(windows: Iterable[Sequence[Window]]) -> list[Cut]:
    return [(index, window) for index, some in enumerate(windows) for window in some]


def _middles(sizes: Int[Tensor, "view wh=2"]) -> list[Cut]:
    return list(enumerate(map(middle_window, _pairs(sizes))))


def _cut(views: Views, cuts: Sequence[Cut], size: int) -> Views:
    """Squares of photos at size x size pixels, each under the name of its photo."""
    if size < 1 or not cuts:
        raise InputError(f"{len(views)} photos were to become {size} x {size} pixels. Needed: one of each at least.")
    photo = torch.tensor([index for index, _ in cuts])
    ratio = size / torch.tensor([side for _, (_, _, side) in cuts], dtype=torch.float32)
    return replace(
        views,
        names=tuple(views.names[index] for index in photo.tolist()),
        images=_each(views.images, cuts, size).clamp(0, 1),
        cameras=None if views.cameras is None else _cut_cameras(views.cameras, cuts, size),
        object=None if views.object is None else _each(views.object[:, None], cuts, size)[:, 0].clamp(0, 1),
        depth=None if views.depth is None else _nearest(views.depth, cuts, size),
        ignore=None if views.ignore is None else _ignored(views.ignore, cuts, size),
        bounds=None if views.bounds is None else views.bounds[photo],
        focal_hints=None if views.focal_hints is None else views.focal_hints[photo] * ratio,
        sizes=None,
    )


def _cut_cameras(cameras: Cameras, cuts: Sequence[Cut], size: int) -> Cameras:
    each = cameras[torch.tensor([index for index, _ in cuts])]
    windows = torch.tensor([window for _, window in cuts]).to(each.focal)
    scale = size / windows[:, 2:]
    return replace(
        each,
        focal=each.focal * scale,
        centre=(each.centre - windows[:, :2]) * scale,
        size=torch.full_like(each.size, size),
    )


def _each(pictures: Float[Tensor, "view c h w"], cuts: Sequence[Cut], size: int) -> Float[Tensor, "square c size size"]:
    """Squares of pictures, resampled."""
    result = pictures.new_empty(len(cuts), pictures.shape[1], size, size)
    for place, (index, (left, top, side)) in enumerate(cuts):
        window = pictures[index, :, top : top + side, left : left + side]
        if side == size:
            result[place] = window
        elif side > size:
            averaged = area_average(window.permute(1, 2, 0).cpu().numpy(), size, size)
            result[place] = torch.from_numpy(np.ascontiguousarray(averaged.transpose(2, 0, 1)))
        else:
            result[place] = interpolate(window[None], (size, size), mode="bilinear", align_corners=False)[0]
    return result


def _nearest(planes: Float[Tensor, "view h w"], cuts: Sequence[Cut], size: int) -> Float[Tensor, "square size size"]:
    """Squares of maps whose values must not mix: the value at the centre of each new pixel."""
    result = planes.new_empty(len(cuts), size, size)
    for place, (index, (left, top, side)) in enumerate(cuts):
        places = ((torch.arange(size) + 0.5) * (side / size)).long().clamp_max(side - 1)
        result[place] = planes[index, top + places[:, None], left + places]
    return result


def _ignored(
    ignore: Bool[Tensor, "view h w"], cuts: Sequence[Cut], size: int
) -> Bool[Tensor, "square size size"] | None:
    """Which new pixels hold any part of an ignored one; None where none does."""
    touched = _each(ignore[:, None].float(), cuts, size)[:, 0] > 1e-6
    return touched if bool(touched.any()) else None


def _in_words(views: Views, straight: Views, cut: Views, counts: Sequence[int], blank: float) -> str:
    """What became of the photos. counts: squares of each."""
    whole = straight.true_sizes
    side, first = whole.amin(-1), f"{int(whole[0, 0])}x{int(whole[0, 1])}"
    same = bool((whole == whole[0]).all())
    several = torch.tensor(counts) > 1
    kept = float(torch.where(several, 1.0, side.double().square() / whole.prod(-1)).mean())
    text = f"{len(views)} photos of {first}{'' if same else ' and other sizes'}: "
    fewest, most = min(counts), max(counts)
    if most > 1:
        text += f"{most if fewest == most else f'{fewest} to {most}'} squares of each, which show "
    share = f"{100 * kept:.0f} % of it"
    text += "all of each" if kept == 1.0 else share if most > 1 else f"the middle square of each ({share})"
    size, least = cut.images.shape[-1], int(side.amin())
    how = "shrunk to" if least > size else "enlarged to" if least < size else "at"
    text += f", {how} {size}x{size}"
    if views.cameras is not None and views.cameras.lens != "pinhole":
        text += f"; {views.cameras.lens} lenses straightened, {100 * blank:.1f} % of the pixels are beyond the photos"
    if cut.cameras is not None:
        centre = cut.cameras.centre
        outside = int(((centre < 0) | (centre > size)).any(-1).sum())
        text += f"; {outside} principal points lie outside" if outside else ""
    return text
