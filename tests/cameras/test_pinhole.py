import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.cameras.pinhole import Cameras, in_frustum, join_cameras, pixel_grid
from diorama.errors import CameraError
from tests.cameras.made_up import cameras, few, lenses, looking, normal, seeds, uniform


def simple(**changes):
    """One camera of 4 x 2 pixels at the origin that looks along z."""
    made = Cameras.pinhole(
        torch.eye(4)[None], torch.tensor([[2.0, 2.0]]), torch.tensor([[2.0, 1.0]]), torch.tensor([[4, 2]])
    )
    return replace(made, **changes)


def test_a_point_on_the_axis_lands_on_the_principal_point_with_its_planar_depth():
    pixels, depth = simple().project(torch.tensor([[[0.0, 0.0, 5.0], [1.0, -1.0, 2.0]]]))
    assert pixels[0].tolist() == [[2.0, 1.0], [3.0, 0.0]]
    assert depth[0].tolist() == [5.0, 2.0]


def test_pixel_centres_lie_at_half():
    grid = pixel_grid(3, 2)
    assert grid.shape == (2, 3, 2)
    assert grid[0, 0].tolist() == [0.5, 0.5]
    assert grid[1, 2].tolist() == [2.5, 1.5]


@given(seeds, lenses)
@few
def test_project_inverts_unproject_at_any_depth(seed, lens):
    made = cameras(seed, 3, lens=lens, strength=0.5)
    pixels = uniform(seed + 9, 0, 1, 3, 50, 2) * made.size[:, None]
    depth = uniform(seed + 10, 0.1, 20, 3, 50)
    local = made.unproject(pixels) * depth[..., None]
    world = local @ made.camera_to_world[:, :3, :3].mT + made.origins[:, None]
    again, planar = made.project(world)
    assert (again - pixels).abs().max() < 1e-6
    torch.testing.assert_close(planar, depth)


@given(seeds, lenses, st.integers(-100, 300), st.integers(-100, 300))
@few
def test_a_crop_moves_pixels_but_not_their_rays(seed, lens, left, top):
    made = cameras(seed, 2, lens=lens)
    pixels = uniform(seed + 9, 0, 1, 2, 20, 2) * made.size[:, None]
    window = made.crop(left, top, 200, 100)
    assert window.size.tolist() == [[200, 100]] * 2
    moved = pixels - torch.tensor([left, top])
    torch.testing.assert_close(window.ray_directions(moved), made.ray_directions(pixels), atol=1e-9, rtol=0)


@given(seeds, lenses, st.integers(1, 2000), st.integers(1, 2000))
@few
def test_a_resize_scales_pixels_but_not_their_rays(seed, lens, width, height):
    made = cameras(seed, 2, lens=lens)
    pixels = uniform(seed + 9, 0, 1, 2, 20, 2) * made.size[:, None]
    small = made.resize(width, height)
    scale = torch.tensor([width / 640, height / 480], dtype=torch.float64)
    torch.testing.assert_close(small.ray_directions(pixels * scale), made.ray_directions(pixels), atol=1e-9, rtol=0)
    back = small.resize(640, 480)
    torch.testing.assert_close(back.focal, made.focal)
    torch.testing.assert_close(back.centre, made.centre)


def test_crop_and_resize_refuse_empty_images():
    with pytest.raises(CameraError, match="at least 1"):
        simple().crop(0, 0, 0, 2)
    with pytest.raises(CameraError, match="at least 1"):
        simple().resize(3, -1)


@given(seeds)
@few
def test_the_batch_shape_does_not_matter(seed):
    made = cameras(seed, 2, 3, lens="opencv", strength=0.5)
    points = normal(seed + 9, 2, 3, 5, 3)
    pixels, depth = made.project(points)
    assert pixels.shape == (2, 3, 5, 2)
    alone, planar = made[1, 2].project(points[1, 2])
    torch.testing.assert_close(alone, pixels[1, 2])
    torch.testing.assert_close(planar, depth[1, 2])
    everyone, _ = made.project(points[0, 0])
    assert everyone.shape == (2, 3, 5, 2)


