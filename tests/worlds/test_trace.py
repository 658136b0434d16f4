"""Photographs of a world are exact: pixels, depth and poses belong to one another."""

import math

import torch

from diorama.cameras.rays import camera_rays
from diorama.worlds.builtin import FOCUS, cameras_around, table_top
from diorama.worlds.shapes import Ball, Block, Placement
from diorama.worlds.textures import Checker
from diorama.worlds.trace import Light, Solid, World, first_hits, photograph, trace

GREY = Checker((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_depth_is_planar_and_exact():
    """A wall square to the optical axis has one planar depth, whatever the pixel."""
    cameras = cameras_around((0.0,), width=16, height=12, elevation=0.0)
    wall = World((Solid(Block(), Placement((0.0, 1.0, 0.0), (50.0, 0.1, 50.0)), GREY),))
    views = photograph(wall, cameras, samples=1)
    assert torch.allclose(views.depth, torch.full_like(views.depth, 2.0 + 0.9), atol=1e-4)


def test_two_photographs_show_the_same_colour_of_a_matt_point():
    world = World(table_top().solids[1:2], Light(clouds=0.0, haze=math.inf))
    matt = World(tuple(Solid(s.shape, s.placement, s.texture) for s in world.solids), world.light)
    cameras = cameras_around((-20.0, 20.0), width=48, height=36)
    pixels = (torch.rand(2, 60, 2, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.4) * torch.tensor([48.0, 36.0])
    rays = camera_rays(cameras, pixels)
    distance, _, _ = first_hits(matt, rays.origins[0], rays.directions[0])
    points = (rays.origins[0] + rays.directions[0] * distance[:, None])[torch.isfinite(distance)]
    colours = []
    for origin in cameras.origins:
        directions = torch.nn.functional.normalize(points - origin, dim=-1)
        colours.append(trace(matt, origin.expand_as(points), directions).colour)
    assert len(points) > 20
    assert (colours[0] - colours[1]).abs().median() < 1e-3


def test_a_shadow_lies_opposite_the_sun():
    light = Light(towards_sun=(1.0, 0.0, 1.0), sun_radius=0.0, clouds=0.0, haze=math.inf)
    ground = Solid(Block(), Placement((0.0, 0.0, -0.1), (20.0, 20.0, 0.1)), GREY)
    ball = Solid(Ball(), Placement((0.0, 0.0, 0.5), (0.3, 0.3, 0.3)), GREY)
    eye, down = torch.tensor([[-0.5, 0.0, 9.0], [0.5, 0.0, 9.0]]), torch.tensor([[0.0, 0.0, -1.0]]).expand(2, 3)
    shade, sun = trace(World((ground, ball), light), eye, down).colour.mean(-1)
    assert shade < 0.7 * sun


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
