import itertools
import math

import pytest
import torch

from diorama.diffusion.noise import continuous_cosine, discrete_cosine, edm, linear
from diorama.diffusion.objective import (
    P2,
    EdmWeight,
    LogitNormal,
    LogNormalSigma,
    LogUniformSteps,
    MinSnr,
    Objective,
    UniformTimes,
    UniformWeight,
    denoising_loss,
    draw_times,
    weights,
)
from diorama.diffusion.parameterize import levels, target
from diorama.errors import InputError
from tests.diffusion.exact import Gaussian

KINDS = ["noise", "clean", "v", "edm"]
T = torch.linspace(0.02, 0.98, 25, dtype=torch.float64)


def test_p2_of_sparsefusion_is_sigma():
    found = weights(Objective(weight=P2()), T, continuous_cosine())
    torch.testing.assert_close(found, continuous_cosine().sigma(T))


def test_min_snr_has_the_three_forms_of_its_paper():
    snr = linear().log_snr(T).exp()
    forms = {"clean": snr.clamp(max=5), "noise": snr.clamp(max=5) / snr, "v": snr.clamp(max=5) / (snr + 1)}
    for kind, wanted in forms.items():
        torch.testing.assert_close(weights(Objective(kind, weight=MinSnr(5.0)), T, linear()), wanted)
    shifted = weights(Objective("clean", weight=MinSnr(5.0, plus=1.0)), T, linear())
    torch.testing.assert_close(shifted, (snr + 1).clamp(max=5))


def test_the_weight_of_edm_is_that_of_its_table():
    sigma, std = edm().sigma(T), 0.5
    objective = Objective("clean", weight=EdmWeight(), data_std=std)
    torch.testing.assert_close(weights(objective, T, edm()), (sigma**2 + std**2) / (sigma * std) ** 2)
    assert weights(Objective("edm", weight=EdmWeight(), data_std=std), T, edm()).eq(1).all()


@pytest.mark.parametrize("weight", [MinSnr(), P2(), EdmWeight()])
@pytest.mark.parametrize("norm", ["l1", "l2"])
@pytest.mark.parametrize("schedule", [discrete_cosine(), edm()], ids=["cosine", "edm"])
def test_a_weighted_loss_is_the_same_whatever_the_network_predicts(weight, norm, schedule, rng):
    clean, noise = torch.randn(2, 25, 6, generator=rng, dtype=torch.float64)
    guess = clean + 0.1 * torch.randn(25, 6, generator=rng, dtype=torch.float64)
    alpha, sigma = levels(schedule, T, clean)
    guessed_noise = (alpha * clean + sigma * noise - alpha * guess) / sigma
    losses = []
    for kind in KINDS:
        objective = Objective(kind, norm, weight, data_std=0.7)
        network = lambda x, time, kind=kind: target(kind, guess, guessed_noise, alpha, sigma, 0.7)  # noqa: E731
        losses.append(denoising_loss(network, clean, noise, T, schedule, objective))
    for one, other in itertools.pairwise(losses):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_the_loss_is_a_plain_mean_of_errors_in_the_noise(norm, rng):
    clean, noise = torch.randn(2, 5, 3, 4, 4, generator=rng)
    t = torch.rand(5, generator=rng)
    found = denoising_loss(lambda x, time: torch.zeros_like(x), clean, noise, t, linear(), Objective(norm=norm))
    wanted = noise.abs() if norm == "l1" else noise.square()
    torch.testing.assert_close(found, wanted.mean((1, 2, 3)))


def test_the_loss_is_kept_apart_per_view_and_masked(rng):
    clean, noise = torch.randn(2, 5, 3, 2, 4, generator=rng)
    mask = torch.zeros(5, 3, 1, 4)
    mask[..., :1] = 1
    found = denoising_loss(
        lambda x, time: torch.zeros_like(x), clean, noise, torch.rand(5, 3, generator=rng), linear(), mask=mask
    )
    torch.testing.assert_close(found, noise[..., 0].square().sum(-1) / 8)


