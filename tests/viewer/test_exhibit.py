"""The viewer's world keeps directions, and comes back to the user's numbers."""

import math
from dataclasses import replace

import pytest
import torch

from diorama.viewer.exhibit import (
    DISTANCE,
    Exhibit,
    depth_range,
    vertical_fov,
    window,
    world_of,
)
from tests.oracles import CENTRE, exact_rendering, ring_cameras


def exhibit(cameras, **details):
    return Exhibit("oracle", exact_rendering, cameras, **details)


def moved(cameras, scale, shift):
    pose = cameras.camera_to_world.double().clone()
    pose[..., :3, 3] = pose[..., :3, 3] * scale + torch.tensor(shift).double()
    return replace(cameras, camera_to_world=pose)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, [0.0, 0, 0]), (1e-3, [5.0, 0, 1]), (700.0, [4e5, 5e6, 0])])
def test_every_scene_looks_alike_whatever_its_units(scale, shift):
    world = world_of(exhibit(moved(ring_cameras(6), scale, shift)))
    centre = torch.tensor(CENTRE).double() * scale + torch.tensor(shift).double()
    assert world.to_viewer(centre).norm() < 1e-2 * DISTANCE
    eye = moved(ring_cameras(6), scale, shift).origins[0]
    assert float(world.to_viewer(eye).norm()) == pytest.approx(DISTANCE, rel=1e-2)
    torch.testing.assert_close(world.to_user(world.to_viewer(centre)), centre)
    assert world.up[2] > 0.99


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_cameras_make_a_world(count):
    for limits in ({}, {"near": 1.0, "far": 9.0}):
        world = world_of(exhibit(ring_cameras(count), **limits))
        assert torch.isfinite(world.origin).all()
        assert 0.5 < DISTANCE / world.scale < 20


def test_cameras_that_look_outwards_or_stand_in_one_place_make_a_world():
    ring = ring_cameras(6)
    turned = ring.camera_to_world.clone()
    turned[:, :3, 0] *= -1
    turned[:, :3, 2] *= -1
    for cameras in (replace(ring, camera_to_world=turned), ring[torch.zeros(4, dtype=torch.long)]):
        for limits in ({}, {"near": 0.5, "far": 4.0}):
            world = world_of(exhibit(cameras, **limits))
            assert torch.isfinite(world.origin).all()
            assert 0 < world.scale < float("inf")


def test_a_window_at_a_photograph_sees_the_photograph():
    cameras = ring_cameras(4, width=64, height=48)
    world = world_of(exhibit(cameras))
    fov, aspect = vertical_fov(cameras[2])
    pose = cameras.camera_to_world[2].double()
    seen = window(world, world.to_viewer(pose[:3, 3]), pose[:3, :3], fov=fov, aspect=aspect, width=64, height=48)
    torch.testing.assert_close(seen.focal, cameras[2:3].focal)
    torch.testing.assert_close(seen.camera_to_world, cameras[2:3].camera_to_world, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(exact_rendering(seen).colour, exact_rendering(cameras[2:3]).colour, atol=1e-3, rtol=0)


def test_pictures_of_any_size_cover_the_same_window():
    cameras = ring_cameras(4)
    world = world_of(exhibit(cameras))
    pose = cameras.camera_to_world[0].double()
    corners = []
    for width, height in ((64, 36), (91, 50)):
        seen = window(world, torch.ones(3), pose[:3, :3], fov=0.7, aspect=16 / 9, width=width, height=height)
        corners.append(seen.unproject(torch.tensor([[[0.0, 0.0], [width, height]]])))
    torch.testing.assert_close(corners[0], corners[1])
    assert corners[0][0, 1, 1] == pytest.approx(math.tan(0.35))


def test_false_colours_run_between_near_and_far():
    cameras = ring_cameras(5)
    assert depth_range(exhibit(cameras, near=1.0, far=6.0), world_of(exhibit(cameras))) == (1.0, 6.0)
    near, far = depth_range(exhibit(cameras), world_of(exhibit(cameras)))
    assert 0 < near < 2.5 < far
    near, far = depth_range(exhibit(cameras, near=5.0, far=1.0), world_of(exhibit(cameras)))
    assert near < far
