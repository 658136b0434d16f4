"""Cameras as numbers that a network reads: matrices, normalised intrinsics, Plücker rays, fundamental matrices.

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


ONE_PLACE = 1e-5
"""Camera centres nearer than this (units of the normalised world) count as one: rounding would make up their lines."""


def fundamental_matrices(
    world_to_camera: Float[Tensor, "*scene view 3 4"], intrinsics: Float[Tensor, "*scene view 4"]
) -> Float[Tensor, "*scene view view 3 3"]:
    """F[a, b] of every pair of views: q^T F[a, b] p = 0 where q in view b shows the point that p shows in view a.

    intrinsics: fx / W, fy / H, cx / W, cy / H; p and q: (x, y, 1) as shares of width and height. float64. Zero for two
    views from one place, a view and itself among them, where any q may show what p shows.
    """
    rotation, translation = world_to_camera.double().split([3, 1], dim=-1)
    turn = rotation[..., None, :, :, :] @ rotation[..., :, None, :, :].mT  # from a to b: scene, a, b
    shift = translation[..., None, :, :, :] - turn @ translation[..., :, None, :, :]
    shift = shift[..., 0].masked_fill(shift[..., 0].norm(dim=-1, keepdim=True) < ONE_PLACE, 0.0)
    focal, centre = intrinsics.double().split(2, dim=-1)
    to_rays = torch.diag_embed(torch.cat([1.0 / focal, torch.ones_like(focal[..., :1])], dim=-1))
    to_rays[..., :2, 2] = -centre / focal
    essential = torch.linalg.cross(shift[..., None, :], turn.mT).mT  # [shift]x turn, column by column
    return to_rays[..., None, :, :, :].mT @ essential @ to_rays[..., :, None, :, :]


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
