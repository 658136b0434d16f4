"""The demo leaves photos, a scene, a film and a preview behind, and overwrites nothing it did not make."""

import json

import pytest
import torch

from diorama.data.open import open_views
from diorama.errors import OutputError
from diorama.pipelines.demo import PHOTOS, demo, film, make_room, write_photos
from diorama.scenes.storage import load_scene
from diorama.worlds.builtin import cameras_around, table_top
from diorama.worlds.trace import photograph
from tests.oracles import OracleScene


def test_the_photos_are_a_normal_folder_in_the_worlds_own_numbers(tmp_path):
    photos = photograph(table_top(), cameras_around(PHOTOS, width=32, height=24), samples=1)
    write_photos(tmp_path / "photos", photos)
    listed = json.loads((tmp_path / "photos" / "transforms.json").read_text())["frames"]
    assert len(listed) == len(PHOTOS)
    again = open_views(tmp_path / "photos")
    assert torch.allclose(again.cameras.camera_to_world.double(), photos.cameras.camera_to_world.double(), atol=1e-6)
    assert torch.allclose(again.cameras.focal.double(), photos.cameras.focal.double())
    assert (again.images - photos.images).abs().max() <= 0.5 / 255 + 1e-6


def test_a_tiny_demo_leaves_everything_behind(tmp_path):
    result = demo(tmp_path / "demo", steps=20, width=32, film_frames=8)
    assert load_scene(result.scene).cameras.shape == (len(PHOTOS),)
    assert result.film.stat().st_size > 0
    assert result.preview.stat().st_size > 0
    assert 5 < result.psnr < 60
    assert 0 <= result.depth_error < 10
    with pytest.raises(OutputError, match="--force"):
        demo(tmp_path / "demo", steps=20, width=32)


def test_a_folder_that_is_no_demo_is_left_alone_even_by_force(tmp_path):
    (tmp_path / "thesis.tex").write_text("chapter one")
    for force in (False, True):
        with pytest.raises(OutputError, match="no demo"):
            make_room(tmp_path, force=force)
    assert (tmp_path / "thesis.tex").exists()


def test_an_unfinished_demo_is_gone_on_with_and_a_finished_one_made_anew_by_force(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "transforms.json").write_text("{}")
    make_room(tmp_path, force=False)
    assert (tmp_path / "photos").exists()
    (tmp_path / "orbit.mp4").touch()
    with pytest.raises(OutputError, match="--force"):
        make_room(tmp_path, force=False)
    make_room(tmp_path, force=True)
    assert list(tmp_path.iterdir()) == []


def test_the_film_swings_there_and_back():
    frames = film(OracleScene().render, 8, width=16, height=12)
    assert len(frames) == 14
    assert torch.equal(frames[1], frames[-1])
    assert not torch.equal(frames[0], frames[7])
