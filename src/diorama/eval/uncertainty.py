"""Does a model know where it is wrong? Predicted uncertainty against the error that was made.

Order is judged by sparsification (the worse the pixels that an uncertainty removes first, the better), size by
coverage (how many errors lie within so many predicted deviations).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.errors import InputError

Measure = Literal["mae", "rmse"]


@dataclass(frozen=True)
class Sparsification:
    """What error is left once a share of the pixels is removed: the most uncertain first, or the worst (the oracle).

    removed: shares from 0 up, never 1. ause: area between the two curves over all shares, in the units of the error; 0
    for an uncertainty that orders pixels as their errors do. Source: Ilg et al. (arXiv 1802.07095)."""

    removed: Float[Tensor, "step"]
    by_uncertainty: Float[Tensor, "step"]
    by_oracle: Float[Tensor, "step"]
    ause: float

    @property
    def relative_ause(self) -> float:
        """The area over the error of all pixels, which compares between scenes; 0 where there is no error."""
        whole = float(self.by_oracle[0])
        return self.ause / whole if whole > 0 else 0.0


@dataclass(frozen=True)
class Coverage:
    """share: of the errors within `deviations` predicted deviations; expected: that of a Gaussian."""

    deviations: float
    share: float
    expected: float


def sparsification(
    error: Float[Tensor, "*pixel"], uncertainty: Float[Tensor, "*pixel"], measure: Measure = "mae", steps: int = 100
) -> Sparsification:
    """Both curves at `steps` equal shares, and the area between them at every single pixel.

    Pixels of equal uncertainty go together, each counting as their mean: what a random order gives on average."""
    loss = (error.double().abs() if measure == "mae" else error.double().square()).flatten()
    if not len(loss):
        raise InputError("no pixels to remove: at least one with a known error is needed.")
    uncertain, oracle = _mean_kept(loss, uncertainty.flatten()), _mean_kept(loss, loss)
    if measure == "rmse":
        uncertain, oracle = uncertain.sqrt(), oracle.sqrt()
    removed = torch.arange(steps, dtype=torch.float64, device=loss.device) / steps
    kept = ((1 - removed) * len(loss)).round().long().clamp_min(1) - 1
    return Sparsification(removed, uncertain[kept], oracle[kept], float((uncertain - oracle).mean()))


def coverage(
    error: Float[Tensor, "*value"],
    deviation: Float[Tensor, "*value"],
    multiples: Sequence[float] = (0.5, 1.0, 2.0, 3.0),
) -> tuple[Coverage, ...]:
    """Share of errors within each multiple of their predicted standard deviation; above `expected`: too cautious."""
    size, unit = error.double().abs(), deviation.double()
    return tuple(
        Coverage(float(k), float((size <= k * unit).double().mean()), math.erf(k / math.sqrt(2))) for k in multiples
    )


def _mean_kept(loss: Float[Tensor, "pixel"], order: Float[Tensor, "pixel"]) -> Float[Tensor, "pixel"]:
    """Mean loss of the 1, 2, ... pixels with the least `order`."""
    _, group, count = torch.unique(order, return_inverse=True, return_counts=True)
    mean = torch.zeros(len(count), dtype=loss.dtype, device=loss.device).index_add_(0, group, loss) / count
    ordered = mean.repeat_interleave(count)
    return ordered.cumsum(0) / torch.arange(1, len(loss) + 1, device=loss.device)
