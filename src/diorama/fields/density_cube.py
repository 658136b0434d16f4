"""How dense a field is, roughly, all over space: where its samples should lie, for the price of a lookup."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.fields.contraction import contract

AT_ONCE = 1 << 15
"""Points that a field is asked about at a time."""

FARTHEST = 1.99
"""Of contracted places, which lie in a ball of radius 2; those beyond count as this far (100 radii)."""


@dataclass(frozen=True)
class DensityCube:
    """Densities at the centres of the cells of a cube that holds contracted space, and between them by interpolation.

    density: per unit, by z, y, x. centre, radius: of the ball that is not contracted; it fills the inner half.
    """

    density: Float[Tensor, "side side side"]
    centre: tuple[float, ...] = (0.0, 0.0, 0.0)
    radius: float = 1.0

    @staticmethod
    @torch.no_grad()
    def of(
        density: Callable[[Float[Tensor, "n xyz=3"]], Float[Tensor, "n"]],
        side: int,
        centre: tuple[float, ...] = (0.0, 0.0, 0.0),
        radius: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> "DensityCube":
        """Ask a field once for every cell.

        density: of points, per unit. side: cells along each side of the cube. centre, radius: in the points' unit.
        """
        line = (torch.arange(side, device=device) + 0.5) * (4.0 / side) - 2.0
        z, y, x = torch.meshgrid(line, line, line, indexing="ij")
        places = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
        points = uncontract(places) * radius + torch.tensor(centre, device=device)
        values = torch.cat([density(part) for part in points.split(AT_ONCE)])
        return DensityCube(values.float().reshape(side, side, side), centre, radius)

    def __call__(self, points: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch"]:
        """Density at points, without a gradient."""
        density = self.density.to(points.device)
        with torch.no_grad():
            place = 0.5 * contract((points - points.new_tensor(self.centre)) / self.radius)
            found = torch.nn.functional.grid_sample(
                density[None, None], place.reshape(1, -1, 1, 1, 3), padding_mode="border", align_corners=False
            )
        return found.reshape(points.shape[:-1])


def uncontract(places: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch xyz=3"]:
    """The inverse of `contraction.contract`; places at the edge of the ball of radius 2 and beyond are `FARTHEST`."""
    norm = places.norm(dim=-1, keepdim=True)
    away = norm.clamp(1.0, FARTHEST)
    return torch.where(norm > 1.0, places / norm.clamp_min(1.0) / (2.0 - away), places)
