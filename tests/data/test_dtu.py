import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diorama.data import dtu
from diorama.data.splits import make_split
from diorama.errors import CameraError, InputError
from tests.data import made_up
from tests.data.epipolar import agreement

angles = st.floats(-3.1, 3.1)


@given(angles, angles, st.floats(0.1, 5000), st.floats(0.2, 4), st.sampled_from([1.0, -1.0, 1e-3, -700.0]))
@settings(max_examples=80, deadline=None)
def test_a_projection_matrix_of_any_scale_and_sign_comes_apart_into_its_camera(angle, tilt, distance, aspect, factor):
    camera = made_up.pose(angle, tilt, distance)
    matrix = np.array([[500.0, 0, 320], [0, 500.0 * aspect, 240], [0, 0, 1]])
    found, intrinsics = dtu.decompose_projection(factor * matrix @ np.linalg.inv(camera)[:3])
    np.testing.assert_allclose(found, camera, atol=1e-7 * max(1, distance))
    np.testing.assert_allclose(intrinsics, matrix, atol=1e-6)


def test_a_scan_keeps_the_frame_of_its_world_mat(tmp_path):
    views = dtu.read(made_up.dtu(tmp_path))
    assert views.names == ("000000.png", "000001.png", "000002.png")
    torch.testing.assert_close(views.cameras.camera_to_world, torch.tensor(np.stack(made_up.POSES)).float())
    torch.testing.assert_close(views.cameras.focal[0], torch.tensor([30.0, 32.0]))
    torch.testing.assert_close(views.cameras.centre[0], torch.tensor([11.0, 9.0]))
    torch.testing.assert_close(views.bounds, torch.tensor([[4.0, 6.0]]).expand(3, 2))
    assert views.splits == {}
    torch.testing.assert_close(views.object[:, :, :12], torch.ones(3, 16, 12))
    assert float(views.object[:, :, 12:].max()) == 0


def test_a_camera_inside_its_sphere_gets_a_positive_near():
    near, far = dtu.sphere_bounds(made_up.pose(0.3, 0.2, 0.5), np.eye(4))
    assert 0 < near < far == pytest.approx(1.5)


def test_the_protocol_holds_49_frames_in_three_disjoint_roles():
    split = dtu.protocol_split({index: f"{index:06d}.jpg" for index in range(49)})
    roles = [set(split[role]) for role in ("train", "test", "excluded")]
    assert [len(role) for role in roles] == [9, 25, 15]
    assert len(set.union(*roles)) == 49
    assert [int(name[:6]) for name in split["train_order"]] == [25, 22, 28, 40, 44, 48, 0, 8, 13]
    published = [1, 2, *range(9, 13), 14, 15, 23, 24, 26, 27, *range(29, 36), *range(41, 44), *range(45, 48)]
    assert [int(name[:6]) for name in split["test"]] == published


def test_a_64_frame_scan_follows_the_protocol_of_its_first_49():
    split = dtu.protocol_split({index: str(index) for index in range(64)})
    assert len(split["test"]) == 25
    assert "50" in split["excluded"]


def test_photos_go_by_number_where_some_are_missing(tmp_path):
    views = dtu.read(made_up.dtu(tmp_path, photos=[2, 0], masks=[0, 1, 2]))
    torch.testing.assert_close(views.cameras.camera_to_world[1], torch.tensor(made_up.POSES[2]).float())
    assert views.object is not None
    assert any("1 of 3 cameras have no photo" in line for line in views.skipped)


def test_missing_masks_are_left_out_and_said(tmp_path):
    views = dtu.read(made_up.dtu(tmp_path, masks=[0, 2]))
    assert views.object is None
    assert any("1 of 3 photos find none" in line for line in views.skipped)


def test_a_photo_without_a_camera_is_refused(tmp_path):
    with pytest.raises(InputError, match="4 photos but 3 cameras"):
        dtu.read(made_up.dtu(tmp_path, photos=range(4)))


def test_nan_in_a_projection_is_refused(tmp_path):
    folder = made_up.dtu(tmp_path)
    with np.load(folder / "cameras_sphere.npz") as archive:
        arrays = dict(archive)
    arrays["world_mat_1"][0, 0] = np.nan
    np.savez(folder / "cameras_sphere.npz", **arrays)
    with pytest.raises(InputError, match=r"world_mat_1: holds NaN"):
        dtu.read(folder)


def test_a_singular_projection_and_equal_cameras_are_refused(tmp_path):
    with pytest.raises(InputError, match="singular"):
        dtu.decompose_projection(np.zeros((3, 4)))
    with pytest.raises(CameraError, match="one place"):
        dtu.read(made_up.dtu(tmp_path, poses=[made_up.POSES[0]] * 3))


def test_an_archive_cut_anywhere_is_refused_and_says_so(tmp_path):
    folder = made_up.dtu(tmp_path)
    whole = (folder / "cameras_sphere.npz").read_bytes()
    for cut in range(0, len(whole) - 1, max(1, len(whole) // 60)):
        (folder / "cameras_sphere.npz").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"cameras_sphere\.npz"):
            dtu.read(folder)


def test_no_photos_beside_the_archive_is_said(tmp_path):
    folder = made_up.dtu(tmp_path)
    (folder / "image").rename(folder / "elsewhere")
    with pytest.raises(InputError, match="no folder image/"):
        dtu.read(folder)


def test_the_real_scan_fits_its_cameras_and_ships_the_protocol(photos):
    folder = photos("dtu_scan24")
    assert dtu.matches(folder)
    views = dtu.read(folder, max_side=400)
    assert views.images.shape == (49, 3, 300, 400)
    assert views.skipped == ()
    assert views.frame.units == "millimetres"
    right = agreement(views, [(0, 1), (25, 26)])
    assert right.distance < 0.8
    assert right.in_front > 0.95
    assert right.matches > 60
    assert right.flipped > 5 * right.distance
    assert 400 < views.bounds[:, 0].min() < views.bounds[:, 1].max() < 950  # millimetres from the robot arm
    centre = views.object[:, 100:200, 150:250].mean()
    assert centre > views.object[:, :20].mean() + 0.3
    three, six, nine = (make_split(views, "auto", count) for count in (3, 6, 9))
    assert [int(name[:6]) for name in three.train] == [25, 22, 28]
    assert six.train[:3] == three.train
    assert nine.train[:6] == six.train
    assert make_split(views).train == nine.train
    assert len(nine.test) == 25
    with pytest.raises(InputError, match="Ask for 1 to 9"):
        make_split(views, "protocol", 10)
