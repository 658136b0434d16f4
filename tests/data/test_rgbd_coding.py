"""Spec of DiffusioNeRF, section 9, test 2: the coding of depth."""

import math

import pytest
import torch

from diorama.cameras.pinhole import pixel_grid
from diorama.cameras.rays import camera_rays
from diorama.data.rgbd_coding import decode_rgbd, encode_rgbd, to_depth, to_disparity
from tests.oracles import ring_cameras


def test_spec_02_disparity_of_the_named_depths():
    depth = torch.tensor([[0.1, 0.2, 0.4, 2.0, math.inf]])
    assert to_disparity(depth)[0].tolist() == pytest.approx([1.0, 1.0, 0.5, 0.1, 0.0])


def test_spec_02_depth_comes_back_from_the_floor_on(rng):
    depth = 0.2 + 20.0 * torch.rand(5, 7, generator=rng, dtype=torch.float64)
    torch.testing.assert_close(to_depth(to_disparity(depth)), depth)
    assert to_depth(to_disparity(torch.full((1, 1), math.inf))).item() == math.inf


def test_spec_02_planar_depth_is_the_distance_times_the_rays_cosine(rng):
    camera = ring_cameras(1)[0]
    rays = camera_rays(camera, pixel_grid(64, 48).reshape(-1, 2))
    depth = 1.0 + torch.rand(len(rays), generator=rng)
    points = rays.at(depth / rays.cosine)
    torch.testing.assert_close(camera.project(points)[1], depth)


def test_a_patch_comes_back_from_its_coding(rng):
    colour, depth = torch.rand(2, 3, 4, 5, generator=rng), 0.3 + torch.rand(2, 4, 5, generator=rng)
    patch = encode_rgbd(colour, depth)
    assert patch.min() >= -1
    assert patch.max() <= 1
    back = decode_rgbd(patch)
    torch.testing.assert_close(back[0], colour)
    torch.testing.assert_close(back[1], depth)


def test_the_slope_of_the_coding_is_minus_point_four_over_depth_squared():
    depth = torch.tensor([[0.5, 1.0, 2.0, 4.0]], dtype=torch.float64, requires_grad=True)
    encode_rgbd(torch.zeros(3, 1, 4, dtype=torch.float64), depth)[3].sum().backward()
    torch.testing.assert_close(depth.grad, -0.4 / depth.detach().square())
