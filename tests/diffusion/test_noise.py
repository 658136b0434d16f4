import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.diffusion.noise import Schedule, continuous_cosine, discrete_cosine, edm, linear, scaled_linear
from diorama.errors import InputError

ALL = {
    "discrete cosine": discrete_cosine(),
    "linear": linear(),
    "scaled linear": scaled_linear(),
    "continuous cosine": continuous_cosine(),
    "edm": edm(),
}
PRESERVING = [name for name in ALL if name != "edm"]
few = settings(max_examples=30, deadline=None, derandomize=True)


def abar(schedule: Schedule, *times: float) -> torch.Tensor:
    return schedule.alpha(torch.tensor(times)).square()


def at_steps(schedule: Schedule, *steps: int) -> torch.Tensor:
    return schedule.step_time(torch.tensor(steps))


def test_the_cosine_of_diffusionerf_has_the_values_of_its_spec():
    t = at_steps(discrete_cosine(), 0, 3, 99, 500, 999)
    wanted = torch.tensor([0.9999587, 0.9998057, 0.9720927, 0.492285, 2.4e-9])
    torch.testing.assert_close(discrete_cosine().alpha(t).square(), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(discrete_cosine().alpha(t)[-1].square(), wanted[-1], atol=0, rtol=0.02)
    sigma = torch.tensor([0.0064253, 0.0139380, 0.1670547, 0.712541, 1.0])
    torch.testing.assert_close(discrete_cosine().sigma(t), sigma, atol=1e-6, rtol=0)


def test_the_linear_schedule_of_ivid_has_the_values_of_its_spec():
    t = at_steps(linear(), 0, 19, 499, 999)
    wanted = torch.tensor([0.9999, 0.994231, 0.0785872, 4.03583e-5])
    torch.testing.assert_close(linear().alpha(t).square(), wanted, atol=5e-7, rtol=0)
    torch.testing.assert_close(linear().alpha(t)[-1].square(), wanted[-1], atol=0, rtol=1e-4)


def test_the_cosine_of_sparsefusion_has_the_values_of_its_spec():
    wanted = torch.tensor([0.97194, 0.84688, 0.49377, 0.14425, 0.024088, 0.000243])
    torch.testing.assert_close(abar(continuous_cosine(), 0.1, 0.25, 0.5, 0.75, 0.9, 0.99), wanted, atol=1e-5, rtol=0)
    assert math.isclose(continuous_cosine().clock(torch.zeros(1)).item(), 8.77, abs_tol=0.005)


def test_scaled_linear_is_the_product_of_its_betas():
    schedule = scaled_linear(first=0.00085, last=0.012)
    product = 1.0
    for step in range(1000):
        product *= 1.0 - (0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * step / 999) ** 2
    found = schedule.alpha(torch.tensor([1.0], dtype=torch.float64)).square().item()
    assert math.isclose(found, product, rel_tol=1e-9)
    assert math.isclose(product, 0.00466, abs_tol=5e-6)  # the value that Stable Diffusion's schedule is known for


def test_edm_sigma_is_a_power_of_time_on_undimmed_data():
    t = torch.linspace(0, 1, 9, dtype=torch.float64)
    torch.testing.assert_close(edm().sigma(t), 80.0 * t**7)
    assert torch.equal(edm().alpha(t), torch.ones_like(t))
    told = edm().clock(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(told, torch.tensor([math.log(0.002) / 4, math.log(80.0) / 4]))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_time_0_is_clean_and_noise_only_grows(name, dtype):
    t = torch.linspace(0, 1, 4001, dtype=dtype)
    alpha, sigma, log_snr = ALL[name].alpha(t), ALL[name].sigma(t), ALL[name].log_snr(t)
    assert alpha[0] == 1
    assert sigma[0] == 0
    assert (log_snr.diff() < 0).all()
    assert (sigma.diff() >= 0).all()
    assert alpha.isfinite().all()
    assert sigma.isfinite().all()
    assert alpha.dtype == sigma.dtype == dtype
    assert ALL[name].clock(t).isfinite().all()


@pytest.mark.parametrize("name", ALL)
def test_alpha_sigma_and_log_snr_agree(name):
    t = torch.linspace(0.001, 0.999, 300, dtype=torch.float64)
    alpha, sigma = ALL[name].alpha(t), ALL[name].sigma(t)
    torch.testing.assert_close(2 * (alpha / sigma).log(), ALL[name].log_snr(t))
    if name in PRESERVING:
        torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones_like(t))


@pytest.mark.parametrize("name", ALL)
def test_single_precision_is_enough_for_the_levels(name):
    t = torch.linspace(0.001, 0.99, 500)
    torch.testing.assert_close(ALL[name].sigma(t).double(), ALL[name].sigma(t.double()), rtol=2e-5, atol=0)


@pytest.mark.parametrize("name", ALL)
@few
@given(share=st.floats(0.001, 1.0))
def test_the_time_of_a_log_snr_is_its_inverse(name, share):
    t = torch.tensor([share], dtype=torch.float64)
    torch.testing.assert_close(ALL[name].time_at(ALL[name].log_snr(t)), t, rtol=1e-6, atol=1e-9)


def test_beyond_its_noise_levels_a_schedule_answers_its_ends():
    far = torch.tensor([-100.0, 100.0], dtype=torch.float64)
    for schedule in (discrete_cosine(), linear()):
        torch.testing.assert_close(schedule.time_at(far), torch.tensor([1.0, 0.0]).double())


@few
@given(step=st.integers(-1, 999))
def test_a_step_and_its_time_are_two_names(step):
    schedule = linear()
    t = schedule.step_time(step)
    assert round(schedule.step_at(torch.tensor([t])).item(), 3) == step
    assert schedule.step_time(torch.tensor([step]))[0].item() == pytest.approx(t)
    told = schedule.clock(torch.tensor([t]))
    torch.testing.assert_close(told, torch.tensor([float(step)]), atol=1e-4, rtol=0)


def test_between_steps_the_logarithm_of_alpha_is_linear():
    t = torch.tensor([0.2, 0.2005, 0.201], dtype=torch.float64)
    log = linear().alpha(t).log()
    torch.testing.assert_close(log[1], (log[0] + log[2]) / 2)


def test_continuous_schedules_have_no_steps_and_say_so():
    assert edm().steps is None
    with pytest.raises(InputError, match="no discrete steps"):
        continuous_cosine().step_time(3)


def test_schedules_are_values():
    assert discrete_cosine() == discrete_cosine(1000)
    assert len({linear(), linear(), edm()}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        linear().curve = edm().curve
