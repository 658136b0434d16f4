"""Which patches a prior is asked about during a fit: rendered from near a photo, or cut from one.

Source: spec of DiffusioNeRF, section 2.1, with the defects of 4.1 fixed: windows reach over the border on all four
sides, and a photo's patch is looked up to the half pixel and averaged over its pixels' area.

What a mask says to ignore in a photo (people, a tripod) is never shown to the prior: windows without it are preferred,
and where there are none, such pixels are `ignored` in the patch: their colour is to be rendered.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d

from diorama.cameras.patches import PatchWindow, largest_fit, random_centres, wander, window_cameras, within_picture
from diorama.cameras.pinhole import Cameras, in_frustum, pixel_grid
from diorama.cameras.rays import Rays, camera_rays
from diorama.data.pixels import rays_through
from diorama.data.views import Views
from diorama.errors import ViewsError


@dataclass(frozen=True)
class PatchSamplingConfig:
    """Where patches come from."""

    photo_share: float = 0.25
    """Share of patches whose colours come from a photo; only their depth is rendered [paper; code]."""
    shift: float = 0.2
    """How far the centre of a rendered patch's camera may move along each axis, metres [code]."""
    turn: float = 0.1
    """Its rotation, as a share of a uniform random one: 18 degrees at most [code]."""
    only_seen: bool = False
    """Draw again where the centre lies in no photo's frustum; off in the published run [code]."""
    attempts: int = 64
    """Windows (or centres) that are tried until one will do; then the middle one (or the photo's own place)."""


@dataclass(frozen=True)
class Patch:
    """One patch to be rendered.

    camera: one pinhole camera, batch shape (1,). rays: of its pixels, row by row. photo: display colour where it comes
    from a photo, None where the colour is to be rendered too; coverage of the object in it. ignored: pixels of which
    the photo tells nothing, None where it tells of all. view: the photo.
    """

    camera: Cameras
    rays: Rays
    view: int
    photo: Float[Tensor, "3 h w"] | None = None
    coverage: Float[Tensor, "h w"] | None = None
    ignored: Bool[Tensor, "h w"] | None = None


class PatchSampler:
    """Draws patches around and out of the photos of one scene, whose cameras are in metres."""

    def __init__(self, views: Views, window: PatchWindow, config: PatchSamplingConfig) -> None:
        if views.cameras is None:
            raise ViewsError("patches are drawn around cameras, and these photos have none. Run `diorama pose` first.")
        self.views, self.cameras, self.window, self.config = views, views.cameras, window, config
        self.wide_enough = tuple(i for i in range(len(views)) if largest_fit(window, self.cameras[i]))

    @property
    def photo_share(self) -> float:
        """The share of photo patches that can be kept: none where no photo is as wide as a patch."""
        return self.config.photo_share if self.wide_enough else 0.0

    def draw(self, generator: torch.Generator) -> Patch:
        """One patch; everything about it depends on the generator alone."""
        return self._from_photo(generator) if self.takes_photo(generator) else self._rendered(generator)

    def takes_photo(self, generator: torch.Generator) -> bool:
        """Whether the next patch is cut from a photo."""
        return float(torch.rand(1, generator=generator)) < self.photo_share

    def _rendered(self, generator: torch.Generator) -> Patch:
        config = self.config
        view = int(torch.randint(len(self.cameras), (1,), generator=generator))
        tries = config.attempts if config.only_seen else 1
        pose = wander(self.cameras.camera_to_world[[view]].expand(tries, 4, 4), config.shift, config.turn, generator)
        if config.only_seen:
            seen = in_frustum(self.cameras, pose[:, :3, 3]).any(0)
            chosen = int(seen.to(torch.int8).argmax())
            pose = pose[[chosen]] if bool(seen[chosen]) else self.cameras.camera_to_world[[view]]
        camera = window_cameras(pose, random_centres(self.window, 1, generator), self.window)
        return Patch(camera, pixel_rays(camera), view)

    def _from_photo(self, generator: torch.Generator) -> Patch:
        view = self.wide_enough[int(torch.randint(len(self.wide_enough), (1,), generator=generator))]
        centres = random_centres(self.window, self.config.attempts, generator)
        centres = torch.cat([centres, torch.full((1, 2), 0.5 * self.window.size)])
        pose = self.cameras.camera_to_world[[view]]
        windows = window_cameras(pose.expand(len(centres), 4, 4), centres, self.window)
        good = within_picture(windows, self.cameras[view])
        good[-1] = True
        if self.views.ignore is None:
            chosen, ignored = int(good.to(torch.int8).argmax()), None
        else:
            masks = ignored_pixels(self.views.ignore[view], self.cameras[view], windows)
            chosen = int(torch.where(good, masks.sum((1, 2)), self.window.size**2 + 1).argmin())
            ignored = masks[chosen] if bool(masks[chosen].any()) else None
        camera = windows[[chosen]]
        planes = [self.views.images[view]]
        if self.views.object is not None:
            planes.append(self.views.object[view][None])
        looked_up = photo_window(torch.cat(planes), self.cameras[view], camera)
        coverage = looked_up[3] if self.views.object is not None else None
        return Patch(camera, pixel_rays(camera), view, looked_up[:3], coverage, ignored)


