"""Tri-planes of several views: where a point is read, what views have to say of it, and a model that stands on them."""

import json
import math
from dataclasses import replace

import pytest
import torch

from diorama.diffusion.samplers import noise_from_seeds
from diorama.fields.build import build_planes, planes_of_maps
from diorama.fields.ib_planes import Planes
from diorama.fields.sampled_planes import SampledPlanes, SampledPlanesConfig
from diorama.fields.tri_planes import AXES, TriPlaneField, TriPlanesConfig, read_planes, unit_place
from diorama.scenes.config import from_json, to_json
from diorama.systems.gibr import GIBR, GIBRSampling, GIBRTraining, sample, training_loss
from tests.fields.test_ib_planes import around, gap, picked
from tests.systems.drawn import TINY, balls, given_first

CONFIG = TriPlanesConfig(channels=4, hidden=16, octaves=3)
POOLS = ["max", "mean", "softmax"]


def field_of(config=CONFIG, seed=0):
    torch.manual_seed(seed)
    field = TriPlaneField(config)
    torch.nn.init.normal_(field.nothing)
    return field


def planes_of(views, config=CONFIG, *, side=8, seed=0):
    """Random maps of unit variance of one scene; the polar maps of these tests have no channels."""
    rng = torch.Generator().manual_seed(seed)
    return Planes(
        torch.randn(1, views, config.maps, side, side, generator=rng), torch.zeros(1, views, 0, 1, 1),
        torch.eye(3, 4).expand(1, views, -1, -1), torch.ones(1, views, 4), torch.ones(1, views, dtype=torch.bool),
    )  # fmt: skip


def test_planes_of_coordinates_say_where_a_point_is(rng):
    side, inner = 16, 0.9
    steps = (torch.arange(side) + 0.5) / side * 2 - 1
    down, along = torch.meshgrid(steps, steps, indexing="ij")
    maps = torch.zeros(1, 1, 3, 3, side, side)
    for plane, (first, second) in enumerate(AXES):
        maps[0, 0, plane, first], maps[0, 0, plane, second] = along, down
    place = inner * (2 * torch.rand(1, 200, 3, generator=rng) - 1)
    assert gap(read_planes(maps.flatten(2, 3), place)[0, 0], 2 * place[0]) < 1e-5, "each axis lies in two planes"


def test_around_the_look_at_point_space_is_linear_and_all_the_rest_is_inside_the_planes_too(rng):
    near = torch.nn.functional.normalize(torch.randn(1, 100, 3, generator=rng), dim=-1)
    middle = torch.tensor([0.0, 0.0, 1.0])
    assert gap(unit_place(0.7 * near + middle, CONFIG), 0.35 * near) < 1e-6
    wide = replace(CONFIG, radius=2.0)
    assert gap(unit_place(1.4 * near + middle, wide), unit_place(0.7 * near + middle, CONFIG)) < 1e-6
    far = unit_place(1e6 * near, CONFIG)
    assert float(far.norm(dim=-1).amax()) <= 1.0
    assert gap(far, near) < 1e-3, "directions are told apart however far a point is"


def test_cameras_decide_nothing_and_maps_everything(rng):
    field, planes, points = field_of(), planes_of(3), around(100, rng)
    moved = replace(planes, world_to_camera=torch.randn(1, 3, 3, 4, generator=rng))
    density, colour = field(planes, points)
    assert torch.equal(field(moved, points)[0], density)
    assert gap(field(planes_of(3, seed=1), points)[1], colour) > 1e-3


@pytest.mark.parametrize("pool", POOLS)
def test_the_order_of_the_views_does_not_matter(pool, rng):
    field, planes = field_of(replace(CONFIG, pool=pool)), planes_of(5)
    points, order = around(200, rng), torch.tensor([3, 0, 4, 2, 1])
    keep = torch.rand(1, 5, 200, generator=rng) < 0.7
    one, other = field(planes, points, keep), field(picked(planes, order), points, keep[:, order])
    for a, b in zip(one, other, strict=True):
        assert gap(a, b) < 1e-6
    twice = picked(planes, torch.tensor([0, 1, 2, 3, 4, 4]))
    assert torch.equal(field(twice, points)[0], field(planes, points)[0]) == (pool == "max")


