"""Every foreign camera convention, in and out, and nowhere else. docs/conventions.md has them side by side.

Ours: OpenCV axes (x right, y down, z forward), camera-to-world, pixels with centres at +0.5.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.rotations import quaternion_to_rotation, rotation_to_quaternion
from diorama.errors import CameraError

NdcScale = Literal["shorter side", "each side"]
"""What one unit of PyTorch3D's normalised device coordinates spans, from the middle of the image: half of its shorter
side (PyTorch3D; CO3D's `ndc_isotropic`), or half of each side on its own (CO3D's `ndc_norm_image_bounds`)."""


def from_opengl(camera_to_world: Float[Tensor, "*view 4 4"]) -> Float[Tensor, "*view 4 4"]:
    """NeRF, Blender, nerfstudio (x right, y up, z backward) -> ours: the y and z columns change sign."""
    return camera_to_world * camera_to_world.new_tensor([1.0, -1.0, -1.0, 1.0])


def to_opengl(camera_to_world: Float[Tensor, "*view 4 4"]) -> Float[Tensor, "*view 4 4"]:
    """Ours -> NeRF, Blender, nerfstudio; its own inverse."""
    return from_opengl(camera_to_world)


def from_world_to_camera(
    rotation: Float[Tensor, "*view 3 3"], translation: Float[Tensor, "*view 3"]
) -> Float[Tensor, "*view 4 4"]:
    """x_camera = R x + t with OpenCV axes -> our camera-to-world."""
    pose = torch.zeros(*translation.shape[:-1], 4, 4, dtype=translation.dtype, device=translation.device)
    back = rotation.mT
    pose[..., :3, :3] = back
    pose[..., :3, 3] = -(back @ translation[..., None])[..., 0]
    pose[..., 3, 3] = 1.0
    return pose


def to_world_to_camera(
    camera_to_world: Float[Tensor, "*view 4 4"],
) -> tuple[Float[Tensor, "*view 3 3"], Float[Tensor, "*view 3"]]:
    """Our camera-to-world -> R, t of x_camera = R x + t with OpenCV axes."""
    rotation = camera_to_world[..., :3, :3].mT
    return rotation, -(rotation @ camera_to_world[..., :3, 3:])[..., 0]


def from_colmap(
    quaternion: Float[Tensor, "*view 4"], translation: Float[Tensor, "*view 3"]
) -> Float[Tensor, "*view 4 4"]:
    """COLMAP's images (QW QX QY QZ, TX TY TZ: world-to-camera, OpenCV axes) -> ours."""
    return from_world_to_camera(quaternion_to_rotation(quaternion), translation)


def to_colmap(
    camera_to_world: Float[Tensor, "*view 4 4"],
) -> tuple[Float[Tensor, "*view 4"], Float[Tensor, "*view 3"]]:
    """Ours -> COLMAP's quaternion (w >= 0) and translation."""
    rotation, translation = to_world_to_camera(camera_to_world)
    return rotation_to_quaternion(rotation), translation


def from_pytorch3d(
    rotation: Float[Tensor, "*view 3 3"],
    translation: Float[Tensor, "*view 3"],
    focal_ndc: Float[Tensor, "*view xy=2"],
    size: Int[Tensor, "*view wh=2"],
    principal_ndc: Float[Tensor, "*view xy=2"] | None = None,
    *,
    ndc: NdcScale = "shorter side",
) -> Cameras:
    """PyTorch3D's PerspectiveCameras in normalised device coordinates -> ours.

    Rows times matrix: x_camera = x R + T, with x left, y up, z forward; the principal point counts from the middle of
    the image, left and up.
    """
    unit = _ndc_unit(size, focal_ndc.dtype, ndc)
    pose = torch.zeros(*translation.shape[:-1], 4, 4, dtype=translation.dtype, device=translation.device)
    pose[..., :3, :3] = rotation * rotation.new_tensor([-1.0, -1.0, 1.0])
    pose[..., :3, 3] = -(rotation @ translation[..., None])[..., 0]
    pose[..., 3, 3] = 1.0
    middle = 0.5 * size.to(focal_ndc.dtype)
    centre = middle if principal_ndc is None else middle - principal_ndc * unit
    return Cameras.pinhole(pose, focal_ndc * unit, centre, size)


