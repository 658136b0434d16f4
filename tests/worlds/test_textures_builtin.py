"""Textures are the same everywhere, bounded, and patterned as they say."""

import pytest
import torch

from diorama.worlds.textures_builtin import Checker, Speckle, Stripes, Wood, colour_of, layered_noise, noise

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
POINTS = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) * 4 - 2


@pytest.mark.parametrize(
    "texture", [Checker(WHITE, BLACK), Stripes(WHITE, BLACK), Speckle(WHITE, BLACK), Wood(WHITE, BLACK)]
)
def test_colours_stay_between_the_two_that_were_given(texture):
    colour = colour_of(texture, POINTS)
    assert colour.min() >= 0
    assert colour.max() <= 1
    assert colour.std() > 0.05


def test_noise_meets_its_lattice_and_is_continuous():
    corners = torch.tensor([[0.0, 0, 0], [3, -2, 5]])
    step = 1e-4 * torch.tensor([1.0, -1.0, 1.0])
    assert torch.allclose(noise(corners, 4), noise(corners + step, 4), atol=1e-3)
    assert not torch.allclose(noise(POINTS, 4), noise(POINTS, 5))
    assert torch.equal(noise(POINTS, 4), noise(POINTS, 4))


def test_layered_noise_stays_in_the_unit_interval():
    value = layered_noise(POINTS * 5, 5, 0)
    assert value.min() >= 0
    assert value.max() <= 1


def test_a_checker_turns_over_at_every_side():
    texture = Checker(WHITE, BLACK, side=0.5)
    here = torch.tensor([[0.25, 0.25, 0.25]])
    one = colour_of(texture, here)
    assert torch.equal(colour_of(texture, here + torch.tensor([0.5, 0.0, 0.0])), 1 - one)
    assert torch.equal(colour_of(texture, here + torch.tensor([0.5, 0.5, 0.0])), one)
