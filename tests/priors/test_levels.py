"""Spec of DiffusioNeRF, section 9, test 1: levels and the schedule of tau."""

import pytest
import torch

from diorama.priors.levels import level_of, noise_level, noise_levels
from diorama.priors.schedule import Ramp

TAU = Ramp(0.1, 0.0, 0.0, 2500.0, "steps")


@pytest.mark.parametrize(
    ("level", "abar", "sigma"),
    [(0, 0.9999587, 0.0064253), (3, 0.9998057, 0.0139380), (99, 0.9720927, 0.1670547), (500, 0.492285, 0.712541)],
)
def test_spec_01_signal_and_noise_of_the_named_steps(level, abar, sigma):
    signal, noise = noise_level(level)
    assert signal**2 == pytest.approx(abar, abs=1e-6)
    assert noise == pytest.approx(sigma, abs=1e-6)


def test_spec_01_the_last_step_is_all_noise():
    signal, noise = noise_level(999)
    assert signal**2 == pytest.approx(2.4e-9, abs=1e-10)
    assert noise == pytest.approx(1.0)


def test_signal_and_noise_are_a_quarter_circle():
    signal, noise = noise_levels(torch.arange(1000))
    torch.testing.assert_close(signal.square() + noise.square(), torch.ones(1000, dtype=torch.float64))


@pytest.mark.parametrize(("tau", "level"), [(0.1, 99), (0.05, 47), (0.02, 19), (0.0, 3), (1.0, 999)])
def test_spec_01_times_of_the_fit_and_their_levels(tau, level):
    assert level_of(tau) == level


@pytest.mark.parametrize(("step", "level"), [(1, 99), (1250, 47), (2500, 3), (9000, 3)])
def test_spec_01_steps_of_the_fit_and_their_levels(step, level):
    assert level_of(TAU.at(step, 12_000)) == level