def to_pytorch3d(
    cameras: Cameras, *, ndc: NdcScale = "shorter side"
) -> tuple[
    Float[Tensor, "*view 3 3"], Float[Tensor, "*view 3"], Float[Tensor, "*view xy=2"], Float[Tensor, "*view xy=2"]
]:
    """Ours -> PyTorch3D's R, T, focal length and principal point in normalised device coordinates."""
    _refuse_distortion(cameras, "PyTorch3D")
    unit = _ndc_unit(cameras.size, cameras.focal.dtype, ndc)
    turn = cameras.camera_to_world.new_tensor([-1.0, -1.0, 1.0])
    rotation = cameras.camera_to_world[..., :3, :3] * turn
    translation = -(rotation.mT @ cameras.camera_to_world[..., :3, 3:])[..., 0]
    principal = (0.5 * cameras.size.to(unit.dtype) - cameras.centre) / unit
    return rotation, translation, cameras.focal / unit, principal


def from_llff(
    rows: Float[Tensor, "view 17"],
) -> tuple[Cameras, Float[Tensor, "view 2"]]:
    """Rows of poses_bounds.npy -> cameras with the principal point in the middle, and near and far per view.

    A row is a 3x5 matrix [down, right, back | position | height, width, focal], flattened, then near and far.
    """
    matrix = rows[:, :15].reshape(-1, 3, 5)
    down, right, back, position, (height, width, focal) = *matrix[..., :4].unbind(-1), matrix[..., 4].unbind(-1)
    pose = torch.zeros(len(rows), 4, 4, dtype=rows.dtype, device=rows.device)
    pose[:, :3] = torch.stack([right, down, -back, position], dim=-1)
    pose[:, 3, 3] = 1.0
    sides = torch.stack([width, height], dim=-1)
    size = sides.round().to(torch.int64)
    return Cameras.pinhole(pose, torch.stack([focal, focal], dim=-1), 0.5 * sides, size), rows[:, 15:]


def to_llff(cameras: Cameras, bounds: Float[Tensor, "view 2"]) -> Float[Tensor, "view 17"]:
    """Ours -> rows of poses_bounds.npy. CameraError where the format cannot hold the camera.

    LLFF knows one focal length and a principal point in the middle; a thousandth of the width is let pass.
    """
    _refuse_distortion(cameras, "LLFF")
    sides = cameras.size.to(cameras.focal.dtype)
    off = (cameras.centre - 0.5 * sides).abs().amax(-1) + (cameras.focal[:, 0] - cameras.focal[:, 1]).abs()
    if bool((off > 1e-3 * sides[:, 0]).any()):
        raise CameraError(
            "LLFF holds one focal length and a central principal point; these cameras have others. "
            "Write transforms.json instead."
        )
    right, down, forward, position = cameras.camera_to_world[:, :3].unbind(-1)
    height_width_focal = torch.stack([sides[:, 1], sides[:, 0], cameras.focal.mean(-1)], dim=-1)
    matrix = torch.stack([down, right, -forward, position, height_width_focal], dim=-1)
    return torch.cat([matrix.reshape(-1, 15), bounds.to(matrix)], dim=-1)


def _ndc_unit(size: Int[Tensor, "*view wh=2"], dtype: torch.dtype, ndc: NdcScale) -> Float[Tensor, "*view xy=2"]:
    """Pixels per unit of normalised device coordinates, along x and y."""
    half = 0.5 * size.to(dtype)
    match ndc:
        case "shorter side":
            return half.amin(-1, keepdim=True).expand(half.shape)
        case "each side":
            return half


def _refuse_distortion(cameras: Cameras, name: str) -> None:
    if cameras.lens != "pinhole" and bool((cameras.distortion != 0).any() or cameras.lens == "fisheye"):
        raise CameraError(f"{name} has no place for lens distortion. Undistort the photos first.")
