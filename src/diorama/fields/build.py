"""From the settings of planes to the field that reads them, and from a network's output to planes."""

from typing import assert_never

from jaxtyping import Float
from torch import Tensor

from diorama.fields.ib_planes import IBPlaneField, IBPlanesConfig, split_maps
from diorama.fields.tri_planes import TriPlaneField, TriPlanesConfig

PlanesConfig = IBPlanesConfig | TriPlanesConfig
"""How a multi-view model's maps stand in space."""


def build_planes(config: PlanesConfig) -> IBPlaneField | TriPlaneField:
    """The MLPs that read planes, untrained."""
    match config:
        case IBPlanesConfig():
            return IBPlaneField(config)
        case TriPlanesConfig():
            return TriPlaneField(config)
        case _:
            assert_never(config)


def sample_bytes(config: PlanesConfig, views: int) -> int:
    """About how much memory one sample of a ray takes: what every view says of it, and what the MLPs make of that."""
    return 4 * views * (2 * (config.maps + 1 + config.code) + 3 * config.hidden)


def planes_of_maps(
    maps: Float[Tensor, "scene view m h w"], config: PlanesConfig
) -> tuple[Float[Tensor, "scene view c h w"], Float[Tensor, "scene view e p q"] | None]:
    """A network's output as perspective and polar maps of `Planes`; tri-planes have no polar ones."""
    match config:
        case IBPlanesConfig():
            return split_maps(maps, config)
        case TriPlanesConfig():
            return maps, None
        case _:
            assert_never(config)
