"""Spec of DiffusioNeRF, section 9: tests 6, 7 and 8 (the geometric terms)."""

import math

import pytest
import torch

from diorama.cameras.pinhole import Cameras
from diorama.priors import geometry
from diorama.priors.schedule import Ramp, constant


def brute_force_distortion(weights, edges):
    middle = 0.5 * (edges[:, 1:] + edges[:, :-1])
    pairs = weights[:, :, None] * weights[:, None, :] * (middle[:, :, None] - middle[:, None, :]).abs()
    return pairs.sum((1, 2)) + (weights.square() * edges.diff(dim=-1)).sum(-1) / 3


def random_rays(generator, rays=7, bins=13):
    edges = torch.rand(rays, bins + 1, generator=generator, dtype=torch.float64).cumsum(-1)
    weights = torch.rand(rays, bins, generator=generator, dtype=torch.float64) / bins
    return weights, edges


def test_spec_07_fast_distortion_equals_brute_force(rng):
    weights, edges = random_rays(rng)
    torch.testing.assert_close(geometry.distortion(weights, edges), brute_force_distortion(weights, edges))


def test_spec_07_one_full_bin_has_only_the_intra_interval_term():
    weights, edges = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 1.0, 1.5, 4.0]])
    assert math.isclose(geometry.distortion(weights, edges).item(), 0.5 / 3, rel_tol=1e-6)


def test_spec_07_divided_by_depth_distortion_does_not_know_the_scale(rng):
    weights, edges = random_rays(rng)

    def relative(edges):
        depth = (weights * 0.5 * (edges[:, 1:] + edges[:, :-1])).sum(-1) / weights.sum(-1)
        return geometry.distortion(weights, edges) / depth

    torch.testing.assert_close(relative(edges), relative(edges * 37.0))


def test_spec_07_the_published_ramp_is_zero_then_half_then_full():
    ramp = Ramp(0.0, 1.5e-5, 3000.0, 8000.0, "steps")
    assert ramp.at(3000, 12000) == 0
    assert math.isclose(ramp.at(5500, 12000), 0.75e-5)
    assert ramp.at(8000, 12000) == ramp.at(11999, 12000) == 1.5e-5


def test_a_jump_happens_at_its_step():
    jump = Ramp(1e-5, 1e-7, 100.0, 100.0, "steps")
    assert (jump.at(99, 1), jump.at(100, 1)) == (1e-5, 1e-7)
    assert constant(2.0).at(0, 10) == constant(2.0).at(10, 10) == 2.0


def two_cameras():
    """Both at z = 0 looking along z, one unit to the left and to the right; a field of view of 90 degrees."""
    poses = torch.eye(4).repeat(2, 1, 1)
    poses[0, 0, 3], poses[1, 0, 3] = -1.0, 1.0
    fifty = torch.full((2, 2), 50.0)
    return Cameras.pinhole(poses, fifty, fifty, torch.full((2, 2), 100, dtype=torch.int64))


def test_spec_08_counts_of_hand_placed_points():
    points = torch.tensor([[0.0, 0, 3], [-1.2, 0, 0.5], [5.0, 0, 1], [0.0, 0, -2], [0.0, 0, 1.05]])
    counts = geometry.seen_by(points, two_cameras(), near=0.2)
    assert counts.tolist() == [2, 1, 0, 0, 2]


@pytest.mark.parametrize(("wanted", "penalties"), [(2, [0.0, 1.0, 2.0]), (1, [0.0, 0.0, 1.0])])
def test_spec_08_penalties_of_the_counts(wanted, penalties):
    weights = torch.ones(3, 1, requires_grad=True)
    loss = geometry.frustum(weights, torch.tensor([[2.0], [1.0], [0.0]]), wanted)
    assert loss.tolist() == penalties
    loss.sum().backward()
    assert weights.grad is not None
    assert weights.grad[:, 0].tolist() == penalties