@pytest.mark.parametrize("pool", POOLS)
def test_absent_views_have_no_say_whatever_they_hold(pool, rng):
    field, planes, points = field_of(replace(CONFIG, pool=pool)), planes_of(5), around(100, rng)
    planes.perspective[:, 3:] = math.nan
    padded = replace(planes, present=torch.arange(5)[None] < 3)
    density, colour = field(padded, points)
    alone = field(picked(planes, torch.arange(3)), points)
    assert gap(density, alone[0]) < 1e-5
    assert gap(colour, alone[1]) < 1e-5
    (density.sum() + colour.sum()).backward()
    assert all(bool(one.grad.isfinite().all()) for one in field.parameters() if one.grad is not None)


def test_planes_that_are_left_out_for_a_ray_have_neither_a_say_nor_a_gradient(rng):
    field, planes, points = field_of(), planes_of(3), around(200, rng)
    keep = torch.ones(1, 3, 200, dtype=torch.bool)
    keep[:, 1] = False
    maps = planes.perspective.requires_grad_()
    density, colour = field(planes, points, keep)
    (gradient,) = torch.autograd.grad(density.sum() + colour.sum(), maps)
    assert float(gradient[:, 1].abs().amax()) == 0.0
    assert float(gradient[:, [0, 2]].abs().amax(dim=(2, 3, 4)).amin()) > 0.0
    huge = maps.detach().clone()
    huge[:, 1] = 1e30
    assert torch.equal(field(replace(planes, perspective=huge), points, keep)[0], density)


@pytest.mark.parametrize("pool", POOLS)
def test_where_no_view_is_kept_the_field_is_a_constant(pool, rng):
    field, planes, points = field_of(replace(CONFIG, pool=pool)), planes_of(3), around(50, rng)
    density, colour = field(planes, points, torch.zeros(1, 3, 50, dtype=torch.bool))
    assert gap(density, density[0, 0].expand_as(density)) == 0.0
    assert gap(colour, colour[0, 0].expand_as(colour)) == 0.0


def test_a_map_goes_to_the_field_whole(rng):
    maps = torch.randn(2, 3, CONFIG.maps, 8, 8, generator=rng)
    perspective, polar = planes_of_maps(maps, CONFIG)
    assert perspective is maps
    assert polar is None
    assert isinstance(build_planes(CONFIG), TriPlaneField)


# A model -------------------------------------------------------------------------------------------------------------

MODEL = replace(TINY, planes=TriPlanesConfig(channels=8, hidden=32))
"""As large a network as with IB-planes."""


def test_a_model_on_tri_planes_learns_is_sampled_and_comes_back_from_its_folder(tmp_path):
    views, training = balls(2, 4), GIBRTraining(rays=32)
    torch.manual_seed(0)
    model = GIBR(MODEL)
    losses = training_loss(model, views, MODEL, training, torch.Generator().manual_seed(0))
    sum(losses.values()).backward()
    assert all(bool(one.grad.isfinite().all()) for one in model.parameters() if one.grad is not None)
    assert float(model.network.head[-1].weight.grad.abs().amax()) > 0
    model.save_pretrained(tmp_path / "model")
    again = GIBR.from_pretrained(tmp_path / "model")
    assert again.config == MODEL
    quick = GIBRSampling(steps=2, coarse=4, fine=4)
    first, given = views.first(3), given_first(views.first(3), 1, 1)
    drawn = [sample(one.eval(), first, given, noise_from_seeds([0, 1]), quick) for one in (model, again)]
    assert torch.equal(drawn[0].images, drawn[1].images)
    assert drawn[0].planes.polar is None


def test_a_sampled_scene_of_tri_planes_is_built_again_from_its_settings(rng):
    field, planes, points = field_of(), replace(planes_of(3), polar=None), around(100, rng)
    scene = SampledPlanes.of(planes, field, half=False)
    back = SampledPlanes(from_json(SampledPlanesConfig, json.loads(json.dumps(to_json(scene.config)))))
    assert back.config == scene.config
    assert isinstance(back.config.planes, TriPlanesConfig)
    back.load_state_dict(scene.state_dict())
    with torch.no_grad():
        for one in (scene, back):
            torch.testing.assert_close(one.density(points[0]), field(planes, points)[0][0])
