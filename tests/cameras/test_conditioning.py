"""Cameras as numbers: lines are lines whichever point of them is taken, and numbers give the camera back."""

import pytest
import torch

from diorama.cameras.conditioning import (
    fundamental_matrices,
    pluecker_rays,
    pose_numbers,
    relative_intrinsics,
    world_to_camera,
)
from diorama.cameras.rays import camera_rays
from diorama.errors import CameraError
from tests.data.tiny import ring


def doubles(**options):
    return ring(4, **options).to(torch.float64)


def test_moments_are_orthogonal_to_directions_and_directions_are_units():
    direction, moment = pluecker_rays(doubles()).split(3, dim=1)
    assert float((direction * moment).sum(1).abs().max()) < 1e-12
    assert torch.allclose(direction.norm(dim=1), torch.ones(4, 16, 24, dtype=torch.float64))


@pytest.mark.parametrize("lens", ["pinhole", "opencv", "fisheye"])
def test_a_moment_is_that_of_every_point_on_the_ray_through_the_pixel_centre(lens, rng):
    cameras = doubles(lens=lens)
    numbers = pluecker_rays(cameras)
    x, y = 5, 11
    rays = camera_rays(cameras, torch.tensor([[x + 0.5, y + 0.5]], dtype=torch.float64))
    points = rays.at(10 * torch.rand(4, 1, generator=rng, dtype=torch.float64))[:, 0]
    direction, moment = numbers[:, :3, y, x], numbers[:, 3:, y, x]
    assert torch.allclose(torch.linalg.cross(points, direction), moment, atol=1e-12)
    pixel, depth = cameras.project(points[:, None])
    assert torch.allclose(pixel[:, 0], torch.tensor([x + 0.5, y + 0.5], dtype=torch.float64), atol=1e-6)
    assert bool((depth > 0).all())


def test_rays_at_half_the_resolution_pass_between_four_rays():
    cameras = doubles()
    whole, half = pluecker_rays(cameras), pluecker_rays(cameras, 12, 8)
    assert half.shape == (4, 6, 8, 12)
    x, y = torch.tensor(3), torch.tensor(5)
    flat = whole[:, :3] / (whole[:, :3] * cameras.axes[:, :, None, None]).sum(1, keepdim=True)
    mean = flat[:, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((2, 3))
    assert torch.allclose(torch.nn.functional.normalize(mean, dim=1), half[:, :3, y, x], atol=1e-12)


def test_numbers_give_the_camera_back_at_any_resolution():
    cameras = doubles()
    numbers = pose_numbers(cameras)
    assert numbers.shape == (4, 16)
    assert torch.equal(numbers[:, :12].reshape(4, 3, 4), cameras.camera_to_world[:, :3])
    sides = cameras.size.double()
    assert torch.allclose(numbers[:, 12:14] * sides, cameras.focal)
    assert torch.allclose(numbers[:, 14:] * sides, cameras.centre)
    assert torch.allclose(pose_numbers(cameras.resize(48, 32)), numbers)
    assert torch.equal(relative_intrinsics(cameras), numbers[:, 12:])


def test_world_to_camera_takes_points_into_the_camera(rng):
    cameras = doubles()
    points = torch.randn(4, 7, 3, generator=rng, dtype=torch.float64)
    matrix = world_to_camera(cameras)
    local = points @ matrix[:, :, :3].mT + matrix[:, None, :, 3]
    assert torch.allclose(local, cameras.to_local(points), atol=1e-12)


def test_any_batch_shape_is_kept():
    cameras = doubles()
    several = type(cameras).pinhole(
        *(getattr(cameras, name).unflatten(0, (2, 2)) for name in ("camera_to_world", "focal", "centre", "size"))
    )
    assert torch.equal(pluecker_rays(several), pluecker_rays(cameras).unflatten(0, (2, 2)))
    assert torch.equal(pose_numbers(several), pose_numbers(cameras).unflatten(0, (2, 2)))


def test_rays_of_different_sizes_ask_for_one():
    cameras = doubles()
    cameras.size[0] += 1
    with pytest.raises(CameraError, match="width and height"):
        pluecker_rays(cameras)


def test_what_two_views_show_of_a_point_satisfies_their_fundamental_matrix_and_nothing_else_does(rng):
    cameras = doubles()
    matrices = fundamental_matrices(world_to_camera(cameras), relative_intrinsics(cameras))
    points = 0.5 * torch.randn(20, 3, generator=rng, dtype=torch.float64)
    shares = cameras.project(points)[0] / cameras.size[:, None]
    places = torch.cat([shares, torch.ones(4, 20, 1, dtype=torch.float64)], dim=-1)
    for a, b in ((0, 1), (1, 0), (2, 0), (3, 1)):
        products = torch.einsum("qi,ij,pj->qp", places[b], matrices[a, b], places[a])
        assert float(products.diagonal().abs().max()) < 1e-6, "the poses are rotations up to float32"
        assert float(products.abs().median()) > 1e-3


def test_views_from_one_place_have_no_fundamental_matrix():
    cameras = doubles()
    outside, inside = world_to_camera(cameras), relative_intrinsics(cameras)
    matrices = fundamental_matrices(outside.float(), inside.float())
    assert torch.equal(matrices.diagonal(dim1=0, dim2=1), torch.zeros(3, 3, 4).double())
    turned = outside[:1].clone()
    turned[0] = torch.tensor([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=torch.float64) @ turned[0]
    pair = fundamental_matrices(torch.cat([outside[:1], turned]), inside[:2])
    assert torch.equal(pair, torch.zeros_like(pair))
