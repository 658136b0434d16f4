"""Several samples of one input: what the first, the average, the mean picture and the best of them are worth."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.errors import InputError
from diorama.eval.metrics import psnr


@dataclass(frozen=True)
class SampleSummary:
    """PSNR in dB of `count` samples of the same views. A sample is a scene: its PSNR is the mean over its views.

    first: what a user gets who takes one. mean: over samples. of_mean: of the mean picture, which blurs what samples
    disagree on. best: of the sample nearest to the truth, which only someone who has the truth can pick; it rises with
    the count alone. spread: root mean square over pixels of `spread_map`; None of one sample.
    """

    count: int
    first: float
    mean: float
    of_mean: float
    best: float
    spread: float | None


def summarise_samples(
    samples: Float[Tensor, "sample view c h w"],
    photos: Float[Tensor, "view c h w"],
    weight: Float[Tensor, "view h w"] | None = None,
) -> SampleSummary:
    """All figures of some samples. weight: pixels that count, for PSNR and spread alike."""
    each = torch.stack([psnr(sample, photos, weight).mean() for sample in samples])
    return SampleSummary(
        count=len(samples),
        first=float(each[0]),
        mean=float(each.mean()),
        of_mean=float(psnr(samples.double().mean(0), photos, weight).mean()),
        best=float(each.max()),
        spread=_root_mean_square(spread_map(samples), weight) if len(samples) > 1 else None,
    )


def spread_map(samples: Float[Tensor, "sample view c h w"]) -> Float[Tensor, "view h w"]:
    """Standard deviation over samples at every pixel (n - 1 in the denominator, root mean square over channels).

    The uncertainty that `eval.uncertainty` judges: where samples disagree, the photos did not decide."""
    if len(samples) < 2:
        raise InputError(f"{len(samples)} sample has no spread; draw two or more (--samples).")
    return samples.double().var(0).mean(-3).sqrt()


def _root_mean_square(values: Float[Tensor, "view h w"], weight: Float[Tensor, "view h w"] | None) -> float:
    squares = values.square()
    mean = squares.mean() if weight is None else (squares * weight.double()).sum() / weight.double().sum()
    return float(mean.sqrt())
