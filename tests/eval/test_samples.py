"""Several samples of one input: closed forms of independent noise, and what averages must obey."""

import math

import pytest
import torch

from diorama.errors import InputError
from diorama.eval.metrics import mean_squared_error
from diorama.eval.samples import spread_map, summarise_samples


def noisy(count, deviation=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    photos = torch.full((2, 3, 40, 50), 0.5, dtype=torch.float64)
    return photos + deviation * torch.randn(count, *photos.shape, generator=generator, dtype=torch.float64), photos


def test_equal_samples_are_all_as_good_and_have_no_spread():
    samples, photos = noisy(1)
    summary = summarise_samples(samples.expand(4, -1, -1, -1, -1), photos)
    assert summary.first == summary.mean == summary.best
    assert summary.of_mean == pytest.approx(summary.first)
    assert summary.spread == pytest.approx(0, abs=1e-9)
    assert summary.count == 4


def test_independent_noise_averages_away_by_the_number_of_samples():
    samples, photos = noisy(8)
    summary = summarise_samples(samples, photos)
    assert summary.first == pytest.approx(20, abs=0.2)
    assert summary.mean == pytest.approx(20, abs=0.1)
    assert summary.of_mean == pytest.approx(20 + 10 * math.log10(8), abs=0.2)
    assert summary.spread == pytest.approx(0.1, rel=0.01)


def test_the_error_of_samples_is_that_of_their_mean_plus_their_variance():
    samples, photos = noisy(5)
    samples = samples + 0.07
    each = torch.stack([mean_squared_error(sample, photos) for sample in samples]).mean()
    variance = spread_map(samples).square().mean() * 4 / 5
    assert float(each) == pytest.approx(float(mean_squared_error(samples.mean(0), photos).mean() + variance))


def test_the_best_is_one_sample_for_all_views_and_never_below_the_mean():
    samples, photos = noisy(3)
    samples = photos + (samples - photos) * torch.tensor([1.0, 0.5, 2.0]).reshape(3, 1, 1, 1, 1)
    summary = summarise_samples(samples, photos)
    assert summary.best == pytest.approx(26, abs=0.2)
    assert summary.first == pytest.approx(20, abs=0.2)
    assert summary.mean == pytest.approx(20, abs=0.2)
    crossed = torch.stack([torch.stack([photos[0], photos[1] + 0.1]), torch.stack([photos[0] + 0.1, photos[1]])])
    assert summarise_samples(crossed, photos).best == pytest.approx((100 + 20) / 2)


def test_the_order_of_samples_changes_the_first_alone():
    samples, photos = noisy(4)
    samples[0] += 0.1
    one, two = summarise_samples(samples, photos), summarise_samples(samples.flip(0), photos)
    assert one.first < two.first
    assert (one.mean, one.of_mean, one.best) == pytest.approx((two.mean, two.of_mean, two.best))


def test_pixels_without_weight_count_nowhere():
    samples, photos = noisy(4)
    weight = torch.zeros(2, 40, 50)
    weight[..., :25] = 1
    spoiled = samples.clone()
    spoiled[1:, ..., 25:] = 0
    kept = summarise_samples(spoiled, photos, weight)
    half = summarise_samples(samples[..., :25], photos[..., :25])
    assert (kept.first, kept.mean, kept.of_mean, kept.best, kept.spread) == pytest.approx(
        (half.first, half.mean, half.of_mean, half.best, half.spread)
    )


def test_one_sample_has_no_spread():
    samples, photos = noisy(1)
    assert summarise_samples(samples, photos).spread is None
    with pytest.raises(InputError, match="draw two or more"):
        spread_map(samples)
