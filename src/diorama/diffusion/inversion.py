"""From data back to the noise that DDIM would make it from."""

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.diffusion.noise import Schedule
from diorama.diffusion.parameterize import TINY, to_noise
from diorama.diffusion.samplers import Step, full, walk
from diorama.types import Denoiser


@torch.no_grad()
def ddim_inversion(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    schedule: Schedule,
    times: Float[Tensor, "node *time"],
    *,
    refinements: int = 0,
) -> Float[Tensor, "batch *shape"]:
    """The state at the first of the times from which `ddim` (eta 0) reaches x at the last; times as for `ddim`.

    With refinements = 0 the noise of each step is taken at its cleaner end (from data: at its noisier end), an error of
    first order in the step. Every refinement is one evaluation a step more, a fixed-point iteration towards the exact
    inverse of the DDIM step. Sources: arXiv 2010.02502, section 4.3; the iteration: arXiv 2309.04907.
    """
    x = full(x)
    for step in reversed(list(walk(schedule, times, x))):
        clean = denoiser(x, torch.where(step.next_time > 0, step.next_time, step.time))
        at_data = step.next_sigma <= 0
        alpha = torch.where(at_data, step.alpha, step.next_alpha)
        sigma = torch.where(at_data, step.sigma, step.next_sigma)
        noisier = up(step, x, to_noise("clean", clean, x, alpha, sigma))
        for _ in range(refinements):
            clean = denoiser(noisier, step.time)
            noisier = up(step, x, to_noise("clean", clean, noisier, step.alpha, step.sigma))
        x = torch.where(step.moves, noisier, x)
    return x


def up(step: Step, x: Float[Tensor, "batch *shape"], noise: Float[Tensor, "batch *shape"]) -> Tensor:
    """The state at a step's noisier end, for a state at its cleaner end and the noise in it."""
    return step.alpha * (x - step.next_sigma * noise) / step.next_alpha.clamp_min(TINY) + step.sigma * noise