def pixel_rays(camera: Cameras) -> Rays:
    """The rays through all pixel centres of one camera (batch shape (1,)), row by row, in its dtype."""
    width, height = camera.size[0].tolist()
    return camera_rays(camera, pixel_grid(width, height).reshape(1, -1, 2).to(camera.focal))[0]


def photo_window(picture: Float[Tensor, "c h w"], photo: Cameras, window: Cameras) -> Float[Tensor, "c size size"]:
    """What a photo shows inside a window (one camera, batch shape (1,)) that was taken from the same place.

    Bilinear, pixel centres at +0.5 on both sides. Where the photo is finer than the window, each pixel is the mean over
    a grid of samples as fine as the photo, so that nothing aliases. photo: one camera of any lens.
    """
    width, height = window.size[0].tolist()
    finer = max(1, math.ceil(float((photo.focal / window.focal[0]).max()) - 1e-6))
    fine = pixel_grid(width * finer, height * finer).to(window.focal) / finer
    directions = window.ray_directions(fine.reshape(1, -1, 2))[0]
    pixels, _ = photo.project(window.origins[0] + directions)
    size = pixels.new_tensor([picture.shape[2], picture.shape[1]])
    places = (2.0 * pixels / size - 1.0).reshape(1, height * finer, width * finer, 2)
    samples = grid_sample(
        picture[None], places.to(picture), mode="bilinear", padding_mode="border", align_corners=False
    )
    return avg_pool2d(samples, finer)[0]


def ignored_pixels(ignore: Bool[Tensor, "h w"], photo: Cameras, windows: Cameras) -> Bool[Tensor, "window size size"]:
    """Pixels of windows (batch shape (window,)) in which `photo_window` would look at something to be ignored."""
    width, height = windows.size[0].tolist()
    reach = math.ceil(0.5 * float((photo.focal / windows.focal[0]).max())) + 1
    spread = max_pool2d(ignore[None].to(torch.float32), 2 * reach + 1, stride=1, padding=reach)[0] > 0
    grid = pixel_grid(width, height).to(windows.focal).reshape(1, -1, 2)
    pixels, _ = photo.project(windows.origins[:, None] + windows.ray_directions(grid.expand(len(windows), -1, 2)))
    x, y = pixels.floor().long().unbind(-1)
    inside = spread[y.clamp(0, ignore.shape[0] - 1), x.clamp(0, ignore.shape[1] - 1)]
    return inside.reshape(len(windows), height, width)


def between_photos(cameras: Cameras, count: int, size: int, spacing: float, generator: torch.Generator) -> Rays:
    """Rays of small square patches, row by row, from cameras between two photos that look as the first one does.

    size: pixels a side; spacing: their distance in pixels of the photo; lenses are taken for pinholes.
    """
    first = torch.randint(len(cameras), (count,), generator=generator)
    second = torch.randint(len(cameras), (count,), generator=generator)
    share = torch.rand(count, 1, generator=generator)
    pose = cameras.camera_to_world[first].clone()
    pose[:, :3, 3] = torch.lerp(pose[:, :3, 3], cameras.origins[second], share)
    corner = torch.rand(count, 2, generator=generator) * cameras.size[first]
    steps = torch.arange(size, dtype=torch.float32) * spacing
    v, u = torch.meshgrid(steps, steps, indexing="ij")
    pixels = torch.stack([u, v], dim=-1).reshape(1, -1, 2) + corner[:, None]
    plane = (pixels - cameras.centre[first, None]) / cameras.focal[first, None]
    return rays_through(pose.repeat_interleave(size * size, dim=0), plane.reshape(-1, 2))
