"""Cameras: where pixels meet space.

Convention: OpenCV axes (x right, y down, z forward), camera-to-world matrices, pixel units, and pixel centres at
+0.5: the top-left corner of an image is (0, 0), the centre of its first pixel (0.5, 0.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.cameras.lens import Lens as Lens
from diorama.cameras.lens import beyond_fold, distort, undistort
from diorama.errors import CameraError

RIGID_TOLERANCE = 1e-3
"""How far R Rt may be from the identity, per entry: poses written with four digits pass, scaled ones do not."""


@dataclass(frozen=True)
class Cameras:
    """A batch of cameras of any batch shape; one lens model for all of them.

    camera_to_world: rigid 4x4 matrices in the user's frame. focal, centre: pixels. size: (width, height) in pixels.
    distortion: (k1, k2, k3, k4, p1, p2), zeros for a pinhole.
    """

    camera_to_world: Float[Tensor, "*view 4 4"]
    focal: Float[Tensor, "*view xy=2"]
    centre: Float[Tensor, "*view xy=2"]
    size: Int[Tensor, "*view wh=2"]
    distortion: Float[Tensor, "*view 6"]
    lens: Lens = "pinhole"

    @staticmethod
    def pinhole(
        camera_to_world: Float[Tensor, "*view 4 4"],
        focal: Float[Tensor, "*view xy=2"],
        centre: Float[Tensor, "*view xy=2"],
        size: Int[Tensor, "*view wh=2"],
    ) -> "Cameras":
        """Cameras without distortion."""
        return Cameras(camera_to_world, focal, centre, size, focal.new_zeros(*focal.shape[:-1], 6))

    @property
    def shape(self) -> torch.Size:
        """The batch shape."""
        return self.focal.shape[:-1]

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> "Cameras":
        """Index the batch axes, as a tensor would be."""
        return replace(
            self,
            camera_to_world=self.camera_to_world[index],
            focal=self.focal[index],
            centre=self.centre[index],
            size=self.size[index],
            distortion=self.distortion[index],
        )

    def to(self, *args: Any, **kwargs: Any) -> "Cameras":
        """Move or cast the float tensors (size keeps its integer type)."""
        moved = {k: getattr(self, k).to(*args, **kwargs) for k in ("camera_to_world", "focal", "centre", "distortion")}
        return replace(self, size=self.size.to(moved["focal"].device), **moved)

    @property
    def origins(self) -> Float[Tensor, "*view xyz=3"]:
        """Camera centres in the world."""
        return self.camera_to_world[..., :3, 3]

    @property
    def axes(self) -> Float[Tensor, "*view xyz=3"]:
        """Optical axes (unit, world)."""
        return self.camera_to_world[..., :3, 2]

    def project(
        self, points: Float[Tensor, "*#view n xyz=3"]
    ) -> tuple[Float[Tensor, "*all n xy=2"], Float[Tensor, "*all n"]]:
        """Pixels and planar depth of world points.

        Points on or behind the camera plane have depth <= 0 and finite pixels that mean nothing.
        The dtype is the wider of the points' and the cameras'.
        """
        local = self.to_local(points)
        depth = local[..., 2]
        return self.project_local(local), depth

    def to_local(self, points: Float[Tensor, "*#view n xyz=3"]) -> Float[Tensor, "*all n xyz=3"]:
        """World points in the camera frame (x right, y down, z forward)."""
        relative = points - self.origins[..., None, :]
        return relative @ self.camera_to_world[..., :3, :3].to(relative.dtype)

    def project_local(self, local: Float[Tensor, "*#view n xyz=3"]) -> Float[Tensor, "*all n xy=2"]:
        """Pixels of points in the camera frame."""
        least = 1e-6 * local.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        bent = distort(
            local[..., :2] / torch.maximum(local[..., 2:], least), self.distortion.to(local.dtype), self.lens
        )
        return bent * self.focal[..., None, :] + self.centre[..., None, :]

    def unproject(self, pixels: Float[Tensor, "*#view n xy=2"]) -> Float[Tensor, "*all n xyz=3"]:
        """Directions in the camera frame, scaled to z = 1: times planar depth they are points.

        Distortion is inverted by Newton iteration. Pixels that no light can reach (beyond the fold of the lens) get
        finite directions outside the view.
        """
        bent = (pixels - self.centre[..., None, :]) / self.focal[..., None, :]
        ideal = undistort(bent, self.distortion.to(bent.dtype), self.lens)
        return torch.cat([ideal, torch.ones_like(ideal[..., :1])], dim=-1)

    def ray_directions(self, pixels: Float[Tensor, "*#view n xy=2"]) -> Float[Tensor, "*all n xyz=3"]:
        """Unit directions in the world of the rays through pixels."""
        local = torch.nn.functional.normalize(self.unproject(pixels), dim=-1)
        return local @ self.camera_to_world[..., :3, :3].mT.to(local.dtype)

    def crop(self, left: float | int, top: float | int, width: int, height: int) -> "Cameras":
        """The same cameras behind a window of the image; (left, top) is its corner and may lie outside."""
        corner = self.centre.new_tensor([left, top])
        return replace(self, centre=self.centre - corner, size=self._same_size(width, height))

    def resize(self, width: int, height: int) -> "Cameras":
        """The same cameras with images of another resolution; each axis is scaled on its own."""
        size = self._same_size(width, height)
        scale = size.to(self.focal.dtype) / self.size.to(self.focal.dtype)
        return replace(self, focal=self.focal * scale, centre=self.centre * scale, size=size)

    def _same_size(self, width: int, height: int) -> Int[Tensor, "*view wh=2"]:
        if width < 1 or height < 1:
            raise CameraError(f"an image of {width} x {height} pixels has none. Both sides must be at least 1.")
        return torch.tensor([width, height], dtype=torch.int64, device=self.size.device).expand(self.size.shape).clone()

    def validate(self) -> "Cameras":
        """These cameras, or CameraError that names the first that is not one: NaN, no rotation, no focal length."""
        count = max(1, self.shape.numel())
        pose = self.camera_to_world.detach().reshape(-1, 4, 4).to(torch.float64)
        numbers = torch.cat(
            [pose.reshape(-1, 16)]
            + [
                t.detach().reshape(-1, t.shape[-1]).to(torch.float64)
                for t in (self.focal, self.centre, self.distortion)
            ],
            dim=-1,
        )
        _refuse(~torch.isfinite(numbers).all(-1), count, "NaN or infinity among its numbers", "finite ones")
        rotation = pose[:, :3, :3]
        eye = torch.eye(3, dtype=pose.dtype, device=pose.device)
        bent = (rotation @ rotation.mT - eye).abs().amax((-1, -2)) > RIGID_TOLERANCE
        _refuse(bent, count, "a matrix that is no rotation (zero, scaled or sheared)", "orthonormal columns")
        _refuse(torch.linalg.det(rotation) < 0, count, "a mirrored pose (determinant -1)", "a right-handed rotation")
        bottom = torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=pose.dtype, device=pose.device)
        _refuse((pose[:, 3] - bottom).abs().amax(-1) > 1e-6, count, "a wrong bottom row", "the row 0 0 0 1")
        _refuse((self.focal.reshape(-1, 2) <= 0).any(-1), count, "a focal length of zero or less", "pixels > 0")
        _refuse((self.size.reshape(-1, 2) <= 0).any(-1), count, "an image without pixels", "width and height >= 1")
        return self


def _refuse(wrong: Bool[Tensor, "view"], count: int, found: str, needed: str) -> None:
    """Raise CameraError if any camera is wrong, naming the first."""
    if bool(wrong.any()):
        first, total = int(wrong.nonzero()[0]), int(wrong.sum())
        others = f" and {total - 1} more" if total > 1 else ""
        raise CameraError(
            f"camera {first}{others} of {count}: {found}; needed: {needed}. Mend the file or leave these views out."
        )


def join_cameras(cameras: Sequence[Cameras]) -> Cameras:
    """One batch from several, along the first axis. Pinholes may join `opencv`; other models do not mix."""
    if not cameras:
        raise CameraError("no cameras to join. At least one is needed.")
    lenses = {one.lens for one in cameras} - {"pinhole"}
    if len(lenses) > 1:
        raise CameraError(f"the lens models {sorted(lenses)} cannot share a batch. Undistort the photos of one first.")
    lens: Lens = lenses.pop() if lenses else "pinhole"
    if lens == "fisheye" and any(one.lens == "pinhole" for one in cameras):
        raise CameraError("a pinhole is no fisheye without distortion. Undistort the fisheye photos first.")
    return Cameras(
        torch.cat([one.camera_to_world for one in cameras]),
        torch.cat([one.focal for one in cameras]),
        torch.cat([one.centre for one in cameras]),
        torch.cat([one.size for one in cameras]),
        torch.cat([one.distortion for one in cameras]),
        lens,
    )


def pixel_grid(width: int, height: int) -> Float[Tensor, "h w xy=2"]:
    """Pixel centres: the first is (0.5, 0.5)."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], dim=-1)


def in_frustum(
    cameras: Cameras, points: Float[Tensor, "*#view n xyz=3"], near: float | int = 0.0
) -> Bool[Tensor, "*all n"]:
    """Whether each camera sees each point: inside its image, beyond near (planar depth), not beyond the lens' fold.

    Points of shape (n, 3) are tried against every camera of the batch.
    """
    local = cameras.to_local(points)
    depth = local[..., 2]
    pixels = cameras.project_local(local)
    inside = (pixels >= 0).all(-1) & (pixels <= cameras.size[..., None, :]).all(-1)
    ideal = local[..., :2] / depth.clamp_min(1e-12)[..., None]
    folded = beyond_fold(ideal, cameras.distortion.to(ideal.dtype), cameras.lens)
    return inside & (depth > near) & ~folded
