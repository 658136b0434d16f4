"""Procedural rooms as test scenes: photographs with exact depth, and which of their pixels no training photo shows."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras, pixel_grid
from diorama.cameras.rays import camera_rays
from diorama.data.splits import spread_indices
from diorama.data.views import Views
from diorama.worlds.dataset import ViewGroup, Worlds, WorldsConfig
from diorama.worlds.layouts import Kind

WORLDS_SEED = 7001
"""Rooms of benchmarks are numbered apart from those that priors are trained on."""

FOCAL = 175.0 / 256.0
"""Focal length as a share of the width: that of the patch prior's virtual camera."""

VIEWS, FIRST = 9, 3
"""Photos of a room; every third is held out, and the first three to learn from are spread over the others."""


def room(kind: Kind, number: int, width: int, height: int) -> Views:
    """Photographs of one room in metres, with exact planar depth; split `protocol` for up to six training photos."""
    worlds = Worlds(WorldsConfig(kinds=(kind,), seed=WORLDS_SEED, scale=(1.0, 1.0)))
    (views,) = ViewGroup(worlds, views=VIEWS, width=width, height=height, focal=FOCAL * width)(number)
    test = views.names[1::3]
    pool = [name for name in views.names if name not in test]
    first = [pool[index] for index in spread_indices(len(pool), FIRST)]
    order = (*first, *(name for name in pool if name not in first))
    return replace(views, splits={"train": order, "train_order": order, "test": test})


def seen_from(
    camera: Cameras,
    depth: Float[Tensor, "h w"],
    others: Cameras,
    others_depth: Float[Tensor, "view h w"],
    tolerance: float = 0.03,
) -> Bool[Tensor, "h w"]:
    """Which pixels of one camera show a surface that at least one other camera sees too, by comparing depths.

    depth: planar, 0 where unknown (such pixels are not seen). tolerance: by how much, relative to depth, the point may
    lie behind what the other camera sees there.
    """
    height, width = depth.shape
    rays = camera_rays(camera, pixel_grid(width, height).to(depth).reshape(1, -1, 2))
    surface = rays.at(depth.reshape(1, -1) / rays.cosine).reshape(1, -1, 3)
    seen = torch.zeros(height * width, dtype=torch.bool)
    for index in range(len(others)):
        pixels, z = others[[index]].project(surface)
        x, y = pixels[0].floor().long().unbind(-1)
        wide, high = others.size[index].tolist()
        inside = (x >= 0) & (y >= 0) & (x < wide) & (y < high) & (z[0] > 0)
        there = others_depth[index, y.clamp(0, high - 1), x.clamp(0, wide - 1)]
        seen |= inside & (there > 0) & (z[0] < there * (1.0 + tolerance))
    return seen.reshape(height, width) & (depth > 0)
