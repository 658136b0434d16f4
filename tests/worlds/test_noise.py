"""Noise is a function of place and seed alone, has the moments it promises, and both twins agree."""

import numpy as np
import pytest
import torch

from diorama.worlds.noise import cell_hash, gradient_noise, layered_noise, nearest_cells, next_hash, scramble, unit
from diorama.worlds.noise_numba import cell_hash_at, gradient_noise_at, layered_noise_at, nearest_cells_at, unit_at

GENERATOR = torch.Generator().manual_seed(0)
POINTS = (torch.rand(400, 3, generator=GENERATOR) - 0.5) * 60
SEEDS = torch.randint(0, 1 << 20, (400,), generator=GENERATOR)
MANY = (torch.rand(40_000, 3, generator=GENERATOR) - 0.5) * 200
SEED = torch.full((40_000,), 5)


def test_scrambling_is_a_bijection_on_any_small_range():
    words = torch.arange(1 << 16)
    assert len(scramble(words).unique()) == 1 << 16
    assert int(scramble(words).max()) < 1 << 32


def test_hashes_of_neighbours_are_unrelated():
    x, y = torch.meshgrid(torch.arange(-100, 100), torch.arange(-100, 100), indexing="ij")
    value = unit(cell_hash(x, y, torch.zeros_like(x), torch.full_like(x, 3)))
    assert float(value.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(value.std()) == pytest.approx(12**-0.5, abs=0.01)
    pairs = torch.stack([value[1:].reshape(-1), value[:-1].reshape(-1)])
    assert abs(float(torch.corrcoef(pairs)[0, 1])) < 0.02
    words = cell_hash(x, y, torch.zeros_like(x), torch.full_like(x, 3))
    chained = torch.stack([value.reshape(-1), unit(next_hash(words)).reshape(-1)])
    assert abs(float(torch.corrcoef(chained)[0, 1])) < 0.02


def test_gradient_noise_is_zero_on_its_lattice_and_continuous():
    corners = POINTS.round()
    assert gradient_noise(corners, SEEDS).abs().max() < 1e-6
    step = 1e-3 * torch.tensor([1.0, -1.0, 1.0])
    assert (gradient_noise(POINTS + step, SEEDS) - gradient_noise(POINTS, SEEDS)).abs().max() < 0.03


def test_noise_has_mean_zero_and_a_deviation_of_one_half():
    for values in (
        gradient_noise(MANY, SEED),
        layered_noise(MANY, SEED, torch.full((40_000,), 0.7), torch.zeros(40_000)),
    ):
        assert abs(float(values.mean())) < 0.02
        assert float(values.std()) == pytest.approx(0.5, rel=0.08)


def test_noise_vanishes_where_a_pixel_covers_its_largest_cells():
    gain = torch.full((400,), 0.7)
    assert torch.equal(layered_noise(POINTS, SEEDS, gain, torch.full((400,), 1.0)), torch.zeros(400))
    coarse = layered_noise(POINTS, SEEDS, gain, torch.full((400,), 0.3))
    fine = layered_noise(POINTS, SEEDS, gain, torch.zeros(400))
    assert float(coarse.std()) < float(fine.std())


def test_the_nearest_cell_is_the_nearest():
    first, second, owner = nearest_cells(POINTS, SEEDS, 0.9)
    assert bool((first <= second).all())
    assert float(first.max()) < 1.5
    assert len(owner.unique()) > 350


def test_both_twins_agree():
    gain, footprint = torch.full((400,), 0.7), torch.full((400,), 0.1)
    smooth, layered = gradient_noise(POINTS, SEEDS), layered_noise(POINTS, SEEDS, gain, footprint)
    first, second, owner = nearest_cells(POINTS, SEEDS, 0.8)
    words = cell_hash(*POINTS.long().unbind(-1), SEEDS)
    for index, (point, seed) in enumerate(zip(POINTS.tolist(), SEEDS.tolist(), strict=True)):
        assert gradient_noise_at(*point, seed) == pytest.approx(float(smooth[index]), abs=2e-5)
        assert layered_noise_at(*point, seed, 0.7, 0.1) == pytest.approx(float(layered[index]), abs=3e-4)
        near = nearest_cells_at(*point, seed, 0.8)
        assert near[:2] == pytest.approx((float(first[index]), float(second[index])), abs=1e-5)
        assert int(near[2]) == int(owner[index])
        word = cell_hash_at(*(int(value) for value in point), seed)
        assert int(word) == int(words[index])
        assert unit_at(np.uint32(word)) == float(unit(words[index]))
