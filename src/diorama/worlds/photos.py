"""Crops of real photographs that surfaces can wear: read once, made linear, kept at several sizes side by side.

Only what the user names is read. Procedural textures alone transfer poorly to real pictures.
"""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.data.images import list_images, read_image
from diorama.errors import InputError
from diorama.worlds.film import decode_srgb

MOST_READ = 512
"""Longer side in pixels to which photos are shrunk before they are cropped."""


def photo_stack(
    folder: Path, generator: torch.Generator, *, count: int = 96, side: int = 128
) -> Float[Tensor, "k h w 3"]:
    """`count` random square crops of a folder's photos, linear, each with its smaller versions beside it.

    side: pixels of the largest version, a power of two. A crop takes up side columns; the versions of half, a quarter,
    ... of its size stand below each other in another side / 2. Folders within the folder are searched too.
    InputError where there is no photo.
    """
    files = photos_below(folder)
    if side < 8 or side & (side - 1):
        raise InputError(f"photo crops of {side} pixels. A power of two is needed, 8 or more.")
    crops = []
    for _ in range(count):
        chosen = files[int(torch.randint(len(files), (1,), generator=generator))]
        colour, coverage = read_image(chosen, MOST_READ)
        if coverage is not None:
            colour = colour * coverage + 0.5 * (1 - coverage)
        crops.append(with_smaller(random_crop(decode_srgb(colour), side, generator)))
    return torch.stack(crops)


def photos_below(folder: Path) -> list[Path]:
    """Every photo in a folder and in the folders within it, sorted."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Give a folder of photos to take textures from.")
    inner = sorted(path for path in folder.rglob("*") if path.is_dir() and not path.name.startswith("."))
    files = [file for place in [folder, *inner] for file in list_images(place)]
    if not files:
        raise InputError(f"{folder} holds no photos. Give a folder of photos to take textures from.")
    return files


def random_crop(linear: Float[Tensor, "3 h w"], side: int, generator: torch.Generator) -> Float[Tensor, "3 side side"]:
    """A square of between a third and the whole of the shorter side, anywhere, brought to `side` pixels."""
    height, width = linear.shape[1:]
    share, x, y = torch.rand(3, generator=generator).tolist()
    length = max(1, round(min(height, width) * (0.33 + 0.67 * share)))
    left, top = round(x * (width - length)), round(y * (height - length))
    piece = linear[None, :, top : top + length, left : left + length]
    return torch.nn.functional.interpolate(piece, (side, side), mode="bilinear", align_corners=False, antialias=True)[
        0
    ].clamp(0, 1)


def with_smaller(crop: Float[Tensor, "3 side side"]) -> Float[Tensor, "h w 3"]:
    """A crop and its halves, quarters, ... in one picture, half as wide again; channels last."""
    side = crop.shape[1]
    packed = torch.zeros(3, side, side + side // 2)
    packed[:, :, :side] = crop
    smaller, above = crop[None], 0
    while smaller.shape[-1] > 4:
        smaller = torch.nn.functional.avg_pool2d(smaller, 2)
        length = smaller.shape[-1]
        packed[:, above : above + length, side : side + length] = smaller[0]
        above += length
    return packed.permute(1, 2, 0).contiguous()
