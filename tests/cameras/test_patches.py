"""Windows and wandering poses: spec of DiffusioNeRF, section 9, test 9 (bounds) and section 2.1."""

import math

import pytest
import torch

from diorama.cameras.patches import (
    PatchWindow,
    border_pixels,
    largest_fit,
    random_centres,
    random_rotation_vectors,
    wander,
    window_cameras,
    within_picture,
)
from diorama.cameras.pinhole import Cameras
from diorama.cameras.rotations import rotation_angle

DRAWS = 10_000


def photo(width, height, focal):
    return Cameras.pinhole(
        torch.eye(4),
        torch.full((2,), float(focal)),
        torch.tensor([width / 2, height / 2]),
        torch.tensor([width, height]),
    )


def test_spec_09_a_patch_spans_fifteen_point_six_degrees():
    assert math.degrees(PatchWindow().angle) == pytest.approx(15.6, abs=0.05)


def test_spec_09_principal_points_fill_the_published_range_made_symmetric(rng):
    x, y = random_centres(PatchWindow(), DRAWS, rng).unbind(-1)
    assert x.min() >= -104
    assert x.max() <= 152
    assert y.min() >= -72
    assert y.max() <= 120
    assert x.min() < -103
    assert x.max() > 151
    assert y.min() < -71
    assert y.max() > 119


def test_spec_09_centres_move_by_the_shift_at_most_and_cameras_turn_by_eighteen_degrees_at_most(rng):
    pose = torch.eye(4).repeat(DRAWS, 1, 1)
    pose[:, :3, 3] = torch.tensor([1.0, 2.0, 3.0])
    moved = wander(pose, 0.2, 0.1, rng)
    offset = moved[:, :3, 3] - pose[:, :3, 3]
    assert offset.abs().max() <= 0.2 + 1e-6
    assert offset.abs().amax(0).min() > 0.19
    angle = torch.rad2deg(rotation_angle(moved[:, :3, :3].double()))
    assert angle.max() <= 18.0 + 1e-4
    assert angle.max() > 17.5


def test_uniform_rotations_have_the_angles_of_the_haar_measure(rng):
    # the density of the angle is (1 - cos) / pi, whose mean is pi / 2 + 2 / pi
    angle = random_rotation_vectors(DRAWS, rng).norm(dim=-1)
    assert float(angle.mean()) == pytest.approx(math.pi / 2 + 2 / math.pi, abs=0.02)
    assert angle.max() <= math.pi + 1e-5


def test_uniform_rotations_have_no_favourite_axis(rng):
    assert random_rotation_vectors(DRAWS, rng).mean(0).abs().max() < 0.05


def test_a_window_is_a_crop_of_the_virtual_camera(rng):
    window = PatchWindow()
    centre = random_centres(window, 1, rng)
    camera = window_cameras(torch.eye(4)[None], centre, window)
    whole = photo(window.width, window.height, window.focal)
    pixel = torch.tensor([[[10.5, 3.5]]])
    corner = 0.5 * torch.tensor([window.width, window.height]) - centre[0]
    torch.testing.assert_close(camera.ray_directions(pixel)[0], whole.ray_directions(pixel[0] + corner))


def test_a_window_lies_inside_a_photo_or_it_does_not():
    window = PatchWindow()
    whole = photo(window.width, window.height, window.focal)
    inside, outside = torch.tensor([[128.0, 96.0]]), torch.tensor([[129.0, 96.0]])
    pose = torch.eye(4).repeat(2, 1, 1)
    assert within_picture(window_cameras(pose, torch.cat([inside, outside]), window), whole).tolist() == [True, False]


def test_a_photo_narrower_than_a_patch_holds_none():
    assert largest_fit(PatchWindow(), photo(64, 64, 175))
    assert not largest_fit(PatchWindow(), photo(40, 64, 175))


def test_the_outline_of_a_patch_is_all_of_its_border():
    outline = border_pixels(4)
    assert len(outline) == 20
    assert ((outline == 0) | (outline == 4)).any(-1).all()
