"""Near, far and scale of a scene: from the best evidence the views hold, and never from nothing.

Points a data set ships may have been triangulated from photos that are later held out: they may say how large a scene
is (here), but never enter a loss.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import focus_point
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError

METRES = 3.0
"""Where metric-like scale puts the median depth: indoor rooms and table tops alike lie within a few metres."""

LEAST_POINTS = 12
"""A view that sees fewer points takes near and far from all views together."""


@dataclass(frozen=True)
class SceneScale:
    """Where the surfaces of a scene lie.

    near, far: 1 % and 99 % of the planar depths each view sees (user units, no margin; from camera geometry: 0.2 and
    4 times the focus distance). median_depth: over all views, user units. scale: metric-like metres per user unit.
    source: what this was measured on, in words, to be printed and stored.
    """

    near: Float[Tensor, "view"]
    far: Float[Tensor, "view"]
    median_depth: float
    scale: float
    source: str


def scene_scale(
    views: Views, *, triangulated: Float[Tensor, "point xyz=3"] | None = None, scale: float | None = None
) -> SceneScale:
    """Near, far and scale: from bounds or points in the data, else depth maps, else triangulated points, else cameras.

    triangulated: points from `structure_from_motion.triangulate` on exactly these views, where there are any.
    scale: metres per user unit, when the user knows better (`--scale`). Frames in metres keep a median depth of 3 m all
    the same: `scale` is what the fixed, metric-like schedules are multiplied with, not a claim about the world.
    """
    if views.cameras is None:
        raise ViewsError("near, far and scale need cameras, these views have none. Find them: diorama pose.")
    if scale is not None and not (0 < scale < float("inf")):
        raise InputError(f"scale {scale} was asked for; a positive number of metres per user unit is needed.")
    near, far, median, source = _measure(views, views.cameras, triangulated)
    if scale is not None:
        return SceneScale(near, far, median, float(scale), f"{source}; scale given")
    return SceneScale(near, far, median, METRES / median, source)


def _measure(
    views: Views, cameras: Cameras, triangulated: Float[Tensor, "point xyz=3"] | None
) -> tuple[Float[Tensor, "view"], Float[Tensor, "view"], float, str]:
    if views.bounds is not None and bool((torch.isfinite(views.bounds) & (views.bounds > 0)).all()):
        near, far = views.bounds.to(torch.float32).unbind(-1)
        if bool((far > near).all()):
            middle = float((2 / (1 / near + 1 / far)).median())
            return near, far, middle, f"near and far in the data ({views.layout})"
    if views.points is not None and len(views.points) >= LEAST_POINTS:
        measured = point_bounds(cameras, views.points)
        if measured is not None:
            return *measured, f"{len(views.points)} points in the data ({views.layout})"
    if views.depth is not None:
        measured = _percentiles([depth[depth > 0] for depth in views.depth.float()])
        if measured is not None:
            return *measured, "depth maps in the data"
    if triangulated is not None and len(triangulated) >= LEAST_POINTS:
        measured = point_bounds(cameras, triangulated)
        if measured is not None:
            return *measured, f"{len(triangulated)} SIFT points triangulated over these {len(views)} views"
    near, far = camera_bounds(cameras)
    return near, far, float((far / 4).median()), "camera geometry (0.2 to 4 times the focus distance)"


def point_bounds(
    cameras: Cameras, points: Float[Tensor, "point xyz=3"]
) -> tuple[Float[Tensor, "view"], Float[Tensor, "view"], float] | None:
    """1 % and 99 % of the depths of the points inside each picture, and the median over all; None if none is inside.

    What hides behind something counts too: points alone do not know what is in front of them.
    """
    points = points.to(cameras.camera_to_world)
    depths = []
    for index in range(len(cameras)):
        pixels, depth = cameras[[index]].project(points[None])
        inside = (pixels >= 0).all(-1) & (pixels <= cameras.size[index]).all(-1) & (depth > 0)
        depths.append(depth[inside])
    return _percentiles(depths)


def camera_bounds(cameras: Cameras) -> tuple[Float[Tensor, "view"], Float[Tensor, "view"]]:
    """0.2 d to 4 d, where d is each camera's distance to the point that all optical axes pass closest to.

    Where that point is not in front of every camera, or absurdly far (parallel axes, looking outwards, one camera),
    d is 2.5 times the widest distance between two cameras; 1 for cameras that all stand at one place.
    """
    origins = cameras.origins.double()
    span = float(torch.cdist(origins, origins).max()) if len(cameras) else 0.0
    distance = torch.full((len(cameras),), 2.5 * span if span > 0 else 1.0, dtype=torch.float64)
    if span > 0:
        focus = focus_point(cameras).double()
        planar = ((focus - origins) * cameras.axes.double()).sum(-1)
        if bool(torch.isfinite(planar).all() and (planar > 0.1 * span).all() and (planar < 20 * span).all()):
            distance = planar
    return (0.2 * distance).float(), (4.0 * distance).float()


def _percentiles(
    depths: list[Float[Tensor, "_"]],
) -> tuple[Float[Tensor, "view"], Float[Tensor, "view"], float] | None:
    """Robust ends per view; views that see too little share the ends of all together."""
    everything = _thinned(torch.cat([_thinned(depth, 20_000) for depth in depths]), 1_000_000)
    everything = everything[torch.isfinite(everything)]
    if len(everything) < LEAST_POINTS:
        return None
    levels = torch.tensor([0.01, 0.99])
    ends = torch.stack(
        [
            torch.quantile((_thinned(d, 100_000) if len(d) >= LEAST_POINTS else everything).float(), levels)
            for d in depths
        ]
    )
    return ends[:, 0], ends[:, 1], float(everything.median())


def _thinned(values: Float[Tensor, "_"], limit: int) -> Float[Tensor, "_"]:
    """Every k-th value, so that at most `limit` remain (torch.quantile has a size limit)."""
    return values[:: max(1, -(-len(values) // limit))]
