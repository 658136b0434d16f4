"""How a scene came out of the noise lies beside it, whole or not at all."""

import pytest
import torch

from diorama.data.tensors import save_tensors
from diorama.errors import InputError, OutputError
from diorama.scenes import denoising
from diorama.scenes.denoising import FILE, Denoising, load_denoising, save_with_denoising
from diorama.scenes.storage import load_scene
from tests.oracles import ring_cameras
from tests.scenes.test_storage import made_scene


@pytest.fixture
def steps():
    return Denoising.of(ring_cameras(2, 4, 4), list(torch.rand(3, 2, 3, 4, 4)))


def test_steps_come_back_bit_for_bit_with_their_scene(steps, tmp_path):
    save_with_denoising(made_scene(), steps, tmp_path / "scene")
    back = load_denoising(tmp_path / "scene")
    assert len(back) == 3
    assert torch.equal(back.pictures, steps.pictures)
    assert torch.equal(back.cameras.camera_to_world, steps.cameras.camera_to_world)
    assert load_scene(tmp_path / "scene").names == made_scene().names
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]
    (tmp_path / "scene" / FILE).unlink()
    assert load_denoising(tmp_path / "scene") is None


def test_what_fails_in_the_middle_leaves_no_scene(steps, tmp_path, monkeypatch):
    def full(*_):
        raise OutputError("the disk is full")

    monkeypatch.setattr(denoising, "save_tensors", full)
    with pytest.raises(OutputError):
        save_with_denoising(made_scene(), steps, tmp_path / "scene")
    assert list(tmp_path.iterdir()) == []


def test_pictures_are_rounded_to_the_nearest_of_256_levels():
    images = torch.linspace(-0.2, 1.2, 48).reshape(1, 3, 4, 4)
    kept = Denoising.of(ring_cameras(1, 4, 4), [images]).images(0)
    assert float((kept - images.clamp(0, 1)).abs().max()) <= 0.5 / 255 + 1e-6


def test_a_file_of_something_else_is_refused(tmp_path):
    save_tensors(tmp_path / FILE, {"pictures": torch.zeros(3)}, {})
    with pytest.raises(InputError, match="Delete it"):
        load_denoising(tmp_path)
