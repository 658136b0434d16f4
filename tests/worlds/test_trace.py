"""Pictures of a world are exact: pixels, depth, light and poses belong to one another, and both twins draw the same."""

import math

import pytest
import torch

from diorama.cameras.rays import camera_rays
from diorama.errors import CameraError
from diorama.worlds.builtin import FOCUS, cameras_around, table_top
from diorama.worlds.draft import Draft
from diorama.worlds.shapes import BALL, BLOCK
from diorama.worlds.trace import (
    RenderConfig,
    first_hits,
    photograph,
    render_world,
    render_world_torch,
    sample_shifts,
)
from tests.worlds.made_up import HEIGHTS, SAMPLES, dark_sky, plain, stage


def floor(light, *, sky=None, more=(), materials=None):
    """A large grey floor whose top is z = 0, and what stands on it."""
    draft = Draft()
    draft.thing().add(BLOCK, (0.0, 0.0, -0.1), (20.0, 20.0, 0.1), 0)
    for shape, centre, size in more:
        draft.thing().add(shape, centre, size, 0)
    light(draft)
    return draft.world("floor", sky or dark_sky(), stage(), materials=materials or plain((0.5, 0.5, 0.5)))


def from_above(width=9, height=9):
    """A camera above the origin that looks straight down from 4 metres."""
    camera = cameras_around((0.0,), width=width, height=height, field_of_view=30.0)
    camera.camera_to_world[0, :3] = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 4.0]])
    return camera


def test_depth_is_planar_and_exact():
    """A wall square to the optical axis has one planar depth, whatever the pixel."""
    draft = Draft()
    draft.thing().add(BLOCK, (0.0, 1.0, 0.0), (50.0, 0.1, 50.0), 0)
    wall = draft.world("wall", dark_sky(), stage(), materials=plain((0.5, 0.5, 0.5)))
    seen = render_world(wall, cameras_around((0.0,), width=16, height=12, elevation=0.0))
    assert torch.allclose(seen.depth, torch.full_like(seen.depth, 2.0 + 0.9), atol=1e-5)
    towards = torch.tensor([0.0, -1.0, 0.0])[None, :, None, None].expand_as(seen.normal)
    assert torch.allclose(seen.normal, towards)
    assert (seen.instance == 0).all()


def test_sun_square_to_a_white_floor_gives_its_irradiance_over_pi():
    world = floor(lambda d: d.sun((0.0, 0.0, 1.0), 0.0, (2.0, 1.0, 0.5)))
    seen = render_world(world, from_above())
    expected = 0.5 * torch.tensor([2.0, 1.0, 0.5]) / math.pi
    assert torch.allclose(seen.colour[0, :, 4, 4], expected, rtol=1e-5)


def test_a_lamp_fades_with_the_square_of_its_distance():
    world = floor(lambda d: d.lamp((0.0, 0.0, 2.0), 0.0, (8.0, 8.0, 8.0)))
    seen = render_world(world, from_above(65, 65))
    assert seen.colour[0, 0, 32, 32].item() == pytest.approx(0.5 * 8 / (math.pi * 4), rel=1e-2)


def test_a_panel_gives_its_form_factor():
    """A square of half side a at height h over a point: parallel plates, four corners of each."""
    a, h = 0.5, 1.0
    world = floor(lambda d: d.panel((0.0, 0.0, h), (0.0, a, 0.0), (a, 0.0, 0.0), (1.0, 1.0, 1.0)))
    x = a / h
    factor = 4 * (2 / (2 * math.pi)) * (x / math.sqrt(1 + x * x)) * math.atan(x / math.sqrt(1 + x * x))
    seen = render_world(world, from_above(65, 65), RenderConfig(samples=16))
    assert seen.colour[0, 0, 32, 32].item() == pytest.approx(0.5 * factor, rel=0.02)


def test_under_an_even_sky_a_white_floor_is_as_bright_as_the_sky():
    world = floor(lambda d: None, sky=dark_sky(fill=1.0), materials=plain((1.0, 1.0, 1.0)))
    seen = render_world(world, from_above(16, 16))
    assert torch.allclose(seen.colour, torch.ones_like(seen.colour), atol=1e-4)


def test_a_corner_is_darker_than_the_open_floor():
    wall = (BLOCK, (0.7, 0.0, 1.0), (0.1, 3.0, 1.0))
    world = floor(lambda d: None, sky=dark_sky(fill=1.0), more=[wall])
    seen = render_world(world, from_above(33, 33)).colour[0, 0, 16]
    assert seen[25] < 0.8 * seen[2]


def test_a_shadow_lies_opposite_the_sun():
    ball = (BALL, (0.0, 0.0, 0.5), (0.3, 0.3, 0.3))
    world = floor(lambda d: d.sun((1.0, 0.0, 1.0), 0.0, (3.0, 3.0, 3.0)), more=[ball])
    eye, down = torch.tensor([[-0.5, 0.0, 9.0], [0.5, 0.0, 9.0]]), torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3)
    assert torch.allclose(first_hits(world, eye, down)[0], torch.full((2,), 9.0))
    seen = render_world(world, from_above(41, 41)).colour[0, 0, 20]
    left, right = (seen[20 - 9], seen[20 + 9])
    assert min(left, right) == 0
    assert max(left, right) == pytest.approx(0.5 * 3 * math.sqrt(0.5) / math.pi, rel=1e-4)


