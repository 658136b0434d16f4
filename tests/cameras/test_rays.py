import torch
from hypothesis import given

from diorama.cameras.pinhole import pixel_grid
from diorama.cameras.rays import camera_rays
from tests.cameras.made_up import cameras, few, lenses, seeds, uniform


@given(seeds, lenses)
@few
def test_points_along_a_ray_land_on_its_pixel_at_planar_depth_t_times_cosine(seed, lens):
    made = cameras(seed, 2, lens=lens, strength=0.5)
    pixels = uniform(seed + 9, 0, 1, 2, 30, 2) * made.size[:, None]
    rays = camera_rays(made, pixels)
    distance = uniform(seed + 10, 0.1, 10, 2, 30)
    again, depth = made.project(rays.at(distance))
    assert (again - pixels).abs().max() < 1e-6
    torch.testing.assert_close(depth, distance * rays.cosine)


@given(seeds, lenses)
@few
def test_directions_are_unit_and_those_of_the_camera(seed, lens):
    made = cameras(seed, 3, lens=lens)
    pixels = uniform(seed + 9, 0, 1, 3, 10, 2) * made.size[:, None]
    rays = camera_rays(made, pixels)
    torch.testing.assert_close(rays.directions.norm(dim=-1), torch.ones_like(rays.cosine))
    torch.testing.assert_close(rays.directions, made.ray_directions(pixels))
    torch.testing.assert_close(rays.cosine, (rays.directions * made.axes[:, None]).sum(-1))


def test_rays_are_indexed_reshaped_and_cast_like_tensors():
    made = cameras(1)
    rays = camera_rays(made, pixel_grid(4, 3).reshape(-1, 2))
    assert rays.shape == (12,)
    assert len(rays[2:5]) == 3
    assert rays.reshape(3, 4).origins.shape == (3, 4, 3)
    assert rays.to(torch.float32).directions.dtype == torch.float32
