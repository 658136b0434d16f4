import pytest
import torch

from diorama.diffusion.grids import even_times
from diorama.diffusion.guidance import clamped, guided
from diorama.diffusion.noise import linear
from diorama.diffusion.parameterize import score
from diorama.diffusion.samplers import ddim
from diorama.types import Denoiser
from tests.diffusion.exact import Gaussian

WITH, WITHOUT = Gaussian(0.5, 0.1, linear()), Gaussian(0.0, 1.0, linear())


def counting(denoiser):
    calls = []
    return (lambda x, t: calls.append(t) or denoiser(x, t)), calls


@pytest.mark.parametrize(("scale", "wanted", "silent"), [(1.0, WITH, 1), (0.0, WITHOUT, 0)])
def test_scales_1_and_0_are_one_of_the_two_at_one_call_a_step(scale, wanted, silent, rng):
    (first, first_calls), (second, second_calls) = counting(WITH), counting(WITHOUT)
    x = torch.randn(3, 4, generator=rng)
    found = ddim(guided(first, second, scale), x, linear(), even_times(6))
    assert torch.equal(found, ddim(wanted, x, linear(), even_times(6)))
    calls = (first_calls, second_calls)
    assert len(calls[silent]) == 0
    assert len(calls[1 - silent]) == 6


@pytest.mark.parametrize("scale", [-0.5, 0.3, 2.0, 7.5])
def test_guidance_is_the_same_line_in_estimates_and_in_scores(scale, rng):
    x, t = torch.randn(3, 4, generator=rng, dtype=torch.float64), torch.full((3,), 0.4).double()
    both = guided(WITH, WITHOUT, scale)
    assert isinstance(both, Denoiser)
    torch.testing.assert_close(both(x, t), WITHOUT(x, t) + scale * (WITH(x, t) - WITHOUT(x, t)))
    with_, without, found = (score(denoiser, x, t, linear()) for denoiser in (WITH, WITHOUT, both))
    torch.testing.assert_close(found, (1 - scale) * without + scale * with_)


def test_more_guidance_moves_samples_further_from_the_unconditional(rng):
    x = torch.randn(2000, 1, generator=rng)
    means = [ddim(guided(WITH, WITHOUT, s), x, linear(), even_times(20)).mean().item() for s in (0.0, 0.5, 1.0)]
    assert means == sorted(means)
    assert abs(means[0]) < 0.1
    assert abs(means[2] - 0.5) < 0.05


def test_clamped_estimates_stay_in_range():
    found = clamped(lambda x, t: 10 * x)(torch.tensor([[-1.0, 0.05, 1.0]]), torch.zeros(1))
    torch.testing.assert_close(found, torch.tensor([[-1.0, 0.5, 1.0]]))
