"""Photographs as a lens without distortion would have taken them."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample

from diorama.cameras.lens import beyond_fold
from diorama.cameras.pinhole import Cameras, pixel_grid

WIDEST_VIEW = math.tan(math.radians(60.0))
"""Undistorted images end 60 degrees off the axis; beyond, a flat image is mostly stretched border."""


def undistorted_cameras(cameras: Cameras) -> Cameras:
    """Pinhole cameras of the same poses and sizes whose images the photos fill, as far as their middle lines reach.

    Both focal lengths change by one factor: the least one at which neither the middle row nor the middle column of the
    new image leaves the photo (nor passes 60 degrees off the axis).
    """
    if cameras.lens == "pinhole":
        return Cameras.pinhole(cameras.camera_to_world, cameras.focal, cameras.centre, cameras.size)
    width, height = cameras.size.to(cameras.focal).unbind(-1)
    zero = torch.zeros_like(width)
    ends = [(zero, cameras.centre[..., 1]), (width, cameras.centre[..., 1])]
    ends += [(cameras.centre[..., 0], zero), (cameras.centre[..., 0], height)]
    pixels = torch.stack([torch.stack(end, dim=-1) for end in ends], dim=-2)
    reach = cameras.unproject(pixels)[..., :2].clamp(-WIDEST_VIEW, WIDEST_VIEW)
    low = torch.stack([reach[..., 0, 0], reach[..., 2, 1]], dim=-1)
    high = torch.stack([reach[..., 1, 0], reach[..., 3, 1]], dim=-1)
    sides = torch.stack([width, height], dim=-1)
    needed = sides / ((high - low).clamp_min(1e-9) * cameras.focal)
    focal = cameras.focal * needed.amax(-1, keepdim=True)
    centre = 0.5 * (sides - focal * (low + high))
    return Cameras.pinhole(cameras.camera_to_world, focal, centre, cameras.size)


def undistort_images(
    images: Float[Tensor, "view c h w"], cameras: Cameras, *, mode: Literal["bilinear", "nearest"] = "bilinear"
) -> tuple[Float[Tensor, "view c h w"], Cameras, Bool[Tensor, "view h w"]]:
    """Resampled images, the pinhole cameras that took them, and which of their pixels the photos really hold.

    Any channels may be passed (masks, planar depth, which stays planar); use nearest where values must not mix. Images
    padded at the right and the bottom stay so, with the padding invalid; invalid pixels are zero.
    """
    view, _, height, width = images.shape
    straight = undistorted_cameras(cameras)
    columns, rows = pixel_grid(width, height).to(images.device).unbind(-1)
    inside = (columns < cameras.size[:, 0, None, None]) & (rows < cameras.size[:, 1, None, None])
    if cameras.lens == "pinhole":
        return images * inside[:, None], straight, inside
    resampled, valid = torch.zeros_like(images), torch.zeros(view, height, width, dtype=torch.bool).to(images.device)
    grid = pixel_grid(width, height).reshape(-1, 2).to(cameras.focal)
    for index in range(view):
        size = cameras.size[index]
        directions = straight[index].unproject(grid)
        source = cameras[index].project_local(directions)
        held = (source >= 0).all(-1) & (source <= size).all(-1)
        held &= ~beyond_fold(directions[:, :2], cameras.distortion[index], cameras.lens)
        valid[index] = held.reshape(height, width) & inside[index]
        photo = images[index, :, : int(size[1]), : int(size[0])]
        where = (2 * source / size - 1).reshape(1, height, width, 2).to(images.dtype)
        resampled[index] = grid_sample(photo[None], where, mode, "border", align_corners=False)[0] * valid[index]
    return resampled, straight, valid
