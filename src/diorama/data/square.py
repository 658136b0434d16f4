"""Photos of any shape become squares of one size, and their cameras with them."""

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


def square_crop(views: Views, size: int) -> tuple[Views, str]:
    """The largest square in the middle of every photo at size x size pixels, and what became of the photos, in words.

    Shrinking averages areas, enlarging is bilinear; depth takes the nearest pixel; a pixel is ignored if any part of it
    was. Lenses are straightened first. A principal point outside the crop stays valid. Photos without cameras are
    cropped alike; their focal hints are scaled.
    """
    if size < 1 or len(views) == 0:
        raise InputError(f"{len(views)} photos were to become {size} x {size} pixels. Needed: one of each at least.")
    straight, blank = _straightened(views)
    whole = straight.true_sizes
    side = whole.amin(-1)
    corner = torch.div(whole - side[:, None], 2, rounding_mode="floor")
    windows = list(zip(*corner.T.tolist(), side.tolist(), strict=True))
    ratio = size / side.to(torch.float32)
    cropped = replace(
        straight,
        images=_each(straight.images, windows, size).clamp(0, 1),
        cameras=None if straight.cameras is None else _cropped_cameras(straight.cameras, corner, ratio, size),
        object=None if straight.object is None else _each(straight.object[:, None], windows, size)[:, 0].clamp(0, 1),
        depth=None if straight.depth is None else _nearest(straight.depth, windows, size),
        ignore=None if straight.ignore is None else _ignored(straight.ignore, windows, size),
        focal_hints=None if straight.focal_hints is None else straight.focal_hints * ratio,
        sizes=None,
    )
    return cropped, _in_words(views, cropped, whole, side, blank)


def on_background(views: Views, shade: float) -> Views:
    """The object of every view before a plain background of this grey (0 black, 1 white); ViewsError without masks."""
    if views.object is None:
        raise ViewsError(f"{views.source or views.names[0]}: no object masks, so no background can be told. Add masks.")
    coverage = views.object[:, None]
    depth = None if views.depth is None else torch.where(views.object > 0.5, views.depth, 0.0)
    return replace(views, images=views.images * coverage + shade * (1 - coverage), depth=depth)


def _straightened(views: Views) -> tuple[Views, float]:
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


def _cropped_cameras(
    cameras: Cameras, corner: Int[Tensor, "view 2"], ratio: Float[Tensor, "view"], size: int
) -> Cameras:
    scale = ratio[:, None].to(cameras.focal)
    return replace(
        cameras,
        focal=cameras.focal * scale,
        centre=(cameras.centre - corner.to(cameras.centre)) * scale,
        size=torch.full_like(cameras.size, size),
    )


def _each(
    pictures: Float[Tensor, "view c h w"], windows: list[tuple[int, int, int]], size: int
) -> Float[Tensor, "view c size size"]:
    """Square windows (left, top, side) of pictures, resampled."""
    result = pictures.new_empty(len(pictures), pictures.shape[1], size, size)
    for index, (left, top, side) in enumerate(windows):
        window = pictures[index, :, top : top + side, left : left + side]
        if side == size:
            result[index] = window
        elif side > size:
            averaged = area_average(window.permute(1, 2, 0).cpu().numpy(), size, size)
            result[index] = torch.from_numpy(np.ascontiguousarray(averaged.transpose(2, 0, 1)))
        else:
            result[index] = interpolate(window[None], (size, size), mode="bilinear", align_corners=False)[0]
    return result


def _nearest(
    planes: Float[Tensor, "view h w"], windows: list[tuple[int, int, int]], size: int
) -> Float[Tensor, "view size size"]:
    """Square windows of maps whose values must not mix: the value at the centre of each new pixel."""
    result = planes.new_empty(len(planes), size, size)
    for index, (left, top, side) in enumerate(windows):
        places = ((torch.arange(size) + 0.5) * (side / size)).long().clamp_max(side - 1)
        result[index] = planes[index, top + places[:, None], left + places]
    return result


def _ignored(
    ignore: Bool[Tensor, "view h w"], windows: list[tuple[int, int, int]], size: int
) -> Bool[Tensor, "view size size"] | None:
    """Which new pixels hold any part of an ignored one; None where none does."""
    touched = _each(ignore[:, None].float(), windows, size)[:, 0] > 1e-6
    return touched if bool(touched.any()) else None


def _in_words(
    views: Views, cropped: Views, whole: Int[Tensor, "view 2"], side: Int[Tensor, "view"], blank: float
) -> str:
    """What `square_crop` did."""
    first = f"{int(whole[0, 0])}x{int(whole[0, 1])}"
    same = bool((whole == whole[0]).all())
    kept = float((side.double().square() / whole.prod(-1)).mean())
    text = f"{len(views)} photos of {first}{'' if same else ' and other sizes'}: "
    text += "all of each" if kept == 1.0 else f"the middle square of each ({100 * kept:.0f} % of it)"
    size, least = cropped.images.shape[-1], int(side.amin())
    how = "shrunk to" if least > size else "enlarged to" if least < size else "at"
    text += f", {how} {size}x{size}"
    if views.cameras is not None and views.cameras.lens != "pinhole":
        text += f"; {views.cameras.lens} lenses straightened, {100 * blank:.1f} % of the pixels are beyond the photos"
    if cropped.cameras is not None:
        centre = cropped.cameras.centre
        outside = int(((centre < 0) | (centre > size)).any(-1).sum())
        text += f"; {outside} principal points lie outside" if outside else ""
    return text
