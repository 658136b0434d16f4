"""One seed is one world; every world can be photographed and is worth it."""

from dataclasses import fields
from random import Random
from typing import get_args

import pytest
import torch

from diorama.worlds.cameras import sample_cameras
from diorama.worlds.draft import Draft, rotation_of
from diorama.worlds.heights import CELLS, height_at, rough_table, steepest
from diorama.worlds.layouts import Kind, make_world
from diorama.worlds.scene import SUN
from diorama.worlds.shapes import BLOCK, HEIGHTS, first_hit
from diorama.worlds.trace import render_world, render_world_torch

KINDS = get_args(Kind)


def parts(world):
    for group in (world.solids, world.materials, world.lights, world.sky):
        for field in fields(group):
            yield f"{type(group).__name__}.{field.name}", getattr(group, field.name)


def seen(world, count=2, width=32, height=24):
    generator = torch.Generator().manual_seed(7)
    cameras = sample_cameras(world, count, generator, width=width, height=height, focal=28.0)
    return cameras, render_world(world, cameras)


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_is_one_world_and_another_seed_another(kind):
    one, two, other = make_world(kind, 5), make_world(kind, 5), make_world(kind, 6)
    for (name, a), (_, b) in zip(parts(one), parts(two), strict=True):
        assert torch.equal(a, b), name
    assert torch.equal(one.heights, two.heights)
    assert one.solids.centre.shape != other.solids.centre.shape or not torch.equal(
        one.solids.centre, other.solids.centre
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_every_world_is_whole_and_can_be_photographed(kind, seed):
    world = make_world(kind, seed)
    solids = world.solids
    for name, value in parts(world):
        assert not torch.isnan(value.double()).any(), name
    assert (solids.size > 0).all()
    assert solids.material.max() < len(world.materials)
    eye = torch.eye(3).expand_as(solids.rotation)
    assert torch.allclose(solids.rotation @ solids.rotation.mT, eye, atol=1e-5)
    suns = world.lights.place[world.lights.kind == SUN]
    assert torch.allclose(suns.norm(dim=-1), torch.ones(len(suns)), atol=1e-5)
    _, picture = seen(world)
    assert torch.isfinite(picture.colour).all()
    assert (picture.colour >= 0).all()
    assert picture.colour.mean() > 1e-3
    assert (picture.depth > 0).all()
    assert torch.isfinite(picture.depth).float().mean() > 0.2
    assert (torch.isinf(picture.depth) == (picture.instance < 0)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_both_twins_draw_the_same_world(kind):
    world = make_world(kind, 3)
    cameras, fast = seen(world, count=1, width=20, height=15)
    slow = render_world_torch(world, cameras)
    assert (fast.instance == slow.instance).float().mean() > 0.98
    apart = (fast.colour - slow.colour).abs().amax(1) / (slow.colour.mean() + slow.colour.amax(1))
    assert apart.median() < 1e-4
    assert (apart > 0.01).float().mean() < 0.03


@pytest.mark.parametrize("kind", ["room", "workshop"])
def test_from_inside_a_room_no_ray_slips_between_walls(kind):
    """What is not a window is a wall: only openings show the sky."""
    world = make_world(kind, 2)
    _, picture = seen(world, count=6)
    assert torch.isinf(picture.depth).float().mean() < 0.5
    assert picture.depth[torch.isfinite(picture.depth)].max() < 15


def test_photos_hang_in_some_worlds():
    photos = torch.rand(4, 16, 16, 3, generator=torch.Generator().manual_seed(0))
    world = make_world("room", 1, photos=photos)
    assert world.photos is not None
    _, picture = seen(world)
    assert torch.isfinite(picture.colour).all()


def test_a_thing_places_its_parts_in_its_own_frame():
    draft = Draft()
    thing = draft.thing(1.0, 2.0, 0.5, torch.pi / 2)
    thing.add(BLOCK, (1.0, 0.0, 0.0), (0.1, 0.2, 0.3), 0)
    inner = thing.part(0.0, 1.0, 0.0)
    assert draft.solids[0][1] == pytest.approx((1.0, 3.0, 0.5))
    assert inner.place == pytest.approx((0.0, 2.0, 0.5))
    assert (thing.number, inner.number) == (0, 1)


def test_rotations_compose_tilt_then_lean_then_turn():
    quarter = torch.pi / 2
    turned = torch.tensor(rotation_of(quarter, quarter, 0.0)) @ torch.tensor([0.0, 0.0, 1.0])
    assert torch.allclose(turned, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)


def test_the_height_of_a_table_is_where_rays_meet_it():
    table = (0.1 * rough_table(torch.Generator().manual_seed(1)) + 0.5).clamp(0, 1)
    size, dice = (5.0, 4.0, 1.0), Random(0)
    params = torch.zeros(1, 16, dtype=torch.float64)
    params[0, 1] = steepest(table, size)
    down, half = torch.tensor([[0.0, 0.0, -1.0]]).double(), torch.tensor([size]).double()
    for _ in range(20):
        x, y = dice.uniform(-4.5, 4.5), dice.uniform(-3.5, 3.5)
        above = torch.tensor([[x, y, 3.0]]).double()
        met = 3.0 - float(first_hit(HEIGHTS, above, down, half, params, table[None].double()))
        assert height_at(table, size, x, y) == pytest.approx(met, abs=0.05)
    assert table.shape == (CELLS, CELLS)
