import json
import math

import pytest
import torch

from diorama.cameras.camera_file import read_cameras
from diorama.errors import CameraError, InputError


def test_intrinsics_may_stand_once_for_all_and_as_a_field_of_view(tmp_path):
    pose = torch.eye(4).tolist()
    content = {"camera_angle_x": math.pi / 2, "w": 200, "h": 100, "frames": [{"transform_matrix": pose}] * 2}
    (tmp_path / "a.json").write_text(json.dumps(content))
    made, names = read_cameras(tmp_path / "a.json")
    assert made.focal.tolist() == [[pytest.approx(100)] * 2] * 2
    assert made.centre.tolist() == [[100, 50]] * 2
    assert names == ("frame_00000", "frame_00001")
    assert made.lens == "pinhole"
    assert made.axes[0].tolist() == [0, 0, -1]


def test_paths_of_nerfstudios_viewer_are_read(tmp_path):
    flat = torch.eye(4).reshape(-1).tolist()
    content = {
        "render_width": 200,
        "render_height": 100,
        "camera_path": [{"camera_to_world": flat, "fov": 90.0, "aspect": 2.0}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    made, _ = read_cameras(tmp_path / "a.json")
    assert made.focal.tolist() == [[pytest.approx(50)] * 2]
    assert made.size.tolist() == [[200, 100]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"frames": []}',
        '{"frames": [3]}',
        '{"frames": {}}',
        '{"frames": [{"w": 3, "h": 3, "fl_x": 1}]}',
        '{"frames": [{"w": 3, "h": 3, "fl_x": 1, "transform_matrix": [[1, 2], [3]]}]}',
        '{"frames": [{"w": 3, "h": 3, "transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}]}',
        '{"frames": [{"w": "x", "h": 3, "fl_x": 1, "transform_matrix": [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}]}',
        '{"camera_path": [{"fov": 3}]}',
        '{"camera_path": [null]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_list_of_cameras_is_refused_by_name(tmp_path, text):
    (tmp_path / "wrong.json").write_text(text)
    with pytest.raises(InputError, match=r"wrong\.json"):
        read_cameras(tmp_path / "wrong.json")


def test_absent_files_bad_poses_and_mixed_lenses_are_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_cameras(tmp_path / "none.json")
    frame = {"w": 4, "h": 4, "fl_x": 4.0, "transform_matrix": torch.zeros(4, 4).tolist()}
    (tmp_path / "a.json").write_text(json.dumps({"frames": [frame]}))
    with pytest.raises(CameraError, match="no rotation"):
        read_cameras(tmp_path / "a.json")
    good = {**frame, "transform_matrix": torch.eye(4).tolist()}
    (tmp_path / "b.json").write_text(json.dumps({"frames": [good, {**good, "camera_model": "OPENCV_FISHEYE"}]}))
    with pytest.raises(InputError, match="fisheye"):
        read_cameras(tmp_path / "b.json")
