"""The analytic Gaussian: an orthonormal basis, an exact score, a fit that finds what it was drawn from."""

import math

import pytest
import torch

from diorama.priors.gaussian import GaussianPrior, dct, inverse_dct
from diorama.priors.levels import noise_level
from tests.priors.made_up import TINY, smooth_patches


def test_the_cosine_transform_keeps_lengths_and_has_an_inverse(rng):
    x = torch.randn(2, 4, 16, 16, generator=rng, dtype=torch.float64)
    waves = dct(x)
    assert math.isclose(float(waves.norm()), float(x.norm()), rel_tol=1e-12)
    torch.testing.assert_close(inverse_dct(waves), x)
    constant = dct(torch.ones(16, 16, dtype=torch.float64))
    assert math.isclose(float(constant[0, 0]), 16.0)
    assert constant.flatten()[1:].abs().max() < 1e-12


@pytest.mark.parametrize("level", [3, 99, 700])
def test_the_score_is_the_gradient_of_the_log_density(rng, level):
    prior = GaussianPrior.fit([smooth_patches(200)], TINY)
    patch = smooth_patches(1, seed=3)
    way = torch.randn(patch.shape, generator=rng)
    step = 1e-2 / way.norm()
    ahead, behind = (prior.log_density(patch + sign * step * way, level) for sign in (1, -1))
    slope = (ahead - behind) / (2 * step)
    torch.testing.assert_close(slope, (prior.score(patch, level) * way).sum((1, 2, 3)), rtol=2e-2, atol=1e-2)


def test_a_fit_finds_the_gaussian_it_was_drawn_from(rng):
    truth = GaussianPrior.natural(TINY)
    root = torch.linalg.cholesky(truth.covariance)
    white = torch.randn(4000, 16, 16, 4, 1, generator=rng)
    waves = (root @ white)[..., 0].permute(0, 3, 1, 2)
    found = GaussianPrior.fit((inverse_dct(waves) + truth.mean[:, None, None]).split(1000), TINY)
    torch.testing.assert_close(found.mean, truth.mean, atol=0.03, rtol=0)
    scale = truth.covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    error = (found.covariance - truth.covariance) / (scale[..., :, None] * scale[..., None, :])
    assert error.abs().max() < 0.15
    assert error.abs().mean() < 0.02


def test_a_pixel_of_the_natural_prior_has_the_stated_spread():
    variance = GaussianPrior.natural(TINY).covariance.sum((0, 1)).diagonal() / 16**2
    torch.testing.assert_close(variance.sqrt(), torch.tensor([0.5, 0.5, 0.5, 0.1]), rtol=1e-3, atol=0)


def test_one_tweedie_step_is_the_best_linear_denoiser(rng):
    prior, clean = GaussianPrior.fit([smooth_patches(500)], TINY), smooth_patches(50, seed=9)
    for level in (19, 99):
        signal, noise = noise_level(level)
        noisy = signal * clean + noise * torch.randn(clean.shape, generator=rng)
        estimate = (noisy + noise**2 * prior.score(noisy, level)) / signal
        assert (estimate - clean).square().mean() < 0.5 * (noisy / signal - clean).square().mean()


def test_nothing_to_fit_is_refused():
    with pytest.raises(ValueError, match="no patches"):
        GaussianPrior.fit([], TINY)
