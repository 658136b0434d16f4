import pytest
import torch

from diorama.diffusion.grids import (
    even_times,
    karras_times,
    log_snr_times,
    respaced_step_at,
    respaced_steps,
    respaced_times,
)
from diorama.diffusion.noise import continuous_cosine, discrete_cosine, edm, linear
from diorama.errors import InputError


def test_250_of_1000_steps_are_999_995_down_to_3():
    assert respaced_steps(discrete_cosine(), 250) == list(range(999, 0, -4))
    torch.testing.assert_close(respaced_times(discrete_cosine(), 250), even_times(250))


@pytest.mark.parametrize("count", [1, 7, 300, 999, 1000])
def test_any_number_of_steps_is_distinct_and_starts_at_the_noisiest(count):
    steps = respaced_steps(linear(), count)
    assert steps[0] == 999
    assert len(set(steps)) == count
    assert steps == sorted(steps, reverse=True)
    assert steps[-1] >= 0
    assert respaced_times(linear(), count)[-1] == 0


@pytest.mark.parametrize(("share", "step"), [(0.1, 99), (0.05, 47), (0.02, 19), (0.0, 3), (1.0, 999)])
def test_tau_finds_the_steps_of_the_spec(share, step):
    assert respaced_step_at(discrete_cosine(), share) == step


@pytest.mark.parametrize(("fit_step", "step"), [(0, 99), (1250, 47), (2500, 3), (9000, 3)])
def test_tau_over_a_fit_finds_the_steps_of_the_spec(fit_step, step):
    assert respaced_step_at(discrete_cosine(), max(0.0, 0.1 * (1 - fit_step / 2500))) == step


def test_karras_times_have_the_sigmas_of_edm():
    t = karras_times(edm(), 18)
    sigma = edm().sigma(t)
    wanted = torch.tensor(
        [(80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(18)] + [0.0]
    )
    torch.testing.assert_close(sigma.float(), wanted, rtol=1e-5, atol=1e-9)
    assert len(karras_times(edm(), 1)) == 2


def test_log_snr_times_are_even_in_log_snr():
    log_snr = continuous_cosine().log_snr(log_snr_times(continuous_cosine(), 10, 6.0, -6.0))
    torch.testing.assert_close(log_snr, torch.linspace(-6, 6, 11, dtype=torch.float64))


def test_impossible_counts_are_refused():
    with pytest.raises(InputError, match="At least one"):
        even_times(0)
    with pytest.raises(InputError, match="1001 of 1000"):
        respaced_steps(linear(), 1001)
