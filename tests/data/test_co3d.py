import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from diorama.data import co3d
from diorama.data.splits import make_split
from diorama.errors import CameraError, InputError
from tests.data import made_up
from tests.data.epipolar import agreement


def test_pytorch3d_points_land_where_its_definition_puts_them():
    # PyTorch3D: X_camera = X R + T; x_ndc = f X / Z + p; pixel = size / 2 - x_ndc * min(size) / 2 (x left, y up)
    rotation, translation = made_up.pytorch3d_camera(made_up.POSES[1])
    focal, principal, size = np.array([3.0, 3.5]), np.array([0.1, -0.2]), (24.0, 16.0)
    point = np.array([0.3, -0.2, 0.4])
    camera_point = point @ rotation + translation
    ndc = focal * camera_point[:2] / camera_point[2] + principal
    expected = np.array(size) / 2 - ndc * 8
    shot = co3d.ndc_shot(Path("a.jpg"), (rotation, translation, focal, principal), size)
    local = np.linalg.inv(shot.camera_to_world) @ np.append(point, 1)
    pixel = local[:2] / local[2] * shot.intrinsics.focal + shot.intrinsics.centre
    np.testing.assert_allclose(pixel, expected, atol=1e-9)
    assert local[2] > 0
    np.testing.assert_allclose(shot.camera_to_world, made_up.POSES[1], atol=1e-12)


def test_legacy_ndc_spans_both_sides():
    camera = (np.eye(3), np.zeros(3), np.ones(2), np.zeros(2))
    assert co3d.ndc_shot(Path("a.jpg"), camera, (24.0, 16.0), "each side").intrinsics.focal == (12, 8)
    assert co3d.ndc_shot(Path("a.jpg"), camera, (24.0, 16.0)).intrinsics.focal == (8, 8)


def test_the_archive_gives_poses_in_its_own_world(tmp_path):
    folder = made_up.co3d_archive(tmp_path)
    assert co3d.matches(folder)
    views = co3d.read(folder)
    torch.testing.assert_close(views.cameras.camera_to_world, torch.tensor(np.stack(made_up.POSES)).float())
    torch.testing.assert_close(views.cameras.focal, torch.full((3, 2), 28.0))
    assert views.names == ("frame000000.png", "frame000001.png", "frame000002.png")


def test_an_archive_with_too_few_rows_or_cut_short_is_refused(tmp_path):
    with pytest.raises(InputError, match="3 photos"):
        co3d.read(made_up.co3d_archive(tmp_path / "few", rows=2))
    folder = made_up.co3d_archive(tmp_path / "cut")
    whole = (folder / "gt_cameras.npz").read_bytes()
    for cut in range(0, len(whole) - 1, max(1, len(whole) // 40)):
        (folder / "gt_cameras.npz").write_bytes(whole[:cut])
        with pytest.raises(InputError, match=r"gt_cameras\.npz"):
            co3d.read(folder)


def test_a_sequence_of_co3d_two_has_masks_depth_and_its_split(tmp_path):
    category = made_up.co3d_category(tmp_path)
    sequence = category / "12_34_56"
    assert co3d.matches(category)
    assert co3d.matches(sequence)
    views = co3d.read(sequence)
    assert views.names == tuple(f"frame00000{number}.jpg.png" for number in (1, 2, 3))
    torch.testing.assert_close(views.cameras.camera_to_world, torch.tensor(np.stack(made_up.POSES)).float())
    torch.testing.assert_close(views.cameras.focal[0], torch.tensor([28.0, 24.0]))
    torch.testing.assert_close(views.cameras.centre[0], torch.tensor([12 - 0.8, 8 + 1.6]))
    torch.testing.assert_close(views.object, torch.full_like(views.object, 0.4))  # soft, 102 of 255
    torch.testing.assert_close(views.depth[:, 1:], torch.full((3, 15, 24), 4.5))
    assert float(views.depth[:, 0].max()) == 0
    assert views.splits == {"train": views.names[:2], "test": views.names[2:]}
    split = make_split(views)
    assert (split.train, split.test) == (views.names[:2], views.names[2:])
    assert co3d.read(category).names == views.names


def test_of_several_sequences_one_must_be_named(tmp_path):
    category = made_up.co3d_category(tmp_path, ("12_34_56", "78_90_12"))
    with pytest.raises(InputError, match="2 sequences"):
        co3d.read(category)
    assert co3d.read(category / "78_90_12").source == category / "78_90_12"


def test_missing_masks_depths_and_photos_are_left_out_and_said(tmp_path):
    category = made_up.co3d_category(tmp_path)
    sequence = category / "12_34_56"
    (sequence / "depths" / "frame000001.png").unlink()
    (sequence / "masks" / "frame000002.png").unlink()
    (sequence / "images" / "frame000003.jpg.png").unlink()
    views = co3d.read(sequence)
    assert len(views) == 2
    assert float(views.depth[0].max()) == 0
    assert float(views.depth[1].max()) == 4.5
    told = " ".join(views.skipped)
    assert all(name in told for name in ("frame000001", "frame000002", "frame000003"))
    assert "test" not in views.splits


@pytest.mark.parametrize("broken", ["cut", "text", "list", "bomb", "nan", "format", "field", "set_list"])
def test_broken_annotations_say_what_is_wrong(tmp_path, broken, monkeypatch):
    category = made_up.co3d_category(tmp_path)
    file = category / "frame_annotations.jgz"
    frames = json.loads(gzip.decompress(file.read_bytes()))
    match broken:
        case "cut":
            file.write_bytes(file.read_bytes()[:-30])
        case "text":
            file.write_bytes(b"not gzip")
        case "list":
            file.write_bytes(gzip.compress(b'{"frames": 3}'))
        case "bomb":
            monkeypatch.setattr(co3d, "MAX_ANNOTATION_BYTES", 100)
        case "nan":
            frames[0]["viewpoint"]["T"] = [0, float("nan"), 1]
        case "format":
            frames[0]["viewpoint"]["intrinsics_format"] = "pixels"
        case "field":
            del frames[0]["viewpoint"]["R"]
        case "set_list":
            (category / "set_lists" / "set_lists_manyview_dev_0.json").write_text("{")
    if broken in ("nan", "format", "field"):
        file.write_bytes(gzip.compress(json.dumps(frames).encode()))
    with pytest.raises((InputError, CameraError)):
        co3d.read(category)


def test_the_real_apple_fits_its_cameras(photos):
    folder = photos("co3d_apple")
    views = co3d.read(folder, max_side=400)
    assert views.images.shape == (20, 3, 400, 225)
    right = agreement(views, [(0, 1), (4, 5), (8, 9)])
    assert right.distance < 0.6
    assert right.in_front > 0.95
    assert right.flipped > 5 * right.distance
    assert len(make_split(views, "auto", 9).test) == 3


def test_a_sequence_opens_from_inside_its_folder(tmp_path, monkeypatch):
    category = made_up.co3d_category(tmp_path)
    monkeypatch.chdir(category / "12_34_56")
    assert co3d.matches(Path())
    assert len(co3d.read(Path())) == 3
