"""Total variation: the score is minus the gradient of the energy, and knows neither shifts nor constants."""

import pytest
import torch

from diorama.priors.total_variation import TotalVariationPrior
from tests.priors.made_up import TINY, smooth_patches

PRIOR = TotalVariationPrior(TINY)


@pytest.mark.parametrize("level", [3, 19, 99])
def test_the_score_is_minus_the_gradient_of_the_energy(rng, level):
    patch = torch.randn(2, 4, 16, 16, generator=rng).requires_grad_()
    (gradient,) = torch.autograd.grad(PRIOR.energy(patch, level).sum(), patch)
    torch.testing.assert_close(PRIOR.score(patch, level), -gradient, rtol=1e-4, atol=1e-4)


def test_a_constant_patch_is_as_likely_as_can_be():
    patch = torch.tensor([0.2, -0.1, 0.5, -0.7])[None, :, None, None].expand(1, 4, 16, 16)
    assert PRIOR.score(patch, 47).abs().max() == 0


def test_a_constant_added_changes_nothing():
    patch = smooth_patches(1)
    torch.testing.assert_close(PRIOR.score(patch + 0.25, 47), PRIOR.score(patch, 47), atol=1e-3, rtol=1e-3)


def test_the_push_on_a_patch_sums_to_zero(rng):
    score = PRIOR.score(torch.randn(1, 4, 16, 16, generator=rng), 19)
    assert score.sum((2, 3)).abs().max() < 1e-2


def test_following_the_score_smooths(rng):
    noisy = smooth_patches(1) + 0.1 * torch.randn(1, 4, 16, 16, generator=rng)
    moved = noisy + 1e-3 * PRIOR.score(noisy, 47)
    assert (PRIOR.energy(moved, 47) < PRIOR.energy(noisy, 47)).all()


def test_scales_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        TotalVariationPrior(TINY, colour_scale=0.0)
