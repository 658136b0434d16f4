import itertools
import math
from functools import partial

import pytest
import torch

from diorama.diffusion.grids import even_times, karras_times, log_snr_times, respaced_times
from diorama.diffusion.noise import continuous_cosine, discrete_cosine, edm, linear
from diorama.diffusion.parameterize import add_noise, levels
from diorama.diffusion.samplers import (
    ddim,
    ddpm,
    dpm_solver,
    heun,
    noise_from_generator,
    noise_from_seeds,
    pure_noise,
    scaled_steps,
    walk,
)
from diorama.errors import InputError
from tests.diffusion.exact import Gaussian, two_hills

SCHEDULES = {"discrete cosine": discrete_cosine(), "linear": linear(), "cosine": continuous_cosine(), "edm": edm()}


def samplers(seeds=range(100, 108)):
    """Every sampler, with fresh noise of its own where it needs some."""
    return {
        "ddpm": partial(ddpm, noise=noise_from_seeds(list(seeds))),
        "ddim": ddim,
        "ddim eta 0.5": partial(ddim, eta=0.5, noise=noise_from_seeds(list(seeds))),
        "heun": heun,
        "dpm_solver": dpm_solver,
    }


NAMES = list(samplers())
DETERMINISTIC = ["ddim", "heun", "dpm_solver"]


def flow_error(sampler, schedule, times):
    """Greatest error in where each sample lies among all, which an exact probability flow does not change."""
    hills = two_hills(schedule)
    place = torch.linspace(-3, 3, 301, dtype=torch.float64)[:, None]
    start, end = times[:1].expand(301), times[-1:].expand(301)
    alpha, sigma = levels(schedule, start, place)
    x = place * (alpha.square() + sigma.square()).sqrt()
    return (hills.share_below(sampler(hills, x, schedule, times), end) - hills.share_below(x, start)).abs().max().item()


@pytest.mark.parametrize("name", ["discrete cosine", "cosine", "edm"])
@pytest.mark.parametrize(("sampler", "order"), [(ddim, 1), (heun, 2), (dpm_solver, 2)])
def test_halving_the_steps_shows_the_order_of_the_method(sampler, order, name):
    schedule = SCHEDULES[name]
    errors = [flow_error(sampler, schedule, log_snr_times(schedule, steps, 6.0, -6.0)) for steps in (30, 60, 120)]
    for coarse, fine in itertools.pairwise(errors):
        assert order - 0.15 < math.log2(coarse / fine) < order + 0.4


@pytest.mark.parametrize("name", SCHEDULES)
def test_second_order_beats_first_at_equal_evaluations_all_the_way_to_clean_data(name):
    schedule = SCHEDULES[name]
    grid = (lambda steps: karras_times(schedule, steps)) if name in ("edm", "linear") else even_times
    first = flow_error(ddim, schedule, grid(48))
    assert flow_error(dpm_solver, schedule, grid(48)) < 0.5 * first
    assert flow_error(heun, schedule, grid(24)) < 0.5 * first


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", DETERMINISTIC)
def test_the_flow_of_a_gaussian_is_followed(sampler, name, rng):
    schedule = SCHEDULES[name]
    exact = Gaussian(0.3, 0.5, schedule)
    times = log_snr_times(schedule, 150, 6.0, -6.0)
    x = torch.randn(5, 2, generator=rng, dtype=torch.float64)
    x = x * (schedule.alpha(times[0]) ** 2 + schedule.sigma(times[0]) ** 2).sqrt()
    wanted = exact.flow(x, times[:1].expand(5), times[-1:].expand(5))
    found = samplers()[sampler](exact, x, schedule, times)
    torch.testing.assert_close(found, wanted, atol=0.03 if sampler == "ddim" else 5e-4, rtol=0)


def test_heun_is_exact_for_a_unit_gaussian_in_any_number_of_steps(rng):
    x = torch.randn(5, 3, generator=rng, dtype=torch.float64)
    schedule = discrete_cosine()
    found = heun(Gaussian(0.0, 1.0, schedule), x, schedule, even_times(3, end=0.1))
    torch.testing.assert_close(found, x)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sampler", NAMES)
@pytest.mark.parametrize("steps", [1, 5, 50])
def test_a_denoiser_that_knows_the_answer_is_believed(sampler, steps, name, rng):
    answer = torch.randn(8, 3, generator=rng)
    x = SCHEDULES[name].sigma(torch.ones(())) * torch.randn(8, 3, generator=rng)
    found = samplers()[sampler](lambda x, t: answer, x, SCHEDULES[name], even_times(steps))
    torch.testing.assert_close(found, answer)


