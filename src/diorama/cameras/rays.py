"""Rays: half lines through pixels."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras


@dataclass(frozen=True)
class Rays:
    """Half lines: origins + t * directions, t >= 0, in world units.

    directions are unit vectors. cosine is that of the angle to the optical axis: planar depth = t * cosine.
    """

    origins: Float[Tensor, "*ray xyz=3"]
    directions: Float[Tensor, "*ray xyz=3"]
    cosine: Float[Tensor, "*ray"]

    @property
    def shape(self) -> torch.Size:
        """The batch shape."""
        return self.cosine.shape

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Any) -> "Rays":
        """Index the batch axes, as a tensor would be."""
        return Rays(self.origins[index], self.directions[index], self.cosine[index])

    def to(self, *args: Any, **kwargs: Any) -> "Rays":
        """Move or cast."""
        return Rays(*(part.to(*args, **kwargs) for part in (self.origins, self.directions, self.cosine)))

    def reshape(self, *shape: int) -> "Rays":
        """The same rays in another batch shape."""
        return Rays(self.origins.reshape(*shape, 3), self.directions.reshape(*shape, 3), self.cosine.reshape(*shape))

    def at(self, distance: Float[Tensor, "*ray"]) -> Float[Tensor, "*ray xyz=3"]:
        """Points at these distances along the rays."""
        return self.origins + self.directions * distance[..., None]


def camera_rays(cameras: Cameras, pixels: Float[Tensor, "*#view n xy=2"]) -> Rays:
    """The rays through pixels, of shape (*view, n), in the world of the cameras."""
    local = cameras.unproject(pixels)
    length = local.norm(dim=-1, keepdim=True)
    directions = (local / length) @ cameras.camera_to_world[..., :3, :3].mT.to(local.dtype)
    origins = cameras.origins[..., None, :].to(local.dtype).expand(directions.shape)
    return Rays(origins, directions, 1.0 / length[..., 0])
