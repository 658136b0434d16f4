import pytest
import torch

from diorama.diffusion.grids import even_times, log_snr_times
from diorama.diffusion.inversion import ddim_inversion
from diorama.diffusion.noise import continuous_cosine, discrete_cosine, edm, linear
from diorama.diffusion.samplers import ddim
from tests.diffusion.exact import Gaussian, two_hills

SCHEDULES = {"discrete cosine": discrete_cosine(), "linear": linear(), "cosine": continuous_cosine(), "edm": edm()}


def relative(found, wanted):
    return ((found - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("name", SCHEDULES)
def test_data_comes_back_through_its_noise(name, rng):
    schedule = SCHEDULES[name]
    clean = 0.3 + 0.5 * torch.randn(64, 1, generator=rng, dtype=torch.float64)
    for denoiser, limit in ((Gaussian(0.3, 0.25, schedule), 1e-3), (two_hills(schedule), 5e-3)):
        noise = ddim_inversion(denoiser, clean, schedule, even_times(50), refinements=5)
        assert relative(ddim(denoiser, noise, schedule, even_times(50)), clean) < limit


@pytest.mark.parametrize("name", ["discrete cosine", "linear"])
def test_noise_comes_back_through_its_data(name, rng):
    schedule, noise = SCHEDULES[name], torch.randn(64, 1, generator=rng, dtype=torch.float64)
    exact = Gaussian(0.3, 0.25, schedule)
    clean = ddim(exact, noise, schedule, even_times(50))
    assert relative(ddim_inversion(exact, clean, schedule, even_times(50), refinements=8), noise) < 1e-3


def test_refinements_only_help(rng):
    schedule = discrete_cosine()
    clean = 0.3 + 0.5 * torch.randn(64, 1, generator=rng, dtype=torch.float64)
    errors = []
    for refinements in (0, 1, 2, 4):
        noise = ddim_inversion(two_hills(schedule), clean, schedule, even_times(50), refinements=refinements)
        errors.append(relative(ddim(two_hills(schedule), noise, schedule, even_times(50)), clean))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.1 * errors[0]


def test_the_plain_inversion_is_of_first_order(rng):
    schedule = continuous_cosine()
    x = torch.randn(64, 1, generator=rng, dtype=torch.float64)
    exact, errors = Gaussian(0.3, 0.25, schedule), []
    for steps in (25, 50, 100):
        times = log_snr_times(schedule, steps, 6.0, -6.0)
        wanted = exact.flow(x, times[-1:].expand(64), times[:1].expand(64))
        errors.append(relative(ddim_inversion(exact, x, schedule, times), wanted))
    assert 1.7 < errors[0] / errors[1] < 2.4
    assert 1.7 < errors[1] / errors[2] < 2.4


def test_inverted_data_looks_like_noise(rng):
    schedule = discrete_cosine()
    clean = 0.3 + 0.5 * torch.randn(20_000, 1, generator=rng)
    noise = ddim_inversion(Gaussian(0.3, 0.25, schedule), clean, schedule, even_times(100))
    assert abs(noise.mean().item()) < 0.05
    assert abs(noise.std().item() - 1) < 0.05


def test_given_views_stand_still(rng):
    schedule, x = linear(), torch.randn(2, 3, 4, generator=rng)
    times = even_times(10)[:, None, None].repeat(1, 2, 3)
    times[:, :, 0] = 0.0
    found = ddim_inversion(Gaussian(0.3, 0.25, schedule), x, schedule, times)
    assert torch.equal(found[:, 0], x[:, 0])
    assert found.isfinite().all()
