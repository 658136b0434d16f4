"""Gathering from views: a point in space becomes what every view holds for it.

A view is a camera with two feature maps. Its plane covers its image and is read where the point is projected to; its
polar map covers all directions around the camera centre and is read by the direction of the point, so that there is
something to read outside of every image. Source: IB-planes of GIBR (arXiv 2402.03445); the exact angles and borders
and the culling of what lies behind a camera are our choice.

Convention: OpenCV axes (x right, y down, z forward); the image is [0, 1] x [0, 1] from its top-left corner, whatever
the resolution of the plane; centres of a map's cells lie at +0.5. Letters used below. c h w: a plane; e p q: a polar
map, whose p rows run from straight up (-y) to straight down and whose q columns from backward over left, forward (the
middle) and right to backward again. Azimuth and elevation are in half turns and quarter turns: both in [-1, 1].

The operations are `torch.ops.diorama.gather_views` and `torch.ops.diorama.pool_max`; twins are the torch forms in this
file, `view_gather_numba` and, for gathering, `view_gather_triton`. They can be differentiated once: gathering to
planes and polar maps, pooling to the features.
"""

import math
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

from diorama.kernels.twins import choose_twin

ARCTANGENT: tuple[float, ...] = tuple(
    Chebyshev.interpolate(lambda s: np.arctan(np.sqrt(s)) / np.sqrt(s), 7, domain=[0, 1]).convert(kind=Polynomial).coef
)
"""Of the fast twins: atan(t) = t (a0 + a1 t^2 + a2 t^4 + ...) for t in [0, 1], to 1e-7."""


def gather_views(
    points: Float[Tensor, "scene point xyz=3"],
    world_to_camera: Float[Tensor, "scene view 3 4"],
    intrinsics: Float[Tensor, "scene view 4"],
    planes: Float[Tensor, "scene view c h w"],
    polar: Float[Tensor, "scene view e p q"] | None,
    *,
    min_depth: float,
    skip: Bool[Tensor, "scene view point"] | None = None,
) -> tuple[Float[Tensor, "scene view point channels"], Float[Tensor, "scene view point"]]:
    """Features of every point in every view of its scene, and its distance from the view's camera centre.

    points and world_to_camera (rigid) share one world, intrinsics are (fx / width, fy / height, cx / width,
    cy / height) of the image. The channels are: c of the plane, bilinear, its border cells continued to the border of
    the image; one that is 1 where the point is in view, else 0; e of the polar map (None: none), bilinear, round in
    azimuth, its first and last row continued to the poles, where a map may jump. In view is what lies deeper than
    min_depth (world units, not negative) and is projected into the image; elsewhere the plane's channels are 0, so
    that a point behind a camera never reads the pixel it is mirrored to. A point in the camera centre counts as ahead
    of it. distance is in world units.

    Where skip is True the maps are not read: features and distance are 0, whatever the maps hold.

    Gradients flow to planes and polar, once; points and cameras get none. All is computed in float32 at least, also
    under autocast and for maps of half precision. On the CPU the result and the gradients are the same bits every
    time, for any number of threads.
    """
    scenes, views, *_ = planes.shape
    if polar is None:
        polar = planes.new_zeros(scenes, views, 0, 1, 1)
    if skip is None:
        skip = torch.zeros(scenes, views, points.shape[1], dtype=torch.bool, device=points.device)
    _check(points, world_to_camera, intrinsics, planes, polar, skip, min_depth)
    dtype = torch.promote_types(torch.promote_types(planes.dtype, polar.dtype), torch.float32)
    where = (points.to(dtype), world_to_camera.to(dtype), intrinsics.to(dtype))
    planes, polar = planes.to(dtype), polar.to(dtype)
    return _gather(*where, planes, polar, skip, float(min_depth), choose_twin(planes))


