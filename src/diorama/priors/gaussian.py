"""A Gaussian over patches: the simplest prior that was learned, with an exact score.

Patches are windows at random places, so their statistics do not depend on the place: cosine waves (DCT) are then nearly
independent of each other, and each frequency keeps the covariance of its four channels alone.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.priors.levels import noise_level
from diorama.priors.prior import PatchEncoding, Prior

LEAST_VARIANCE = 1e-8
"""Keeps a fitted covariance away from zero; far below the noise of the lowest level."""


class GaussianPrior(Prior):
    """Patches as N(mean, covariance), white over frequencies of the DCT and full over channels.

    mean: per channel, in the coding's [-1, 1]. covariance: of the orthonormal DCT coefficients, one 4x4 matrix per
    frequency (row, column).
    """

    kind = "gaussian"
    mean: Tensor
    covariance: Tensor

    def __init__(self, mean: Float[Tensor, "c"], covariance: Float[Tensor, "h w c c"], encoding: PatchEncoding) -> None:
        super().__init__()
        self.encoding = encoding
        self.register_buffer("mean", mean.to(torch.float32))
        self.register_buffer("covariance", covariance.to(torch.float32))

    @staticmethod
    def empty(encoding: PatchEncoding) -> "GaussianPrior":
        """One whose numbers are yet to be loaded."""
        size = encoding.window.size
        return GaussianPrior(torch.zeros(4), torch.eye(4).expand(size, size, 4, 4).clone(), encoding)

    @staticmethod
    def fit(patches: Iterable[Float[Tensor, "n c h w"]], encoding: PatchEncoding) -> "GaussianPrior":
        """Mean and covariance of batches of encoded patches, by sums in float64. ValueError without patches."""
        size = encoding.window.size
        total, products = torch.zeros(4, dtype=torch.float64), torch.zeros(size, size, 4, 4, dtype=torch.float64)
        constant_sum, count = torch.zeros(4, dtype=torch.float64), 0
        for batch in patches:
            encoding.require(batch, encoding.levels[0])
            waves = dct(batch.to(torch.float64))
            total += batch.to(torch.float64).mean((2, 3)).sum(0)
            constant_sum += waves[:, :, 0, 0].sum(0)
            products += torch.einsum("nchw,ndhw->hwcd", waves, waves)
            count += len(batch)
        if count == 0:
            raise ValueError("a Gaussian cannot be fitted to no patches")
        covariance = products / count
        constant = constant_sum / count
        covariance[0, 0] -= constant[:, None] * constant[None]
        covariance += LEAST_VARIANCE * torch.eye(4, dtype=torch.float64)
        return GaussianPrior(total / count, covariance, encoding)

    @staticmethod
    def natural(encoding: PatchEncoding) -> "GaussianPrior":
        """One that nobody trained: power spectra that fall with the square of the frequency, as photographs' do.

        Standard deviations of a pixel: colour 0.25 (of [0, 1]) with a correlation of 0.9 between channels, disparity
        0.05 around 0.1 (two metres), independent of colour. Source of the law: Field, "Relations between the statistics
        of natural images and the response properties of cortical cells" (1987); the numbers are ours.
        """
        size = encoding.window.size
        frequency = torch.arange(size, dtype=torch.float64)
        squared = frequency.square()[:, None] + frequency.square()[None]
        spectrum = 1.0 / (squared + 1.0)
        spectrum *= size**2 / spectrum.sum()
        channels = torch.zeros(4, 4, dtype=torch.float64)
        channels[:3, :3] = 0.5**2 * (0.9 + 0.1 * torch.eye(3, dtype=torch.float64))
        channels[3, 3] = 0.1**2
        mean = torch.tensor([-0.1, -0.1, -0.1, -0.8])
        return GaussianPrior(mean, spectrum[:, :, None, None] * channels, encoding)

    def score(self, patch: Float[Tensor, "batch c h w"], level: int) -> Float[Tensor, "batch c h w"]:
        """-(a^2 C + s^2 I)^-1 (x - a mean), with a and s of the level: the exact score of the noisy Gaussian."""
        self.encoding.require(patch, level)
        signal, noise = noise_level(level, self.encoding.steps)
        with torch.no_grad():
            mean, covariance = self.mean.to(patch.device), self.covariance.to(patch.device)
            waves = dct(patch.to(torch.float32) - signal * mean[:, None, None])
            spread = signal**2 * covariance + noise**2 * torch.eye(4, device=patch.device)
            solved = torch.linalg.solve(spread, waves.permute(2, 3, 1, 0))
            return -inverse_dct(solved.permute(3, 2, 0, 1))

    def log_density(self, patch: Float[Tensor, "batch c h w"], level: int) -> Float[Tensor, "batch"]:
        """Log of the density of noisy patches, up to a constant: what `score` is the gradient of."""
        signal, _ = noise_level(level, self.encoding.steps)
        offset = patch - signal * self.mean[:, None, None]
        return 0.5 * (offset * self.score(patch, level)).sum((1, 2, 3))

    def settings(self) -> dict[str, Any]:
        """Nothing: mean and covariance are the weights."""
        return {}


def dct(x: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch h w"]:
    """Orthonormal cosine transform (DCT-II) over rows and columns."""
    return cosines(x.shape[-2], x) @ x @ cosines(x.shape[-1], x).mT


def inverse_dct(x: Float[Tensor, "*batch h w"]) -> Float[Tensor, "*batch h w"]:
    """The inverse of `dct`."""
    return cosines(x.shape[-2], x).mT @ x @ cosines(x.shape[-1], x)


def cosines(size: int, like: Tensor) -> Float[Tensor, "size size"]:
    """The orthonormal DCT-II matrix: row k is the cosine wave of k half periods."""
    place = torch.arange(size, dtype=torch.float64) + 0.5
    waves = torch.cos(math.pi / size * torch.arange(size, dtype=torch.float64)[:, None] * place)
    waves *= math.sqrt(2.0 / size)
    waves[0] *= math.sqrt(0.5)
    return waves.to(like)
