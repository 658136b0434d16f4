"""Spec of DiffusioNeRF, section 9, tests 3 and 4: the score's sign and scale, and how it is injected."""

import pytest
import torch

from diorama.data.rgbd_coding import encode_rgbd
from diorama.priors.gaussian import GaussianPrior, dct
from diorama.priors.levels import noise_level
from diorama.priors.prior import Prior
from diorama.priors.score import DepthScaled, InjectionConfig, NormFixed, Raw, noisy_score, push, surrogate
from tests.priors.made_up import TINY, smooth_patches

WEIGHT = 0.2
"""w of the published run."""

PUBLISHED = InjectionConfig(colour=NormFixed(WEIGHT * 3e-6), disparity=DepthScaled(WEIGHT * 2e-6))


def white(mean, variance, size=16):
    covariance = variance * torch.eye(4).expand(size, size, 4, 4)
    return GaussianPrior(torch.tensor(mean), covariance, TINY)


def rendered(rng, dtype=torch.float32):
    colour = torch.rand(1, 3, 16, 16, generator=rng, dtype=dtype).requires_grad_()
    depth = (0.5 + 3.0 * torch.rand(1, 16, 16, generator=rng, dtype=dtype)).requires_grad_()
    return colour, depth


@pytest.mark.parametrize("level", [3, 99, 500])
def test_spec_03_descent_on_a_free_patch_ends_at_the_noisy_mean(rng, level):
    mean, variance = [0.3, -0.2, 0.1, -0.6], 0.05
    prior = white(mean, variance)
    signal, noise = noise_level(level)
    total = signal**2 * variance + noise**2
    patch = torch.randn(2, 4, 16, 16, generator=rng).requires_grad_()
    raw = InjectionConfig(colour=Raw(1.0), disparity=Raw(1.0))
    optimizer = torch.optim.SGD([patch], lr=0.3 * total)
    densities = []
    for _ in range(60):
        densities.append(prior.log_density(patch.detach(), level))
        wanted = push(prior.score(patch, level), torch.ones(2, 16, 16), raw)
        optimizer.zero_grad()
        surrogate(patch, wanted).backward()
        optimizer.step()
    rises = torch.stack(densities).diff(dim=0)
    assert (rises >= -1e-3).all()
    assert rises[0].min() > 0
    target = signal * torch.tensor(mean)[:, None, None].expand(2, 4, 16, 16)
    torch.testing.assert_close(patch.detach(), target, atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [3, 99])
def test_spec_03_the_score_of_a_white_gaussian_is_the_closed_form(level):
    prior, patch = white([0.1, 0.2, 0.3, -0.4], 0.02), smooth_patches(3)
    signal, noise = noise_level(level)
    noise_estimate = noise * (patch - signal * prior.mean[:, None, None]) / (signal**2 * 0.02 + noise**2)
    torch.testing.assert_close(prior.score(patch, level), -noise_estimate / noise, rtol=1e-4, atol=1e-4)


def test_spec_04_the_gradient_of_the_surrogate_is_minus_what_is_wanted(rng):
    colour, depth = rendered(rng)
    patch = encode_rgbd(colour, depth)
    patch.retain_grad()
    score = torch.randn(1, 4, 16, 16, generator=rng).requires_grad_()
    wanted = push(score, depth, PUBLISHED)
    surrogate(patch, wanted).backward()
    assert torch.equal(patch.grad, -wanted)
    expected = WEIGHT * 2e-6 * depth.detach() * score.detach()[:, 3]
    torch.testing.assert_close(wanted[:, 3], expected)
    assert score.grad is None


@pytest.mark.parametrize("magnitude", [1e-6, 1.0, 1e6])
def test_spec_04_the_colour_gradient_has_a_fixed_norm_whatever_the_score(rng, magnitude):
    score = magnitude * torch.randn(2, 4, 16, 16, generator=rng)
    wanted = push(score, torch.ones(2, 16, 16), PUBLISHED)
    norms = torch.linalg.vector_norm(wanted[:, :3], dim=(1, 2, 3))
    torch.testing.assert_close(norms, torch.full((2,), 6e-7), rtol=1e-5, atol=0)


