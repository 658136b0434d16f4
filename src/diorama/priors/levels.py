"""Noise levels of patch priors: steps of the discrete cosine schedule, and which one a time of the fit asks for."""

from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.diffusion.grids import respaced_step_at
from diorama.diffusion.noise import discrete_cosine

STEPS = 1000
"""Levels are steps of the discrete cosine schedule of this length; the higher, the noisier."""

GRID = 250
"""Respaced steps (999, 995, ..., 3) among which the fit's time is looked up [code]."""


def noise_levels(levels: Int[Tensor, "*n"], steps: int = STEPS) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """(signal, noise) of levels, float64: a noisy patch is signal * patch + noise * white noise."""
    schedule = discrete_cosine(steps)
    times = schedule.step_time(levels).double()
    return schedule.alpha(times), schedule.sigma(times)


@lru_cache(maxsize=4096)
def noise_level(level: int, steps: int = STEPS) -> tuple[float, float]:
    """(signal, noise) of one level."""
    signal, noise = noise_levels(torch.tensor([level]), steps)
    return float(signal), float(noise)


def level_of(tau: float, steps: int = STEPS) -> int:
    """The level at time tau of the fit, in [0, 1]: 0.1 -> 99, 0.05 -> 47, 0.02 -> 19, 0 -> 3 (never 0).

    Source: spec of DiffusioNeRF, section 2.3.
    """
    return respaced_step_at(discrete_cosine(steps), tau, GRID * steps // STEPS)