def gather_views_reference(
    points: Float[Tensor, "scene point xyz=3"],
    world_to_camera: Float[Tensor, "scene view 3 4"],
    intrinsics: Float[Tensor, "scene view 4"],
    planes: Float[Tensor, "scene view c h w"],
    polar: Float[Tensor, "scene view e p q"],
    skip: Bool[Tensor, "scene view point"],
    min_depth: float,
) -> tuple[Float[Tensor, "scene view point channels"], Float[Tensor, "scene view point"]]:
    """The same in plain torch operations, for reading and for comparing."""
    place, direction, distance, seen = _locate(points, world_to_camera, intrinsics, min_depth)
    seen = seen & ~skip
    flat = _read(planes, place).masked_fill(~seen[..., None], 0.0)
    round_about = _read(*_around(polar, direction)).masked_fill(skip[..., None], 0.0)
    return torch.cat([flat, seen[..., None].to(flat), round_about], dim=-1), distance.masked_fill(skip, 0.0)


def pool_views(
    features: Float[Tensor, "scene view point d"],
    keep: Bool[Tensor, "scene view point"],
    how: Literal["max", "mean", "softmax"],
) -> tuple[Float[Tensor, "scene point d"], Bool[Tensor, "scene point"]]:
    """One feature per point from those of the views it is kept in, and whether it is kept in any; 0 where in none.

    max, per channel, does not change when a view is there twice; its gradient goes to one view. mean weighs the kept
    views alike. softmax, per channel, weighs them by the exponential of the feature itself: between mean and max. The
    order of the views does not matter, and what a view that is not kept holds reaches neither value nor gradient.
    """
    if features.shape[:3] != keep.shape:
        raise ValueError(f"keep of shape {tuple(keep.shape)}: features of {tuple(features.shape)} need one per point.")
    kept, some = keep[..., None], keep.any(dim=1)
    if how == "max":
        return _pool_max(features, keep, choose_twin(features))[0], some
    values = features.masked_fill(~kept, 0.0)
    if how == "mean":
        return values.sum(dim=1) / kept.sum(dim=1).clamp_min(1), some
    share = features.masked_fill(~kept, torch.finfo(features.dtype).min).softmax(dim=1)
    return (share * values).sum(dim=1), some


