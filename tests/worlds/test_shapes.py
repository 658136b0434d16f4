"""Rays meet solids where closed forms say, and both twins agree."""

import math

import numpy as np
import pytest
import torch

from diorama.worlds import shapes
from diorama.worlds.boxes_numba import distance_at
from diorama.worlds.render_numba import solid_rows
from diorama.worlds.scene import SHAPE_COLUMNS
from diorama.worlds.shapes import first_hit, normals, signed_distance
from diorama.worlds.shapes_numba import normal_at
from tests.worlds.made_up import HEIGHTS, SAMPLES, one_solid


def rays(count, reach=1.0, seed=0):
    """From a sphere about the solid towards points within it."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)
    targets = torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5
    return 4 * reach * origins, torch.nn.functional.normalize(targets * 0.6 * reach - 4 * reach * origins, dim=-1)


def inside(name, q, size, params):
    """Negative inside a closed form, zero on it."""
    u = q / size
    x, y, z = u.unbind(-1)
    match name:
        case "block":
            return u.abs().amax(-1) - 1
        case "ball":
            return u.norm(dim=-1) - 1
        case "cylinder" | "cone":
            top = params[0]
            wide = 0.5 * (1 + top) - 0.5 * (1 - top) * z
            return torch.maximum(torch.hypot(x, y) - wide, z.abs() - 1)
        case "bevelled":
            pairs = torch.stack([q.abs()[..., i] + q.abs()[..., j] - size[i] - size[j] + params[0]
                                 for i, j in ((0, 1), (0, 2), (1, 2))])  # fmt: skip
            return torch.maximum((q.abs() - size).amax(-1), pairs.amax(0))
        case "gable":
            return torch.stack([x.abs() - 1, -z - 1, y.abs() + 0.5 * (z + 1) - 1]).amax(0)
    shape = SAMPLES[name][0]
    count = len(q)
    return signed_distance(shape, q, size.expand(count, 3), params.expand(count, -1), HEIGHTS)


def row(name):
    shape, size, params = SAMPLES[name]
    columns = torch.zeros(SHAPE_COLUMNS, dtype=torch.float64)
    columns[: len(params)] = torch.tensor(params, dtype=torch.float64)
    return shape, torch.tensor(size, dtype=torch.float64), columns


@pytest.mark.parametrize("name", SAMPLES)
def test_the_first_hit_lies_on_the_surface_and_nothing_lies_before_it(name):
    shape, size, params = row(name)
    o, d = rays(200, float(size.max()))
    t = first_hit(shape, o, d, size.expand(200, 3), params.expand(200, -1), HEIGHTS)
    hit = torch.isfinite(t)
    assert hit.float().mean() > 0.1
    o, d, t = o[hit], d[hit], t[hit, None]
    off = inside(name, o + t * d, size, params).abs()
    assert off.quantile(0.98) < 1e-5 * size.max()
    assert off.max() < 0.05 * size.min()  # rays that graze may stop short of it
    for share in (0.2, 0.6, 0.9, 0.99):
        assert (inside(name, o + share * t * d, size, params) > 0).all()


@pytest.mark.parametrize("name", SAMPLES)
def test_a_miss_never_comes_near_the_inside(name):
    shape, size, params = row(name)
    o, d = rays(200, float(size.max()), seed=1)
    t = first_hit(shape, o, d, size.expand(200, 3), params.expand(200, -1), HEIGHTS)
    miss = torch.isinf(t)
    for along in torch.linspace(2.0, 6.0, 60, dtype=torch.float64) * float(size.max()):
        depth = inside(name, (o + along * d)[miss], size, params)
        assert not len(depth) or depth.min() > -0.01 * size.min()


@pytest.mark.parametrize("name", SAMPLES)
def test_normals_are_units_that_point_out(name):
    shape, size, params = row(name)
    o, d = rays(300, float(size.max()), seed=2)
    t = first_hit(shape, o, d, size.expand(300, 3), params.expand(300, -1), HEIGHTS)
    hit = torch.isfinite(t)
    q = (o + t[:, None] * d)[hit]
    n = normals(shape, q, size.expand(len(q), 3), params.expand(len(q), -1), HEIGHTS)
    assert torch.allclose(n.norm(dim=-1), torch.ones(len(q), dtype=torch.float64))
    step = 0.003 * size.min()
    out, back = inside(name, q + step * n, size, params), inside(name, q - step * n, size, params)
    assert (out > back).all()
    assert (out > 0).float().mean() > 0.98
    assert (back < 0).float().mean() > 0.98


@pytest.mark.parametrize("name", [name for name in SAMPLES if SAMPLES[name][0] >= shapes.FIRST_MARCHED])
def test_a_signed_distance_never_overstates_the_way_to_the_surface(name):
    shape, size, params = row(name)
    o, d = rays(300, float(size.max()), seed=3)
    t = first_hit(shape, o, d, size.expand(300, 3), params.expand(300, -1), HEIGHTS)
    hit = torch.isfinite(t)
    o, d, t = o[hit], d[hit], t[hit]
    for share in (0.7, 0.85, 0.95):
        stated = inside(name, o + (share * t)[:, None] * d, size, params)
        assert (stated <= (1 - share) * t * 1.05 + 1e-9).all()


@pytest.mark.parametrize("name", SAMPLES)
def test_the_twins_agree_on_hits_and_normals(name):
    shape, size, params = row(name)
    world = one_solid(name).to(torch.float64)
    table, heights = solid_rows(world), HEIGHTS.numpy()
    o, d = rays(200, float(size.max()), seed=4)
    slow = first_hit(shape, o, d, size.expand(200, 3), params.expand(200, -1), HEIGHTS).numpy()
    fast = np.array([distance_at(table, heights, 0, *a, *b) for a, b in zip(o.tolist(), d.tolist(), strict=True)])
    assert (np.isinf(slow) == np.isinf(fast)).mean() > 0.99
    both = np.isfinite(slow) & np.isfinite(fast)
    both[both] = np.abs(slow[both] - fast[both]) < 1e-5 * float(size.max())
    assert both.sum() > 0.98 * np.isfinite(slow).sum()  # what is seen edge on may fall either way
    q = (o + torch.from_numpy(slow)[:, None] * d)[torch.from_numpy(both)]
    one = normals(shape, q, size.expand(len(q), 3), params.expand(len(q), -1), HEIGHTS)
    two = torch.tensor([normal_at(shape, 0, *point, table, heights) for point in q.tolist()], dtype=torch.float64)
    assert ((one * two).sum(-1) > 0.9999).float().mean() > 0.98


def test_from_inside_a_closed_form_the_way_out_counts():
    o, d = torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 1.0]])
    size, params = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, SHAPE_COLUMNS)
    for shape in (shapes.BLOCK, shapes.BALL, shapes.FRUSTUM):
        assert first_hit(shape, o, d, size, params, HEIGHTS).item() == pytest.approx(3.0)


def test_a_flat_height_field_is_a_plane():
    flat = torch.full((1, 9, 9), 0.75, dtype=torch.float64)
    o, d = torch.tensor([[0.3, -0.2, 5.0]]).double(), torch.tensor([[0.0, 0.0, -1.0]]).double()
    params = torch.zeros(1, SHAPE_COLUMNS, dtype=torch.float64)
    t = first_hit(shapes.HEIGHTS, o, d, torch.ones(1, 3, dtype=torch.float64), params, flat)
    assert t.item() == pytest.approx(4.5, abs=1e-9)


def test_a_cushion_of_exponent_two_is_a_ball():
    o, d = rays(100)
    size = torch.ones(100, 3, dtype=torch.float64)
    params = torch.full((100, SHAPE_COLUMNS), 2.0, dtype=torch.float64)
    ball = first_hit(shapes.BALL, o, d, size, params, HEIGHTS)
    cushion = first_hit(shapes.CUSHION, o, d, size, params, HEIGHTS)
    assert torch.allclose(ball, cushion, atol=1e-6)
    assert math.isfinite(float(ball.min()))