def gaussian_samples(sampler, schedule, grid, rng):
    x = schedule.sigma(torch.ones(())) * torch.randn(8, 4000, generator=rng)
    return samplers()[sampler](Gaussian(0.3, 0.25, schedule), x, schedule, grid)


@pytest.mark.parametrize("name", ["discrete cosine", "linear", "edm"])
@pytest.mark.parametrize("sampler", NAMES)
def test_samples_have_the_mean_and_variance_of_the_data(sampler, name, rng):
    schedule = SCHEDULES[name]
    grid = karras_times(schedule, 60) if name == "edm" else respaced_times(schedule, 60)
    found = gaussian_samples(sampler, schedule, grid, rng)
    assert abs(found.mean().item() - 0.3) < 0.015
    first_order = sampler.startswith("dd")  # what they lack in variance goes with the step, see below
    assert abs(found.var().item() / 0.25 - 1) < (0.25 if first_order else 0.03)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim eta 0.5"])
def test_what_ancestral_samples_lack_in_variance_goes_with_the_step(sampler, rng):
    lacks = [
        1 - gaussian_samples(sampler, linear(), respaced_times(linear(), steps), rng).var().item() / 0.25
        for steps in (25, 100, 400)
    ]
    assert lacks[1] < 0.5 * lacks[0]
    assert lacks[2] < 0.5 * lacks[1]
    assert abs(lacks[2]) < 0.06


def test_ancestral_samples_fill_a_mixture_in_its_shares(rng):
    x = torch.randn(4000, 1, generator=rng, dtype=torch.float64)
    found = ddpm(two_hills(linear()), x, linear(), respaced_times(linear(), 125), noise=noise_from_generator(rng))
    assert abs((found < -0.2).double().mean().item() - 0.3) < 0.03


@pytest.mark.parametrize("name", SCHEDULES)
def test_ddim_at_eta_1_is_ancestral(name, rng):
    schedule = SCHEDULES[name]
    x = torch.randn(4, 5, generator=rng, dtype=torch.float64)
    runs = [
        sampler(Gaussian(0.2, 0.5, schedule), x, schedule, even_times(20), noise=noise_from_seeds([1, 2, 3, 4]))
        for sampler in (ddpm, partial(ddim, eta=1.0))
    ]
    torch.testing.assert_close(*runs)


def test_the_ancestral_step_is_the_posterior_of_the_paper():
    schedule, late, early = linear(), torch.tensor([0.6]).double(), torch.tensor([0.5]).double()
    abar, before = schedule.alpha(late) ** 2, schedule.alpha(early) ** 2
    beta = 1 - abar / before
    step = next(walk(schedule, torch.cat([late, early]), torch.zeros(1, 1, dtype=torch.float64)))
    torch.testing.assert_close(step.fresh[0] ** 2, (1 - before) / (1 - abar) * beta)
    x, clean = torch.tensor([[0.7]]).double(), torch.tensor([[-0.4]]).double()
    mean = before.sqrt() * beta / (1 - abar) * clean + (1 - beta).sqrt() * (1 - before) / (1 - abar) * x
    found = ddpm(lambda x, t: clean, x, schedule, torch.cat([late, early]), noise=torch.zeros_like)
    torch.testing.assert_close(found, mean)


@pytest.mark.parametrize("sampler", NAMES)
def test_a_sample_is_the_same_alone_and_in_any_batch(sampler):
    schedule = discrete_cosine()
    seeds = [3, 14, 15, 92]

    def sample(chosen):
        noise = noise_from_seeds(chosen)
        x = pure_noise((len(chosen), 2, 3), schedule, noise)
        run = samplers()[sampler]
        run = partial(run.func, **{**run.keywords, "noise": noise}) if isinstance(run, partial) else run
        return run(Gaussian(0.1, 0.3, schedule), x, schedule, even_times(12))

    together = sample(seeds)
    assert torch.equal(sample([15])[0], together[2])
    assert torch.equal(sample([92, 3]), together[[3, 0]])
    assert not torch.equal(together[0], together[1])


@pytest.mark.parametrize("sampler", NAMES)
def test_given_views_stand_still_and_the_others_do_not_notice(sampler, rng):
    schedule = continuous_cosine()
    x = torch.randn(8, 3, 2, 4, generator=rng)
    times = even_times(10)[:, None, None].repeat(1, 8, 3)
    times[:, :, 0] = 0.0
    found = samplers()[sampler](Gaussian(0.1, 0.3, schedule), x, schedule, times)
    alike = samplers()[sampler](Gaussian(0.1, 0.3, schedule), x, schedule, even_times(10))
    assert torch.equal(found[:, 0], x[:, 0])
    torch.testing.assert_close(found[:, 1:], alike[:, 1:])