class Flatland:
    """Density and colour over x in [-5, 5] and z in [0, 5], the same for all y; two cameras that wear their photos."""

    def __init__(self):
        self.density = torch.full((1, 1, 40, 80), -4.0)
        self.colour = torch.zeros(1, 3, 40, 80)
        for camera, first in ((0, 0), (1, 40)):  # x < 0 belongs to the left camera
            u = 50 + 50 * (torch.linspace(-5, 5, 80)[first : first + 40] - (2 * camera - 1)) / 0.75
            self.density[..., 4:8, first : first + 40] = 3.0
            self.colour[..., 4:8, first : first + 40] = self.wall(camera, u).clamp(0.02, 0.98).logit().T[:, None]
        self.density.requires_grad_()
        self.colour.requires_grad_()

    @staticmethod
    def wall(camera, u):
        """What a camera (2: one between the two) sees at column u: a wall at z = 3 with soft stripes."""
        x = 3 * (u - 50) / 50 + (-1.0, 1.0, 0.0)[camera]
        return 0.5 + 0.4 * torch.stack([(2 * x).sin(), (3 * x).cos(), (1.3 * x + 1).sin()], dim=-1)

    def seen(self, camera, u):
        """Colours of the pixels in columns u, the weights behind them, and the points these belong to."""
        z = torch.linspace(0.2, 5, 97)
        middle = 0.5 * (z[1:] + z[:-1])
        x = middle * (u[:, None] - 50) / 50 + (-1.0, 1.0, 0.0)[camera]
        points = torch.stack([x, torch.zeros_like(x), middle.expand_as(x)], dim=-1)
        place = torch.stack([x / 5, points[..., 2] / 2.5 - 1], dim=-1)[None]
        density, colour = (torch.nn.functional.grid_sample(table, place, align_corners=True, padding_mode="border")[0]
                           for table in (self.density, self.colour))  # fmt: skip
        passed = torch.exp(-torch.nn.functional.softplus(density[0]) * 4 * z.diff())
        weights = (1 - passed) * torch.cat([torch.ones_like(passed[:, :1]), passed[:, :-1]], 1).cumprod(1)
        return (weights * colour.sigmoid()).sum(-1).T, weights, points

    def held_out_psnr(self):
        """Of the camera between the two, where both see the wall."""
        u = torch.linspace(20, 80, 61)
        with torch.no_grad():
            return -10 * float((self.seen(2, u)[0] - self.wall(2, u)).square().mean().log10())

    def fitted(self, strength, steps=150):
        """Fitted to both photos; strength: of the frustum term."""
        optimizer = torch.optim.Adam([self.density, self.colour], lr=0.05)
        u, cameras = torch.linspace(1, 99, 50), two_cameras()
        for _ in range(steps):
            optimizer.zero_grad()
            loss = torch.zeros(())
            for camera in (0, 1):
                colour, weights, points = self.seen(camera, u)
                counts = geometry.seen_by(points.reshape(-1, 3), cameras, near=0.1).reshape(weights.shape)
                loss = loss + (colour - self.wall(camera, u)).square().mean()
                loss = loss + strength * geometry.frustum(weights, counts, 2).mean()
            loss.backward()
            optimizer.step()
        return self


def test_spec_08_cameras_that_wear_their_photos_stop_it_only_under_the_frustum_term():
    without, with_it = Flatland().fitted(0.0), Flatland().fitted(0.1)
    assert with_it.held_out_psnr() > without.held_out_psnr() + 2.0


def test_spec_06_the_must_hit_gradient_pushes_density_up_on_an_empty_ray():
    density = torch.full((1, 4), 1e-3, requires_grad=True)
    opacity = 1 - torch.exp(-(density * 0.25).sum(-1))
    geometry.must_hit(opacity).sum().backward()
    assert (density.grad < 0).all()


def test_near_field_counts_only_weight_in_front_of_the_limit():
    weights, edges = torch.tensor([[0.25, 0.5, 0.25]]), torch.tensor([[0.0, 1.0, 2.0, 3.0]])
    assert geometry.near_field(weights, edges, torch.tensor([1.0])).item() == 0.25
    assert geometry.near_field(weights, edges, torch.tensor([9.0])).item() == 1.0


def test_entropy_is_zero_for_a_wall_and_log_n_for_fog():
    wall, fog = torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.full((1, 4), 0.2)
    assert abs(geometry.entropy(wall).item()) < 1e-5
    assert math.isclose(geometry.entropy(fog).item(), math.log(4), rel_tol=1e-4)


def surface(place, bins=64):
    """All light stopped in the bin that holds `place`, on rays of 0 to 4 metres."""
    edges = torch.linspace(0, 4, bins + 1)[None]
    weights = torch.zeros(1, bins)
    weights[0, int(place / 4 * bins)] = 1.0
    return weights, edges


def depth_error(weights, edges, measured, confidence=1.0):
    one = torch.ones(1)
    return geometry.inverse_depth_error(weights, edges, one, measured * one, confidence * one, 1.0).item()


def test_inverse_depth_error_ignores_what_was_not_measured():
    assert depth_error(*surface(1.0), 0.0) == 0
    assert depth_error(*surface(1.0), 3.0, confidence=0.0) == 0


def test_inverse_depth_error_is_small_at_the_surface_and_linear_for_outliers():
    weights, edges = surface(2.03)
    assert depth_error(weights, edges, 2.03) < 1e-4
    far, farther = depth_error(weights, edges, 1.0), depth_error(weights, edges, 0.5)
    assert math.isclose(farther - far, 1.0, rel_tol=0.05)  # 1/0.5 - 1/1


def test_fog_with_the_right_mean_depth_still_pays():
    edges = torch.linspace(1, 3, 65)[None]
    fog = torch.full((1, 64), 1 / 64)
    assert depth_error(fog, edges, 2.0) > 50 * depth_error(*surface(2.0), 2.03)


def test_smoothness_is_free_on_a_fronto_parallel_plane_and_at_edges_of_colour():
    depth = torch.full((1, 8, 8), 2.0)
    grey = torch.zeros(1, 8, 8, 3)
    assert geometry.smoothness(depth, grey, 1.0).item() == 0
    step = depth.clone()
    step[:, :, 4:] = 4.0
    edge = grey.clone()
    edge[:, :, 4:] = 1.0
    assert geometry.smoothness(step, edge, 1.0) < 0.01 * geometry.smoothness(step, grey, 1.0)
