import math

import roma
import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.cameras.rotations import (
    axis_rotation,
    quaternion_to_rotation,
    rotation_angle,
    rotation_to_quaternion,
    shortest_arcs,
    slerp,
)
from tests.cameras.made_up import few, normal, rotations, seeds, uniform


def wxyz(quaternion):
    """roma writes the real part last."""
    return quaternion.roll(1, -1)


@given(seeds)
@few
def test_quaternions_become_the_matrices_that_roma_makes(seed):
    quaternion = roma.random_unitquat(20, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(quaternion_to_rotation(wxyz(quaternion)), roma.unitquat_to_rotmat(quaternion))


@given(seeds)
@few
def test_a_rotation_survives_the_way_through_its_quaternion(seed):
    matrices = rotations(seed, 30)
    quaternion = rotation_to_quaternion(matrices)
    assert (quaternion[:, 0] >= 0).all()
    torch.testing.assert_close(quaternion_to_rotation(quaternion), matrices, atol=1e-12, rtol=0)


@given(seeds, st.floats(-3, 3))
@few
def test_half_turns_keep_their_axis(seed, tilt):
    axis = normal(seed, 10, 3)
    angle = torch.full((10,), math.pi - 1e-9 * tilt, dtype=torch.float64)
    matrices = axis_rotation(axis, angle)
    torch.testing.assert_close(quaternion_to_rotation(rotation_to_quaternion(matrices)), matrices, atol=1e-8, rtol=0)


@given(seeds)
@few
def test_axis_and_angle_make_the_matrix_that_roma_makes(seed):
    axis, angle = torch.nn.functional.normalize(normal(seed, 10, 3), dim=-1), uniform(seed, -3.1, 3.1, 10)
    torch.testing.assert_close(axis_rotation(axis, angle), roma.rotvec_to_rotmat(axis * angle[:, None]))


@given(seeds, st.sampled_from([1e-9, 1e-6, 0.1, 1.0, 3.0, math.pi - 1e-7]))
@few
def test_the_angle_of_a_rotation_is_measured_accurately_from_tiny_to_half_turns(seed, angle):
    matrices = axis_rotation(normal(seed, 5, 3), torch.full((5,), angle, dtype=torch.float64))
    torch.testing.assert_close(
        rotation_angle(matrices), torch.full((5,), angle, dtype=torch.float64), rtol=1e-6, atol=0
    )


@given(seeds)
@few
def test_slerp_is_that_of_roma_and_starts_and_ends_where_it_should(seed):
    knots = shortest_arcs(rotation_to_quaternion(rotations(seed, 12)))
    start, end, share = knots[:-1], knots[1:], uniform(seed, 0, 1, 11)
    expected = torch.stack(
        [roma.unitquat_slerp(a.roll(-1), b.roll(-1), s[None])[0] for a, b, s in zip(start, end, share, strict=True)]
    )
    torch.testing.assert_close(slerp(start, end, share), wxyz(expected), atol=1e-9, rtol=0)
    torch.testing.assert_close(slerp(start, end, torch.zeros_like(share)), start)
    torch.testing.assert_close(slerp(start, end, torch.ones_like(share)), end)
    torch.testing.assert_close(slerp(start, start, share), start)


@given(seeds)
@few
def test_shortest_arcs_change_signs_only_and_leave_no_far_neighbours(seed):
    knots = torch.nn.functional.normalize(normal(seed, 15, 4), dim=-1)
    arcs = shortest_arcs(knots)
    torch.testing.assert_close(quaternion_to_rotation(arcs), quaternion_to_rotation(knots))
    assert ((arcs[1:] * arcs[:-1]).sum(-1) >= -1e-12).all()
