"""What surfaces look like by what they are part of: which textures, how large, how bright, how colourful."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from diorama.worlds import patterns as row

Role = Literal["thing", "furniture", "fabric", "wall", "ceiling", "floor", "ground", "building"]
"""What a surface is part of."""


@dataclass(frozen=True)
class Tint:
    """A family of colours: logarithms of linear light and two opponent channels (see `palettes.linear_colour`)."""

    share: float
    """Of the materials in question."""
    brightness: float
    yellow: float
    red: float
    red_spread: float = 0.05


@dataclass(frozen=True)
class Look:
    """The looks of one role."""

    kinds: Mapping[int, float | int]
    """Kind of texture (`patterns`) -> how often it is drawn."""
    cell: tuple[float, float]
    """Smallest and largest feature in metres."""
    crop: tuple[float, float]
    """Smallest and largest side of a photo crop in metres."""
    photos: float
    """Share of the materials that show photo crops, where there are any."""
    lighter: float = 0.0
    """Added to the natural logarithm of reflectance."""
    vivid: float = 1.0
    """Times the config's share of vivid colours."""
    calm: float = 1.0
    """Times the differences among a material's colours: 1 for what wants to be seen, less for what surrounds it."""
    mirrors: float = 1.0
    """Times the config's share of mirrors."""
    tint: Tint | None = None
    """Colours of its own, for any kind of texture."""


LOOKS: dict[Role, Look] = {
    "thing": Look(
        {row.PLAIN: 3.5, row.NOISE: 1.2, row.VORONOI: 0.5, row.MARBLE: 0.4, row.WOOD: 1, row.STRIPES: 0.8,
         row.DOTS: 0.4, row.CHECKS: 0.4, row.PRINT: 2.5, row.LEAVES: 0.9},
        cell=(0.01, 0.08), crop=(0.1, 0.5), photos=0.5, vivid=1.5,
    ),
    "furniture": Look(
        {row.PLAIN: 4, row.NOISE: 0.8, row.WOOD: 3.5, row.STRIPES: 0.4, row.CHECKS: 0.2, row.MARBLE: 0.2,
         row.LEAVES: 0.3, row.VORONOI: 0.1},
        cell=(0.02, 0.15), crop=(0.4, 1.6), photos=0.4, lighter=-0.1, calm=0.85, mirrors=0.6,
    ),
    "fabric": Look(
        {row.PLAIN: 4, row.NOISE: 1.2, row.STRIPES: 1, row.CHECKS: 0.6, row.DOTS: 0.4, row.LEAVES: 0.8},
        cell=(0.008, 0.08), crop=(0.2, 1.2), photos=0.35, vivid=1.3, mirrors=0.0,
    ),
    "wall": Look(
        {row.PLAIN: 8, row.NOISE: 1, row.BRICK: 0.8, row.STRIPES: 0.5, row.LEAVES: 0.3, row.DOTS: 0.2,
         row.WOOD: 0.3, row.MARBLE: 0.1},
        cell=(0.04, 0.4), crop=(1.2, 4.0), photos=0.3, lighter=0.75, vivid=0.35, calm=0.5, mirrors=0.1,
    ),
    "ceiling": Look(
        {row.PLAIN: 8, row.NOISE: 0.5, row.BRICK: 0.4, row.WOOD: 0.4},
        cell=(0.05, 0.5), crop=(1.5, 4.0), photos=0.1, lighter=1.0, vivid=0.1, calm=0.3, mirrors=0.0,
    ),
    "floor": Look(
        {row.WOOD: 4, row.BRICK: 2, row.NOISE: 1.5, row.PLAIN: 2.5, row.MARBLE: 0.4, row.CHECKS: 0.5,
         row.VORONOI: 0.3, row.LEAVES: 0.5, row.STRIPES: 0.2},
        cell=(0.05, 0.4), crop=(0.6, 3.0), photos=0.35, vivid=0.5, calm=0.75, mirrors=0.5,
    ),
    "ground": Look(
        {row.NOISE: 3, row.LEAVES: 2, row.VORONOI: 1.2, row.BRICK: 1, row.PLAIN: 0.7},
        cell=(0.05, 1.5), crop=(1.5, 8.0), photos=0.3, lighter=-0.2, vivid=0.2, calm=0.5, mirrors=0.05,
        tint=Tint(0.8, -1.7, 0.45, 0.04, 0.11),
    ),
    "building": Look(
        {row.PLAIN: 3, row.NOISE: 1, row.BRICK: 3, row.STRIPES: 0.6, row.CHECKS: 0.3, row.WOOD: 0.7, row.PRINT: 0.3},
        cell=(0.1, 1.2), crop=(1.5, 8.0), photos=0.35, lighter=0.2, vivid=0.5, calm=0.7, mirrors=0.5,
    ),
}  # fmt: skip

TINTS: dict[int, Tint] = {row.WOOD: Tint(0.85, -1.5, 0.45, 0.14), row.BRICK: Tint(0.45, -1.4, 0.4, 0.18)}
"""Kinds of texture that mostly have colours of their own."""