def test_no_denoiser_has_a_lower_squared_loss_than_the_exact_one(rng):
    schedule = linear()
    clean, noise = 0.3 + 0.5 * torch.randn(200, 500, generator=rng), torch.randn(200, 500, generator=rng)
    t = torch.full((200,), 0.3)
    losses = []
    for mean, variance in ((0.3, 0.25), (0.35, 0.25), (0.3, 0.35), (0.3, 0.15)):
        model = Gaussian(mean, variance, schedule)
        network = lambda x, time, model=model: model(x, t)  # noqa: E731
        losses.append(denoising_loss(network, clean, noise, t, schedule, Objective("clean")).mean().item())
    assert losses[0] == min(losses)
    alpha, sigma = schedule.alpha(t[:1]).item(), schedule.sigma(t[:1]).item()
    assert math.isclose(losses[0], 0.25 * sigma**2 / (alpha**2 * 0.25 + sigma**2), rel_tol=0.02)


def test_uniform_times_are_every_step_alike_and_never_clean(rng):
    t = draw_times(UniformTimes(), linear(10), 20_000, rng)
    steps = linear(10).step_at(t).round()
    torch.testing.assert_close(t, linear(10).step_time(steps.long()))
    share = torch.bincount(steps.long(), minlength=10) / 20_000
    assert (share - 0.1).abs().max() < 0.01
    t = draw_times(UniformTimes(high=0.999), continuous_cosine(), 20_000, rng)
    assert 0.998 < t.max() <= 0.999
    assert abs(t.mean().item() - 0.4995) < 0.01


def test_the_law_of_the_patch_prior_has_its_shares(rng):
    t = draw_times(LogUniformSteps(), discrete_cosine(), 100_000, rng)
    step = discrete_cosine().step_at(t).round().long()
    assert step.min() >= 0
    assert step.max() == 999
    late = (step > 150).double().mean().item()
    assert abs(late - 0.15 * 0.849) < 0.005
    for first, last in ((1, 1), (3, 10), (20, 99), (100, 150)):
        wanted = 0.85 * math.log((last + 1) / first) / math.log(151) + 0.15 * (last + 1 - first) / 1000
        found = ((step >= first) & (step <= last)).double().mean().item()
        assert abs(found - wanted) < 0.006
    assert abs((step == 0).double().mean().item() - 0.15 / 1000) < 3e-4


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_mixed_law_may_be_either_of_its_parts(share, rng):
    step = discrete_cosine().step_at(draw_times(LogUniformSteps(share=share), discrete_cosine(), 5000, rng)).round()
    assert ((step >= 1) & (step <= 150)).all() == (share == 1.0)
    assert step.min() >= 0
    assert step.max() <= 999


def test_logit_normal_times_are_normal_in_logits(rng):
    t = draw_times(LogitNormal(0.4, 0.8), continuous_cosine(), 50_000, rng)
    assert abs(t.logit().mean().item() - 0.4) < 0.02
    assert abs(t.logit().std().item() - 0.8) < 0.02


def test_sigmas_of_edm_are_log_normal(rng):
    log = edm().sigma(draw_times(LogNormalSigma(), edm(), 50_000, rng)).log()
    assert abs(log.mean().item() + 1.2) < 0.02
    assert abs(log.std().item() - 1.2) < 0.02


@pytest.mark.parametrize("law", [UniformTimes(), LogUniformSteps(), LogitNormal(), LogNormalSigma()])
def test_stratified_draws_keep_the_law_and_fill_it_evenly(law, rng):
    many = torch.cat([draw_times(law, discrete_cosine(), 16, rng, stratified=True) for _ in range(400)])
    free = draw_times(law, discrete_cosine(), 6400, rng)
    levels_at = torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9])
    for level in torch.quantile(free, levels_at):
        assert abs((many <= level).double().mean() - (free <= level).double().mean()) < 0.02
    batches = many.reshape(400, 16)
    assert (batches.mean(1).std() < 0.5 * free.std() / 4).all()
    assert not torch.equal(batches, batches.sort(-1).values)


def test_the_same_seed_draws_the_same_times():
    draws = [draw_times(LogUniformSteps(), linear(), 32, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert torch.equal(*draws)


def test_ranges_of_steps_need_steps(rng):
    with pytest.raises(InputError, match="no discrete steps"):
        draw_times(LogUniformSteps(), edm(), 4, rng)


def test_uniform_is_the_default():
    assert Objective().weight == UniformWeight()
    assert weights(Objective("v"), T, linear()).eq(1).all()
