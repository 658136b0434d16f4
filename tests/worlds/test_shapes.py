"""Rays meet solids where closed forms say."""

import math

import pytest
import torch

from diorama.worlds.shapes import Ball, Block, Cone, Cylinder, Placement, intersect

SHAPES = [Ball(), Block(), Cylinder(), Cone()]
HOME = Placement((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
AWAY = Placement((0.3, -0.2, 0.5), (0.4, 0.7, 0.3), turn=35.0, tilt=20.0)


def inside(shape, p):
    x, y, z = p.unbind(-1)
    match shape:
        case Ball():
            return x**2 + y**2 + z**2 - 1
        case Block():
            return p.abs().amax(-1) - 1
        case Cylinder():
            return torch.maximum((x**2 + y**2).sqrt() - 1, z.abs() - 1)
        case Cone():
            return torch.maximum((x**2 + y**2).sqrt() - (1 - z) / 2, z.abs() - 1)


def rays(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    origins = 3 * torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)
    targets = torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5
    return origins, torch.nn.functional.normalize(targets - origins, dim=-1)


@pytest.mark.parametrize("shape", SHAPES)
def test_from_above_every_shape_is_met_at_its_top(shape):
    eye, down = torch.tensor([[0.0, 0.0, 5.0]]), torch.tensor([[0.0, 0.0, -1.0]])
    distance, normal = intersect(shape, HOME, eye, down)
    assert distance.item() == pytest.approx(4.0, abs=1e-3)
    if not isinstance(shape, Cone):
        assert torch.allclose(normal, -down, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("placement", [HOME, AWAY])
def test_the_first_hit_lies_on_the_surface_and_nothing_lies_before_it(shape, placement):
    origins, directions = rays(500)
    origins = origins + torch.tensor(placement.position, dtype=torch.float64)
    distance, normal = intersect(shape, placement, origins, directions)
    hit = torch.isfinite(distance)
    assert hit.float().mean() > 0.2
    o, d, t = origins[hit], directions[hit], distance[hit]
    size = torch.tensor(placement.size, dtype=torch.float64)
    assert inside(shape, placement.to_own(o + d * t[:, None]) / size).abs().max() < 1e-6
    for share in (0.2, 0.6, 0.95):
        assert (inside(shape, placement.to_own(o + d * (share * t)[:, None]) / size) > 0).all()
    assert torch.allclose(normal[hit].norm(dim=-1), torch.ones_like(t))
    assert ((normal[hit] * d).sum(-1) < 1e-9).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ray_that_misses_never_enters(shape):
    origins, directions = rays(300, seed=2)
    shifted = origins + torch.tensor([1.2, 0.0, 0.0], dtype=torch.float64)
    distance, _ = intersect(shape, HOME, shifted, directions)
    miss = torch.isinf(distance)
    along = torch.linspace(0, 6, 200, dtype=torch.float64)
    points = shifted[miss][:, None] + directions[miss][:, None] * along[:, None]
    assert miss.any()
    assert (inside(shape, points) > -1e-9).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_from_within_the_far_wall_is_met(shape):
    eye = torch.tensor([[0.0, 0.0, -0.5]])
    distance, _ = intersect(shape, HOME, eye, torch.tensor([[1.0, 0.0, 0.0]]))
    expected = {Ball: math.sqrt(0.75), Block: 1.0, Cylinder: 1.0, Cone: 0.75}[type(shape)]
    assert distance.item() == pytest.approx(expected, abs=1e-5)