def test_the_wider_of_two_dtypes_wins():
    made = cameras(1, 2).to(torch.float32)
    assert made.project(normal(2, 2, 5, 3).float())[0].dtype == torch.float32
    assert made.project(normal(2, 2, 5, 3))[0].dtype == torch.float64
    assert made.size.dtype == torch.int64


def test_points_behind_the_camera_have_finite_pixels_and_no_positive_depth():
    points = torch.tensor([[[0.0, 0, -1], [1, 1, -3], [0, 0, 0], [1, 0, 0]]])
    for lens in ("pinhole", "opencv", "fisheye"):
        pixels, depth = simple(lens=lens).project(points)
        assert pixels.isfinite().all()
        assert (depth <= 0).all()


def test_a_frustum_holds_what_the_image_shows_and_nothing_else():
    points = torch.tensor([[0.0, 0, 5], [0, 0, -5], [4.9, 0, 5], [5.1, 0, 5], [0, 0, 0.5]])
    assert in_frustum(simple(), points, near=1.0).tolist() == [[True, False, True, False, False]]
    assert in_frustum(simple(), points[None]).tolist() == [[True, False, True, False, True]]


def test_a_frustum_leaves_out_light_beyond_the_fold():
    bent = simple(distortion=torch.tensor([[-0.4, 0.0, 0, 0, 0, 0]]), lens="opencv")
    angles = torch.linspace(0, 1.5, 100)
    points = torch.stack([angles.tan(), torch.zeros(100), torch.ones(100)], dim=-1)
    seen = in_frustum(bent, points)[0]
    assert seen[0]
    assert (seen.long().diff() <= 0).all()
    assert points[seen, 0].max() < math.sqrt(1 / 1.2) + 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"focal": torch.tensor([[math.nan, 1.0]])}, "NaN"),
        ({"focal": torch.tensor([[0.0, 1.0]])}, "focal"),
        ({"size": torch.tensor([[0, 2]])}, "without pixels"),
        ({"camera_to_world": torch.zeros(1, 4, 4)}, "no rotation"),
        ({"camera_to_world": 2 * torch.eye(4)[None]}, "no rotation"),
        ({"camera_to_world": torch.diag(torch.tensor([1.0, 1, -1, 1]))[None]}, "mirrored"),
        ({"camera_to_world": torch.eye(4)[None] + torch.tensor([0.0, 0, 0, 1])[:, None] * 0.1}, "bottom row"),
        ({"distortion": torch.full((1, 6), math.inf)}, "NaN or infinity"),
    ],
)
def test_what_is_no_camera_is_refused_in_words(change, words):
    with pytest.raises(CameraError, match=words):
        simple(**change).validate()


def test_the_error_names_the_first_wrong_camera_and_counts_the_others():
    made = cameras(1, 5)
    made.focal[3] = math.nan
    made.focal[4] = math.nan
    with pytest.raises(CameraError, match="camera 3 and 1 more of 5"):
        made.validate()
    assert simple().validate().shape == (1,)


@given(seeds, lenses)
@few
def test_poses_rounded_to_four_digits_are_still_cameras(seed, lens):
    made = cameras(seed, 4, lens=lens)
    replace(made, camera_to_world=(made.camera_to_world * 1e4).round() / 1e4).validate()


def test_joined_cameras_keep_what_each_sees():
    first, second = cameras(1, 2), cameras(2, 3, lens="opencv", strength=0.3)
    joined = join_cameras([first, second])
    assert joined.lens == "opencv"
    points = normal(5, 5, 4, 3)
    pixels, _ = joined.project(points)
    torch.testing.assert_close(pixels[:2], first.project(points[:2])[0])
    torch.testing.assert_close(pixels[2:], second.project(points[2:])[0])
    with pytest.raises(CameraError, match="fisheye"):
        join_cameras([first, cameras(3, 1, lens="fisheye")])
    with pytest.raises(CameraError, match="At least one"):
        join_cameras([])


def test_axes_and_origins_are_columns_of_the_pose():
    made = looking(torch.tensor([[3.0, 0, 0]], dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    torch.testing.assert_close(made.axes, torch.tensor([[-1.0, 0, 0]], dtype=torch.float64))
    torch.testing.assert_close(made.origins, torch.tensor([[3.0, 0, 0]], dtype=torch.float64))
