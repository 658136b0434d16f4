"""Data whose denoiser, score and probability flow are known in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diorama.diffusion.noise import Schedule
from diorama.diffusion.parameterize import levels


@dataclass(frozen=True)
class Mixture:
    """sum_i share_i N(mean_i, variance_i I) over vectors: means [component d]."""

    shares: Tensor
    means: Tensor
    variances: Tensor
    schedule: Schedule

    def parts(self, x, t):
        """Log-densities [batch component] of the noisy components, with their alpha, mean and variance."""
        alpha, sigma = levels(self.schedule, t, x)
        away = x[:, None] - alpha[:, None] * self.means
        variance = (alpha.square() * self.variances + sigma.square())[..., None]
        size = x.shape[-1]
        log = self.shares.log() - 0.5 * (away.square() / variance).sum(-1) - 0.5 * size * variance[..., 0].log()
        return log, alpha[:, None], away, variance

    def log_density(self, x, t):
        return self.parts(x, t)[0].logsumexp(-1)

    def __call__(self, x, t):
        """E[clean | x]."""
        log, alpha, away, variance = self.parts(x, t)
        guess = self.means + alpha * self.variances[:, None] / variance * away
        return (log.softmax(-1)[..., None] * guess).sum(1)

    def share_below(self, x, t):
        """Distribution function of noisy data on a line [batch 1]: the probability flow keeps it."""
        alpha, sigma = levels(self.schedule, t, x)
        deviation = (alpha.square() * self.variances + sigma.square()).sqrt()
        return (self.shares * torch.special.ndtr((x - alpha * self.means[:, 0]) / deviation)).sum(-1)


def two_hills(schedule: Schedule) -> Mixture:
    """A mixture on a line, in float64."""
    shares, means, variances = torch.tensor([0.3, 0.7]), torch.tensor([[-1.0], [0.6]]), torch.tensor([0.05, 0.1])
    return Mixture(shares.double(), means.double(), variances.double(), schedule)


@dataclass(frozen=True)
class Gaussian:
    """N(mean, variance) for every element of data of any shape, times per sample or per view."""

    mean: float
    variance: float
    schedule: Schedule

    def __call__(self, x, t):
        alpha, sigma = levels(self.schedule, t, x)
        kept = alpha * self.variance / (alpha.square() * self.variance + sigma.square())
        return self.mean + kept * (x - alpha * self.mean)

    def flow(self, x, t, s):
        """Where the probability flow takes x from time t to time s."""
        alpha, sigma = levels(self.schedule, t, x)
        next_alpha, next_sigma = levels(self.schedule, s, x)
        ratio = (next_alpha.square() * self.variance + next_sigma.square()) / (
            alpha.square() * self.variance + sigma.square()
        )
        return next_alpha * self.mean + ratio.sqrt() * (x - alpha * self.mean)
