"""Sparsification against closed forms of uniform errors, coverage against the Gaussian."""

import math

import pytest
import torch

from diorama.errors import InputError
from diorama.eval.uncertainty import coverage, sparsification

UNIFORM = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
"""Errors spread evenly over [0, 1]."""


@pytest.mark.parametrize("measure", ["mae", "rmse"])
def test_an_uncertainty_that_orders_as_the_errors_do_has_no_area(measure, rng):
    error = torch.randn(40, 50, generator=rng)
    result = sparsification(error, 3 * error.abs() ** 0.5 + 1, measure)
    assert result.ause == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(result.by_uncertainty, result.by_oracle)


@pytest.mark.parametrize("uncertainty", ["constant", "random"])
def test_an_uncertainty_that_knows_nothing_keeps_the_whole_error(uncertainty, rng):
    # the oracle's error of uniform errors falls as a line to 0: half of the whole error is the area
    order = torch.ones(20_000) if uncertainty == "constant" else torch.rand(20_000, generator=rng)
    tolerance = 1e-3 if uncertainty == "constant" else 0.02
    absolute, squared = (sparsification(UNIFORM, order, measure) for measure in ("mae", "rmse"))
    assert absolute.ause == pytest.approx(1 / 4, abs=tolerance)
    assert squared.ause == pytest.approx(1 / (2 * math.sqrt(3)), abs=tolerance)
    assert absolute.relative_ause == pytest.approx(1 / 2, abs=2 * tolerance)
    assert squared.relative_ause == pytest.approx(1 / 2, abs=2 * tolerance)


def test_the_oracle_of_uniform_errors_is_a_line():
    result = sparsification(UNIFORM, UNIFORM, steps=10)
    torch.testing.assert_close(result.by_oracle, (1 - result.removed) / 2, atol=1e-4, rtol=0)
    assert result.removed.tolist() == pytest.approx([i / 10 for i in range(10)])


def test_removing_the_best_first_is_worse_than_chance():
    assert sparsification(UNIFORM, -UNIFORM).ause == pytest.approx(1 / 2, abs=1e-3)


def test_only_the_order_of_uncertainty_counts_and_the_order_of_pixels_does_not(rng):
    error, order = torch.rand(2, 500, generator=rng)
    order = (8 * order).round()
    shuffled = torch.randperm(500, generator=rng)
    expected = sparsification(error, order).ause
    assert sparsification(error, order.exp()).ause == pytest.approx(expected)
    assert sparsification(error[shuffled], order[shuffled]).ause == pytest.approx(expected)
    assert sparsification(2 * error, order).ause == pytest.approx(2 * expected)


def test_no_error_has_no_area_and_no_pixel_no_answer():
    assert sparsification(torch.zeros(9), torch.rand(9)).relative_ause == 0
    with pytest.raises(InputError, match="no pixels"):
        sparsification(torch.zeros(0), torch.zeros(0))


def test_gaussian_errors_of_the_predicted_size_are_covered_as_a_gaussian_says(rng):
    deviation = 0.1 + torch.rand(3, 100_000, generator=rng)
    error = deviation * torch.randn(3, 100_000, generator=rng)
    found = {one.deviations: one for one in coverage(error, deviation)}
    assert found[1.0].expected == pytest.approx(0.683, abs=5e-4)
    assert found[2.0].expected == pytest.approx(0.954, abs=5e-4)
    for one in found.values():
        assert one.share == pytest.approx(one.expected, abs=3e-3)


def test_half_the_deviation_covers_what_half_the_multiple_did(rng):
    error = torch.randn(200_000, generator=rng)
    (bold,) = coverage(error, torch.full_like(error, 0.5), (2.0,))
    (exact,) = coverage(error, torch.ones_like(error), (1.0,))
    assert bold.share == exact.share
    assert bold.share < bold.expected
    assert coverage(torch.zeros(4), torch.zeros(4))[0].share == 1