def test_a_score_of_zero_pushes_nowhere():
    wanted = push(torch.zeros(1, 4, 16, 16), torch.ones(1, 16, 16), PUBLISHED)
    assert wanted.abs().max() == 0


def test_spec_04_colours_in_unit_range_get_twice_the_norm(rng):
    colour, depth = rendered(rng)
    score = torch.randn(1, 4, 16, 16, generator=rng)
    surrogate(encode_rgbd(colour, depth), push(score, depth, PUBLISHED)).backward()
    assert float(colour.grad.norm()) == pytest.approx(1.2e-6, rel=1e-4)


@pytest.mark.parametrize(("policy", "power"), [(DepthScaled(2e-6), 1), (Raw(2e-6), 2)])
def test_spec_04_the_pull_on_depth_falls_with_one_over_z_or_its_square(policy, power):
    score = torch.ones(1, 4, 16, 16)
    config = InjectionConfig(disparity=policy)
    pulls = []
    for z in (1.0, 2.0):
        depth = torch.full((1, 16, 16), z, requires_grad=True)
        patch = encode_rgbd(torch.zeros(1, 3, 16, 16), depth)
        surrogate(patch, push(score, depth, config)).backward()
        pulls.append(depth.grad)
    torch.testing.assert_close(pulls[0], torch.full((1, 16, 16), 8e-7))
    torch.testing.assert_close(pulls[1], pulls[0] / 2**power)


def test_spec_05_known_colours_get_no_push(rng):
    score = torch.randn(1, 4, 16, 16, generator=rng)
    wanted = push(score, torch.ones(1, 16, 16), PUBLISHED, colour_known=True)
    assert wanted[:, :3].abs().max() == 0
    assert wanted[:, 3].abs().min() > 0


@pytest.mark.parametrize("slowest", [1, 3])
def test_slow_waves_are_not_pushed_and_the_others_are_left_alone(slowest):
    score = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3)) + 5.0
    depth = torch.full((2, 8, 8), 2.0)
    plain, without = (
        dct(push(score, depth, InjectionConfig(colour=Raw(1.0), disparity=Raw(1.0), slowest=number)))
        for number in (0, slowest)
    )
    assert float(without[..., :slowest, :slowest].abs().max()) < 1e-5
    without[..., :slowest, :slowest] = plain[..., :slowest, :slowest]
    torch.testing.assert_close(without, plain, rtol=0, atol=1e-5)


class Listening(Prior):
    """A score that is linear in what it is shown, and says what that was."""

    kind = "listening"

    def __init__(self, diffuses):
        super().__init__()
        self.encoding, self.diffuses, self.shown = TINY, diffuses, []

    def score(self, patch, level):
        self.shown.append(patch)
        return -patch


def test_a_noisy_patch_is_scaled_and_has_the_noise_of_its_level_and_the_mean_answer_is_kept():
    patch, (signal, sigma) = smooth_patches(1), noise_level(99)
    prior = Listening(True)
    found = noisy_score(prior, patch, 99, 400, torch.Generator().manual_seed(0))
    shown = torch.stack(prior.shown)
    torch.testing.assert_close(shown.std(0, correction=0).mean(), torch.tensor(sigma), rtol=0.01, atol=0)
    given_back = (shown - signal * patch) / sigma**2
    torch.testing.assert_close(found, (given_back - shown).mean(0), rtol=1e-4, atol=1e-4)
    assert float((shown.mean(0) - signal * patch).abs().mean()) < 0.1 * sigma


@pytest.mark.parametrize(("diffuses", "draws"), [(True, 0), (False, 4)])
def test_without_draws_or_for_a_prior_that_knows_no_noise_the_patch_itself_is_shown(diffuses, draws):
    prior, patch = Listening(diffuses), smooth_patches(1)
    assert torch.equal(noisy_score(prior, patch, 99, draws), -patch)
    assert len(prior.shown) == 1
