"""Pixels of the views of many scenes, and their rays: what a multi-view model has to paint."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.cameras.rays import Rays, camera_rays
from diorama.data.multiview import MultiViews


@dataclass(frozen=True)
class Targets:
    """Rays to be rendered, and what they should look like."""

    rays: Rays
    """Of shape (scene, ray), in the normalised worlds."""
    view: Int[Tensor, "scene ray"]
    """Number of the view that a ray belongs to."""
    colour: Float[Tensor, "scene ray rgb=3"]
    """In [0, 1]."""


def draw_targets(views: MultiViews, count: int, patch: int, generator: torch.Generator) -> Targets:
    """`count` random pixels of every view, all alike; with `patch`, in their place a random square of that side."""
    scenes, number, _, height, width = views.images.shape
    if patch:
        side = min(patch, height, width)
        room = torch.tensor([width - side + 1, height - side + 1])
        corner = (torch.rand(scenes, number, 2, generator=generator) * room).long()
        step = torch.arange(side)
        x = corner[..., :1] + step.repeat(side)
        y = corner[..., 1:] + step.repeat_interleave(side)
    else:
        pixel = torch.randint(height * width, (scenes, number, count), generator=generator)
        x, y = pixel % width, pixel // width
    return targets_at(views, x.to(views.images.device), y.to(views.images.device))


def targets_at(views: MultiViews, x: Int[Tensor, "scene view n"], y: Int[Tensor, "scene view n"]) -> Targets:
    """The pixels (x, y) of every view as targets, view after view."""
    rays = camera_rays(views.cameras(), torch.stack([x, y], dim=-1) + 0.5)
    index = (y * views.images.shape[-1] + x)[:, :, None].expand(-1, -1, 3, -1)
    colour = views.images.flatten(3).gather(3, index).mT
    view = torch.arange(x.shape[1], device=x.device)[None, :, None].expand(x.shape)
    return Targets(rays.reshape(len(x), -1), view.flatten(1), colour.flatten(1, 2))
