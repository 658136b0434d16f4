import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.diffusion.noise import continuous_cosine, discrete_cosine, edm, linear
from diorama.diffusion.parameterize import add_noise, as_denoiser, levels, score, target, to_clean, to_noise
from diorama.errors import InputError
from diorama.types import Denoiser
from tests.diffusion.exact import Gaussian, two_hills

KINDS = ["noise", "clean", "v", "edm"]
SCHEDULES = [discrete_cosine(), linear(), continuous_cosine(), edm()]
few = settings(max_examples=40, deadline=None, derandomize=True)
numbers = st.floats(-3, 3)


@few
@given(
    clean=numbers,
    noise=numbers,
    time=st.floats(0.01, 0.98),
    data_std=st.floats(0.2, 2.0),
    schedule=st.sampled_from(SCHEDULES),
    kind=st.sampled_from(KINDS),
)
def test_every_prediction_gives_back_data_and_noise(clean, noise, time, data_std, schedule, kind):
    clean, noise, t = (torch.tensor([number], dtype=torch.float64) for number in (clean, noise, time))
    alpha, sigma = levels(schedule, t, clean)
    x = add_noise(clean, noise, t, schedule)
    value = target(kind, clean, noise, alpha, sigma, data_std)
    torch.testing.assert_close(to_clean(kind, value, x, alpha, sigma, data_std), clean, rtol=1e-8, atol=1e-8)
    close = {"rtol": 1e-8, "atol": 1e-8 / sigma.item()}
    torch.testing.assert_close(to_noise(kind, value, x, alpha, sigma, data_std), noise, **close)


def test_edm_on_unit_data_is_v_turned_around(rng):
    clean, noise = torch.randn(2, 5, generator=rng, dtype=torch.float64)
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    alpha, sigma = levels(linear(), t, clean)
    torch.testing.assert_close(target("edm", clean, noise, alpha, sigma), -target("v", clean, noise, alpha, sigma))


def test_edm_is_the_preconditioning_of_its_paper(rng):
    x, value = torch.randn(2, 4, generator=rng, dtype=torch.float64)
    t, std = torch.full((4,), 0.6, dtype=torch.float64), 0.5
    sigma = edm().sigma(t)
    paper = std**2 / (sigma**2 + std**2) * x + sigma * std / (sigma**2 + std**2).sqrt() * value
    torch.testing.assert_close(to_clean("edm", value, x, *levels(edm(), t, x), std), paper)
    seen = []
    as_denoiser(lambda x, time: seen.append((x, time)) or x, edm(), "edm", data_std=std)(x, t)
    torch.testing.assert_close(seen[0], (x / (sigma**2 + std**2).sqrt(), sigma.log() / 4))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule.curve).__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_networks_that_predict_anything_become_the_same_denoiser(schedule, kind, rng):
    exact = Gaussian(0.4, 0.25, schedule)
    x = torch.randn(6, 2, 3, generator=rng, dtype=torch.float64)
    t = torch.linspace(0.05, 0.95, 6, dtype=torch.float64)
    alpha, sigma = levels(schedule, t, x)

    def network(_, __):
        return target(kind, exact(x, t), to_noise("clean", exact(x, t), x, alpha, sigma), alpha, sigma, 0.5)

    denoiser = as_denoiser(network, schedule, kind, data_std=0.5)
    assert isinstance(denoiser, Denoiser)
    torch.testing.assert_close(denoiser(x, t), exact(x, t))


def test_networks_are_told_the_step_as_a_number_unless_asked_otherwise():
    told = []
    network = lambda x, time: told.append(time) or x  # noqa: E731
    t = discrete_cosine().step_time(torch.tensor([3, 99]))
    as_denoiser(network, discrete_cosine())(torch.zeros(2, 4), t)
    as_denoiser(network, discrete_cosine(), clock=discrete_cosine().log_snr)(torch.zeros(2, 4), t)
    torch.testing.assert_close(told[0], torch.tensor([3.0, 99.0]))
    torch.testing.assert_close(told[1], discrete_cosine().log_snr(t))


def test_noise_at_time_0_is_none_and_holds_for_single_views(rng):
    clean, noise = torch.randn(2, 3, 4, 3, 5, 5, generator=rng)
    t = torch.rand(3, 4, generator=rng)
    t[:, 1] = 0
    for schedule in SCHEDULES:
        x = add_noise(clean, noise, t, schedule)
        assert torch.equal(x[:, 1], clean[:, 1])
        one = add_noise(clean[2:3, 3], noise[2:3, 3], t[2:3, 3], schedule)
        torch.testing.assert_close(x[2:3, 3], one)


def test_the_variance_of_noisy_data_is_that_of_the_formula(rng):
    clean, noise = torch.randn(2, 1, 200_000, generator=rng)
    t = torch.tensor([0.3])
    variance = add_noise(0.5 * clean, noise, t, linear()).var()
    alpha, sigma = linear().alpha(t), linear().sigma(t)
    torch.testing.assert_close(variance, (alpha**2 * 0.25 + sigma**2)[0], rtol=0.02, atol=0)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule.curve).__name__)
def test_the_score_is_the_gradient_of_the_log_density(schedule):
    hills = two_hills(schedule)
    x = torch.linspace(-2, 2, 21, dtype=torch.float64)[:, None].requires_grad_()
    t = torch.full((21,), 0.4, dtype=torch.float64)
    (slope,) = torch.autograd.grad(hills.log_density(x, t).sum(), x)
    torch.testing.assert_close(score(hills, x, t, schedule).detach(), slope)


def test_the_score_in_single_precision_is_good_at_the_lowest_level(rng):
    schedule, x = discrete_cosine(), torch.randn(8, 100, generator=rng)
    t = schedule.step_time(torch.full((8,), 3))
    noise = torch.randn(8, 100, generator=rng)
    found = score(as_denoiser(lambda x, time: noise, schedule), x, t, schedule)
    torch.testing.assert_close(found, -noise / schedule.sigma(t)[:, None], rtol=1e-3, atol=0.01)


def test_times_that_do_not_fit_are_refused_with_both_shapes():
    with pytest.raises(InputError, match=r"times of shape \(2, 3\) for data of shape \(2, 4\)"):
        add_noise(torch.zeros(2, 4), torch.zeros(2, 4), torch.zeros(2, 3), linear())
    with pytest.raises(InputError, match="made"):
        as_denoiser(lambda x, time: x[:, :1], linear())(torch.zeros(2, 4), torch.zeros(2))
