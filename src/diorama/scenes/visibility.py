"""The observed map: how many context photographs really saw a surface point, by depth test.

A photograph saw a point if the point lies inside its image and the scene, drawn from that photograph's camera, has
nothing before it. What no photograph saw is invented: by a prior, or by whatever the fit left there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras, in_frustum, join_cameras, pixel_grid
from diorama.cameras.rays import camera_rays
from diorama.types import RenderFn, Rendering

CHUNK = 1 << 17
"""Points tried against a camera at once."""


@dataclass(frozen=True)
class VisibilityConfig:
    """How context depth is drawn, and how far it is believed."""

    longest_side: int = 128
    """Pixels of the longer side of a context depth picture; never more than the photograph has."""
    tolerance: float = 0.03
    """How far behind the surface that a camera sees a point may lie and count as seen, as a share of its depth."""
    far_tolerance: float = 0.01
    """The same for what is far away and has no parallax: a difference of inverse depths, as a share of the inverse of
    the median context depth."""
    opacity: float = 0.5
    """Pixels less opaque than this show no surface, and hide none."""


@dataclass(frozen=True)
class ContextDepth:
    """What the context cameras see of a scene, as small pictures of inverse planar depth.

    cameras: of the user's frame, on the CPU, as small as the pictures. inverse: per user unit; 0 where sight goes on
    for ever, NaN where nothing is known; pictures of several sizes are padded at the right and the bottom.
    """

    cameras: Cameras
    inverse: Float[Tensor, "view h w"]
    config: VisibilityConfig = VisibilityConfig()

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def context(self) -> "ContextDepth":
        """Itself: what asks a scene for its context takes the context alone too."""
        return self

    @property
    def slack(self) -> float:
        """Inverse depths that differ by less than this count as equal."""
        known = self.inverse[self.inverse > 0]
        return self.config.far_tolerance * float(known.median()) if len(known) else 0.0


@runtime_checkable
class HasContext(Protocol):
    """A `Scene`, or a `ContextDepth` alone."""

    @property
    def context(self) -> ContextDepth:
        """Depth from the context cameras; drawn once."""
        ...


@dataclass(frozen=True)
class Observed:
    """What the context photographs saw of the surface in each pixel.

    count: how many saw it. framed: how many have it inside their image, whatever stands before it. surface: pixels that
    show one; elsewhere both numbers are 0.
    """

    count: Int[Tensor, "view h w"]
    framed: Int[Tensor, "view h w"]
    surface: Bool[Tensor, "view h w"]

    @property
    def visible(self) -> Bool[Tensor, "view h w"]:
        """Seen by at least one photograph."""
        return self.surface & (self.count > 0)

    @property
    def occluded(self) -> Bool[Tensor, "view h w"]:
        """Inside the image of at least one photograph, and behind something in all of them."""
        return self.surface & (self.count == 0) & (self.framed > 0)

    @property
    def outside(self) -> Bool[Tensor, "view h w"]:
        """Out of the frame of every photograph."""
        return self.surface & (self.framed == 0)

    def parts(self) -> dict[str, Bool[Tensor, "view h w"]]:
        """The pixels with a surface, split into three."""
        return {"visible": self.visible, "occluded": self.occluded, "outside": self.outside}


def context_depth(
    cameras: Cameras,
    render: RenderFn,
    config: VisibilityConfig = VisibilityConfig(),
    tick: Callable[[], None] | None = None,
) -> ContextDepth:
    """Draw the context cameras' depth (user frame and units), small; `tick` is called after every picture."""
    small, depths = [], []
    for index in range(len(cameras)):
        camera = shrunk(cameras[index : index + 1], config.longest_side)
        with torch.no_grad():
            seen = render(camera)
        solid = _solid(seen, config)[0].cpu()
        small.append(camera)
        depths.append(torch.where(solid, seen.depth[0].cpu(), torch.inf))
        if tick is not None:
            tick()
    return known_depth(_stacked(cameras, small), _padded(depths), config)


def known_depth(
    cameras: Cameras, depth: Float[Tensor, "view h w"], config: VisibilityConfig = VisibilityConfig()
) -> ContextDepth:
    """Context depth from planar depth maps of the cameras' own sizes: 0 where unknown, inf where nothing is met."""
    depth = depth.detach().double().cpu()
    inverse = torch.where(depth > 0, 1 / depth.clamp(min=1e-300), torch.nan)
    return ContextDepth(cameras.to("cpu", torch.float64), inverse, config)


def observed_points(scene: HasContext, points: Float[Tensor, "n xyz=3"]) -> Int[Tensor, "n"]:
    """How many context photographs saw each point (user frame) of a surface."""
    return sightings(scene, points)[0]


