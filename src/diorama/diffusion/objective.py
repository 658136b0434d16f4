"""What a denoising network is trained for: which error, weighed how, at which times."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.diffusion.noise import Schedule
from diorama.diffusion.parameterize import Clock, Network, Prediction, add_noise, ask, levels, norms, target


@dataclass(frozen=True)
class UniformWeight:
    """1, on whatever the network predicts."""


@dataclass(frozen=True)
class MinSnr:
    """min(SNR + plus, limit) on the squared error of the clean estimate. Source: arXiv 2303.09556, section 3.4."""

    limit: float = 5.0
    """gamma of the paper."""
    plus: float = 0.0
    """1 in DT-NVS (spec of GIBR, section 4)."""


@dataclass(frozen=True)
class P2:
    """1 / (k + SNR)^power on the squared error of the noise. Source: arXiv 2204.00227, eq. 8."""

    power: float = 0.5
    """gamma of the paper; with 0.5 and k = 1 the weight is sigma (spec of SparseFusion, section 2.3)."""
    k: float = 1.0
    """Keeps the weight finite at no signal."""


@dataclass(frozen=True)
class EdmWeight:
    """1 on the squared error of F (`edm` prediction). Source: arXiv 2206.00364, table 1 (lambda = 1 / c_out^2)."""


Weight = UniformWeight | MinSnr | P2 | EdmWeight


@dataclass(frozen=True)
class Objective:
    """The error a network is trained on."""

    prediction: Prediction = "noise"
    """What the network predicts, and where the error is taken."""
    norm: Literal["l1", "l2"] = "l2"
    """Mean absolute or mean squared error; DiffusioNeRF's prior has l1 (spec, section 1.2)."""
    weight: Weight = UniformWeight()
    """How much each noise level counts."""
    data_std: float = 1.0
    """Standard deviation of the data; for `edm` alone."""


def gain(prediction: Prediction, alpha: Tensor, sigma: Tensor, data_std: float) -> Tensor:
    """Factor from an error of a prediction to the error of the clean estimate that it stands for."""
    match prediction:
        case "clean":
            return torch.ones_like(alpha)
        case "noise":
            return sigma / alpha
        case "v":
            return sigma / (alpha.square() + sigma.square())
        case "edm":
            return sigma * data_std / norms(alpha, sigma, data_std)


def weights(objective: Objective, t: Float[Tensor, "batch *time"], schedule: Schedule) -> Float[Tensor, "batch *time"]:
    """What to multiply the error by, so that the rule holds for the prediction that it was made for.

    A rule on squared errors is carried from one prediction to another by the square of `gain`; for l1, by `gain`.
    """
    alpha, sigma = schedule.alpha(t), schedule.sigma(t)
    snr = schedule.log_snr(t).exp()
    home: Prediction
    match objective.weight:
        case UniformWeight():
            return torch.ones_like(t)
        case MinSnr(limit, plus):
            home, value = "clean", (snr + plus).clamp(max=limit)
        case P2(power, k):
            home, value = "noise", (k + snr) ** -power
        case EdmWeight():
            home, value = "edm", torch.ones_like(t)
    if home == objective.prediction:
        return value
    carried = gain(objective.prediction, alpha, sigma, objective.data_std) / gain(
        home, alpha, sigma, objective.data_std
    )
    return value * (carried.square() if objective.norm == "l2" else carried)


def denoising_loss(
    network: Network,
    clean: Float[Tensor, "batch *shape"],
    noise: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch *time"],
    schedule: Schedule,
    objective: Objective = Objective(),
    *,
    mask: Float[Tensor, "..."] | None = None,
    clock: Clock | None = None,
) -> Float[Tensor, "batch *time"]:
    """The weighted error of each sample (or view), a mean over its elements; the caller takes the mean over the batch.

    mask: in [0, 1], broadcasts over the data; multiplies prediction and target (the mean is still over all elements).
    """
    alpha, sigma = levels(schedule, t, clean)
    noisy = add_noise(clean, noise, t, schedule)
    predicted = ask(network, noisy, t, schedule, objective.prediction, objective.data_std, clock)
    error = predicted - target(objective.prediction, clean, noise, alpha, sigma, objective.data_std)
    if mask is not None:
        error = error * mask
    size = error.abs() if objective.norm == "l1" else error.square()
    return weights(objective, t, schedule) * size.flatten(t.ndim).mean(-1)