def _reference_max(features: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum over the kept views and the view that holds it; 0 and -1 where none is kept."""
    none = ~keep.any(dim=1)[..., None]
    pooled, winner = features.masked_fill(~keep[..., None], -math.inf).max(dim=1)
    return pooled.masked_fill(none, 0.0), winner.masked_fill(none, -1).to(torch.int16)


def _reference_max_backward(gradient: Tensor, winner: Tensor, views: int) -> Tensor:
    """All of the gradient to the view that holds the maximum."""
    view = torch.arange(views, device=winner.device, dtype=winner.dtype)[:, None, None]
    return torch.where(winner[:, None] == view, gradient[:, None], 0.0)


def _check(
    points: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    planes: Tensor,
    polar: Tensor,
    skip: Tensor,
    min_depth: float,
) -> None:
    # the fast twins read memory by these shapes
    scenes, views, count = *planes.shape[:2], points.shape[1]
    wanted = {
        "points": (points, (scenes, count, 3)),
        "world_to_camera": (world_to_camera, (scenes, views, 3, 4)),
        "intrinsics": (intrinsics, (scenes, views, 4)),
        "polar": (polar, (scenes, views, *polar.shape[2:])),
        "skip": (skip, (scenes, views, count)),
    }
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} of shape {tuple(tensor.shape)}: planes of {tuple(planes.shape)} need {shape}.")
    if 0 in planes.shape[3:] or 0 in polar.shape[3:]:
        raise ValueError(f"Maps of {tuple(planes.shape)} and {tuple(polar.shape)}: a map needs one cell at least.")
    if not min_depth >= 0.0:
        raise ValueError(f"min_depth {min_depth}: need 0 at least; what is behind a camera is not in its view.")


def _locate(
    points: Tensor, world_to_camera: Tensor, intrinsics: Tensor, min_depth: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Per scene, view and point: place in the image and direction, (..., 2) in [-1, 1]; distance; whether in view."""
    rotation, translation = world_to_camera[:, :, None, :, :3], world_to_camera[:, :, None, :, 3]
    local = (rotation * points[:, None, :, None]).sum(dim=-1) + translation
    x, y, z = local.unbind(dim=-1)
    front = z > min_depth
    ideal = local[..., :2] / torch.where(front, z, 1.0)[..., None]
    place = ideal * intrinsics[:, :, None, :2] + intrinsics[:, :, None, 2:]
    seen = front & ((place >= 0.0) & (place <= 1.0)).all(dim=-1)
    azimuth = torch.atan2(x, z) / math.pi
    elevation = torch.atan2(y, torch.hypot(x, z)) * (2.0 / math.pi)  # asin(y / r), which r = 0 does not harm
    # a NaN as a place would crash the gradient of grid_sample
    direction = torch.stack([azimuth, elevation], dim=-1).nan_to_num(0.0)
    return torch.where(seen[..., None], 2.0 * place - 1.0, 0.0), direction, local.norm(dim=-1), seen


def _read(maps: Tensor, place: Tensor) -> Tensor:
    """Maps (scene, view, channel, row, column) at places (scene, view, point, 2) in [-1, 1], clamped; channels last."""
    read = F.grid_sample(
        maps.flatten(0, 1), place.flatten(0, 1)[:, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return read[:, :, 0].mT.unflatten(0, place.shape[:2])


def _read_backward(gradient: Tensor, maps: Tensor, place: Tensor) -> Tensor:
    """Gradient to the maps from that to what `_read` made of them."""
    bilinear, border, align_corners = 0, 1, False
    upstream = gradient.flatten(0, 1).mT[:, :, None].contiguous()
    flat, grid = maps.flatten(0, 1), place.flatten(0, 1)[:, None]
    to_maps, _ = torch.ops.aten.grid_sampler_2d_backward(
        upstream, flat, grid, bilinear, border, align_corners, [True, False]
    )
    return to_maps.unflatten(0, maps.shape[:2])


def _around(polar: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Polar maps with the last column before the first and the first after the last, and the directions in those."""
    columns = polar.shape[-1]
    squeezed = direction * direction.new_tensor([columns / (columns + 2), 1.0])
    return torch.cat([polar[..., -1:], polar, polar[..., :1]], dim=-1), squeezed


def _reference_backward(
    gradient: Tensor,
    points: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    planes: Tensor,
    polar: Tensor,
    skip: Tensor,
    min_depth: float,
) -> tuple[Tensor, Tensor]:
    """Each point adds its gradient to the four cells it read, by the weight it read them with."""
    place, direction, _, seen = _locate(points, world_to_camera, intrinsics, min_depth)
    channels = planes.shape[2]
    flat = gradient[..., :channels].masked_fill(~(seen & ~skip)[..., None], 0.0)
    round_about = gradient[..., channels + 1 :].masked_fill(skip[..., None], 0.0)
    padded = _read_backward(round_about, *_around(polar, direction))
    to_polar = padded[..., 1:-1].contiguous()
    to_polar[..., -1] += padded[..., 0]
    to_polar[..., 0] += padded[..., -1]
    return _read_backward(flat, planes, place), to_polar


def _fast(twin: str) -> ModuleType:
    # imported when first used: the reference needs neither Numba nor Triton
    if twin == "triton":
        from diorama.kernels import view_gather_triton

        return view_gather_triton
    from diorama.kernels import view_gather_numba

    return view_gather_numba


_WHERE = "Tensor points, Tensor world_to_camera, Tensor intrinsics, Tensor planes, Tensor polar, Tensor skip"


@torch.library.custom_op(
    "diorama::gather_views",
    mutates_args=(),
    schema=f"({_WHERE}, float min_depth, str twin) -> (Tensor, Tensor)",
)
def _gather(
    points: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    planes: Tensor,
    polar: Tensor,
    skip: Tensor,
    min_depth: float,
    twin: str,
) -> tuple[Tensor, Tensor]:
    arguments = (points, world_to_camera, intrinsics, planes, polar, skip, min_depth)
    return gather_views_reference(*arguments) if twin == "reference" else _fast(twin).gather(*arguments)


@torch.library.custom_op(
    "diorama::gather_views_backward",
    mutates_args=(),
    schema=f"(Tensor gradient, {_WHERE}, float min_depth, str twin) -> (Tensor, Tensor)",
)
def _gather_backward(
    gradient: Tensor,
    points: Tensor,
    world_to_camera: Tensor,
    intrinsics: Tensor,
    planes: Tensor,
    polar: Tensor,
    skip: Tensor,
    min_depth: float,
    twin: str,
) -> tuple[Tensor, Tensor]:
    arguments = (gradient, points, world_to_camera, intrinsics, planes, polar, skip, min_depth)
    to_planes, to_polar = (_reference_backward if twin == "reference" else _fast(twin).gather_backward)(*arguments)
    return torch.empty_like(planes).copy_(to_planes), torch.empty_like(polar).copy_(to_polar)


@_gather.register_fake
def _(points: Tensor, _: Tensor, __: Tensor, planes: Tensor, polar: Tensor, *_others: object) -> tuple[Tensor, Tensor]:
    scenes, views, channels = planes.shape[:3]
    shape = (scenes, views, points.shape[1])
    return planes.new_empty(*shape, channels + 1 + polar.shape[2]), planes.new_empty(shape)


@_gather_backward.register_fake
def _(*inputs: Any) -> tuple[Tensor, Tensor]:
    planes, polar = inputs[4:6]
    return torch.empty_like(planes), torch.empty_like(polar)


def _save(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.min_depth, ctx.twin = inputs
    ctx.save_for_backward(*tensors)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, gradient: Tensor, _: Tensor) -> tuple:
    to_planes, to_polar = _gather_backward(gradient, *ctx.saved_tensors, ctx.min_depth, ctx.twin)
    return None, None, None, to_planes, to_polar, None, None, None


_gather.register_autograd(_backward, setup_context=_save)


@torch.library.custom_op(
    "diorama::pool_max",
    mutates_args=(),
    schema="(Tensor features, Tensor keep, str twin) -> (Tensor, Tensor)",
)
def _pool_max(features: Tensor, keep: Tensor, twin: str) -> tuple[Tensor, Tensor]:
    # on CUDA the torch form runs: two launches
    return _fast(twin).pool_max(features, keep) if twin == "numba" else _reference_max(features, keep)


@torch.library.custom_op(
    "diorama::pool_max_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor winner, int views, str twin) -> Tensor",
)
def _pool_max_backward(gradient: Tensor, winner: Tensor, views: int, twin: str) -> Tensor:
    backward = _fast(twin).pool_max_backward if twin == "numba" else _reference_max_backward
    return backward(gradient, winner, views)


@_pool_max.register_fake
def _(features: Tensor, *_: object) -> tuple[Tensor, Tensor]:
    scenes, _views, *rest = features.shape
    return features.new_empty(scenes, *rest), features.new_empty(scenes, *rest, dtype=torch.int16)


@_pool_max_backward.register_fake
def _(gradient: Tensor, _: Tensor, views: int, __: str) -> Tensor:
    return gradient.new_empty(gradient.shape[0], views, *gradient.shape[1:])


def _save_winner(ctx: Any, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    features, _, ctx.twin = inputs
    ctx.views = features.shape[1]
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _max_autograd(ctx: Any, gradient: Tensor, _: Tensor) -> tuple:
    (winner,) = ctx.saved_tensors
    return _pool_max_backward(gradient, winner, ctx.views, ctx.twin), None, None


_pool_max.register_autograd(_max_autograd, setup_context=_save_winner)
