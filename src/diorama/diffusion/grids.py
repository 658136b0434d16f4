"""Which times a sampler visits: descending from noise to clean data, n steps between n + 1 nodes, in float64."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.diffusion.noise import Schedule
from diorama.errors import InputError


def even_times(steps: int, start: float = 1.0, end: float = 0.0) -> Float[Tensor, "node"]:
    """`steps` equal steps from time `start` down to `end`."""
    check_count(steps)
    return torch.linspace(start, end, steps + 1, dtype=torch.float64)


def respaced_steps(schedule: Schedule, count: int) -> list[int]:
    """`count` of the T discrete steps, evenly from the last one down: 999, 995, ..., 3 for 250 of 1000.

    Source: spec of DiffusioNeRF, section 1.2. Landing on clean data comes after the last of them.
    """
    steps = schedule.steps or 0
    check_count(count)
    if count > steps:
        raise InputError(f"asked for {count} of {steps} discrete steps. Ask for fewer, or use even_times({count}).")
    return [round(float(step)) for step in torch.linspace(steps - 1, -1, count + 1, dtype=torch.float64)[:-1]]


def respaced_times(schedule: Schedule, count: int) -> Float[Tensor, "node"]:
    """The times of `respaced_steps`, and 0."""
    return torch.tensor([schedule.step_time(step) for step in respaced_steps(schedule, count)] + [0.0]).double()


def respaced_step_at(schedule: Schedule, share: float, count: int = 250) -> int:
    """The discrete step for a share tau of the way to pure noise, from the respaced grid: never below its last step.

    tau = 0.1, 0.05, 0.02, 0 -> 99, 47, 19, 3. Source: spec of DiffusioNeRF, section 2.3.
    """
    return respaced_steps(schedule, count)[min(round(round((1.0 - share) * count, 9)), count - 1)]


def log_snr_times(schedule: Schedule, steps: int, highest: float, lowest: float) -> Float[Tensor, "node"]:
    """Equal steps of log-SNR (nats) from `lowest` up to `highest`; does not land on clean data."""
    check_count(steps)
    return schedule.time_at(torch.linspace(lowest, highest, steps + 1, dtype=torch.float64))


def karras_times(
    schedule: Schedule, steps: int, smallest: float = 0.002, largest: float = 80.0, power: float = 7.0
) -> Float[Tensor, "node"]:
    """Equal steps of (sigma/alpha)^(1/power) from `largest` to `smallest`, and then clean data: `steps` steps in all.

    Source: EDM (arXiv 2206.00364), eq. 5. Works on any schedule that reaches those noise levels.
    """
    check_count(steps)
    if steps == 1:
        ratio = torch.tensor([largest], dtype=torch.float64)
    else:
        ends = largest ** (1.0 / power), smallest ** (1.0 / power)
        ratio = torch.linspace(*ends, steps, dtype=torch.float64) ** power
    return torch.cat([schedule.time_at(-2.0 * ratio.log()), torch.zeros(1, dtype=torch.float64)])


def check_count(steps: int) -> None:
    """At least one step."""
    if steps < 1 or not math.isfinite(steps):
        raise InputError(f"{steps} sampling steps. At least one is needed.")
