"""What is stored comes back: windows as patches, scenes as views, any step at any time."""

import pytest
import torch

from diorama.cameras.patches import PatchWindow
from diorama.cameras.pinhole import pixel_grid
from diorama.cameras.rays import camera_rays
from diorama.data.multiview import MultiViews, SceneBatches, multi_views_of
from diorama.data.scene_sets import SceneSet
from diorama.data.square import square_crop
from diorama.errors import InputError
from diorama.worlds.dataset import ViewGroup, Worlds, WorldsConfig, exposed_windows
from diorama.worlds.shards import Shards, unpack_depth
from diorama.worlds.stored import StoredMultiViews, StoredPatches, StoredScenes, write_scenes, write_windows
from diorama.worlds.trace import RenderConfig

WORLDS = Worlds(WorldsConfig(("object",), render=RenderConfig(samples=1)))
WINDOW = PatchWindow(size=24, focal=40.0, width=64, height=48, margin=6)


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    assert write_windows(folder, WORLDS, 2, per_shard=1, per_world=3, window=WINDOW) == 2
    return Shards.open(folder)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    assert write_scenes(folder, ViewGroup(WORLDS, 3, 16, 12, 12.0), 2, per_shard=1) == 2
    return Shards.open(folder)


def test_a_window_comes_back_as_it_was_drawn(windows):
    assert len(windows) == 6
    drawn, row = exposed_windows(WORLDS, 1, 3, WINDOW), windows.rows([4])
    assert torch.allclose(row["colour"][0].float(), drawn.colour[1], rtol=1e-3, atol=1e-6)
    assert torch.allclose(unpack_depth(row["depth"])[0], drawn.depth[1], rtol=2e-4)


def test_any_step_can_be_had_at_any_time(windows):
    patches = StoredPatches(windows, batch=5, size=16)
    batch = patches(7)
    assert batch.shape == (5, 4, 16, 16)
    assert torch.equal(batch, StoredPatches(windows, batch=5, size=16)(7))
    assert not torch.equal(batch, patches(8))
    assert not torch.equal(batch, StoredPatches(windows, batch=5, size=16, rank=1, ranks=2)(7))
    assert -1 <= float(batch.min()) <= float(batch.max()) <= 1


def test_a_scene_comes_back_with_some_of_its_views(scenes):
    group = ViewGroup(WORLDS, 3, 16, 12, 12.0)
    for scene in StoredScenes(scenes, 2, batch=3)(1):
        number, views = int(scene.names[0][:6]), [int(name[7:9]) for name in scene.names]
        whole = group(number)[0][views]
        assert torch.allclose(scene.images, whole.images, atol=1e-3)
        assert torch.allclose(scene.depth, whole.depth, rtol=2e-4)
        assert torch.equal(scene.cameras.camera_to_world, whole.cameras.camera_to_world)
        assert torch.equal(scene.cameras.size, whole.cameras.size)


def test_what_was_not_stored_cannot_be_asked_for(windows, scenes):
    with pytest.raises(InputError, match="not scenes"):
        StoredScenes(windows, 2)
    with pytest.raises(InputError, match="not windows"):
        StoredPatches(scenes)
    with pytest.raises(InputError, match="larger windows"):
        StoredPatches(windows, size=48)
    with pytest.raises(InputError, match="1 to 3"):
        StoredScenes(scenes, 4)


def test_stored_scenes_are_a_set_of_scenes_for_multi_view_batches(scenes):
    stored = StoredMultiViews(scenes)
    assert isinstance(stored, SceneSet)
    assert (len(stored), stored.names, stored.frame_count(1)) == (2, ("000000", "000001"), 3)
    whole = ViewGroup(WORLDS, 3, 16, 12, 12.0)(1)[0]
    part = stored.read(1, [2, 0])
    assert torch.allclose(part.images, whole.images[[2, 0]], atol=1e-3)
    assert torch.equal(stored.cameras(1).camera_to_world, whole.cameras.camera_to_world)
    batches = SceneBatches(stored, batch=4, views=2, size=12, least_baseline=0.0, depth=True, scale=(1.0, 1.0))
    views = MultiViews.from_batch(batches(0))
    assert views.images.shape == (4, 2, 3, 12, 12)
    assert torch.equal(batches(5)["images"], batches(5)["images"])
    assert not torch.equal(batches(5)["images"], batches(6)["images"])


def test_the_depth_of_a_stored_scene_fits_its_normalised_cameras(scenes):
    # surface points of one view, taken back into the world, lie where the stored depth of that world puts them
    whole = StoredMultiViews(scenes).read(0)
    square, _ = square_crop(whole, 12)
    views, (way,) = multi_views_of([square], [1], scales=[1.3])
    known = views.depth[0, 0] > 0
    rays = camera_rays(views.cameras()[0, 0], pixel_grid(12, 12).reshape(-1, 2))
    points = way.inverse().apply_points(rays.at(views.depth[0, 0].reshape(-1) / rays.cosine))
    pixels, depth = square.cameras[[0]].project(points[None])
    assert torch.allclose(depth[0].reshape(12, 12)[known], square.depth[0][known], rtol=1e-4)
    assert torch.allclose(pixels[0].reshape(12, 12, 2)[known], pixel_grid(12, 12)[known], atol=1e-2)


def test_only_scenes_are_a_set_of_scenes(windows):
    with pytest.raises(InputError, match="not scenes"):
        StoredMultiViews(windows)
