import json
import math

import pytest
import roma
import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import (
    Similarity,
    align_similarity,
    capture_shape,
    focus_point,
    gaze,
    look_at,
    mean_up,
    normalising_similarity,
    rotation_angle,
    upright_rotation,
)
from diorama.errors import CameraError
from tests.cameras.made_up import cameras, few, looking, normal, ring, seeds, similarities, uniform

ORIGIN = torch.zeros(3, dtype=torch.float64)


def same(first: Similarity, second: Similarity) -> bool:
    return (
        first.scale == pytest.approx(second.scale)
        and torch.allclose(first.rotation, second.rotation, atol=1e-9)
        and torch.allclose(first.translation, second.translation, rtol=1e-7, atol=1e-7)
    )


@given(seeds)
@few
def test_similarities_form_a_group(seed):
    a, b, c = (similarities(seed + 10 * index) for index in range(3))
    one = Similarity.identity()
    assert same(a.compose(b).compose(c), a.compose(b.compose(c)))
    assert same(a.compose(one), a)
    assert same(one.compose(a), a)
    assert same(a.compose(a.inverse()), one)
    assert same(a.inverse().compose(a), one)


@given(seeds)
@few
def test_composing_means_the_other_first_and_is_the_product_of_matrices(seed):
    a, b, points = similarities(seed), similarities(seed + 10), normal(seed, 7, 3)
    torch.testing.assert_close(a.compose(b).apply_points(points), a.apply_points(b.apply_points(points)))
    torch.testing.assert_close(a.compose(b).matrix(), a.matrix() @ b.matrix())
    homogeneous = torch.cat([points, torch.ones_like(points[:, :1])], dim=-1) @ a.matrix().mT
    torch.testing.assert_close(a.apply_points(points), homogeneous[:, :3])


