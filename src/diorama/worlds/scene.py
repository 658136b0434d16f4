"""A world: everything there is in one scene, as plain tensors. Made from a kind and a seed; the same on every device.

The world is z-up, in metres. Light is linear; where there is a film, it belongs to the camera (`film`).
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.worlds.materials import Materials

SUN, LAMP, PANEL = range(3)
"""Kinds of light: a far disc, a ball, a rectangle that shines to one side."""

SHAPE_COLUMNS = 16
"""Numbers that describe a shape beyond its size; `shapes` says what they mean."""


def _moved(one: Any, *args: Any, **kwargs: Any) -> Any:
    """A dataclass of tensors, moved or cast; whole numbers keep their type."""
    parts = {}
    for each in fields(one):
        value = getattr(one, each.name)
        if isinstance(value, Tensor):
            moved = value.to(*args, **kwargs)
            parts[each.name] = moved if value.is_floating_point() else value.to(moved.device)
    return replace(one, **parts)


@dataclass(frozen=True)
class Solids:
    """Everything that can be touched. Each solid fills a box in its own frame: [-size, size] along its own axes."""

    shape: Int[Tensor, "solid"]
    """What it is: a number of `shapes`."""
    centre: Float[Tensor, "solid xyz=3"]
    rotation: Float[Tensor, "solid 3 3"]
    """Own axes to world axes."""
    size: Float[Tensor, "solid xyz=3"]
    """Half of its extents, metres."""
    params: Float[Tensor, "solid 16"]
    """The rest of its shape; what it means is said in `shapes`."""
    material: Int[Tensor, "solid"]
    """Row of `World.materials`."""
    instance: Int[Tensor, "solid"]
    """Which thing it is a part of; a chair is one thing."""
    glow: Float[Tensor, "solid rgb=3"]
    """Radiance that it sends out by itself: window panes, lamps, screens."""

    def __len__(self) -> int:
        return len(self.shape)

    def to(self, *args: Any, **kwargs: Any) -> "Solids":
        """Moved or cast; whole numbers keep their type."""
        return _moved(self, *args, **kwargs)


@dataclass(frozen=True)
class Lights:
    """What sends light that casts shadows."""

    kind: Int[Tensor, "light"]
    """SUN, LAMP or PANEL."""
    place: Float[Tensor, "light xyz=3"]
    """Unit direction towards a SUN; centre of a LAMP or a PANEL, metres."""
    first: Float[Tensor, "light xyz=3"]
    """Half of one side of a PANEL. A SUN's and a LAMP's x is its radius, in radians and in metres."""
    second: Float[Tensor, "light xyz=3"]
    """Half of the other side of a PANEL, which shines along `first x second`."""
    colour: Float[Tensor, "light rgb=3"]
    """Irradiance square to a SUN, radiant intensity of a LAMP, radiance of a PANEL."""

    def __len__(self) -> int:
        return len(self.kind)

    def to(self, *args: Any, **kwargs: Any) -> "Lights":
        """Moved or cast; whole numbers keep their type."""
        return _moved(self, *args, **kwargs)


@dataclass(frozen=True)
class Sky:
    """What a ray meets that meets nothing, and the light that comes from everywhere."""

    zenith: Float[Tensor, "rgb=3"]
    horizon: Float[Tensor, "rgb=3"]
    ground: Float[Tensor, "rgb=3"]
    """Below the horizon."""
    fill: Float[Tensor, "rgb=3"]
    """How much of the sky's radiance lights surfaces that see it; 0 where panels stand in the windows for it."""
    bounce: Float[Tensor, "rgb=3"]
    """Radiance of a white surface in the shade: light that has been reflected already."""
    look: Float[Tensor, "4"]
    """Whiteness of the clouds; seed of the clouds; metres after which things have faded into the horizon (inf: clear
    air); metres within which a surface takes away another's bounced light."""

    def to(self, *args: Any, **kwargs: Any) -> "Sky":
        """Moved or cast."""
        return _moved(self, *args, **kwargs)


@dataclass(frozen=True)
class Stage:
    """What cameras need to know: where they may stand and what there is to see."""

    focus: Float[Tensor, "xyz=3"]
    """The middle of what is worth looking at."""
    reach: float
    """Radius about the focus that holds what is worth looking at, metres."""
    low: Float[Tensor, "xyz=3"]
    high: Float[Tensor, "xyz=3"]
    """Corners of the box in which a camera may stand (if nothing is in its way)."""
    inward: bool
    """Whether cameras rather stand about the focus and look at it, or walk through the box and look around."""


@dataclass(frozen=True)
class World:
    """One scene."""

    name: str
    """Kind and seed, in words."""
    solids: Solids
    materials: Materials
    lights: Lights
    sky: Sky
    stage: Stage
    heights: Float[Tensor, "field n n"]
    """Tables of height fields, in [0, 1]."""
    photos: Float[Tensor, "photo h w rgb=3"] | None = None
    """Pictures that some materials show."""

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.solids.centre.device

    def to(self, *args: Any, **kwargs: Any) -> "World":
        """Moved or cast; whole numbers keep their type, and the stage stays where it is."""
        parts = {each: getattr(self, each).to(*args, **kwargs) for each in ("solids", "lights", "sky", "heights")}
        photos = None if self.photos is None else self.photos.to(*args, **kwargs)
        return replace(self, materials=_moved(self.materials, *args, **kwargs), photos=photos, **parts)
