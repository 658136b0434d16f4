"""Photo crops: from any folder, linear, with their smaller versions where the textures look for them."""

import pytest
import torch

from diorama.data.images import write_png
from diorama.errors import InputError
from diorama.worlds.film import encode_srgb
from diorama.worlds.photos import photo_stack, photos_below, with_smaller


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_smaller_version_has_the_mean_of_the_crop():
    crop = torch.rand(3, 32, 32, generator=rng())
    packed = with_smaller(crop)
    assert packed.shape == (32, 48, 3)
    assert torch.equal(packed[:, :32].permute(2, 0, 1), crop)
    above = 0
    for side in (16, 8, 4):
        smaller = packed[above : above + side, 32 : 32 + side]
        assert torch.allclose(smaller.mean((0, 1)), crop.mean((1, 2)), atol=1e-5)
        above += side


def test_crops_are_linear_and_found_in_inner_folders(tmp_path):
    (tmp_path / "inner").mkdir()
    write_png(tmp_path / "inner" / "flat.png", encode_srgb(torch.full((3, 40, 30), 0.25)))
    assert [file.name for file in photos_below(tmp_path)] == ["flat.png"]
    stack = photo_stack(tmp_path, rng(), count=3, side=8)
    assert stack.shape == (3, 8, 12, 3)
    assert torch.allclose(stack[:, :, :8], torch.tensor(0.25), atol=0.01)


def test_the_same_generator_takes_the_same_crops(tmp_path):
    write_png(tmp_path / "one.png", torch.rand(3, 40, 30, generator=rng(1)))
    assert torch.equal(photo_stack(tmp_path, rng(), count=4, side=8), photo_stack(tmp_path, rng(), count=4, side=8))


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(InputError, match="no photos"):
        photo_stack(tmp_path, rng())
    with pytest.raises(InputError, match="not a folder"):
        photo_stack(tmp_path / "absent", rng())
    write_png(tmp_path / "one.png", torch.zeros(3, 9, 9))
    with pytest.raises(InputError, match="power of two"):
        photo_stack(tmp_path, rng(), side=48)
