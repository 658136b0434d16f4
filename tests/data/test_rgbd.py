from dataclasses import replace

import numpy as np
import pytest
import torch

from diorama.data import rgbd
from diorama.data.images import read_depth
from diorama.errors import CameraError, InputError
from tests.data import made_up
from tests.data.epipolar import agreement


def agreement_of_depth(views, source, target, stretch=1.0):
    """Median relative difference of depth carried from one view into another and the depth measured there.

    Points that the other view sees something else in front of (or behind) do not count: of all differences below 20 %.
    """
    cameras, depth = views.cameras, views.depth * stretch
    height, width = depth.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([u, v], dim=-1).reshape(-1, 2)
    known = depth[source].flatten() > 0
    plane = (pixels - cameras.centre[source]) / cameras.focal[source]
    local = torch.cat([plane, torch.ones(len(plane), 1)], dim=1)[known] * depth[source].flatten()[known, None]
    relative = torch.linalg.inv(cameras.camera_to_world[target]) @ cameras.camera_to_world[source]
    there = local @ relative[:3, :3].T + relative[:3, 3]
    found = there[:, :2] / there[:, 2:] * cameras.focal[target] + cameras.centre[target]
    x, y = found.floor().long().unbind(-1)
    inside = (there[:, 2] > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    measured = depth[target, y[inside], x[inside]]
    ratio = there[inside, 2][measured > 0] / measured[measured > 0]
    close = (ratio - 1).abs() < 0.2
    return float((ratio[close] - 1).abs().median()), float(close.float().mean()), len(ratio)


def test_depth_poses_and_photos_come_in_metres_and_in_the_users_frame(tmp_path):
    plane = torch.full((16, 24), 1.5)
    plane[3, 4] = 0
    views = rgbd.read(made_up.rgbd(tmp_path, depth=plane))
    assert rgbd.matches(tmp_path)
    assert views.frame.units == "metres"
    torch.testing.assert_close(views.cameras.camera_to_world, torch.tensor(np.stack(made_up.POSES)).float())
    torch.testing.assert_close(views.depth, plane.expand(3, 16, 24))
    assert views.names[0] == "frame-000000.color.png"


def test_65535_is_no_depth(tmp_path):
    from PIL import Image

    folder = made_up.rgbd(tmp_path)
    steps = np.full((16, 24), 65535, dtype=np.uint16)
    steps[:, :12] = 700
    Image.fromarray(steps).save(folder / "frame-000001.depth.png")
    depth = rgbd.read(folder).depth[1]
    assert float(depth[:, 12:].max()) == 0
    torch.testing.assert_close(depth[:, :12], torch.full((16, 12), 0.7))


def test_depth_is_seen_through_the_colour_cameras_own_lens(tmp_path):
    # a ramp in x/z: depth = 1 + (x/z) must read the same through either lens
    x = (torch.arange(24) + 0.5 - 11) / 30.0
    ramp = (1 + x).expand(16, 24)
    colour = made_up.K @ np.diag([1.0, 1.0, 1.0])
    colour[0, 0], colour[1, 1] = 24.0, 25.6  # a wider lens: the border of the photo has no depth
    views = rgbd.read(made_up.rgbd(tmp_path, colour_intrinsics=colour, depth=ramp))
    torch.testing.assert_close(views.cameras.focal[0], torch.tensor([24.0, 25.6]))
    expected = 1 + (torch.arange(24) + 0.5 - 11) / 24.0
    known = views.depth[0, 8] > 0
    assert 0 < int((~known).sum()) < 8
    assert float((views.depth[0, 8] - expected)[known].abs().max()) < 0.51 / 30
    same = rgbd.resample_depth(ramp, torch.tensor(made_up.K).float(), torch.tensor(made_up.K).float(), 24, 16)
    torch.testing.assert_close(same, ramp)


def test_depth_survives_when_photos_shrink(tmp_path):
    views = rgbd.read(made_up.rgbd(tmp_path), max_side=12)
    assert views.depth.shape == (3, 8, 12)
    torch.testing.assert_close(views.depth, torch.full((3, 8, 12), 1.5))


def test_frames_where_the_tracker_was_lost_are_left_out_and_counted(tmp_path):
    folder = made_up.rgbd(tmp_path)
    np.savetxt(folder / "frame-000001.pose.txt", np.full((4, 4), -np.inf))
    views = rgbd.read(folder)
    assert len(views) == 2
    assert "1 poses hold NaN" in " ".join(views.skipped)
    for index in (0, 2):
        np.savetxt(folder / f"frame-00000{index}.pose.txt", np.full((4, 4), np.nan))
    with pytest.raises(InputError, match="no frame has a usable pose"):
        rgbd.read(folder)


def test_missing_depth_and_missing_poses_are_said(tmp_path):
    folder = made_up.rgbd(tmp_path)
    (folder / "frame-000001.depth.png").unlink()
    (folder / "frame-000002.pose.txt").unlink()
    views = rgbd.read(folder)
    assert len(views) == 2
    assert float(views.depth[1].max()) == 0
    assert "frame-000001" in " ".join(views.skipped)
    assert "1 photos have no pose" in " ".join(views.skipped)


def test_matrices_that_are_cut_or_no_rotations_are_refused(tmp_path):
    folder = made_up.rgbd(tmp_path)
    (folder / "frame-000001.pose.txt").write_text("1 0 0 0\n0 1 0 0\n0 0")
    with pytest.raises(InputError, match="10 numbers, 16 are needed"):
        rgbd.read(folder)
    np.savetxt(folder / "frame-000001.pose.txt", np.diag([1.0, 1.0, 0.0, 1.0]))
    with pytest.raises(CameraError, match="no rotation"):
        rgbd.read(folder)
    (folder / "camera-intrinsics.txt").unlink()
    with pytest.raises(InputError, match=r"camera-intrinsics\.txt"):
        rgbd.read(folder)


def test_depth_of_the_real_box_carried_into_another_frame_agrees_with_it(photos):
    views = rgbd.read(photos("rgbd_apc_box"), max_side=320)
    assert len(views) == 50
    error, share, count = agreement_of_depth(views, 0, 20)
    assert error < 0.015
    assert share > 0.8
    assert count > 5000
    assert agreement_of_depth(views, 0, 20, stretch=1.15)[0] > 3 * error
    right = agreement(views, [(0, 3), (10, 14)])
    assert right.distance < 1.2
    assert right.in_front > 0.95


def test_depth_of_the_real_kitchen_agrees_between_frames_only_through_the_colour_lens(photos):
    folder = photos("rgbd_7scenes_redkitchen")
    views = rgbd.read(folder, max_side=320)
    assert len(views) == 63
    torch.testing.assert_close(views.cameras.focal[0], torch.tensor([262.5, 262.5]))
    error, share, count = agreement_of_depth(views, 0, 10)
    assert error < 0.02
    assert share > 0.9
    assert count > 5000
    stored = [read_depth(folder / name.replace("color.jpg", "depth.png"), size=(320, 240)) for name in views.names]
    assert agreement_of_depth(replace(views, depth=torch.stack(stored)), 0, 10)[0] > 3 * error
    assert agreement_of_depth(views, 0, 10, stretch=1.15)[0] > 3 * error
    right = agreement(views, [(0, 3), (10, 12)])
    assert right.distance < 2.0
    assert right.flipped > 5 * right.distance
    assert right.in_front > 0.9
