"""PNG files are named after their frames, and depth says what its numbers mean."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.errors import InputError
from diorama.export.frames import count_levels, depth_scale, png_names, write_depth_note, write_observed_note


@given(st.floats(1e-6, 1e9))
def test_the_depth_scale_reaches_the_deepest_point_without_waste(deepest):
    scale = depth_scale(deepest, "arbitrary")
    assert 0.999999 * deepest <= scale * 65534 <= 5.001 * deepest


def test_depth_is_in_millimetres_where_units_are_known():
    assert depth_scale(12.0, "metres") == 1e-3
    assert depth_scale(900.0, "millimetres") == 1.0
    assert depth_scale(500.0, "metres") == 0.01
    assert depth_scale(0.0, "metres") == depth_scale(float("nan"), "arbitrary") == 1.0


def test_the_note_states_scale_and_units(tmp_path):
    write_depth_note(tmp_path / "depth.json", scale=0.02, units="millimetres", frame="DTU world_mat")
    note = json.loads((tmp_path / "depth.json").read_text())
    assert (note["scale"], note["units"], note["frame"]) == (0.02, "millimetres", "DTU world_mat")


def test_every_png_is_named_after_its_frames_file():
    assert png_names(["images/0001.jpg", "images/0002.JPG"]) == ["0001.png", "0002.png"]
    assert png_names(["r_0", "view.1", "photo.heic"]) == ["r_0.png", "view.1.png", "photo.png"]
    assert png_names(["train/0.png", "test/0.png"]) == ["train/0.png", "test/0.png"]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "C:\\photos\\passwd", "..\\passwd", "./passwd"])
def test_names_never_lead_out_of_the_folder(name):
    assert png_names([name]) == ["passwd.png"]
    (first, second) = png_names([name, "other/passwd"])
    for path in (first, second):
        assert ".." not in path
        assert not path.startswith(("/", "\\", "C:"))


def test_frames_without_names_of_their_own_are_refused():
    with pytest.raises(InputError, match="file_path of its own"):
        png_names(["a/0.png", "a/0.jpg"])
    assert png_names(["", ".."][:1]) == ["frame.png"]


def test_an_observed_map_is_bytes_that_are_numbers_of_photographs(tmp_path):
    count = torch.tensor([[0, 1, 7], [253, 254, 9000]])
    surface = torch.tensor([[True, True, False], [True, True, True]])
    assert (count_levels(count, surface) * 255).round().tolist() == [[0, 1, 255], [253, 254, 254]]
    write_observed_note(tmp_path / "observed.json", photographs=12)
    note = json.loads((tmp_path / "observed.json").read_text())
    assert note["photographs"] == 12
    assert "255: no surface" in note["observed = value"]
