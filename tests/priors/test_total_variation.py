"""Total variation: the score is minus the gradient of the energy, and knows neither shifts nor constants."""

import pytest
import torch

from diorama.priors.total_variation import TotalVariationPrior
from tests.priors.made_up import TINY, smooth_patches

PRIOR = TotalVariationPrior(TINY)


@pytest.mark.parametrize("level", [3, 19, 99])
def test_the_score_is_minus_the_gradient_of_the_energy(rng, level):
    patch = torch.randn(2, 4, 16, 16, generator=rng)
    patch[1, 3] -= 5.0
    patch.requires_grad_()
    (gradient,) = torch.autograd.grad(PRIOR.energy(patch, level).sum(), patch)
    torch.testing.assert_close(PRIOR.score(patch, level), -gradient, rtol=1e-3, atol=1e-3)


def test_a_constant_patch_is_as_likely_as_can_be():
    patch = torch.tensor([0.2, -0.1, 0.5, -0.7])[None, :, None, None].expand(1, 4, 16, 16)
    assert PRIOR.energy(patch, 47).item() == pytest.approx(0.0, abs=1e-3)
    assert PRIOR.score(patch, 47).abs().max() < 1e-4


def test_colour_may_be_shifted_and_the_scene_moved_away_at_no_price():
    patch = smooth_patches(1)
    brighter, farther = patch.clone(), patch.clone()
    brighter[:, :3] += 0.25
    farther[:, 3] = 0.5 * (patch[:, 3] + 1.0) - 1.0
    level = 0  # where hardly anything is rounded off
    torch.testing.assert_close(PRIOR.energy(brighter, level), PRIOR.energy(patch, level), rtol=1e-3, atol=0)
    torch.testing.assert_close(PRIOR.energy(farther, level), PRIOR.energy(patch, level), rtol=0.1, atol=0)


def test_nothing_is_pushed_towards_infinity(rng):
    # the pull along disparity itself, which moves all depths by one factor, is none
    patch = smooth_patches(1) * 0.5
    patch[:, 3] += 0.1 * torch.randn(1, 16, 16, generator=rng)
    score = PRIOR.score(patch, 0)[:, 3]
    along = (score * (patch[:, 3] + 1.0)).sum() / (score.norm() * (patch[:, 3] + 1.0).norm())
    assert abs(float(along)) < 0.02


def test_the_push_on_a_colour_sums_to_zero(rng):
    score = PRIOR.score(torch.randn(1, 4, 16, 16, generator=rng), 19)
    assert score[:, :3].sum((2, 3)).abs().max() < 1e-2


def test_following_the_score_smooths(rng):
    noisy = smooth_patches(1) + 0.1 * torch.randn(1, 4, 16, 16, generator=rng)
    moved = noisy + 1e-4 * PRIOR.score(noisy, 47)
    assert (PRIOR.energy(moved, 47) < PRIOR.energy(noisy, 47)).all()


def test_scales_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        TotalVariationPrior(TINY, colour_scale=0.0)