@dataclass(frozen=True)
class UniformTimes:
    """Every time (or every discrete step) alike."""

    low: float = 0.0
    """Earliest time, exclusive."""
    high: float = 1.0
    """Latest time; SparseFusion's is 0.999 (spec, section 2.3)."""


@dataclass(frozen=True)
class LogUniformSteps:
    """A share of the draws log-uniform in a range of discrete steps, the rest uniform over all steps.

    The default is the law of our own RGBD patch prior, which is only ever asked about steps 3 ... 99.
    """

    first: int = 1
    """First step of the range; at least 1."""
    last: int = 150
    """Last step of the range, inclusive."""
    share: float = 0.85
    """Share of the draws from the range."""


@dataclass(frozen=True)
class LogitNormal:
    """t = sigmoid(normal). Source: arXiv 2403.03206, section 3.1."""

    mean: float = 0.0
    """In logits of time."""
    std: float = 1.0
    """In logits of time."""


@dataclass(frozen=True)
class LogNormalSigma:
    """log(sigma / alpha) is normal. Source: EDM (arXiv 2206.00364), table 1."""

    mean: float = -1.2
    """Of the natural logarithm."""
    std: float = 1.2
    """Of the natural logarithm."""


TimeLaw = UniformTimes | LogUniformSteps | LogitNormal | LogNormalSigma


def quantile(law: TimeLaw, share: Float[Tensor, "n"], schedule: Schedule) -> Float[Tensor, "n"]:
    """The time below which a share in [0, 1) of the draws lies (LogUniformSteps: of each of its parts, in turn).

    On a schedule of discrete steps the times are those of steps, never 0.
    """
    match law:
        case UniformTimes(low, high):
            return on_steps(low + (high - low) * share, schedule)
        case LogitNormal(mean, std):
            return on_steps(torch.sigmoid(mean + std * normal_quantile(share)), schedule)
        case LogNormalSigma(mean, std):
            return on_steps(schedule.time_at(-2.0 * (mean + std * normal_quantile(share))), schedule)
        case LogUniformSteps(first, last, part):
            place = (share / max(part, 1e-12)).clamp(max=1.0)
            step = torch.exp(math.log(first) + place * math.log((last + 1) / first)).floor().clamp(first, last)
            rest = ((share - part) / max(1.0 - part, 1e-12)).clamp(0.0, 1.0)
            return torch.where(
                share < part, schedule.step_time(step.long()).to(share), quantile(UniformTimes(), rest, schedule)
            )


def draw_times(
    law: TimeLaw, schedule: Schedule, count: int, generator: torch.Generator, *, stratified: bool = False
) -> Float[Tensor, "count"]:
    """Times for a batch, float32, on the generator's device.

    stratified: one draw from each of `count` equal shares, in random order; the law of one draw is the same.
    """
    place = generator.device
    share = torch.rand(count, generator=generator, device=place, dtype=torch.float64)
    if stratified:
        share = (torch.randperm(count, generator=generator, device=place) + share) / count
    return quantile(law, share, schedule).float()


def on_steps(t: Float[Tensor, "n"], schedule: Schedule) -> Float[Tensor, "n"]:
    """Times rounded up to those of discrete steps, if the schedule has steps."""
    if schedule.steps is None:
        return t
    return (t * schedule.steps).ceil().clamp(1, schedule.steps) / schedule.steps


def normal_quantile(share: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """The inverse of the normal distribution function, finite at 0 and 1."""
    return torch.special.ndtri(share.clamp(1e-9, 1 - 1e-9))
