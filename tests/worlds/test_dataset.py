"""Worlds as data: the same number is the same world, streams can be cut and resumed, pictures agree with cameras."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from diorama.cameras.patches import PatchWindow
from diorama.data.images import write_png
from diorama.data.multiview import SceneBatches
from diorama.data.rgbd_coding import decode_rgbd
from diorama.data.scene_sets import SceneSet
from diorama.errors import InputError
from diorama.worlds.dataset import (
    EndlessScenes,
    Groups,
    PatchGroup,
    PictureGroup,
    ViewGroup,
    Worlds,
    WorldsConfig,
    exposed_windows,
)
from diorama.worlds.patterns import PHOTO
from diorama.worlds.trace import RenderConfig

WORLDS = Worlds(WorldsConfig(("room", "object"), seed=3, render=RenderConfig(samples=1)))
WINDOW = PatchWindow(size=16, focal=40.0, width=64, height=48, margin=6)


def numbers(number: int) -> list[int]:
    """Three samples a number."""
    return [10 * number + part for part in range(3)]


def test_a_stream_goes_on_with_the_very_next_sample():
    stream = Groups(numbers)
    first = list(itertools.islice(stream, 7))
    state = stream.state_dict()
    rest = list(itertools.islice(stream, 5))
    resumed = Groups(numbers)
    resumed.load_state_dict(state)
    assert list(itertools.islice(resumed, 5)) == rest
    assert first + rest == [10 * (k // 3) + k % 3 for k in range(12)]


def test_ranks_and_workers_share_the_numbers_without_overlap():
    taken = []
    for rank in range(2):
        loader = DataLoader(Groups(numbers, rank=rank, ranks=2), batch_size=None, num_workers=2)
        taken += list(itertools.islice(loader, 12))
    assert sorted(taken) == sorted(10 * group + part for group in range(8) for part in range(3))


def test_a_rank_that_is_not_one_is_refused():
    with pytest.raises(InputError, match="rank 2 of 2"):
        Groups(numbers, rank=2, ranks=2)


def test_patches_are_encoded_and_depend_on_seed_and_number_alone():
    group = PatchGroup(WORLDS, WINDOW, per_world=3)
    one, again, other = group(5), PatchGroup(Worlds(WORLDS.config), WINDOW, per_world=3)(5), group(6)
    assert len(one) == 3
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))
    assert not torch.equal(one[0], other[0])
    for patch in one:
        assert patch.shape == (4, 16, 16)
        assert -1 <= float(patch.min()) <= float(patch.max()) <= 1
        photo = decode_rgbd(patch)[0] * 255
        assert torch.allclose(photo, photo.round(), atol=1e-3)


def test_scale_multiplies_depth_and_changes_no_colour():
    small, large = (
        exposed_windows(Worlds(replace(WORLDS.config, scale=(scale, scale))), 1, 2, WINDOW) for scale in (1.0, 2.0)
    )
    assert torch.equal(small.colour, large.colour)
    assert torch.allclose(2 * small.depth, large.depth)


def test_no_camera_stands_in_a_wall():
    for index in range(3):
        seen = exposed_windows(Worlds(replace(WORLDS.config, scale=(1.0, 1.0))), index, 4, WINDOW)
        assert float((seen.depth < 0.1).float().mean()) < 0.1


def test_pictures_have_the_size_and_are_exposed():
    for picture in PictureGroup(WORLDS, 40, 24, 30.0, per_world=2)(2):
        assert picture.shape == (4, 24, 40)
        assert 0.1 < float(decode_rgbd(picture)[0].mean()) < 0.9


def test_views_of_one_scene_agree_in_space():
    scene = ViewGroup(replace(WORLDS, config=replace(WORLDS.config, kinds=("object",))), 3, 48, 36, 40.0)(4)[0]
    assert len(scene) == 3
    assert scene.frame.units == "metres"
    assert scene.cameras is not None
    assert scene.depth is not None
    scene.cameras.validate()
    y, x = torch.meshgrid(torch.arange(36) + 0.5, torch.arange(48) + 0.5, indexing="ij")
    pixels = torch.stack([x, y], dim=-1).reshape(-1, 2)
    solid = scene.depth[0].reshape(-1) > 0
    local = scene.cameras[0].unproject(pixels)[solid] * scene.depth[0].reshape(-1)[solid][:, None]
    points = local @ scene.cameras[0].camera_to_world[:3, :3].mT + scene.cameras[0].origins
    agreeing = []
    for other in (1, 2):
        place, depth = scene.cameras[other].project(points)
        inside = (place > 0).all(-1) & (place < torch.tensor([48.0, 36.0])).all(-1) & (depth > 0)
        column, row = place[inside].long().unbind(-1)
        seen = scene.depth[other][row, column]
        agreeing.append(((seen - depth[inside]).abs() < 0.1 * depth[inside]).float())
    assert float(torch.cat(agreeing).mean()) > 0.5, "most of what both could see, both do see, at the same depth"


def test_thirty_to_fifty_percent_of_the_materials_show_photos_where_there_are_some(tmp_path):
    for index in range(2):
        write_png(tmp_path / f"{index}.png", torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(index)))
    worlds = Worlds(WorldsConfig(textures=tmp_path, crops=4))
    shown = [worlds.shot(index).world.materials.kind == PHOTO for index in range(30)]
    assert 0.3 < float(torch.cat(shown).float().mean()) < 0.5


FOUR = ViewGroup(replace(WORLDS, config=replace(WORLDS.config, kinds=("object",))), 4, 16, 12, 12.0)


def test_endless_scenes_are_the_worlds_of_their_group_and_draw_only_what_is_read():
    scenes = EndlessScenes(FOUR)
    assert isinstance(scenes, SceneSet)
    assert (len(scenes), scenes.frame_count(7), scenes.names[7]) == (1 << 40, 4, "000007")
    whole, read = FOUR(7)[0], scenes.read(7)
    assert torch.equal(read.images, whole.images)
    assert torch.equal(read.depth, whole.depth)
    assert torch.equal(scenes.cameras(7).camera_to_world, whole.cameras.camera_to_world)
    some = scenes.read(7, [3, 1])
    assert some.names == ("000007_03.png", "000007_01.png")
    assert torch.equal(some.depth, whole.depth[[3, 1]])
    assert torch.equal(some.cameras.camera_to_world, whole.cameras.camera_to_world[[3, 1]])


def test_batches_of_endless_scenes_depend_on_seed_step_and_rank_alone_and_are_all_different():
    def batch(step, rank=0, scenes=None):
        return SceneBatches(scenes or EndlessScenes(FOUR), 2, 3, 12, seed=5, rank=rank, ranks=2)(step)["images"]

    scenes = EndlessScenes(FOUR)
    first, second, beside = batch(0, scenes=scenes), batch(1, scenes=scenes), batch(0, rank=1, scenes=scenes)
    assert torch.equal(batch(0), first)
    assert torch.equal(batch(1), second)
    pictures = torch.cat([first, second, beside]).flatten(0, 1)
    assert len(torch.unique(pictures.flatten(1), dim=0)) == len(pictures)
