"""Do rendered views agree in 3D? Every surface point that one view shows is looked up in the others.

A point that the other view has something in front of is hidden, and says nothing. A point through which the other
view looks onto something farther away is contradicted. Views are tried both ways, so a floater that hides from one side
is contradicted from the other. Billboards before every camera hide from both, or stay out of each other's sight: then
the few points that are tested may agree, but few are confirmed. How many could be is known from the same measure of the
true depth, where there is one; a wrong scene that agrees with itself is not found out.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras, in_frustum, pixel_grid
from diorama.eval.metrics import psnr
from diorama.types import RenderFn, Rendering


@dataclass(frozen=True)
class ConsistencyConfig:
    """When a point counts as seen, and as the same surface."""

    tolerance: float = 0.05
    """Relative difference of planar depth within which two views show one surface."""
    least_opacity: float = 0.5
    """Pixels that stop less light show no surface: not asked about, and empty when looked at."""


@dataclass(frozen=True)
class Consistency:
    """How far views agree; NaN where nothing could be asked.

    consistent: share of the tested points (in the other picture, not hidden there) that the other view confirms.
    depth_error: median |depth - seen| / seen over the tested points, 1 where the other view is empty.
    colour_psnr: dB between both views' colours at the consistent points, those on depth edges left out.
    in_frame: share of all points that fall into the other picture. hidden: share of these that are hidden there.
    confirmed: share of all points that the other view confirms. tested: number of tested points.
    """

    consistent: float
    depth_error: float
    colour_psnr: float
    in_frame: float
    hidden: float
    confirmed: float
    tested: int


def scene_consistency(
    render: RenderFn, cameras: Cameras, config: ConsistencyConfig = ConsistencyConfig()
) -> Consistency:
    """Render a scene from cameras and compare all views with each other."""
    with torch.no_grad():
        return reprojection_consistency(render(cameras), cameras, config)


def reprojection_consistency(
    rendering: Rendering,
    cameras: Cameras,
    config: ConsistencyConfig = ConsistencyConfig(),
    pairs: Sequence[tuple[int, int]] | None = None,
) -> Consistency:
    """Look the points of one view up in another, for pairs (shown in, looked up in); all ordered pairs by default."""
    chosen = list(permutations(range(len(cameras)), 2)) if pairs is None else pairs
    if not chosen:
        nan = math.nan
        return Consistency(nan, nan, nan, nan, nan, nan, 0)
    parts = [_look_up(rendering, cameras, shown, other, config) for shown, other in chosen]
    hidden = torch.cat([part.hidden for part in parts])
    confirmed = torch.cat([part.confirmed for part in parts])
    error = torch.cat([part.error for part in parts])
    own, seen = (torch.cat(colours, 1)[:, None] for colours in zip(*(p.colours for p in parts), strict=True))
    tested, asked = int((~hidden).sum()), sum(part.asked for part in parts)
    return Consistency(
        consistent=int(confirmed.sum()) / tested if tested else math.nan,
        depth_error=float(error[~hidden].median()),
        colour_psnr=float(psnr(seen, own)),
        in_frame=len(hidden) / asked if asked else math.nan,
        hidden=float(hidden.double().mean()),
        confirmed=int(confirmed.sum()) / asked if asked else math.nan,
        tested=tested,
    )


@dataclass(frozen=True)
class _LookedUp:
    """Points of one view that fall into another picture, out of all that were asked about.

    colours: in the view that shows them and in the other one, of those confirmed by all four pixels around."""

    asked: int
    hidden: Bool[Tensor, "point"]
    confirmed: Bool[Tensor, "point"]
    error: Float[Tensor, "point"]
    colours: tuple[Float[Tensor, "3 even"], Float[Tensor, "3 even"]]


def _look_up(rendering: Rendering, cameras: Cameras, shown: int, other: int, config: ConsistencyConfig) -> _LookedUp:
    """The other view's disparity at a point is that of a plane through its four nearest pixels (exact for planes); at
    an edge, where these differ, the point may lie anywhere between the nearest and the farthest of them, and its
    colour is not compared."""
    points, own = _surface_points(rendering, cameras, shown, config)
    pixels, depth = cameras[other].project(points)
    size = cameras.size[other].to(pixels)
    inside = in_frustum(cameras[other], points) & (pixels >= 0.5).all(-1) & (pixels <= size - 0.5).all(-1)
    pixels, depth, own = pixels[inside], depth[inside], own[:, inside]
    solid = (rendering.opacity[other] >= config.least_opacity) & (rendering.depth[other] > 0)
    disparity = torch.where(solid, 1 / rendering.depth[other].clamp_min(1e-12), 0.0).to(depth)
    corners, weights = _four_nearest(torch.cat([disparity[None], rendering.colour[other].to(depth)]), pixels, size)
    ratios = depth[:, None] * corners[0]
    hidden = ratios.amin(-1) > 1 + config.tolerance
    confirmed = ~hidden & (ratios.amax(-1) >= 1 - config.tolerance)
    even = (ratios - 1).abs().amax(-1) <= config.tolerance
    mixed = (corners * weights).sum(-1)
    return _LookedUp(len(points), hidden, confirmed, (depth * mixed[0] - 1).abs(), (own[:, even], mixed[1:, even]))


def _surface_points(
    rendering: Rendering, cameras: Cameras, view: int, config: ConsistencyConfig
) -> tuple[Float[Tensor, "point xyz=3"], Float[Tensor, "3 point"]]:
    """World points and colours of the pixels of a view that show a surface."""
    width, height = cameras.size[view].tolist()
    depth = rendering.depth[view, :height, :width]
    solid = (rendering.opacity[view, :height, :width] >= config.least_opacity) & (depth > 0)
    pose = cameras.camera_to_world[view]
    local = cameras[view].unproject(pixel_grid(width, height).to(pose)[solid]) * depth[solid].to(pose)[:, None]
    return local @ pose[:3, :3].T + pose[:3, 3], rendering.colour[view, :, :height, :width][:, solid].to(pose)


def _four_nearest(
    planes: Float[Tensor, "c h w"], pixels: Float[Tensor, "point xy=2"], size: Float[Tensor, "wh=2"]
) -> tuple[Float[Tensor, "c point 4"], Float[Tensor, "point 4"]]:
    """Values at the four pixel centres around each place (at least half a pixel from the rim), bilinear weights."""
    first = torch.minimum((pixels - 0.5).floor(), size - 2).clamp_min(0)
    x, y = (pixels - 0.5 - first).unbind(-1)
    left, top = first.long().unbind(-1)
    right, bottom = (left + 1).clamp_max(planes.shape[2] - 1), (top + 1).clamp_max(planes.shape[1] - 1)
    values = [planes[:, row, column] for row in (top, bottom) for column in (left, right)]
    weights = [down * across for down in (1 - y, y) for across in (1 - x, x)]
    return torch.stack(values, -1), torch.stack(weights, -1)
