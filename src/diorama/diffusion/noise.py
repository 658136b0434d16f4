"""How much of the data and how much noise there is at a time: x_t = alpha(t) * clean + sigma(t) * noise.

Time is a number in [0, 1]. 0 is clean data, exactly, in every schedule (alpha 1, sigma 0); 1 is the noisiest.
Where a schedule is defined by T discrete steps k = 0 ... T-1, step k lies at time (k + 1) / T, so that abar of step k
is alpha((k + 1) / T)^2, and clean data is "step -1". Between two steps log(alpha^2) is linear in time.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.errors import InputError


@dataclass(frozen=True)
class CosineSteps:
    """The cosine schedule in discrete steps: abar follows cos^2. Source: arXiv 2102.09672, eq. 17."""

    steps: int = 1000
    """Number of discrete steps."""
    offset: float = 0.008
    """s of the paper: keeps the first steps from being too small."""
    largest_beta: float = 0.999
    """Betas are cut here, so that the last step is not infinitely noisy."""

    def betas(self) -> Float[Tensor, "step"]:
        """Variance of the noise that each step adds."""
        place = torch.linspace(0.0, 1.0, self.steps + 1, dtype=torch.float64)
        level = ((place + self.offset) / (1.0 + self.offset) * (math.pi / 2)).cos().square()
        return (1.0 - level[1:] / level[:-1]).clamp(max=self.largest_beta)


@dataclass(frozen=True)
class BetaSteps:
    """Betas that grow evenly over discrete steps. Sources: arXiv 2006.11239 (linear), 2112.10752 (in the root)."""

    steps: int = 1000
    """Number of discrete steps."""
    first: float = 1e-4
    """Beta of step 0."""
    last: float = 0.02
    """Beta of the last step."""
    spacing: Literal["linear", "root"] = "linear"
    """Whether beta or its square root grows evenly."""

    def betas(self) -> Float[Tensor, "step"]:
        """Variance of the noise that each step adds."""
        if self.spacing == "linear":
            return torch.linspace(self.first, self.last, self.steps, dtype=torch.float64)
        return torch.linspace(self.first**0.5, self.last**0.5, self.steps, dtype=torch.float64).square()


@dataclass(frozen=True)
class Cosine:
    """The cosine schedule in continuous time: alpha = cos(pi/2 (t + s) / (1 + s)). As CosineSteps, uncut."""

    offset: float = 0.008
    """s of the formula; towards time 0 sigma goes to sin(pi/2 s / (1 + s)), 0.0125, before it drops to 0."""


@dataclass(frozen=True)
class PowerSigma:
    """Noise on top of undimmed data (alpha 1): sigma = largest * t^power. Source: EDM, arXiv 2206.00364, eq. 5."""

    largest: float = 80.0
    """Sigma at time 1, in units of the data."""
    power: float = 7.0
    """rho of the paper: time is even in sigma^(1/rho)."""
    smallest: float = 0.002
    """The smallest sigma that networks are told of, and that sampling visits before 0."""


Curve = CosineSteps | BetaSteps | Cosine | PowerSigma


@lru_cache(maxsize=32)
def log_abar_table(curve: CosineSteps | BetaSteps) -> Float[Tensor, "node"]:
    """log(alpha^2) at times 0, 1/T, ..., 1 in float64; decreasing from 0."""
    return torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-curve.betas()).cumsum(0)])


@dataclass(frozen=True)
class Schedule:
    """Signal and noise over time in [0, 1]: plain numbers, equal if they are equal.

    Computed in the precision of the given times, on their device.
    """

    curve: Curve
    """The family and its numbers."""

    @property
    def steps(self) -> int | None:
        """T of a schedule of discrete steps; None in continuous time."""
        return self.curve.steps if isinstance(self.curve, CosineSteps | BetaSteps) else None

    @property
    def preserves_variance(self) -> bool:
        """Whether alpha^2 + sigma^2 = 1 at every time; otherwise alpha = 1."""
        return not isinstance(self.curve, PowerSigma)

    def log_snr(self, t: Float[Tensor, "*time"]) -> Float[Tensor, "*time"]:
        """log(alpha^2 / sigma^2) (nats), decreasing; infinite at time 0."""
        return torch.where(t == 0, torch.full_like(t, math.inf), self._log_snr(t))

    def alpha(self, t: Float[Tensor, "*time"]) -> Float[Tensor, "*time"]:
        """The factor of the data."""
        return torch.sigmoid(self.log_snr(t)).sqrt() if self.preserves_variance else torch.ones_like(t)

    def sigma(self, t: Float[Tensor, "*time"]) -> Float[Tensor, "*time"]:
        """The standard deviation of the noise."""
        log_snr = self.log_snr(t)
        return torch.sigmoid(-log_snr).sqrt() if self.preserves_variance else (-0.5 * log_snr).exp()

    def time_at(self, log_snr: Float[Tensor, "*time"]) -> Float[Tensor, "*time"]:
        """The time that has this log-SNR; the nearest time there is (0 or 1) beyond what the schedule reaches."""
        match self.curve:
            case PowerSigma():
                t = ((-0.5 * log_snr).exp() / self.curve.largest) ** (1.0 / self.curve.power)
            case Cosine():
                offset = self.curve.offset
                t = torch.atan((-0.5 * log_snr).exp()) * (1.0 + offset) / (math.pi / 2) - offset
            case CosineSteps() | BetaSteps():
                falling = -log_abar_table(self.curve).to(log_snr)
                wanted = torch.nn.functional.softplus(-log_snr)
                after = torch.searchsorted(falling, wanted.contiguous()).clamp(1, self.curve.steps)
                low, high = falling[after - 1], falling[after]
                t = (after - 1 + (wanted - low) / (high - low)) / self.curve.steps
        return t.clamp(0.0, 1.0)

    @overload
    def step_time(self, step: int) -> float: ...
    @overload
    def step_time(self, step: Int[Tensor, "*time"]) -> Float[Tensor, "*time"]: ...
    def step_time(self, step: int | Int[Tensor, "*time"]) -> float | Float[Tensor, "*time"]:
        """The time (k + 1) / T of a discrete step k in 0 ... T-1; -1 is clean data."""
        return (step + 1) / self._needed_steps()

    def step_at(self, t: Float[Tensor, "*time"]) -> Float[Tensor, "*time"]:
        """The discrete step k of a time as a real number, -1 at time 0; the inverse of `step_time`."""
        return t * self._needed_steps() - 1.0

    def clock(self, t: Float[Tensor, "*time"]) -> Float[Tensor, "*time"]:
        """What a network is told about the time, finite everywhere.

        The step k (discrete schedules), the log-SNR (continuous cosine, as in SparseFusion), log(sigma) / 4 (EDM).
        """
        match self.curve:
            case CosineSteps() | BetaSteps():
                return self.step_at(t)
            case Cosine():
                return self._log_snr(t)
            case PowerSigma():
                return (-0.125 * self._log_snr(t)).clamp_min(0.25 * math.log(self.curve.smallest))

    def _log_snr(self, t: Float[Tensor, "*time"]) -> Float[Tensor, "*time"]:
        """The published formula, without the rule that time 0 is clean."""
        match self.curve:
            case PowerSigma():
                return -2.0 * (math.log(self.curve.largest) + self.curve.power * t.log())
            case Cosine():
                angle = (t + self.curve.offset) / (1.0 + self.curve.offset) * (math.pi / 2)
                return 2.0 * (angle.cos().abs().log() - angle.sin().log())
            case CosineSteps() | BetaSteps():
                table = log_abar_table(self.curve).to(t)
                place = t * self.curve.steps
                before = place.floor().clamp(0, self.curve.steps - 1).long()
                log_abar = torch.lerp(table[before], table[before + 1], place - before)
                return log_abar - (-torch.expm1(log_abar)).log()

    def _needed_steps(self) -> int:
        if self.steps is None:
            raise InputError(
                f"{type(self.curve).__name__} runs in continuous time and has no discrete steps. "
                "Use times in [0, 1], or a schedule of steps such as discrete_cosine()."
            )
        return self.steps


def discrete_cosine(steps: int = 1000, offset: float = 0.008) -> Schedule:
    """The cosine schedule of DiffusioNeRF's prior (spec, section 1.2) and of GIBR: betas cut at 0.999."""
    return Schedule(CosineSteps(steps, offset))


def linear(steps: int = 1000) -> Schedule:
    """IVID's schedule (spec, section 8): betas from 1e-4 to 0.02, scaled by 1000 / T."""
    return Schedule(BetaSteps(steps, 0.1 / steps, 20.0 / steps))


def scaled_linear(steps: int = 1000, first: float = 0.0015, last: float = 0.0195) -> Schedule:
    """Betas even in their square root, as latent diffusion has them (spec of WildFusion, section 8)."""
    return Schedule(BetaSteps(steps, first, last, "root"))


def continuous_cosine(offset: float = 0.008) -> Schedule:
    """SparseFusion's schedule (spec, section 2.3); the published form leaves sigma 0.0125 at time 0, here it is 0."""
    return Schedule(Cosine(offset))


def edm(largest: float = 80.0, power: float = 7.0, smallest: float = 0.002) -> Schedule:
    """Sigmas of EDM (arXiv 2206.00364, table 1): data undimmed, sigma = largest * t^power."""
    return Schedule(PowerSigma(largest, power, smallest))
