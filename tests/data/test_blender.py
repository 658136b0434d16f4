import json

import numpy as np
import pytest
import torch
from PIL import Image

from diorama.data.open import open_views
from diorama.errors import InputError
from tests.data.epipolar import agreement
from tests.data.tiny import ring


@pytest.fixture
def scene(tmp_path):
    """Two training and one test view of 20x20, opaque white on the left, transparent black on the right."""
    matrices = ring(3).camera_to_world.double() @ torch.diag(torch.tensor([1.0, -1, -1, 1], dtype=torch.float64))
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[:, :10] = 255
    for role, rows in (("train", [0, 1]), ("test", [2])):
        (tmp_path / role).mkdir()
        frames = []
        for number, row in enumerate(rows):
            Image.fromarray(rgba).save(tmp_path / role / f"r_{number}.png")
            frames.append({"file_path": f"./{role}/r_{number}", "transform_matrix": matrices[row].tolist()})
        content = {"camera_angle_x": 0.69, "frames": frames}
        (tmp_path / f"transforms_{role}.json").write_text(json.dumps(content))
    return tmp_path


def test_a_scene_ships_its_split_and_its_coverage(scene):
    views = open_views(scene)
    assert views.layout == "blender"
    assert views.names == ("train/r_0.png", "train/r_1.png", "test/r_0.png")
    assert views.splits == {"train": ("train/r_0.png", "train/r_1.png"), "test": ("test/r_0.png",)}
    assert torch.allclose(views.cameras.camera_to_world, ring(3).camera_to_world, atol=1e-7)
    assert torch.equal(views.object.sum((1, 2)), torch.full((3,), 200.0))
    assert torch.equal(views.images[:, 0], views.object)


def test_one_part_of_a_scene_opens_by_its_own_file(scene):
    assert open_views(scene / "transforms_train.json").names == ("r_0.png", "r_1.png")


def test_a_cut_part_is_an_error(scene):
    text = (scene / "transforms_test.json").read_text()
    (scene / "transforms_test.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match="transforms_test"):
        open_views(scene)


def test_the_lego_agrees_with_its_cameras(photos):
    views = open_views(photos("nerf_synthetic_lego"), max_side=100)
    assert {role: len(names) for role, names in views.splits.items()} == {"train": 100, "val": 10, "test": 25}
    assert views.images.shape == (135, 3, 100, 100)
    assert 0.05 < views.object.mean() < 0.5
    assert views.object.min() == 0
    centres = views.cameras.origins
    assert torch.allclose(centres.norm(dim=1), torch.tensor(4.0311), atol=1e-3)  # a sphere about the model
    toward = torch.nn.functional.normalize(-centres, dim=1)
    assert ((toward * views.cameras.axes).sum(1) > 0.999).all()
    full = open_views(photos("nerf_synthetic_lego") / "transforms_train.json")
    distance = torch.cdist(full.cameras.origins, full.cameras.origins) + 9 * torch.eye(100)
    pairs = [divmod(int(distance.argmin()), 100)]
    fit = agreement(full, pairs)
    assert fit.matches > 20
    assert fit.distance < 0.6
    assert fit.in_front > 0.9
