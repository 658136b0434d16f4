"""Patches of real or rendered pictures with depth: what a patch prior learns from.

Any RGB-D folder that `open_views` reads with depth, and Hypersim. Pictures are shrunk until their focal length is the
window's, so that a patch spans the same angle as one that is rendered during a fit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from diorama.cameras.patches import STANDARD_WINDOW, PatchWindow
from diorama.data import hypersim
from diorama.data.open import open_views
from diorama.data.resample import area_average
from diorama.data.rgbd_coding import DEPTH_FLOOR, encode_with_disparity, to_disparity
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.streams import stream


@runtime_checkable
class RgbdFrames(Protocol):
    """Pictures with depth, read one at a time."""

    def __len__(self) -> int:
        """How many there are."""
        ...

    def read(self, index: int) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "h w"], Float[Tensor, "xy=2"]]:
        """Display colour in [0, 1], planar depth in metres (0 where unknown), and the focal length in pixels."""
        ...


@dataclass(frozen=True)
class ViewsFrames:
    """The pictures of some views that have depth; the views' units are taken for metres times `metres`."""

    views: Views
    metres: float = 1.0

    def __len__(self) -> int:
        return len(self.views)

    def read(self, index: int) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "h w"], Float[Tensor, "xy=2"]]:
        """Display colour, planar depth in metres, focal length in pixels; padding is cut off."""
        views = self.views
        if views.cameras is None or views.depth is None:
            raise InputError("patches with depth need views with cameras and depth; these have not both.")
        width, height = views.cameras.size[index].tolist()
        depth = self.metres * views.depth[index, :height, :width]
        return views.images[index, :, :height, :width], depth, views.cameras.focal[index]


@dataclass(frozen=True)
class CropConfig:
    """Which crops are taken."""

    per_picture: int = 16
    """Patches from one picture before the next is opened."""
    most_unknown: float = 0.01
    """Largest share of pixels without depth; they get the depth of their neighbours."""
    flip: bool = True
    """Mirror half of the patches left to right."""
    known_from: float = 0.5
    """Share of a pixel's area with depth from which on it has depth; less for depth scattered over finer pictures."""


STANDARD_CROPS = CropConfig()


def open_rgbd(path: Path | str) -> RgbdFrames:
    """Hypersim, or any layout that comes with cameras and depth; InputError where there is no depth."""
    place = Path(path).expanduser()
    if hypersim.matches(place):
        return hypersim.HypersimFrames.find(place)
    views = open_views(place)
    if views.depth is None or views.cameras is None:
        raise InputError(f"{place}: {len(views)} photos of layout {views.layout} without depth, which patches need.")
    if views.frame.units not in ("metres", "millimetres"):
        raise InputError(f"{place}: depth in {views.frame.units} units. The patch prior needs metres.")
    return ViewsFrames(views, 1e-3 if views.frame.units == "millimetres" else 1.0)


def crop_patches(
    colour: Float[Tensor, "3 h w"],
    depth: Float[Tensor, "h w"],
    focal: Float[Tensor, "xy=2"],
    window: PatchWindow,
    config: CropConfig,
    generator: torch.Generator,
    floor: float = DEPTH_FLOOR,
) -> tuple[Float[Tensor, "patch 4 size size"], Bool[Tensor, "patch size size"]]:
    """Up to `per_picture` random crops, encoded, and where their depth is known; fewer where too much is missing.

    The picture shrinks to the window's focal length by area averages, of colour and of *disparity* over the known
    pixels (spec of DiffusioNeRF, 1.4). None come from a picture that is too small or would have to grow.
    """
    size = window.size
    nothing = torch.zeros(0, 4, size, size), torch.zeros(0, size, size, dtype=torch.bool)
    if bool((focal < (1.0 - 1e-6) * window.focal).any()):
        return nothing
    small, disparity, known = shrink(colour, depth, focal, window.focal, floor, config.known_from)
    height, width = known.shape
    if height < size or width < size:
        return nothing
    corner = torch.rand(config.per_picture, 2, generator=generator)
    mirror = torch.rand(config.per_picture, generator=generator) < 0.5
    patches, masks = [], []
    for share, flipped in zip(corner, mirror, strict=True):
        y, x = (int(part * room) for part, room in zip(share, (height - size + 1, width - size + 1), strict=True))
        rows, columns = slice(y, y + size), slice(x, x + size)
        there = known[rows, columns]
        if float((~there).float().mean()) > config.most_unknown:
            continue
        near = fill_unknown(disparity[rows, columns], there)
        patch = encode_with_disparity(small[:, rows, columns], near)
        turn = config.flip and bool(flipped)
        patches.append(patch.flip(-1) if turn else patch)
        masks.append(there.flip(-1) if turn else there)
    return (torch.stack(patches), torch.stack(masks)) if patches else nothing


