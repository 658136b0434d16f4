"""Single pixels of posed photographs, drawn at random with their rays: the batches of a fit."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.cameras.rays import Rays
from diorama.data.views import Views
from diorama.errors import ViewsError


@dataclass(frozen=True)
class PixelBatch:
    """Pixels, their rays and what is known of them.

    colour: straight, in [0, 1]; coverage: of the object, 1 without masks; usable: 0 where the photo is to be ignored.
    view: which photo. depth: measured planar depth in the units of the cameras, 0 where unknown, and its confidence
    in [0, 1].
    """

    rays: Rays
    colour: Float[Tensor, "ray rgb=3"]
    coverage: Float[Tensor, "ray"]
    usable: Float[Tensor, "ray"]
    view: Int[Tensor, "ray"]
    depth: Float[Tensor, "ray"]
    confidence: Float[Tensor, "ray"]

    def to(self, device: torch.device) -> "PixelBatch":
        """The batch on another device."""
        return PixelBatch(
            self.rays.to(device),
            self.colour.to(device),
            self.coverage.to(device),
            self.usable.to(device),
            self.view.to(device),
            self.depth.to(device),
            self.confidence.to(device),
        )


class PixelPool:
    """All usable pixels of some views.

    Rays through a distorted lens are looked up in a table, one per distinct lens, made once.
    """

    def __init__(
        self,
        views: Views,
        depth: Float[Tensor, "view a b"] | None = None,
        confidence: Float[Tensor, "view a b"] | None = None,
    ) -> None:
        if views.cameras is None:
            raise ViewsError("photos without cameras cannot be fitted. Run `diorama pose PHOTOS -o POSED` first.")
        self.views, self.cameras = views, views.cameras
        self.depth, self.confidence = depth, confidence
        self.usable: Int[Tensor, "n"] | None = None
        if views.ignore is not None:
            self.usable = (~views.ignore).flatten().nonzero()[:, 0].to(torch.int64)
            if len(self.usable) == 0:
                raise ViewsError("every pixel is masked out. Check which kind the masks are: ignore or object.")
        self.lens_table, self.lens_of_view = self._tabulate()

    def _tabulate(self) -> tuple[Tensor | None, Tensor | None]:
        """Camera-frame directions (x/z, y/z) at all pixel centres of each distinct distorted lens."""
        cameras = self.cameras
        if cameras.lens == "pinhole":
            return None, None
        rows = torch.cat([cameras.focal, cameras.centre, cameras.distortion], dim=-1)
        _, index = torch.unique(rows, dim=0, return_inverse=True)
        height, width = self.views.images.shape[-2:]
        v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        pixels = torch.stack([u, v], dim=-1).reshape(-1, 2).to(cameras.focal)
        tables = []
        for lens in range(int(index.max()) + 1):
            first = int((index == lens).nonzero()[0, 0])
            tables.append(cameras[first].unproject(pixels)[..., :2].reshape(height, width, 2))
        return torch.stack(tables), index

    def draw(self, count: int, generator: torch.Generator, one_view: bool = False) -> PixelBatch:
        """Random pixels with replacement: from all photos, or all from one random photo."""
        images = self.views.images
        views, _, height, width = images.shape
        if self.usable is not None and not one_view:
            chosen = self.usable[torch.randint(len(self.usable), (count,), generator=generator)]
            view, rest = chosen // (height * width), chosen % (height * width)
            y, x = rest // width, rest % width
        else:
            view = torch.randint(views, (1 if one_view else count,), generator=generator).expand(count)
            y = torch.randint(height, (count,), generator=generator)
            x = torch.randint(width, (count,), generator=generator)
        return self.at(view, x, y)

    def at(self, view: Int[Tensor, "ray"], x: Int[Tensor, "ray"], y: Int[Tensor, "ray"]) -> PixelBatch:
        """The pixels in columns x and rows y of the given views."""
        views = self.views
        colour = views.images[view, :, y, x]
        coverage = colour.new_ones(len(view)) if views.object is None else views.object[view, y, x]
        usable = torch.ones_like(coverage) if views.ignore is None else (~views.ignore[view, y, x]).to(coverage)
        depth, confidence = torch.zeros_like(coverage), torch.zeros_like(coverage)
        if self.depth is not None and self.confidence is not None:
            rows = (y * self.depth.shape[1]) // views.images.shape[2]
            columns = (x * self.depth.shape[2]) // views.images.shape[3]
            depth = self.depth[view, rows, columns]
            confidence = self.confidence[view, rows, columns]
        return PixelBatch(self.rays(view, x, y), colour, coverage, usable, view, depth, confidence)

    def rays(self, view: Int[Tensor, "ray"], x: Int[Tensor, "ray"], y: Int[Tensor, "ray"]) -> Rays:
        """Rays through pixel centres."""
        if self.lens_table is not None and self.lens_of_view is not None:
            plane = self.lens_table[self.lens_of_view[view], y, x]
        else:
            pixels = torch.stack([x, y], dim=-1) + 0.5
            plane = (pixels - self.cameras.centre[view]) / self.cameras.focal[view]
        return rays_through(self.cameras.camera_to_world[view], plane)


def rays_through(camera_to_world: Float[Tensor, "ray 4 4"], plane: Float[Tensor, "ray xy=2"]) -> Rays:
    """Rays from cameras through points (x/z, y/z) of their image planes."""
    local = torch.cat([plane, torch.ones_like(plane[:, :1])], dim=-1)
    length = local.norm(dim=-1)
    world = (camera_to_world[:, :3, :3] @ (local / length[:, None])[..., None])[..., 0]
    return Rays(camera_to_world[:, :3, 3], world, 1.0 / length)
