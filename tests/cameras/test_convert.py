from dataclasses import replace

import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.cameras.convert import (
    from_colmap,
    from_llff,
    from_opengl,
    from_pytorch3d,
    from_world_to_camera,
    to_colmap,
    to_llff,
    to_opengl,
    to_pytorch3d,
    to_world_to_camera,
)
from diorama.cameras.pinhole import Cameras
from diorama.errors import CameraError
from tests.cameras.made_up import cameras, few, normal, poses, rotations, seeds, uniform

IDENTITY = torch.eye(4, dtype=torch.float64)


def central(seed, *shape):
    """Cameras that LLFF can hold: one focal length, principal point in the middle."""
    made = cameras(seed, *shape)
    focal = made.focal[..., :1].expand(made.focal.shape).clone()
    return replace(made, focal=focal, centre=0.5 * made.size.double())


@given(seeds)
@few
def test_opengl_poses_come_back(seed):
    pose = poses(seed, 3, 2)
    assert torch.equal(from_opengl(to_opengl(pose)), pose)
    assert torch.equal(to_opengl(from_opengl(pose)), pose)


def test_opengl_cameras_look_along_minus_z_with_y_up():
    ours = from_opengl(IDENTITY)
    assert ours[:3, 2].tolist() == [0, 0, -1]
    assert ours[:3, 1].tolist() == [0, -1, 0]
    assert ours[:3, 0].tolist() == [1, 0, 0]
    assert torch.linalg.det(ours[:3, :3]) == 1


@given(seeds)
@few
def test_world_to_camera_comes_back_and_moves_points_as_the_camera_does(seed):
    made, points = cameras(seed, 4), normal(seed + 9, 4, 6, 3)
    rotation, translation = to_world_to_camera(made.camera_to_world)
    torch.testing.assert_close(from_world_to_camera(rotation, translation), made.camera_to_world)
    torch.testing.assert_close(points @ rotation.mT + translation[:, None], made.to_local(points))


@given(seeds)
@few
def test_colmap_poses_come_back_both_ways(seed):
    pose = poses(seed, 5)
    quaternion, translation = to_colmap(pose)
    torch.testing.assert_close(from_colmap(quaternion, translation), pose)
    again, moved = to_colmap(from_colmap(-2.0 * quaternion, translation))
    torch.testing.assert_close(again, quaternion)
    torch.testing.assert_close(moved, translation)


@given(seeds)
@few
def test_colmap_means_world_to_camera_with_the_real_part_first(seed):
    quaternion, translation = normal(seed, 4), normal(seed + 1, 3)
    rotation = roma.unitquat_to_rotmat(torch.nn.functional.normalize(quaternion, dim=0).roll(-1))
    points = normal(seed + 2, 5, 3)
    pose = from_colmap(quaternion, translation)
    made = Cameras.pinhole(pose, torch.ones(2).double(), torch.zeros(2).double(), torch.tensor([2, 2]))
    torch.testing.assert_close(made.to_local(points), points @ rotation.mT + translation)


@given(seeds, st.sampled_from(["shorter side", "each side"]))
@few
def test_pytorch3d_cameras_come_back_both_ways(seed, ndc):
    made = cameras(seed, 4)
    rotation, translation, focal, principal = to_pytorch3d(made, ndc=ndc)
    again = from_pytorch3d(rotation, translation, focal, made.size, principal, ndc=ndc)
    torch.testing.assert_close(again.camera_to_world, made.camera_to_world)
    torch.testing.assert_close(again.focal, made.focal)
    torch.testing.assert_close(again.centre, made.centre)
    twice = to_pytorch3d(again, ndc=ndc)
    for first, second in zip((rotation, translation, focal, principal), twice, strict=True):
        torch.testing.assert_close(first, second)


@given(seeds, st.sampled_from([(640, 480), (300, 900)]))
@few
def test_pytorch3d_projects_rows_with_x_left_y_up_and_units_of_half_the_shorter_side(seed, sides):
    rotation, translation = rotations(seed, 1), torch.tensor([[0.0, 0.0, 9.0]], dtype=torch.float64)
    focal, principal = uniform(seed, 1, 3, 1, 2), 0.1 * normal(seed + 1, 1, 2)
    size = torch.tensor([sides])
    made = from_pytorch3d(rotation, translation, focal, size, principal)
    points = normal(seed + 2, 1, 6, 3)
    local = points @ rotation + translation[:, None]
    ndc = focal[:, None] * local[..., :2] / local[..., 2:] + principal[:, None]
    pixels = 0.5 * size[:, None] - ndc * 0.5 * min(sides)
    found, depth = made.project(points)
    torch.testing.assert_close(found, pixels)
    torch.testing.assert_close(depth, local[..., 2])


def test_pytorch3d_without_a_principal_point_looks_through_the_middle():
    made = from_pytorch3d(
        torch.eye(3)[None], torch.zeros(1, 3), torch.ones(1, 2), torch.tensor([[640, 480]]), ndc="each side"
    )
    assert made.centre.tolist() == [[320.0, 240.0]]
    assert made.focal.tolist() == [[320.0, 240.0]]


@given(seeds)
@few
def test_llff_rows_come_back_both_ways(seed):
    made, bounds = central(seed, 5), uniform(seed + 9, 1, 9, 5, 2)
    rows = to_llff(made, bounds)
    again, limits = from_llff(rows)
    torch.testing.assert_close(again.camera_to_world, made.camera_to_world)
    torch.testing.assert_close(again.focal, made.focal)
    torch.testing.assert_close(again.centre, made.centre)
    assert torch.equal(again.size, made.size)
    assert torch.equal(limits, bounds)
    torch.testing.assert_close(to_llff(again, limits), rows)


def test_llff_columns_are_down_right_back_and_height_width_focal():
    matrix = torch.tensor([[0.0, 1, 0, 7, 30], [-1, 0, 0, 8, 40], [0, 0, 1, 9, 50]])
    made, bounds = from_llff(torch.cat([matrix.reshape(15), torch.tensor([1.0, 2.0])])[None])
    pose = made.camera_to_world[0]
    assert pose[:3, 1].tolist() == [0, -1, 0]
    assert pose[:3, 0].tolist() == [1, 0, 0]
    assert pose[:3, 2].tolist() == [0, 0, -1]
    assert made.origins[0].tolist() == [7, 8, 9]
    assert made.size.tolist() == [[40, 30]]
    assert made.focal.tolist() == [[50, 50]]
    assert bounds.tolist() == [[1, 2]]


def test_formats_refuse_what_they_cannot_hold():
    bent = cameras(1, 2, lens="opencv")
    with pytest.raises(CameraError, match="Undistort"):
        to_pytorch3d(bent)
    with pytest.raises(CameraError, match="Undistort"):
        to_llff(bent, torch.ones(2, 2))
    with pytest.raises(CameraError, match="one focal length"):
        to_llff(cameras(1, 2), torch.ones(2, 2))


@given(seeds)
@few
def test_every_pose_that_comes_in_is_a_rotation_and_keeps_float32(seed):
    pose = poses(seed, 3).float()
    quaternion, translation = to_colmap(pose)
    for made in (from_opengl(pose), from_colmap(quaternion, translation)):
        assert made.dtype == torch.float32
        assert roma.is_rotation_matrix(made[:, :3, :3], epsilon=1e-5)
