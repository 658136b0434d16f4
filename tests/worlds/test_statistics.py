"""Statistics of pictures whose answers are known."""

import math

import pytest
import torch

from diorama.worlds.statistics import (
    SLANT,
    STEEPNESS,
    Picture,
    depth_steps,
    distance,
    histogram,
    quantile,
    spectrum_slope,
    summarise,
)  # fmt: skip


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def coloured_noise(exponent: float, side: int = 128) -> torch.Tensor:
    """Gaussian noise whose power falls as frequency to the minus exponent."""
    lines = torch.fft.fftfreq(side)
    radius = (lines[:, None].square() + lines.square()).sqrt().clamp_min(1 / side)
    spectrum = torch.fft.fft2(torch.randn(side, side, generator=rng())) * radius ** (-exponent / 2)
    return torch.fft.ifft2(spectrum).real


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_the_slope_of_a_spectrum_is_found(exponent):
    assert spectrum_slope(coloured_noise(exponent)) == pytest.approx(exponent, abs=0.25)


def test_a_plane_has_no_edge_and_a_step_has_its_border():
    plane = torch.linspace(1, 2, 40)[None].expand(30, 40)
    step = torch.ones(30, 40)
    step[:, 20:] = 2.0
    for depth, share in ((plane, 0.0), (step, 30 / (30 * 39 + 29 * 40))):
        found = sum(int((jump & known).sum()) for jump, _, known in depth_steps(depth))
        assert found / (30 * 39 + 29 * 40) == pytest.approx(share)


def test_the_border_of_the_sky_is_an_edge_and_unknown_depth_is_none():
    sky, hole = torch.ones(4, 6), torch.ones(4, 6)
    sky[:, 3:], hole[:, 3:] = math.inf, 0.0
    assert sum(int((jump & known).sum()) for jump, _, known in depth_steps(sky)) == 4
    assert sum(int((jump & known).sum()) for jump, _, known in depth_steps(hole)) == 0


def test_figures_of_a_grey_and_of_a_red_picture():
    grey = summarise([Picture(torch.full((3, 32, 32), 0.5), torch.full((32, 32), 2.0))])
    assert grey.brightness == pytest.approx(0.5)
    assert (grey.chroma, grey.flat, grey.steep, grey.edges, grey.sky) == (0.0, 1.0, 0.0, 0.0, 0.0)
    assert grey.nearest == grey.middle == grey.farthest == 2.0
    red = summarise([Picture(torch.tensor([0.8, 0.2, 0.2])[:, None, None].expand(3, 32, 32))])
    assert red.red_blue == pytest.approx(0.6)
    assert red.chroma == pytest.approx(0.6)
    assert math.isnan(red.edges)


def test_gaussian_differences_have_a_kurtosis_of_three():
    noise = 0.5 + 0.05 * torch.randn(1, 128, 128, generator=rng())
    assert summarise([Picture(noise.expand(3, -1, -1))]).kurtosis == pytest.approx(3, abs=0.1)


def test_colour_that_jumps_with_depth_is_aligned():
    depth = torch.ones(32, 32)
    depth[:, 16:] = 2.0
    noise = 0.02 * torch.rand(3, 32, 32, generator=rng())
    assert summarise([Picture(0.5 * (depth - 1) + noise, depth)]).aligned > 10
    assert summarise([Picture(0.5 + noise, depth)]).aligned == pytest.approx(1, abs=0.4)


def test_histograms_hold_everything_and_their_distance_is_that_of_a_shift():
    values = torch.logspace(-3, 0, 1000)
    one, ten = histogram(values, SLANT), histogram(values * 10**0.5, SLANT)
    assert sum(one) == pytest.approx(1)
    assert distance(one, one, SLANT) == 0
    assert distance(one, ten, SLANT) == pytest.approx(0.5, abs=0.06)
    assert sum(histogram(torch.zeros(5), STEEPNESS)) == pytest.approx(1)


def test_a_quantile_of_nothing_is_not_a_number():
    assert math.isnan(quantile(torch.zeros(0), 0.5))
    assert quantile(torch.arange(101.0), 0.5) == 50.0
