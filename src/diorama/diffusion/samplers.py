"""From noise to data: plain functions of a `Denoiser`.

Each sampler takes x at the first of the times, walks down them, and returns x at the last; no gradient is kept.

- Times: `node` for all samples alike, `node batch` for a walk of its own per sample, `node batch view` per view; see
  `diffusion.grids`. What has the same time at two nodes stands still, bit for bit: given views have time 0 throughout.
- A step to time 0 returns the clean estimate.
- `x0_hook(x0, t, step)` may edit every clean estimate before it is used (t as the denoiser got it; step 0, 1, ... is
  the index of the node the step starts from; Heun asks twice a step). The noise is then taken from the edited estimate.
- Noise comes from a `NoiseSource`, so that one sample can be the same alone and in any batch.
- The state is kept in float32 or better.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.diffusion.noise import Schedule
from diorama.diffusion.parameterize import TINY, spread, to_noise
from diorama.errors import InputError
from diorama.types import Denoiser

X0Hook = Callable[[Tensor, Tensor, int], Tensor]
"""(clean estimate, its time, index of the step) -> the clean estimate to go on with."""
NoiseSource = Callable[[Tensor], Tensor]
"""A tensor -> unit Gaussian noise of its shape, type and device; another one at every call."""


def noise_from_generator(generator: torch.Generator) -> NoiseSource:
    """Noise for whole batches from one generator."""

    def draw(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, device=generator.device, dtype=like.dtype).to(like.device)

    return draw


def noise_from_seeds(seeds: Sequence[int]) -> NoiseSource:
    """Noise of each sample from its own seed, whatever else is in the batch, and on whatever device.

    For one run: first the start, then what the sampler asks for. Drawn on the CPU in float32.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(like: Tensor) -> Tensor:
        if len(like) != len(generators):
            raise InputError(f"{len(generators)} seeds for a batch of {len(like)}. Give one seed per sample.")
        return torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in generators]).to(like)

    return draw


def pure_noise(
    shape: Sequence[int], schedule: Schedule, noise: NoiseSource, device: torch.device | None = None
) -> Float[Tensor, "batch *shape"]:
    """Where sampling starts: noise at time 1, sigma(1) strong; float32."""
    like = torch.empty(tuple(shape), device=device)
    return schedule.sigma(torch.ones((), dtype=torch.float64)).to(like) * noise(like)


@dataclass(frozen=True)
class Step:
    """One step from `time` down to a cleaner time; the levels broadcast over x."""

    index: int
    time: Float[Tensor, "batch *time"]
    """What the denoiser is told."""
    next_time: Float[Tensor, "batch *time"]
    alpha: Float[Tensor, "..."]
    sigma: Float[Tensor, "..."]
    next_alpha: Float[Tensor, "..."]
    next_sigma: Float[Tensor, "..."]
    width: Float[Tensor, "..."]
    """Growth of log(alpha/sigma) in the step, half that of log-SNR; infinite from no signal, or to clean data."""
    moves: Bool[Tensor, "..."]
    """Where time changes."""

    @property
    def fresh(self) -> Float[Tensor, "..."]:
        """Standard deviation of the ancestral step's noise: that of the posterior (beta tilde)."""
        return self.next_sigma * (-torch.expm1(-2.0 * self.width)).clamp_min(0.0).sqrt()


def walk(schedule: Schedule, times: Float[Tensor, "node *time"], x: Float[Tensor, "batch *shape"]) -> Iterator[Step]:
    """The steps between the nodes; levels are computed in float64 and given in x's precision."""
    grid = times.detach().double().cpu()
    if len(grid) < 2 or not ((grid >= 0) & (grid <= 1)).all() or (grid.diff(dim=0) > 0).any():
        raise InputError(
            f"times of shape {tuple(times.shape)} are no walk from noise to data. Give at least two nodes in [0, 1] "
            "that never increase, such as even_times(50)."
        )
    if grid.ndim == 1:
        grid = grid[:, None].expand(-1, len(x))
    alphas, sigmas, half = schedule.alpha(grid), schedule.sigma(grid), 0.5 * schedule.log_snr(grid)
    moves = grid.diff(dim=0) != 0
    width = torch.where(moves, half[1:] - half[:-1], torch.zeros(()).double())
    for index in range(len(grid) - 1):
        yield Step(
            index,
            time=grid[index].to(x),
            next_time=grid[index + 1].to(x),
            alpha=spread(alphas[index].to(x), x),
            sigma=spread(sigmas[index].to(x), x),
            next_alpha=spread(alphas[index + 1].to(x), x),
            next_sigma=spread(sigmas[index + 1].to(x), x),
            width=spread(width[index].to(x), x),
            moves=spread(moves[index].to(x.device), x),
        )


def estimate(denoiser: Denoiser, x: Tensor, t: Tensor, step: int, x0_hook: X0Hook | None) -> Tensor:
    """The clean estimate, edited by the hook."""
    clean = denoiser(x, t)
    if clean.shape != x.shape:
        raise InputError(
            f"the denoiser made {tuple(clean.shape)} from {tuple(x.shape)}. It must return the shape it gets."
        )
    return clean if x0_hook is None else x0_hook(clean, t, step)


