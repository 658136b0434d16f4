"""Further cameras: they look where the given ones look, from where nobody stands, in any frame."""

import math

import pytest
import torch

from diorama.cameras.cover import CoverConfig, cover
from diorama.cameras.pinhole import Cameras, join_cameras
from diorama.cameras.poses import Similarity, gaze, look_at
from diorama.cameras.rotations import axis_rotation
from diorama.errors import CameraError
from tests.oracles import ring_cameras

UP = torch.tensor([0.0, 0.0, 1.0])


def square(cameras):
    return cameras.resize(32, 32)


def angles(cameras, focus):
    away = torch.nn.functional.normalize(cameras.origins - focus, dim=-1)
    return torch.acos((away @ away.T).clamp(-1, 1))


def looking_out(count):
    angle = torch.arange(count) * (2 * math.pi / count)
    away = torch.stack([angle.cos(), angle.sin(), torch.zeros(count)], dim=-1)
    size = torch.full((count, 2), 32)
    pose = look_at(0.1 * away, 2 * away, UP.expand(count, 3))
    return Cameras.pinhole(pose, torch.full((count, 2), 40.0), torch.full((count, 2), 16.0), size)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_a_single_camera_gets_an_arc_about_what_it_looks_at(count):
    camera = square(ring_cameras(1))
    made = cover(camera, count, distance=2.0)
    focus = camera.origins[0] + 2.0 * camera.axes[0]
    torch.testing.assert_close((made.origins - focus).norm(dim=-1), torch.full((count,), 2.0))
    towards = torch.nn.functional.normalize(focus - made.origins, dim=-1)
    torch.testing.assert_close(made.axes, towards)
    turned = torch.acos((made.axes @ camera.axes[0]).clamp(-1, 1))
    assert float(turned.max()) == pytest.approx(math.radians(20), abs=1e-5)
    assert float(turned.min()) > math.radians(2)
    if count % 2 == 0:  # to both sides alike
        sideways = (made.origins - camera.origins) @ camera.camera_to_world[0, :3, 0]
        assert float(sideways.mean()) == pytest.approx(0.0, abs=1e-5)


def test_half_way_between_two_that_stand_far_apart_comes_first():
    cameras = square(ring_cameras(2, arc=90.0))
    made = cover(cameras, 1)
    focus = gaze(cameras)[0]
    apart = angles(join_cameras([cameras, made]), focus)
    torch.testing.assert_close(apart[2, 0], apart[2, 1], atol=1e-3, rtol=0)
    assert float(apart[2, 0]) < float(apart[0, 1])
    torch.testing.assert_close((made.origins - focus).norm(), (cameras.origins[0] - focus).norm(), atol=1e-3, rtol=0)


def test_beside_those_that_stand_close_together():
    cameras = square(ring_cameras(3, arc=10.0))
    made = cover(cameras, 2)
    apart = angles(join_cameras([cameras, made]), gaze(cameras)[0])
    assert float(apart[3:, :3].min()) > math.radians(8)
    assert float(apart[3, 4]) > math.radians(15)


def test_those_that_look_outwards_get_others_on_the_way():
    cameras = looking_out(4)
    made = cover(cameras, 3)
    assert float(made.origins.norm(dim=-1).max()) < 0.2
    turned = torch.acos((made.axes @ cameras.axes.T).clamp(-1, 1))
    assert float(turned.amin()) > math.radians(10)


@pytest.mark.parametrize("cameras", [square(ring_cameras(1)), square(ring_cameras(3, arc=70.0)), looking_out(5)])
def test_another_frame_gives_the_same_places(cameras):
    turn = axis_rotation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor(0.8)).double()
    way = Similarity(3.7, turn, torch.tensor([5.0, -2.0, 1.0]).double())
    distance = 1.5
    here, there = cover(cameras, 3, distance), cover(way.apply_cameras(cameras), 3, distance * way.scale)
    torch.testing.assert_close(way.apply_cameras(here).camera_to_world, there.camera_to_world, atol=2e-4, rtol=1e-4)


def test_the_lens_is_the_median_and_looks_through_the_middle():
    cameras = square(ring_cameras(3, arc=40.0))
    cameras.focal[1], cameras.focal[2], cameras.centre[0] = 100.0, 300.0, 3.0
    made = cover(cameras, 2)
    assert made.focal.tolist() == [[100.0, 100.0]] * 2
    assert made.centre.tolist() == [[16.0, 16.0]] * 2


def test_cameras_in_one_place_count_as_one():
    cameras = square(ring_cameras(1))[torch.zeros(3, dtype=torch.long)]
    torch.testing.assert_close(
        cover(cameras, 3, 2.0).camera_to_world, cover(cameras[:1], 3, 2.0).camera_to_world, atol=1e-6, rtol=0
    )


def test_what_cannot_be_is_said():
    cameras = square(ring_cameras(2, arc=40.0))
    assert len(cover(cameras, 0)) == 0
    with pytest.raises(CameraError, match="only"):
        cover(cameras, 500)
    mixed = Cameras.pinhole(cameras.camera_to_world, cameras.focal, cameras.centre, torch.tensor([[32, 32], [16, 16]]))
    with pytest.raises(CameraError, match="one size"):
        cover(mixed, 1)
    with pytest.raises(CameraError, match="one at least"):
        cover(cameras[:0], 1)


def test_the_reach_is_the_config():
    made = cover(square(ring_cameras(1)), 2, 1.0, CoverConfig(reach=math.radians(5)))
    assert float(torch.acos((made.axes[0] @ made.axes[1]).clamp(-1, 1))) == pytest.approx(math.radians(10), abs=1e-3)
