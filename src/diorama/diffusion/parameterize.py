"""What a network may predict, and how each prediction becomes any other.

With x = alpha * clean + sigma * noise, and n^2 = alpha^2 + sigma^2 (1 where variance is preserved):

    noise   the noise
    clean   the data
    v       alpha * noise - sigma * clean                   (arXiv 2202.00512, appendix D)
    edm     F with clean = c_skip x + c_out F               (arXiv 2206.00364, table 1, for any alpha)

Times are one per sample (`batch`) or one per view (`batch view`), and hold for the rest of the axes.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from diorama.diffusion.noise import Schedule
from diorama.errors import InputError
from diorama.types import Denoiser

Prediction = Literal["noise", "clean", "v", "edm"]
Network = Callable[[Tensor, Tensor], Tensor]
"""(x, what the clock shows) -> a prediction shaped as x."""
Clock = Callable[[Tensor], Tensor]
"""Time in [0, 1] -> the number that a network is told."""

TINY = 1e-30
"""Stands for a sigma or alpha of 0 where one is divided by; the quotient is then not used, or 0 / TINY."""


def spread(value: Shaped[Tensor, "batch *time"], x: Float[Tensor, "batch *shape"]) -> Shaped[Tensor, "..."]:
    """A number per sample or per view, with axes of one element added so that it broadcasts over x."""
    if value.shape != x.shape[: value.ndim]:
        raise InputError(
            f"times of shape {tuple(value.shape)} for data of shape {tuple(x.shape)}. "
            "Give one time per sample (batch) or one per view (batch view)."
        )
    return value.reshape(value.shape + (1,) * (x.ndim - value.ndim))


def levels(
    schedule: Schedule, t: Float[Tensor, "batch *time"], x: Float[Tensor, "batch *shape"]
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """alpha and sigma of the times, ready to be multiplied with x."""
    return spread(schedule.alpha(t), x), spread(schedule.sigma(t), x)


def add_noise(
    clean: Float[Tensor, "batch *shape"],
    noise: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch *time"],
    schedule: Schedule,
) -> Float[Tensor, "batch *shape"]:
    """x_t = alpha * clean + sigma * noise; bit-equal to `clean` where t = 0."""
    alpha, sigma = levels(schedule, t, clean)
    return alpha * clean + sigma * noise


def norms(alpha: Tensor, sigma: Tensor, data_std: float) -> Tensor:
    """Standard deviation of x for data of standard deviation `data_std`."""
    return ((alpha * data_std).square() + sigma.square()).sqrt()


def to_clean(
    prediction: Prediction,
    value: Float[Tensor, "*x"],
    x: Float[Tensor, "*x"],
    alpha: Float[Tensor, "..."],
    sigma: Float[Tensor, "..."],
    data_std: float = 1.0,
) -> Float[Tensor, "*x"]:
    """The data that a prediction stands for; alpha and sigma broadcast over x."""
    match prediction:
        case "clean":
            return value
        case "noise":
            return (x - sigma * value) / alpha.clamp_min(TINY)
        case "v":
            return (alpha * x - sigma * value) / (alpha.square() + sigma.square())
        case "edm":
            norm = norms(alpha, sigma, data_std)
            return alpha * data_std**2 / norm.square() * x + sigma * data_std / norm * value


def to_noise(
    prediction: Prediction,
    value: Float[Tensor, "*x"],
    x: Float[Tensor, "*x"],
    alpha: Float[Tensor, "..."],
    sigma: Float[Tensor, "..."],
    data_std: float = 1.0,
) -> Float[Tensor, "*x"]:
    """The noise that a prediction stands for; alpha and sigma broadcast over x. Not defined for `clean` at sigma 0."""
    match prediction:
        case "clean":
            return (x - alpha * value) / sigma.clamp_min(TINY)
        case "noise":
            return value
        case "v":
            return (sigma * x + alpha * value) / (alpha.square() + sigma.square())
        case "edm":
            norm = norms(alpha, sigma, data_std)
            return sigma / norm.square() * x - alpha * data_std / norm * value


def target(
    prediction: Prediction,
    clean: Float[Tensor, "*x"],
    noise: Float[Tensor, "*x"],
    alpha: Float[Tensor, "..."],
    sigma: Float[Tensor, "..."],
    data_std: float = 1.0,
) -> Float[Tensor, "*x"]:
    """What a perfect network would predict, from data and noise."""
    match prediction:
        case "clean":
            return clean
        case "noise":
            return noise
        case "v":
            return alpha * noise - sigma * clean
        case "edm":
            norm = norms(alpha, sigma, data_std)
            return (sigma * clean - alpha * data_std**2 * noise) / (norm * data_std)


def ask(
    network: Network,
    x: Float[Tensor, "batch *shape"],
    t: Float[Tensor, "batch *time"],
    schedule: Schedule,
    prediction: Prediction,
    data_std: float,
    clock: Clock | None,
) -> Float[Tensor, "batch *shape"]:
    """A network's prediction in its own terms; `edm` networks see x scaled to unit variance (c_in)."""
    if prediction == "edm":
        x = x / norms(*levels(schedule, t, x), data_std)
    value = network(x, (clock or schedule.clock)(t))
    if value.shape != x.shape:
        raise InputError(
            f"the network made {tuple(value.shape)} from {tuple(x.shape)}. It must return the shape it gets."
        )
    return value


def as_denoiser(
    network: Network,
    schedule: Schedule,
    prediction: Prediction = "noise",
    *,
    data_std: float = 1.0,
    clock: Clock | None = None,
) -> Denoiser:
    """A network as a `Denoiser`: (x, t in [0, 1]) -> clean estimate.

    `clock` says which number the network is told about the time (default `schedule.clock`: the step k as a float for
    schedules of steps). `data_std` matters for `edm` alone. Gradients flow. Where alpha is nearly 0 (5e-5 at time 1 of
    `discrete_cosine`) the clean estimate of a noise network is its error magnified by 1 / alpha: sample through
    `guidance.clamped`, as the papers do, or predict v.
    """

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        value = ask(network, x, t, schedule, prediction, data_std, clock)
        return to_clean(prediction, value, x, *levels(schedule, t, x), data_std)

    return denoise


def score(
    denoiser: Denoiser, x: Float[Tensor, "batch *shape"], t: Float[Tensor, "batch *time"], schedule: Schedule
) -> Float[Tensor, "batch *shape"]:
    """The gradient of log p_t at x, per unit of x: -noise / sigma = (alpha * clean - x) / sigma^2.

    Points towards likelier data. Infinite at t = 0. Source: arXiv 2011.13456, Tweedie's formula.
    """
    alpha, sigma = levels(schedule, t, x)
    return torch.div(alpha * denoiser(x, t) - x, sigma.square())