def full(x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch *shape"]:
    """x in float32, or in float64 if it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


@torch.no_grad()
def ddpm(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    schedule: Schedule,
    times: Float[Tensor, "node *time"],
    *,
    noise: NoiseSource,
    x0_hook: X0Hook | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Ancestral sampling: each step draws from the posterior q(x_s | x_t, clean estimate), variance beta tilde.

    Source: DDPM (arXiv 2006.11239), eq. 6 and 7, for any two times.
    """
    x = full(x)
    for step in walk(schedule, times, x):
        clean = estimate(denoiser, x, step.time, step.index, x0_hook)
        kept = step.alpha * step.next_sigma.square() / (step.next_alpha * step.sigma.square().clamp_min(TINY))
        mean = kept * x - step.next_alpha * torch.expm1(-2.0 * step.width) * clean
        x = torch.where(step.moves, mean + step.fresh * noise(x), x)
    return x


@torch.no_grad()
def ddim(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    schedule: Schedule,
    times: Float[Tensor, "node *time"],
    *,
    eta: float = 0.0,
    noise: NoiseSource | None = None,
    x0_hook: X0Hook | None = None,
) -> Float[Tensor, "batch *shape"]:
    """DDIM: deterministic at eta 0 (first order), ancestral at eta 1. Source: arXiv 2010.02502, eq. 12 and 16."""
    if eta and noise is None:
        raise InputError(f"eta {eta} adds noise at every step. Give noise=noise_from_seeds([...]), or eta=0.")
    x = full(x)
    for step in walk(schedule, times, x):
        clean = estimate(denoiser, x, step.time, step.index, x0_hook)
        fresh = eta * step.fresh
        kept = (step.next_sigma.square() - fresh.square()).clamp_min(0.0).sqrt()
        moved = step.next_alpha * clean + kept * to_noise("clean", clean, x, step.alpha, step.sigma)
        if noise is not None and eta:
            moved = moved + fresh * noise(x)
        x = torch.where(step.moves, moved, x)
    return x


@torch.no_grad()
def heun(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    schedule: Schedule,
    times: Float[Tensor, "node *time"],
    *,
    x0_hook: X0Hook | None = None,
) -> Float[Tensor, "batch *shape"]:
    """Second order with two evaluations a step: a DDIM step, then the trapezoid rule. The step to 0 is DDIM alone.

    The rule is applied in the angle a = atan(sigma / alpha), in which the probability flow is dy/da = v for
    y = x / n, n = (alpha^2 + sigma^2)^(1/2): nothing is infinite at either end, while EDM's algorithm 1
    (arXiv 2206.00364), the same rule in sigma / alpha, fails where alpha goes to 0. With tan(b / 2) for b / 2, b the
    change of angle, a point and a unit Gaussian come out exactly, and the correction is a multiple of what the second
    evaluation changed: n^2 / sigma tan(b / 2) (clean_2 - clean_1), at the new time.
    """
    x = full(x)
    for step in walk(schedule, times, x):
        clean = estimate(denoiser, x, step.time, step.index, x0_hook)
        moved = step.next_alpha * clean + step.next_sigma * to_noise("clean", clean, x, step.alpha, step.sigma)
        if (step.next_time > 0).any():
            angle = torch.atan2(step.sigma, step.alpha) - torch.atan2(step.next_sigma, step.next_alpha)
            power = step.next_alpha.square() + step.next_sigma.square()
            factor = power / step.next_sigma.clamp_min(TINY) * torch.tan(0.5 * angle)
            again = estimate(denoiser, torch.where(step.moves, moved, x), step.next_time, step.index, x0_hook)
            moved = moved + torch.where(step.next_sigma > 0, factor, torch.zeros_like(factor)) * (again - clean)
        x = torch.where(step.moves, moved, x)
    return x


@torch.no_grad()
def dpm_solver(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    schedule: Schedule,
    times: Float[Tensor, "node *time"],
    *,
    x0_hook: X0Hook | None = None,
) -> Float[Tensor, "batch *shape"]:
    """DPM-Solver++ multistep, second order with one evaluation a step: the default for few steps.

    The first step and the step to 0 are of first order (DDIM). Source: arXiv 2211.01095, algorithm 2.
    """
    x = full(x)
    before: Tensor | None = None
    width = torch.zeros(())
    for step in walk(schedule, times, x):
        clean = estimate(denoiser, x, step.time, step.index, x0_hook)
        ahead = clean
        if before is not None:
            usable = step.width.isfinite() & (width > 0)
            share = torch.where(usable, 0.5 * step.width / width, torch.zeros_like(width))
            ahead = clean + share * (clean - before)
        kept = step.next_sigma / step.sigma.clamp_min(TINY)
        x = torch.where(step.moves, kept * x - step.next_alpha * torch.expm1(-step.width) * ahead, x)
        before, width = clean, step.width
    return x


def scaled_steps(time: float, per_unit: float = 100.0, most: int = 50) -> int:
    """How many steps to walk down from a time: one per 1/`per_unit`, at least 1, at most `most`.

    Source: spec of SparseFusion, section 3.4.
    """
    return max(1, min(math.floor(per_unit * time), most))
