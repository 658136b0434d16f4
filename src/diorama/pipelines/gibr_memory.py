"""How much memory a training step of GIBR takes, before the first one is made."""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from diorama.data.multiview import MultiViews
from diorama.data.targets import draw_targets
from diorama.fields.build import planes_of_maps
from diorama.fields.ib_planes import Planes, others_of
from diorama.nets.multiview import MultiViewUNet
from diorama.streams import stream
from diorama.systems.gibr import GIBR, GIBRTraining, NoisyViews, looked_at
from diorama.training.gradient import autocast
from diorama.training.memory import saved_bytes, state_bytes


@dataclass(frozen=True)
class StepMemory:
    """Bytes that a training step needs at its largest, about.

    state: weights, gradients, Adam's two moments and the average. network, rays: what the network and the rendering of
    rays keep for the gradient. planes: the maps, and their gradients. Passing moments of backpropagation are left out.
    """

    state: int
    network: int
    rays: int
    planes: int

    @property
    def all(self) -> int:
        """Their sum."""
        return self.state + self.network + self.rays + self.planes

    def __str__(self) -> str:
        gigabytes = [f"{part / (1 << 30):.2g}" for part in (self.all, self.state, self.network, self.rays, self.planes)]
        return (
            "about {} GB: weights, gradients, Adam and average {}, kept of the network {}, of rays {}, planes {}"
        ).format(*gigabytes)


SOME_RAYS, SMALL_PLANES = 4, 8
"""Rays a view that are rendered to see what each of them keeps; pixels a side of the planes that they go through."""


def step_memory(model: GIBR, training: GIBRTraining, scenes: int, *, bf16: bool = False) -> StepMemory:
    """What a training step with `scenes` scenes at a time needs; see `StepMemory`.

    Tensors that are kept for the gradient are counted, not guessed: of the network with one scene, on tensors without
    contents; of rays by rendering a few of them, as the rest keep as much each.
    """
    config, target = model.config, model.config.views + training.held_out
    views, side, maps = config.views, config.pixels, config.planes.maps
    cpu = torch.device("cpu")
    with torch.random.fork_rng(devices=[]), FakeTensorMode(), autocast(cpu, "bf16" if bf16 else "full"):
        network = MultiViewUNet(config.network)
        one = torch.empty(1, views)
        noisy = NoisyViews(
            torch.empty(1, views, 3, side, side), one, one > 0, one > 0, torch.empty(1, views, 16),
            torch.empty(1, views, 6, side, side), torch.empty(1, views, 3, 4), torch.empty(1, views, 4),
        )  # fmt: skip
        given = (noisy.images, noisy.time, noisy.clean, noisy.pose, noisy.rays)
        of_network = saved_bytes(lambda: network(*given, mask=looked_at(config.network, noisy)))
    small, flat = SMALL_PLANES, torch.zeros(1, views, maps, SMALL_PLANES, SMALL_PLANES)
    square = MultiViews(
        torch.zeros(1, target, 3, small, small), torch.eye(4).expand(1, target, 4, 4),
        torch.full((1, target, 2), float(small)), torch.full((1, target, 2), 0.5 * small),
        torch.zeros(1, target, small, small),
    )  # fmt: skip
    seen = square.first(views)
    usual = config.sampling
    sampling = replace(usual, coarse=training.coarse or usual.coarse, fine=training.fine or usual.fine)

    def render(count: int) -> None:
        perspective, polar = planes_of_maps(flat.clone().requires_grad_(), config.planes)
        present = torch.ones(1, views, dtype=torch.bool)
        planes = Planes(perspective, polar, seen.world_to_camera(), seen.intrinsics(), present)
        targets = draw_targets(square, count, 0, stream(0, "rays that are counted"))
        keep = others_of(targets.view, views, training.own_plane)
        model.render(planes, targets.rays, keep, sampling=sampling, generator=stream(0, "jitter"))

    with autocast(cpu, "bf16" if bf16 else "full"):
        few, more = (saved_bytes(partial(render, count)) for count in (SOME_RAYS, 2 * SOME_RAYS))
    rays = training.patch**2 if training.patch else training.rays
    plane_side = side // config.network.plane_scale
    return StepMemory(
        state_bytes(model), scenes * of_network, scenes * rays * (more - few) // SOME_RAYS,
        2 * 4 * scenes * views * maps * plane_side**2,
    )  # fmt: skip
