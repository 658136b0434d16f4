"""Cameras as numbers that a network reads: matrices, normalised intrinsics, Plücker rays.

All in the world of the cameras given; networks get cameras whose world is that of a reference camera
(`data.multiview.normalise_cameras`). Lens distortion is left out of the short forms and followed by the rays.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.convert import to_world_to_camera
from diorama.cameras.pinhole import Cameras, pixel_grid
from diorama.cameras.rays import camera_rays
from diorama.errors import CameraError


def world_to_camera(cameras: Cameras) -> Float[Tensor, "*view 3 4"]:
    """[R | t] of x_camera = R x + t."""
    rotation, translation = to_world_to_camera(cameras.camera_to_world)
    return torch.cat([rotation, translation[..., None]], dim=-1)


def relative_intrinsics(cameras: Cameras) -> Float[Tensor, "*view 4"]:
    """fx / W, fy / H, cx / W, cy / H: the same at any resolution."""
    sides = cameras.size.to(cameras.focal)
    return torch.cat([cameras.focal / sides, cameras.centre / sides], dim=-1)


def pose_numbers(cameras: Cameras) -> Float[Tensor, "*view 16"]:
    """The upper three rows of camera-to-world, row by row, then fx / W, fy / H, cx / W, cy / H."""
    return torch.cat([cameras.camera_to_world[..., :3, :].flatten(-2), relative_intrinsics(cameras)], dim=-1)


def pluecker_rays(
    cameras: Cameras, width: int | None = None, height: int | None = None
) -> Float[Tensor, "*view 6 h w"]:
    """Direction (unit) and moment (origin x direction) of the ray through the centre of every pixel.

    The moment is that of the line: any point on it gives the same. width, height: of the picture, if not the cameras'
    own size (which must then be the same for all). CameraError where it is not.
    """
    if width is None or height is None:
        sizes = cameras.size.reshape(-1, 2)
        if len(sizes) == 0 or bool((sizes != sizes[0]).any()):
            raise CameraError("rays of pictures of different sizes do not stack. Give width and height, or crop first.")
        width, height = sizes[0].tolist()
    resized = cameras.resize(width, height)
    grid = pixel_grid(width, height).to(cameras.focal).reshape(-1, 2)
    rays = camera_rays(resized, grid.expand(*(1 for _ in cameras.shape), *grid.shape))
    numbers = torch.cat([rays.directions, torch.linalg.cross(rays.origins, rays.directions)], dim=-1)
    return numbers.mT.reshape(*cameras.shape, 6, height, width)
