"""The two tests of a patch prior: denoising, and where the score points."""

import math

import pytest
import torch

from diorama.eval.patch_prior import DAMAGES, denoising_gain, repair_rate
from diorama.priors.gaussian import GaussianPrior
from diorama.priors.levels import noise_level
from diorama.priors.prior import NullPrior
from tests.priors.made_up import TINY, smooth_patches

GAUSSIAN = GaussianPrior.fit([smooth_patches(400)], TINY)


def test_no_opinion_gains_nothing(rng):
    gain = denoising_gain(NullPrior(TINY), smooth_patches(8), 47, rng)
    assert gain.joint == gain.colour == gain.disparity == 0


def test_a_fitted_prior_denoises_the_better_the_more_noise_there_is(rng):
    gains = [denoising_gain(GAUSSIAN, smooth_patches(32, seed=5), level, rng).joint for level in (3, 47, 99)]
    assert 0 < gains[0] < gains[1] < gains[2]


def test_the_gain_of_a_white_gaussian_is_the_closed_form(rng):
    # for data of variance v the best estimate leaves v n^2 / (a^2 v + n^2), noise alone leaves n^2 / a^2
    variance, level = 0.02, 99
    prior = GaussianPrior(torch.zeros(4), variance * torch.eye(4).expand(16, 16, 4, 4), TINY)
    patches = variance**0.5 * torch.randn(200, 4, 16, 16, generator=rng)
    signal, noise = noise_level(level)
    expected = 10 * math.log10((signal**2 * variance + noise**2) / (signal**2 * variance))
    assert denoising_gain(prior, patches, level, rng).joint == pytest.approx(expected, abs=0.05)


def test_pixels_without_depth_do_not_count(rng):
    patches = smooth_patches(16, seed=5)
    known = torch.ones(16, 16, 16, dtype=torch.bool)
    known[:, :, 8:] = False
    whole = denoising_gain(GAUSSIAN, patches, 47, torch.Generator().manual_seed(0))
    half = denoising_gain(GAUSSIAN, patches, 47, torch.Generator().manual_seed(0), known)
    assert half.colour == whole.colour
    assert half.disparity != whole.disparity


@pytest.mark.parametrize("name", [*DAMAGES])
def test_every_damage_changes_patches_within_the_coding(rng, name):
    patches = smooth_patches(8)
    damaged = DAMAGES[name](patches, rng)
    assert damaged.shape == patches.shape
    assert not torch.equal(damaged, patches)
    assert damaged.isfinite().all()
    if "depth" in name or name == "billboard":
        assert torch.equal(damaged[:, :3], patches[:, :3])


def test_a_fitted_prior_points_away_from_noise(rng):
    assert repair_rate(GAUSSIAN, smooth_patches(32, seed=5), DAMAGES["noise"], 19, rng) > 0.95


def test_no_opinion_repairs_nothing(rng):
    assert repair_rate(NullPrior(TINY), smooth_patches(4), DAMAGES["noise"], 19, rng) == 0
