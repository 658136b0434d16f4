"""Cameras: where pixels meet space.

Convention: OpenCV axes (x right, y down, z forward), camera-to-world matrices, pixel units, and pixel centres at
+0.5: the top-left corner of an image is (0, 0), the centre of its first pixel (0.5, 0.5).
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.errors import CameraError

Lens = Literal["pinhole", "opencv", "fisheye"]
"""pinhole: no distortion. opencv: radial polynomial 1 + k1 r2 + k2 r4 + k3 r6 + k4 r8 and tangential p1 p2.
fisheye: the OpenCV equidistant model, theta (1 + k1 th2 + k2 th4 + k3 th6 + k4 th8)."""


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

    def __getitem__(self, index: object) -> "Cameras":
        """Index the batch axes, as a tensor would be."""
        return replace(
            self,
            camera_to_world=self.camera_to_world[index],
            focal=self.focal[index],
            centre=self.centre[index],
            size=self.size[index],
            distortion=self.distortion[index],
        )

    def to(self, *args: object, **kwargs: object) -> "Cameras":
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
