import os
import shutil

import numpy as np
import pytest

from diorama.data.open import LAYOUTS, open_views, reader, recognise
from diorama.errors import InputError, ViewsError
from tests.data.tiny import paint, posed_folder, ring


def test_every_layout_has_a_reader_and_none_takes_an_empty_folder(tmp_path):
    for name in LAYOUTS:
        assert not reader(name).matches(tmp_path), name


def test_an_empty_folder_says_what_is_needed(tmp_path):
    with pytest.raises(InputError, match=r"is an empty folder. Needed: photos.*transforms, blender, colmap"):
        open_views(tmp_path)


def test_a_folder_of_other_things_says_what_lies_there(tmp_path):
    for name in ("notes.txt", "table.csv"):
        (tmp_path / name).write_text("x")
    with pytest.raises(InputError, match=r"holds notes\.txt, table\.csv\. Needed"):
        open_views(tmp_path)
    with pytest.raises(InputError, match=r"is a \.csv file"):
        open_views(tmp_path / "table.csv")


@pytest.mark.parametrize("name", ["absent", "x" * 5000, "zero\0byte"])
def test_a_path_that_is_not_there_is_an_error(tmp_path, name):
    with pytest.raises(InputError):
        open_views(str(tmp_path / name))


def test_two_layouts_in_one_folder_ask_which_and_the_answer_counts(tmp_path):
    names = posed_folder(tmp_path, ring(2))
    np.save(tmp_path / "poses_bounds.npy", np.zeros((2, 17)))
    with pytest.raises(ViewsError, match=r"transforms, llff.*--layout transforms or --layout llff"):
        open_views(tmp_path)
    assert open_views(tmp_path, layout="transforms").names == tuple(names)
    assert open_views(tmp_path, layout="folder").cameras is None


def test_a_layout_that_is_unknown_or_not_there_is_an_error(tmp_path):
    posed_folder(tmp_path, ring(2))
    with pytest.raises(InputError, match=r"not a layout known here\. Known are transforms"):
        open_views(tmp_path, layout="nerf")
    with pytest.raises(InputError, match=r"--layout colmap: .* is not laid out so"):
        open_views(tmp_path, layout="colmap")


def test_a_largest_side_of_nothing_is_an_error(tmp_path):
    paint(tmp_path / "a.png")
    with pytest.raises(InputError, match="--max-side 0"):
        open_views(tmp_path, max_side=0)


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_an_error(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(InputError):
        open_views(tmp_path / "closed")


def test_a_colmap_model_that_came_with_a_transforms_file_is_no_second_layout(tmp_path):
    from diorama.data.colmap import write_colmap_text

    names = posed_folder(tmp_path, ring(2))
    write_colmap_text(tmp_path / "colmap/sparse/0", ring(2), names)
    assert open_views(tmp_path).layout == "transforms"
    (tmp_path / "transforms.json").unlink()
    assert open_views(tmp_path).layout == "colmap"


def test_folders_with_long_and_foreign_names_open(tmp_path):
    folder = tmp_path / "фото 写真 ñ" / ("long" * 50)
    posed_folder(folder, ring(2))
    assert len(open_views(folder)) == 2


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("fox", "transforms"),
        ("nerf_synthetic_lego", "blender"),
        ("odm_banana", "colmap"),
        ("llff_fern", "llff"),
        ("dtu_scan24", "dtu"),
        ("co3d_apple", "co3d"),
        ("middlebury_templeSparseRing", "middlebury"),
        ("strecha_fountain_P11", "strecha"),
        ("rgbd_apc_box", "rgbd"),
        ("rgbd_7scenes_redkitchen", "rgbd"),
        ("unposed_room", "folder"),
    ],
)
def test_real_folders_are_recognised(photos, name, layout):
    assert recognise(photos(name)) == layout


def test_views_say_in_one_line_what_they_are(photos, tmp_path):
    shutil.copytree(photos("fox"), tmp_path / "fox")
    line = open_views(tmp_path / "fox", max_side=64).describe()
    assert line.startswith("50 photos of 36x64, opencv cameras, layout transforms; 17 remarks, the first: 0005.jpg")
