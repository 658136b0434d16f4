import math
import shutil
import sys

import pytest
import torch
from PIL import Image

from diorama.data.open import open_views
from diorama.errors import MemoryLimitError, MissingExtraError, ViewsError
from tests.data.tiny import paint


def test_bare_photos_have_names_hints_and_no_cameras(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50
    paint(tmp_path / "b.jpg", 60, 40, exif=exif)
    paint(tmp_path / "a.png", 60, 40)
    views = open_views(tmp_path)
    assert (views.layout, views.cameras, views.names) == ("folder", None, ("a.png", "b.jpg"))
    assert math.isnan(views.focal_hints[0])
    assert views.focal_hints[1].item() == pytest.approx(50 / 1.2 / 36 * 60 * 1.2, rel=1e-5)
    assert views.sizes is None


def test_photos_turned_by_the_camera_stand_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    paint(tmp_path / "a.jpg", 60, 40, exif=exif)
    views = open_views(tmp_path)
    assert views.images.shape[-2:] == (60, 40)


def test_photos_of_mixed_sizes_are_padded_and_the_padding_is_ignored(tmp_path):
    paint(tmp_path / "a.png", 60, 40)
    paint(tmp_path / "b.png", 40, 60)
    views = open_views(tmp_path, max_side=30)
    assert views.images.shape == (2, 3, 30, 30)
    assert views.sizes.tolist() == views.true_sizes.tolist() == [[30, 20], [20, 30]]
    assert views.ignore[0, 20:].all()
    assert views.ignore[1, :, 20:].all()
    assert not views.ignore[0, :20].any()


def test_what_cannot_be_read_is_left_out_and_said(tmp_path):
    paint(tmp_path / "good.png")
    whole = paint(tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:200])
    (tmp_path / "empty.jpg").write_bytes(b"")
    paint(tmp_path / "dot.png", 1, 1)
    views = open_views(tmp_path)
    assert views.names == ("good.png",)
    assert sorted(line.split(":")[0] for line in views.skipped) == ["cut.png", "dot.png", "empty.jpg"]
    (tmp_path / "good.png").unlink()
    with pytest.raises(ViewsError, match="none of 3 photos can be read"):
        open_views(tmp_path)


def test_an_animation_counts_as_its_first_frame_and_is_said(tmp_path):
    frames = [Image.new("RGB", (24, 16), (40 * step, 0, 0)) for step in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    views = open_views(tmp_path)
    assert len(views) == 1
    assert "animated, 3 frames" in views.skipped[0]


def test_transparent_photos_give_object_coverage(tmp_path):
    picture = Image.new("RGBA", (24, 16), (10, 20, 30, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 12, 16))
    picture.save(tmp_path / "a.png")
    paint(tmp_path / "b.png")
    views = open_views(tmp_path)
    assert views.object.mean((1, 2)).tolist() == [0.5, 1.0]


def test_photos_in_an_images_folder_and_a_single_photo_are_found(tmp_path):
    paint(tmp_path / "images" / "a.png")
    assert open_views(tmp_path).names == ("a.png",)
    assert open_views(tmp_path / "images" / "a.png").names == ("a.png",)


def test_heic_photos_without_the_extra_stop_with_the_command_that_helps(tmp_path, monkeypatch):
    paint(tmp_path / "a.png")
    (tmp_path / "b.heic").write_bytes(b"ftypheic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtraError, match=r'pip install "diorama\[photos\]"'):
        open_views(tmp_path)


def test_more_pixels_than_the_memory_holds_are_refused_with_a_size_that_fits(tmp_path, monkeypatch):
    paint(tmp_path / "a.png", 60, 40)
    monkeypatch.setattr("diorama.data.shots._machine_memory", lambda: 20_000)
    with pytest.raises(MemoryLimitError, match=r"--max-side 30"):
        open_views(tmp_path)
    assert len(open_views(tmp_path, max_side=30)) == 1


def test_the_room_is_eight_photos_one_of_them_smaller(photos):
    views = open_views(photos("unposed_room"))
    assert (len(views), views.layout, views.cameras) == (8, "folder", None)
    assert sorted(set(map(tuple, views.sizes.tolist()))) == [(512, 384), (640, 480)]
    assert views.ignore.any((1, 2)).sum() == 1


def test_the_banana_photos_alone_are_bare_photos(photos, tmp_path):
    shutil.copytree(photos("odm_banana") / "images", tmp_path / "photos")
    views = open_views(tmp_path, max_side=320)
    assert (len(views), views.layout) == (15, "folder")
    assert torch.isnan(views.focal_hints).all()
    assert views.images.shape[-2:] == (213, 320)