@pytest.mark.parametrize("sampler", NAMES)
def test_every_sample_may_walk_at_its_own_pace(sampler, rng):
    schedule = linear()
    x = torch.randn(8, 3, generator=rng)
    times = torch.stack([even_times(10), even_times(10, start=0.4), torch.full((11,), 0.3).double()], dim=1)
    times = times[:, [0, 1, 2, 0, 1, 2, 0, 1]]
    found = samplers()[sampler](Gaussian(0.1, 0.3, schedule), x, schedule, times)
    part = samplers()[sampler](Gaussian(0.1, 0.3, schedule), x, schedule, even_times(10, start=0.4))
    assert torch.equal(found[2], x[2])
    torch.testing.assert_close(found[[1, 4, 7]], part[[1, 4, 7]])
    assert found.isfinite().all()


@pytest.mark.parametrize("sampler", NAMES)
def test_the_hook_sees_every_estimate_and_has_the_last_word(sampler, rng):
    seen = []

    def hook(x0, t, step):
        seen.append((step, t[0].item()))
        return torch.full_like(x0, 0.25)

    x = torch.randn(8, 3, generator=rng)
    found = samplers()[sampler](Gaussian(0.0, 1.0, linear()), x, linear(), even_times(4), x0_hook=hook)
    torch.testing.assert_close(found, torch.full_like(found, 0.25))
    assert sorted({step for step, _ in seen}) == [0, 1, 2, 3]
    times = [t for _, t in seen] if sampler != "heun" else [t for _, t in seen[::2]]
    assert times == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_the_noise_is_taken_from_the_edited_estimate(rng):
    schedule, x = linear(), torch.randn(2, 3, generator=rng, dtype=torch.float64)
    times = torch.tensor([0.8, 0.5]).double()
    edited = torch.full_like(x, 0.5)
    found = ddim(Gaussian(0.0, 1.0, schedule), x, schedule, times, x0_hook=lambda x0, t, step: edited)
    alpha, sigma = schedule.alpha(times), schedule.sigma(times)
    noise = (x - alpha[0] * edited) / sigma[0]
    torch.testing.assert_close(found, alpha[1] * edited + sigma[1] * noise)


def test_noise_has_unit_variance_and_never_repeats(rng):
    for source in (noise_from_generator(rng), noise_from_seeds([1, 2])):
        first, second = source(torch.zeros(2, 20_000)), source(torch.zeros(2, 20_000))
        assert abs(first.var().item() - 1) < 0.03
        assert abs((first * second).mean().item()) < 0.03


def test_pure_noise_is_as_strong_as_the_schedule_says():
    assert abs(pure_noise((2, 20_000), edm(), noise_from_seeds([1, 2])).std().item() / 80 - 1) < 0.02


def test_low_precision_is_kept_in_single():
    found = ddim(lambda x, t: x, torch.zeros(2, 3, dtype=torch.bfloat16), linear(), even_times(3))
    assert found.dtype == torch.float32


def test_a_sampler_goes_on_from_data_that_is_partly_noisy(rng):
    schedule = discrete_cosine()
    exact = Gaussian(0.3, 0.25, schedule)
    clean = 0.3 + 0.5 * torch.randn(4, 5000, generator=rng)
    x = add_noise(clean, torch.randn(4, 5000, generator=rng), torch.full((4,), 0.4), schedule)
    found = dpm_solver(exact, x, schedule, even_times(40, start=0.4))
    assert abs(found.mean().item() - 0.3) < 0.02
    assert abs(found.var().item() / 0.25 - 1) < 0.05


@pytest.mark.parametrize(("time", "steps"), [(0.005, 1), (0.2, 20), (0.5, 50), (0.9, 50)])
def test_sparsefusion_takes_a_step_per_hundredth_up_to_fifty(time, steps):
    assert scaled_steps(time) == steps


def test_what_cannot_be_walked_is_refused():
    x = torch.zeros(2, 3)
    for times in (torch.tensor([0.0, 0.5]), torch.tensor([1.5, 0.0]), torch.tensor([1.0])):
        with pytest.raises(InputError, match="no walk"):
            ddim(lambda x, t: x, x, linear(), times)
    with pytest.raises(InputError, match="eta"):
        ddim(lambda x, t: x, x, linear(), even_times(2), eta=1.0)
    with pytest.raises(InputError, match="2 seeds for a batch of 3"):
        noise_from_seeds([1, 2])(torch.zeros(3, 1))
    with pytest.raises(InputError, match="denoiser made"):
        ddim(lambda x, t: x[:1], x, linear(), even_times(2))