def observed_map(scene: HasContext, cameras: Cameras, rendering: Rendering) -> Int[Tensor, "view h w"]:
    """How many context photographs saw the surface in each pixel of a rendering; 0 where it shows none."""
    return observe(scene, cameras, rendering).count


def observe(scene: HasContext, cameras: Cameras, rendering: Rendering) -> Observed:
    """`observed_map`, and why it is 0 where it is. The rendering is that of the cameras, padded as scenes pad."""
    context, depth = scene.context, rendering.depth.double().cpu()
    surface = _solid(rendering, context.config).cpu()
    count, framed = (torch.zeros(depth.shape, dtype=torch.int64) for _ in range(2))
    for index in range(len(cameras)):
        width, height = cameras.size[index].tolist()
        solid = surface[index, :height, :width]
        camera = cameras[index].to("cpu", torch.float64)
        rays = camera_rays(camera, pixel_grid(width, height).double()[solid])
        points = rays.at(depth[index, :height, :width][solid] / rays.cosine)
        count[index, :height, :width][solid], framed[index, :height, :width][solid] = sightings(context, points)
    return Observed(count, framed, surface)


def sightings(scene: HasContext, points: Float[Tensor, "n xyz=3"]) -> tuple[Int[Tensor, "n"], Int[Tensor, "n"]]:
    """For each point (user frame): how many photographs saw it, and how many have it inside their image."""
    context = scene.context
    points, slack = points.detach().double().cpu(), context.slack
    count, framed = (torch.zeros(len(points), dtype=torch.int64) for _ in range(2))
    for index in range(len(context)):
        for start in range(0, len(points), CHUNK):
            part = slice(start, start + CHUNK)
            inside = in_frustum(context.cameras[index], points[part])
            framed[part] += inside
            count[part][inside] += _unhidden(context, index, points[part][inside], slack)
    return count, framed


def _unhidden(context: ContextDepth, index: int, points: Float[Tensor, "n 3"], slack: float) -> Bool[Tensor, "n"]:
    """Whether nothing stands between a context camera and points inside its image.

    On a plane inverse depth is linear over the picture, so blending neighbours is exact there. Across an edge it is
    not; the pixel's own depth then decides, if it is the farther one.
    """
    camera = context.cameras[index]
    width, height = camera.size.tolist()
    inverse = context.inverse[index, :height, :width]
    pixels, depth = camera.project(points)
    column, row = (pixels[:, axis].long().clamp(0, side - 1) for axis, side in ((0, width), (1, height)))
    own = inverse[row, column]
    nearest_blocker = torch.fmin(own, _blended(inverse, pixels))
    seen = 1 / depth + slack >= nearest_blocker / (1 + context.config.tolerance)
    return seen & ~own.isnan()


def _blended(picture: Float[Tensor, "h w"], pixels: Float[Tensor, "n xy=2"]) -> Float[Tensor, "n"]:
    """A picture between its pixel centres, bilinearly; constant beyond the outermost ones."""
    height, width = picture.shape
    x, y = ((pixels[:, axis] - 0.5).clamp(0, side - 1) for axis, side in ((0, width), (1, height)))
    left, top = x.long(), y.long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    across, down = x - left, y - top
    above = torch.lerp(picture[top, left], picture[top, right], across)
    below = torch.lerp(picture[bottom, left], picture[bottom, right], across)
    return torch.lerp(above, below, down)


def shrunk(camera: Cameras, longest_side: int) -> Cameras:
    """A camera (a batch of one) with a smaller picture of about the same aspect, if the picture is larger than that."""
    width, height = camera.size[0].tolist()
    share = min(1.0, longest_side / max(width, height))
    return camera.resize(max(1, round(width * share)), max(1, round(height * share)))


def _solid(rendering: Rendering, config: VisibilityConfig) -> Bool[Tensor, "view h w"]:
    depth = rendering.depth
    return (rendering.opacity > config.opacity) & (depth > 0) & torch.isfinite(depth)


def _stacked(like: Cameras, cameras: list[Cameras]) -> Cameras:
    """Cameras of one each as one batch; of none, a batch of none."""
    return join_cameras(cameras) if cameras else like[:0]


def _padded(pictures: list[Tensor]) -> Float[Tensor, "view h w"]:
    """Pictures of any sizes in one batch, padded at the right and the bottom."""
    height, width = (max((p.shape[axis] for p in pictures), default=1) for axis in (0, 1))
    sides = [(0, width - p.shape[1], 0, height - p.shape[0]) for p in pictures]
    padded = [torch.nn.functional.pad(p, side) for p, side in zip(pictures, sides, strict=True)]
    return torch.stack(padded) if padded else torch.zeros(0, height, width)