def test_soft_shadows_have_no_noise():
    ball = (BALL, (0.0, 0.0, 0.8), (0.3, 0.3, 0.3))
    world = floor(lambda d: d.lamp((1.2, 0.0, 3.0), 0.4, (20.0, 20.0, 20.0)), more=[ball])
    row = render_world(world, from_above(64, 64)).colour[0, 0, 32, :19]  # left of the ball: light, penumbra, umbra
    assert row.min() < 0.1 * row.max()
    assert (row[1:-1] - 0.5 * (row[2:] + row[:-2])).abs().max() < 0.05 * row.max()


def test_a_mirror_shows_the_other_side():
    """A floor that mirrors all shows the sky; straight down it shows the zenith."""
    world = floor(lambda d: None, sky=dark_sky(fill=1.0), materials=plain((0.0, 0.0, 0.0), mirror=0.6))
    seen = render_world(world, from_above())
    assert torch.allclose(seen.colour[0, :, 4, 4], torch.full((3,), 0.6), atol=0.01)


def test_both_twins_draw_the_same_picture_of_every_shape():
    draft = Draft()
    for index, (shape, size, params) in enumerate(SAMPLES.values()):
        place = (0.9 * (index % 6 - 2.5), 0.9 * (index // 6 - 1), 0.1)
        half = tuple(0.5 * each for each in size)
        small = tuple(0.5 * each for each in params) if shape in (5, 6, 7) else params
        draft.thing().add(shape, place, size if small is params else half, index % 2, params=small, turn=0.3, tilt=0.2)
    draft.thing().add(BLOCK, (0.0, 0.0, -0.9), (5.0, 5.0, 0.05), 0)
    draft.tables.append(HEIGHTS[0].float())
    draft.sun((0.3, -0.5, 0.8), 0.005, (2.0, 2.0, 2.0))
    draft.sun((-0.3, -0.5, 0.8), 0.05, (1.0, 1.0, 1.0))
    draft.lamp((1.0, -1.0, 1.5), 0.1, (2.0, 2.0, 2.0))
    draft.panel((-1.0, -1.0, 1.0), (0.3, 0.0, 0.0), (0.0, 0.2, 0.2), (4.0, 4.0, 4.0))
    paint = plain((0.6, 0.5, 0.4), (0.2, 0.5, 0.7), gloss=0.5, mirror=0.1)
    world = draft.world("all", dark_sky(fill=1.0, bounce=0.3), stage(), materials=paint)
    config = RenderConfig(samples=2, lit=1)
    camera = cameras_around((20.0,), width=36, height=20, radius=4.0, elevation=35.0, field_of_view=60.0)
    fast, slow = render_world(world, camera, config), render_world_torch(world.to(torch.float64), camera, config)
    assert len(fast.instance.unique()) == len(SAMPLES) + 1
    assert (fast.instance == slow.instance).float().mean() > 0.99
    met = torch.isfinite(fast.depth) & torch.isfinite(slow.depth)
    assert ((fast.depth - slow.depth)[met].abs() < 1e-4).float().mean() > 0.99
    apart = (fast.colour - slow.colour).abs().amax(1)
    assert apart.median() < 1e-5
    assert (apart > 5e-3).float().mean() < 0.02


def test_two_photographs_show_the_same_colour_of_a_matt_point():
    world = floor(
        lambda d: d.sun((0.3, 0.2, 1.0), 0.02, (3.0, 3.0, 3.0)), more=[(BLOCK, (0.0, 0.0, 0.1), (0.3, 0.2, 0.1))]
    )
    cameras = cameras_around((-20.0, 20.0), width=48, height=36)
    seen = render_world(world, cameras)
    pixels = (torch.rand(1, 60, 2, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.4) * torch.tensor([48.0, 36.0])
    pixels = pixels.floor() + 0.5
    rays = camera_rays(cameras[[0]], pixels)
    column, row = pixels[0].long().unbind(-1)
    points = rays.at(seen.depth[0, row, column] / rays.cosine)
    there, depth = cameras[[1]].project(points)
    x, y = there[0].floor().long().unbind(-1)
    visible = (seen.depth[1, y, x] - depth[0]).abs() < 0.02
    assert visible.sum() > 20
    apart = (seen.colour[0][:, row, column] - seen.colour[1][:, y, x]).abs().amax(0)[visible]
    assert apart.median() < 1e-3


def test_the_camera_looks_at_the_focus():
    cameras = cameras_around((-30.0, 0.0, 90.0), width=20, height=20)
    pixels, depth = cameras.project(torch.tensor(FOCUS).expand(3, 1, 3))
    assert torch.allclose(pixels, torch.full_like(pixels, 10.0), atol=1e-3)
    assert torch.allclose(depth, torch.full_like(depth, 2.0), atol=1e-4)


def test_the_table_top_has_sky_ground_and_contrast():
    views = photograph(table_top(), cameras_around((0.0, 30.0), width=48, height=36), samples=2)
    assert (views.depth == 0).any(), "some sky"
    assert (views.depth > 0).float().mean() > 0.8
    assert views.images.std() > 0.15
    assert views.images.min() >= 0
    assert views.images.max() <= 1
    assert views.frame.units == "metres"


@pytest.mark.parametrize("count", [1, 2, 4, 5, 9])
def test_samples_balance_about_the_pixel_centre(count):
    shifts = sample_shifts(count)
    assert shifts.shape == (count, 2)
    assert shifts.sum(0).abs().max() < 1e-12
    assert shifts.abs().max() <= 0.5


def test_a_lens_that_bends_light_is_refused():
    cameras = cameras_around((0.0,), width=8, height=8)
    cameras.distortion[:, 0] = 0.1
    with pytest.raises(CameraError, match="pinhole"):
        render_world(table_top(), cameras)