@given(seeds, st.sampled_from(["pinhole", "opencv", "fisheye"]))
@few
def test_moving_cameras_and_points_together_changes_no_pixel_and_scales_depth(seed, lens):
    made, points, move = cameras(seed, 3, lens=lens, strength=0.5), normal(seed + 9, 3, 10, 3), similarities(seed)
    before, depth = made.project(points)
    after, deeper = move.apply_cameras(made).project(move.apply_points(points))
    seen = depth > 0.1
    torch.testing.assert_close(after[seen], before[seen], rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(deeper, move.scale * depth, rtol=1e-7, atol=1e-7)
    move.apply_cameras(made).validate()


@given(seeds)
@few
def test_a_similarity_survives_json_to_the_last_bit_and_keeps_dtypes(seed):
    move = similarities(seed)
    again = Similarity.from_dict(json.loads(json.dumps(move.to_dict())))
    assert again.scale == move.scale
    assert torch.equal(again.rotation, move.rotation)
    assert torch.equal(again.translation, move.translation)
    assert move.apply_points(torch.zeros(2, 3)).dtype == torch.float32
    assert move.apply_cameras(cameras(seed, 2).to(torch.float32)).camera_to_world.dtype == torch.float32


@pytest.mark.parametrize(
    "change",
    [{"scale": 0.0}, {"scale": math.nan}, {"rotation": [[0.0] * 3] * 3}, {"translation": [1.0, 2.0]}, {"scale": None}],
)
def test_numbers_that_are_no_similarity_are_refused(change):
    with pytest.raises(CameraError, match="similarity"):
        Similarity.from_dict({**Similarity.identity().to_dict(), **change})


@given(seeds, st.integers(3, 40))
@few
def test_umeyama_recovers_a_known_similarity(seed, count):
    move, source = similarities(seed), normal(seed + 5, count, 3)
    assert same(align_similarity(source, move.apply_points(source)), move)


@given(seeds)
@few
def test_umeyama_with_noise_agrees_with_roma(seed):
    source = normal(seed, 20, 3)
    target = similarities(seed).apply_points(source) + 0.05 * normal(seed + 1, 20, 3)
    found = align_similarity(source, target)
    rotation, translation, scale = roma.rigid_points_registration(source, target, compute_scaling=True)
    torch.testing.assert_close(found.rotation, rotation)
    torch.testing.assert_close(found.translation, translation)
    assert found.scale == pytest.approx(float(scale))


@given(seeds, st.integers(1, 2))
@few
def test_umeyama_of_points_in_line_or_alone_still_aligns_them_without_a_mirror(seed, count):
    move, source = similarities(seed), normal(seed + 5, count, 3)
    found = align_similarity(source, move.apply_points(source))
    torch.testing.assert_close(found.apply_points(source), move.apply_points(source))
    assert float(torch.linalg.det(found.rotation)) == pytest.approx(1.0)


def test_umeyama_of_a_mirror_image_is_a_rotation_nevertheless():
    source = normal(3, 10, 3)
    found = align_similarity(source, source * torch.tensor([1.0, 1.0, -1.0]))
    assert float(torch.linalg.det(found.rotation)) == pytest.approx(1.0)
    assert align_similarity(torch.ones(4, 3), torch.zeros(4, 3)).scale == 1.0
    with pytest.raises(CameraError, match="no points"):
        align_similarity(torch.zeros(0, 3), torch.zeros(0, 3))


@given(seeds)
@few
def test_a_camera_looks_at_its_target_with_up_upwards(seed):
    position, target, up = normal(seed, 5, 3), normal(seed + 1, 5, 3), normal(seed + 2, 3)
    pose = look_at(position, target, up)
    ahead = torch.nn.functional.normalize(target - position, dim=-1)
    torch.testing.assert_close(pose[:, :3, 2], ahead)
    assert roma.is_rotation_matrix(pose[:, :3, :3], epsilon=1e-9)
    assert ((-pose[:, :3, 1] @ up) > 0).all()
    torch.testing.assert_close(pose[:, :3, 0] @ up, torch.zeros(5, dtype=torch.float64), atol=1e-9, rtol=0)


def test_looking_along_up_or_nowhere_is_still_a_rotation():
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    for target in (up, -up, ORIGIN):
        assert roma.is_rotation_matrix(look_at(ORIGIN, target, up)[:3, :3], epsilon=1e-9)


@given(seeds)
@few
def test_the_focus_is_where_axes_meet(seed):
    target = normal(seed, 3)
    made = looking(target + 3 * normal(seed + 1, 6, 3), target)
    torch.testing.assert_close(focus_point(made), target, atol=1e-7, rtol=0)


@given(seeds)
@few
def test_no_other_point_is_nearer_to_all_axes_than_the_focus(seed):
    made = cameras(seed, 5)

    def cost(point):
        offset = point - made.origins
        return float((offset - (offset * made.axes).sum(-1, keepdim=True) * made.axes).square().sum())

    focus = focus_point(made)
    assert all(cost(focus) <= cost(focus + 0.1 * normal(seed + k, 3)) for k in range(20, 30))


def test_parallel_axes_and_single_cameras_have_a_finite_focus_level_with_them():
    line = torch.tensor([[0.0, 0, 0], [1.0, 0, 0], [2.0, 0, 0]], dtype=torch.float64)
    straight = looking(line, line + torch.tensor([0.0, 5, 0]))
    torch.testing.assert_close(focus_point(straight), line.mean(0))
    torch.testing.assert_close(focus_point(straight[:1]), line[0])
    torch.testing.assert_close(gaze(straight)[0], torch.tensor([1.0, 2.5, 0], dtype=torch.float64))
    assert float(gaze(straight[:1])[1]) == 1.0
    assert float(gaze(straight[:1], 7.0)[1]) == 7.0


def test_cameras_that_look_outwards_are_not_said_to_gaze_at_what_is_behind_them():
    around = ring(8)
    outwards = looking(around.origins, 2 * around.origins)
    focus, distance = gaze(outwards)
    assert focus.isfinite().all()
    assert float(distance) > 0
    assert float(gaze(around)[1]) == pytest.approx(math.sqrt(10))
    torch.testing.assert_close(gaze(around)[0], ORIGIN, atol=1e-9, rtol=0)


def test_up_is_the_mean_of_the_cameras_and_survives_their_cancelling_out():
    torch.testing.assert_close(mean_up(ring(12)), torch.tensor([0.0, 0, 1], dtype=torch.float64), atol=1e-9, rtol=0)
    made = ring(1)
    rolled = made.camera_to_world.clone()
    rolled[:, :3, :2] *= -1
    both = Cameras.pinhole(
        torch.cat([made.camera_to_world, rolled]), *(t.repeat(2, 1) for t in (made.focal, made.centre, made.size))
    )
    torch.testing.assert_close(mean_up(both), -made.camera_to_world[0, :3, 1])


@given(seeds)
@few
def test_the_upright_rotation_brings_up_to_z_by_the_shortest_way(seed):
    up = torch.nn.functional.normalize(normal(seed, 3), dim=0)
    turn = upright_rotation(up)
    torch.testing.assert_close(turn @ up, torch.tensor([0.0, 0, 1], dtype=torch.float64), atol=1e-9, rtol=0)
    assert roma.is_rotation_matrix(turn, epsilon=1e-9)
    assert float(rotation_angle(turn)) == pytest.approx(math.acos(float(up[2])), abs=1e-6)


def test_the_upright_rotation_knows_upside_down():
    down = torch.tensor([0.0, 0, -1], dtype=torch.float64)
    torch.testing.assert_close(upright_rotation(down) @ down, -down)


@given(seeds, st.integers(1, 12))
@few
def test_normalising_puts_the_focus_at_the_origin_up_along_z_and_the_farthest_camera_at_the_radius(seed, count):
    moved = similarities(seed).apply_cameras(ring(count, arc=4.0))
    change = normalising_similarity(moved, radius=2.0)
    normalised = change.apply_cameras(moved)
    torch.testing.assert_close(gaze(normalised, float(gaze(moved)[1]) * change.scale)[0], ORIGIN, atol=1e-6, rtol=0)
    torch.testing.assert_close(mean_up(normalised)[2], torch.tensor(1.0, dtype=torch.float64))
    assert float(normalised.origins.norm(dim=-1).amax()) == pytest.approx(2.0)
    back = change.inverse().apply_cameras(normalised)
    torch.testing.assert_close(back.camera_to_world, moved.camera_to_world, rtol=1e-9, atol=1e-8)


def test_normalising_by_depths_puts_their_geometric_mean_at_three_metres():
    made = ring(5)
    assert normalising_similarity(made, depths=(1.0, 4.0)).scale == pytest.approx(1.5)
    assert normalising_similarity(made, ORIGIN + 1, depths=(1.0, 4.0)).apply_points(ORIGIN[None] + 1).abs().max() < 1e-9
    with pytest.raises(CameraError, match="near"):
        normalising_similarity(made, depths=(0.0, 4.0))


def test_the_shape_of_a_capture_follows_its_rule():
    around = ring(12)
    assert capture_shape(around) == "inward"
    assert capture_shape(looking(around.origins, 2 * around.origins)) == "inside-out"
    assert capture_shape(ring(5, arc=math.radians(50))) == "forward-facing"
    assert capture_shape(ring(1)) == "forward-facing"


@pytest.mark.parametrize(("degrees", "shape"), [(29.0, "forward-facing"), (31.0, "inward")])
def test_forward_facing_ends_thirty_degrees_off_the_mean_axis(degrees, shape):
    angles = torch.deg2rad(torch.tensor([-degrees, 0.0, degrees], dtype=torch.float64))
    positions = 3 * torch.stack([angles.sin(), -angles.cos(), 0 * angles], dim=-1)
    assert capture_shape(looking(positions, ORIGIN)) == shape


@given(seeds)
@few
def test_the_shape_does_not_depend_on_the_users_frame(seed):
    made = cameras(seed, 6)
    points = uniform(seed + 9, -1, 1, 20, 3)
    move = similarities(seed)
    assert capture_shape(made) == capture_shape(move.apply_cameras(made))
    assert capture_shape(made, points) == capture_shape(move.apply_cameras(made), move.apply_points(points))


def test_points_say_where_an_inward_ring_looks_when_axes_do_not_meet():
    around = ring(8)
    raised = looking(around.origins, torch.tensor([0.0, 0.0, 0.8], dtype=torch.float64))
    points = 0.1 * normal(4, 50, 3)
    assert capture_shape(raised, points) == "inward"
    assert capture_shape(raised, points + torch.tensor([0.0, 0.0, 50.0])) == "inside-out"
    assert capture_shape(raised, torch.zeros(0, 3)) == "inward"
