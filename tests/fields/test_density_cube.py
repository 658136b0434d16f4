"""Densities in cells: the field's own at their centres, all of space in one cube."""

import torch

from diorama.fields.contraction import contract
from diorama.fields.density_cube import FARTHEST, DensityCube, uncontract


def ball(points):
    """A ball of radius 0.5 about (0, 0, 1), with a soft edge."""
    return 20.0 * torch.sigmoid(20.0 * (0.5 - (points - torch.tensor([0.0, 0.0, 1.0])).norm(dim=-1)))


def test_uncontracted_places_contract_to_where_they_were(rng):
    places = torch.randn(500, 3, generator=rng)
    places = places / places.norm(dim=-1, keepdim=True) * (1.98 * torch.rand(500, 1, generator=rng))
    torch.testing.assert_close(contract(uncontract(places)), places, rtol=1e-4, atol=1e-5)
    beyond = uncontract(torch.tensor([[2.0, 2.0, 0.0]]))
    assert torch.allclose(contract(beyond).norm(), torch.tensor(FARTHEST), atol=1e-4)


def test_at_the_centre_of_a_cell_a_cube_knows_the_density_of_the_field():
    centre, radius = (0.0, 0.0, 1.0), 2.0
    cube = DensityCube.of(ball, 32, centre, radius)
    cells = (torch.arange(32) + 0.5) * 0.125 - 2.0
    z, y, x = torch.meshgrid(cells, cells, cells, indexing="ij")
    places = torch.stack([x, y, z], dim=-1).reshape(-1, 3)
    points = uncontract(places[places.norm(dim=-1) < 1.9]) * radius + torch.tensor(centre)
    torch.testing.assert_close(cube(points), ball(points), rtol=1e-3, atol=1e-3)


def test_between_centres_it_is_near_and_shape_is_kept():
    cube = DensityCube.of(ball, 96, (0.0, 0.0, 1.0))
    points = torch.rand(40, 25, 3, generator=torch.Generator().manual_seed(0)) * 2 - torch.tensor([1.0, 1.0, 0.0])
    found = cube(points)
    assert found.shape == (40, 25)
    assert not found.requires_grad
    assert float((found - ball(points)).abs().mean()) < 0.05
