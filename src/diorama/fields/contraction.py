"""Space, bounded or not, as the unit cube a grid can hold."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

Space = Literal["sphere", "contracted"]
"""sphere: the cube around a ball of `radius`. contracted: all of space; beyond `radius` distances shrink as 1/r."""


def contract(positions: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch xyz=3"]:
    """All of space into the ball of radius 2; the unit ball stays as it is.

    Source: mip-NeRF 360 (arXiv 2111.12077), eq. 10.
    """
    norm = positions.norm(dim=-1, keepdim=True).clamp_min(1.0)
    return positions * ((2.0 - 1.0 / norm) / norm)


def to_unit_cube(
    positions: Float[Tensor, "*batch xyz=3"], space: Space, radius: float
) -> Float[Tensor, "*batch xyz=3"]:
    """Positions (world units) in [0, 1]^3; `radius` is the ball's size, or where contraction begins."""
    scaled = positions / radius
    if space == "contracted":
        return contract(scaled) * 0.25 + 0.5
    return scaled * 0.5 + 0.5
