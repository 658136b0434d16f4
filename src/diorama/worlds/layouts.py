"""Worlds of every kind, each from one whole number."""

from random import Random
from typing import Literal, assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.worlds.layouts_objects import make_object
from diorama.worlds.layouts_outdoor import make_outdoor
from diorama.worlds.layouts_rooms import make_room
from diorama.worlds.layouts_workshops import make_workshop
from diorama.worlds.scene import World

Kind = Literal["room", "object", "outdoor", "workshop"]
"""Furnished rooms; objects on tables or in the void; landscapes with buildings; and workshops under a roof, another
sort of room that is kept out of training, so that a prior can be measured on what it never saw."""


def make_world(kind: Kind, seed: int, *, photos: Float[Tensor, "photo h w rgb=3"] | None = None) -> World:
    """The world of a kind and a seed: the same on every machine. photos: pictures that some of its materials show."""
    dice, generator = Random(f"{kind} {seed}"), torch.Generator().manual_seed(seed)
    name = f"{kind} {seed}"
    match kind:
        case "room":
            return make_room(name, dice, generator, photos)
        case "object":
            return make_object(name, dice, generator, photos)
        case "outdoor":
            return make_outdoor(name, dice, generator, photos)
        case "workshop":
            return make_workshop(name, dice, generator, photos)
        case _:
            assert_never(kind)