def shrink(
    colour: Float[Tensor, "3 h w"],
    depth: Float[Tensor, "h w"],
    focal: Float[Tensor, "xy=2"],
    target: float,
    floor: float = DEPTH_FLOOR,
    known_from: float = 0.5,
) -> tuple[Float[Tensor, "3 a b"], Float[Tensor, "a b"], Bool[Tensor, "a b"]]:
    """Colour, disparity and where disparity is known, at the resolution where the focal length is `target` pixels.

    Known means: at least `known_from` of the area is. Pictures only shrink: `target` is at most the focal length.
    """
    height, width = depth.shape
    scale = (target / focal).clamp_max(1.0)
    columns, rows = max(1, round(width * float(scale[0]))), max(1, round(height * float(scale[1])))
    there = (depth > 0).to(torch.float32)
    near = to_disparity(depth, floor) * there
    stack = torch.cat([colour, near[None], there[None]]).permute(1, 2, 0).contiguous().numpy()
    mean = torch.from_numpy(area_average(stack, columns, rows)).permute(2, 0, 1)
    share = mean[4]
    return mean[:3].clamp(0.0, 1.0), mean[3] / share.clamp_min(1e-6), share >= known_from


def fill_unknown(values: Float[Tensor, "h w"], known: Bool[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Unknown pixels get the mean of their known neighbours, ring after ring."""
    values, known = torch.where(known, values, torch.zeros_like(values)), known.to(values.dtype)
    while bool((known == 0).any()) and bool((known > 0).any()):
        pair = torch.stack([values * known, known])[None]
        total, count = torch.nn.functional.avg_pool2d(pair, 3, stride=1, padding=1)[0]
        reached = (known == 0) & (count > 0)
        values = torch.where(reached, total / count.clamp_min(1e-12), values)
        known = torch.where(reached, torch.ones_like(known), known)
    return values


class RgbdPatches(IterableDataset[Tensor]):
    """An endless stream of encoded patches (4, size, size); the same seed gives the same stream.

    Group g of patches (all from one picture) depends on the seed and g alone; workers and ranks take every n-th group,
    and `start` skips groups, so that a stopped run goes on where it was.
    """

    def __init__(
        self,
        frames: RgbdFrames,
        window: PatchWindow = STANDARD_WINDOW,
        config: CropConfig = STANDARD_CROPS,
        *,
        seed: int = 0,
        start: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.frames, self.window, self.config = frames, window, config
        self.seed, self.start, self.rank, self.ranks = seed, start, rank, ranks

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        workers, place = (1, 0) if worker is None else (worker.num_workers, worker.id)
        group, step = self.start + self.rank * workers + place, self.ranks * workers
        empty = 0
        while True:
            patches = self.group(group)
            empty = 0 if len(patches) else empty + 1
            if empty >= max(64, 4 * len(self.frames)):
                raise InputError(
                    f"{empty} pictures gave no patch of {self.window.size} pixels at a focal length of "
                    f"{self.window.focal:g}. Needed: pictures at least that large, with depth nearly everywhere."
                )
            yield from patches
            group += step

    def group(self, index: int) -> Float[Tensor, "patch 4 size size"]:
        """The patches of one random picture."""
        generator = stream(self.seed, "rgbd patches", index)
        chosen = int(torch.randint(len(self.frames), (1,), generator=generator))
        return crop_patches(*self.frames.read(chosen), self.window, self.config, generator)[0]
