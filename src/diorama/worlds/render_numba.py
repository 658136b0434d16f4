"""The Numba twin of `trace`: pictures of a world on the CPU, a few rows a task."""

from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.kernels.jit import numba_kernel
from diorama.kernels.twins import run_tasks
from diorama.worlds.boxes_numba import DEPTH, borrowed, build_tree, nearest_at
from diorama.worlds.scene import World
from diorama.worlds.trace import RenderConfig, WorldRendering, sample_shifts
from diorama.worlds.trace_numba import mean_colours, smooth_rows, trace_rows

ROWS = 16
"""Rows of a picture in one task."""


def render_world_numba(world: World, cameras: Cameras, config: RenderConfig) -> WorldRendering:
    """See `trace.render_world`; float64 inside."""
    width, height = (int(side) for side in cameras.size[0])
    count = len(cameras)
    scene = packed(world)
    poses = cameras.camera_to_world[:, :3].double().numpy()
    lenses = torch.cat([cameras.focal, cameras.centre], dim=-1).double().numpy()
    shifts = sample_shifts(config.samples).numpy()
    light = np.zeros((count, height, width, 15))
    depth = np.empty((count, height, width))
    normal = np.zeros((count, height, width, 3))
    instance = np.empty((count, height, width), np.int64)
    colour = np.empty((count, 3, height, width))
    bands = [(view, top, min(top + ROWS, height)) for view in range(count) for top in range(0, height, ROWS)]
    run_tasks(
        [
            partial(
                trace_rows,
                *scene,
                poses[v],
                lenses[v],
                shifts,
                config.lit,
                top,
                bottom,
                light[v],
                depth[v],
                normal[v],
                instance[v],
            )
            for v, top, bottom in bands
        ]
    )
    run_tasks(
        [
            partial(smooth_rows, light[v], depth[v], normal[v], poses[v], lenses[v], top, bottom, colour[v])
            for v, top, bottom in bands
        ]
    )
    dtype = world.solids.centre.dtype
    return WorldRendering(
        torch.from_numpy(colour).to(dtype),
        torch.from_numpy(depth).to(dtype),
        torch.from_numpy(normal).permute(0, 3, 1, 2).to(dtype),
        torch.from_numpy(instance),
    )


def first_hits_numba(
    world: World, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"]
) -> tuple[Float[Tensor, "ray"], Int[Tensor, "ray"]]:
    """See `trace.first_hits`."""
    solids, heights = solid_rows(world), world.heights.double().numpy()
    distance, solid = np.empty(len(origins)), np.empty(len(origins), np.int64)
    _cast(solids, heights, *build_tree(solids), origins.double().numpy(), directions.double().numpy(), distance, solid)
    return torch.from_numpy(distance).to(origins.dtype), torch.from_numpy(solid)


def packed(world: World) -> tuple[Any, ...]:
    """The world as the arrays that the loops ask for."""
    materials, solids = world.materials, solid_rows(world)
    sky = torch.cat([getattr(world.sky, each) for each in ("zenith", "horizon", "ground", "fill", "bounce", "look")])
    lights = torch.cat(
        [
            world.lights.kind[:, None].double(),
            *(getattr(world.lights, each).double() for each in ("place", "first", "second", "colour")),
        ],
        dim=-1,
    )
    photos = torch.zeros(0, 1, 1, 3) if world.photos is None else world.photos
    kinds, rows = materials.kind.numpy(), np.ascontiguousarray(materials.params.float().numpy())
    pictures = np.ascontiguousarray(photos.float().numpy())
    matter = np.zeros((len(materials), 6))
    for column, each in enumerate((materials.gloss, materials.shine, materials.mirror)):
        matter[:, column] = each.numpy()
    mean_colours(kinds, rows, pictures, matter)
    heights = np.ascontiguousarray(world.heights.double().numpy())
    return (
        solids, lights.numpy(), sky.double().numpy(), kinds, rows, matter, pictures, heights, *build_tree(solids)
    )  # fmt: skip


def solid_rows(world: World) -> np.ndarray:
    """One row a solid, its columns as `shapes_numba` names them."""
    s = world.solids
    parts = (s.shape[:, None], s.centre, s.rotation.flatten(1), s.size, s.params)
    more = (s.material[:, None], s.instance[:, None], s.glow)
    return torch.cat([each.double() for each in parts + more], dim=-1).numpy()


@numba_kernel
def _cast(solids, heights, nodes, order, origins, directions, distance, solid):
    kept = np.empty((DEPTH, 2))
    stack, solids, heights = borrowed(kept), borrowed(solids), borrowed(heights)
    nodes, order = borrowed(nodes), borrowed(order)
    for r in range(len(origins)):
        ox, oy, oz = origins[r, 0], origins[r, 1], origins[r, 2]
        dx, dy, dz = directions[r, 0], directions[r, 1], directions[r, 2]
        distance[r], solid[r] = nearest_at(solids, heights, nodes, order, stack, ox, oy, oz, dx, dy, dz, np.inf, False)
    kept[0, 0] = 0.0  # so that it outlives its borrower
