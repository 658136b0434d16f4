"""What a multi-view model sees: worlds that do not depend on the user's, batches that depend on the step alone."""

import pickle
from dataclasses import replace

import pytest
import torch

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import Similarity
from diorama.cameras.rotations import axis_rotation
from diorama.data.multiview import MultiViews, SceneBatches, multi_views_of, normalise_cameras
from diorama.data.scene_sets import open_scenes
from diorama.data.square import square_crop
from diorama.data.view_choice import viewing_distance
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError
from diorama.training.batches import batches_at, sample_count, slice_batch
from tests.data.made_up import co3d_category
from tests.data.tiny import posed_folder, ring

AXIS = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
TURN = Similarity(
    3.7, axis_rotation(AXIS, torch.tensor(2.0, dtype=torch.float64)), torch.tensor([5.0, -2.0, 9.0]).double()
)
"""A similarity like any other."""


def square_views(count=4, size=12, **extra):
    cameras = ring(count, size, size)
    images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    return Views(images, tuple(f"{index}.png" for index in range(count)), cameras, **extra)


@pytest.mark.parametrize("reference", [0, 3])
@pytest.mark.parametrize("count", [2, 5, 9])
def test_a_similarity_of_the_user_world_changes_nothing(count, reference):
    cameras = ring(max(count, 4)).to(torch.float64)[: max(count, 4)]
    before, _ = normalise_cameras(cameras, reference)
    after, _ = normalise_cameras(TURN.apply_cameras(cameras), reference)
    assert torch.allclose(before.camera_to_world, after.camera_to_world, atol=1e-9)


def test_the_reference_is_the_identity_and_the_others_keep_what_they_see(rng):
    cameras = ring(5)
    moved, way = normalise_cameras(cameras, 2)
    assert torch.equal(moved.camera_to_world[2], torch.eye(4))
    points = 0.3 * torch.randn(20, 3, generator=rng)
    before, depth = cameras.project(points)
    after, scaled = moved.project(way.apply_points(points))
    torch.testing.assert_close(after, before, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(scaled, way.scale * depth)


def test_the_way_back_gives_the_user_cameras():
    cameras = TURN.apply_cameras(ring(5).to(torch.float64))
    moved, way = normalise_cameras(cameras, 1)
    back = way.inverse().apply_cameras(moved)
    assert torch.allclose(back.camera_to_world, cameras.camera_to_world, atol=1e-9)
    assert Similarity.from_dict(way.to_dict()).scale == way.scale


def test_the_median_distance_to_what_is_looked_at_becomes_one():
    for cameras in (ring(6), TURN.apply_cameras(ring(6)), ring(2)):
        assert viewing_distance(normalise_cameras(cameras, 0)[0]) == pytest.approx(1.0, abs=1e-4)


def test_parallel_axes_look_two_and_a_half_spreads_ahead():
    pose = torch.eye(4).repeat(3, 1, 1)
    pose[:, 0, 3] = torch.tensor([-1.0, 0.0, 1.0])
    cameras = Cameras.pinhole(pose, torch.full((3, 2), 20.0), torch.full((3, 2), 8.0), torch.full((3, 2), 16))
    moved, way = normalise_cameras(cameras, 1)
    assert way.scale == pytest.approx(1 / 7.25**0.5)  # the middle of the distances is an outer camera's
    assert torch.equal(moved.camera_to_world[1], torch.eye(4))
    wider, _ = normalise_cameras(TURN.apply_cameras(cameras), 1)
    assert torch.allclose(wider.camera_to_world, moved.camera_to_world, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_cameras_in_one_place_keep_the_unit_unless_a_distance_is_known(count):
    one = ring(5)[[2] * count]
    moved, way = normalise_cameras(one, 0)
    assert way.scale == 1.0
    assert torch.allclose(moved.camera_to_world, torch.eye(4), atol=1e-6)
    assert normalise_cameras(one, 0, known_distance=4.0)[1].scale == 0.25
    assert normalise_cameras(ring(5), 0, known_distance=4.0)[1].scale == 0.25


@pytest.mark.parametrize("reference", [-1, 3])
def test_a_reference_that_is_not_there_is_an_error(reference):
    with pytest.raises(InputError, match="there are 3"):
        normalise_cameras(ring(3), reference)
    with pytest.raises(InputError, match="positive number"):
        normalise_cameras(ring(3), 0, known_distance=-1.0)


def test_a_batch_there_and_back_is_the_same_and_may_be_cut():
    views, _ = multi_views_of([square_views(), square_views()], [0, 1])
    assert (len(views), views.size) == (2, 12)
    batch = views.to_batch()
    assert all(len(tensor) == 2 for tensor in batch.values())
    part = MultiViews.from_batch({name: tensor[1:] for name, tensor in batch.items()})
    assert torch.equal(part.camera_to_world, views.camera_to_world[1:])
    assert torch.equal(part.camera_to_world[0, 1], torch.eye(4))
    with pytest.raises(InputError, match="lacks camera_to_world, focal"):
        MultiViews.from_batch({"images": batch["images"]})


def test_its_numbers_are_those_of_its_cameras():
    views, _ = multi_views_of([square_views(), square_views(4)], [0, 3])
    cameras = views.cameras()
    assert cameras.shape == (2, 4)
    assert views.pose_numbers().shape == (2, 4, 16)
    assert views.intrinsics().shape == (2, 4, 4)
    direction, moment = views.pluecker().split(3, dim=2)
    assert direction.shape == (2, 4, 3, 12, 12)
    assert float((direction * moment).sum(2).abs().max()) < 1e-6
    assert float(moment[0, 0].abs().max()) == 0  # rays of the reference pass through the origin
    matrix = views.world_to_camera()
    assert torch.allclose(matrix[..., :3] @ views.camera_to_world[..., :3, :3], torch.eye(3), atol=1e-6)
    assert views.first(2).images.shape == (2, 2, 3, 12, 12)


def test_another_resolution_shows_the_same():
    views, _ = multi_views_of([square_views(size=12, depth=torch.rand(4, 12, 12))], [0])
    half = views.resized(6)
    torch.testing.assert_close(half.images, square_crop(square_views(size=12), 6)[0].images[None])
    assert torch.allclose(half.pose_numbers(), views.pose_numbers())
    assert half.depth.shape == (1, 4, 6, 6)
    assert views.resized(24).images.shape == (1, 4, 3, 24, 24)
    assert views.resized(12) is views


def test_depth_grows_with_the_world():
    depth = torch.full((4, 12, 12), 2.0)
    depth[:, 0] = 0.0
    scenes = [square_views(depth=depth), square_views()]
    views, ways = multi_views_of(scenes, [0, 2], scales=[1.0, 1.5])
    assert torch.allclose(views.depth[0, :, 1:], torch.tensor(2.0 * ways[0].scale))
    assert float(views.depth[0, :, 0].max()) == 0
    assert float(views.depth[1].max()) == 0
    assert ways[1].scale == pytest.approx(1.5 * ways[0].scale)
    alone, _ = multi_views_of(scenes[1:], [2])
    assert torch.allclose(views.camera_to_world[1, :, :3, 3], 1.5 * alone.camera_to_world[0, :, :3, 3])
    back = ways[1].inverse().apply_cameras(views.cameras()[1])
    assert torch.allclose(back.camera_to_world, scenes[1].cameras.camera_to_world, atol=1e-5)


def test_views_that_do_not_stack_are_refused():
    wide = Views(torch.rand(4, 3, 8, 12), tuple("abcd"), ring(4, 12, 8))
    for scenes in ([wide], [square_views(4), square_views(3)], [square_views(size=12), square_views(size=16)], []):
        with pytest.raises(ViewsError, match="equally many square ones"):
            multi_views_of(scenes, [0] * len(scenes))
    for views in (replace(square_views(), cameras=None), replace(square_views(), cameras=ring(4, 12, 12, "opencv"))):
        with pytest.raises(ViewsError, match="pinhole"):
            multi_views_of([views], [0])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    posed_folder(folder / "a", ring(9, 24, 16))
    posed_folder(folder / "b", ring(7, 16, 24))
    posed_folder(folder / "c", ring(8, 32, 18, lens="opencv"))
    return open_scenes(folder)


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_same_step_is_the_same_batch_and_another_step_another(scenes):
    batches = SceneBatches(scenes, batch=3, views=4, size=8, seed=5)
    batch = batches(7)
    assert {name: tuple(tensor.shape) for name, tensor in batch.items()} == {
        "images": (3, 4, 3, 8, 8), "camera_to_world": (3, 4, 4, 4), "focal": (3, 4, 2), "centre": (3, 4, 2),
        "depth": (3, 4, 8, 8),
    }  # fmt: skip
    assert same(batch, batches(7))
    assert same(batch, pickle.loads(pickle.dumps(batches))(7))
    assert not same(batch, batches(8))
    assert not same(batch, replace(batches, seed=6)(7))
    assert not same(batch, replace(batches, rank=1, ranks=2)(7))
    assert 0 <= float(batch["images"].min()) <= float(batch["images"].max()) <= 1


def test_the_training_loop_takes_them_as_they_are(scenes):
    batches = SceneBatches(scenes, batch=3, views=2, size=8)
    stream = iter(batches_at(batches)(4))
    first = next(stream)
    assert same(first, batches(4))
    assert same(next(stream), batches(5))
    assert sample_count(first) == 3
    part = MultiViews.from_batch(slice_batch(first, slice(1, 3)))
    assert torch.equal(part.images, first["images"][1:])


def test_one_view_of_each_scene_is_its_world_at_a_scale_of_its_own(scenes):
    batches = SceneBatches(scenes, batch=20, views=5, size=8, scale=(0.5, 2.0))
    views = MultiViews.from_batch(batches(0))
    identity = (views.camera_to_world == torch.eye(4)).all(-1).all(-1)
    assert identity.sum(1).tolist() == [1] * 20
    assert len(set(identity.float().argmax(1).tolist())) > 1
    distances = [viewing_distance(views.cameras()[index]) for index in range(20)]
    assert 0.5 - 1e-4 <= min(distances) < 0.8 < 1.3 < max(distances) <= 2.0 + 1e-4
    fixed = MultiViews.from_batch(replace(batches, scale=(1.0, 1.0))(0))
    assert viewing_distance(fixed.cameras()[3]) == pytest.approx(1.0, abs=1e-4)


def test_the_pictures_of_a_batch_are_those_of_its_scenes(tmp_path):
    posed_folder(tmp_path / "a", ring(4, 24, 16))
    scenes = open_scenes(tmp_path)
    batch = SceneBatches(scenes, batch=2, views=4, size=16, scale=(1.0, 1.0))(3)
    square, _ = square_crop(scenes.read(0), 16)
    for index in range(2):
        order = [
            int(torch.tensor([torch.equal(image, own) for own in square.images]).nonzero())
            for image in batch["images"][index]
        ]
        assert sorted(order) == [0, 1, 2, 3]
        reference = int((batch["camera_to_world"][index] == torch.eye(4)).all(-1).all(-1).nonzero())
        expected, _ = normalise_cameras(square.cameras[order], reference)
        torch.testing.assert_close(batch["camera_to_world"][index], expected.camera_to_world)
        torch.testing.assert_close(batch["focal"][index], expected.focal)
        torch.testing.assert_close(batch["centre"][index], expected.centre)


def test_photos_are_read_no_larger_than_needed(scenes):
    asked = []

    class Watched(type(scenes)):
        def read(self, index, frames=None, max_side=None, depth=True):
            views = super().read(index, frames, max_side, depth)
            asked.append((self.names[index], views.images.shape[-2:], depth))
            return views

    watched = Watched(scenes.place, scenes.layout, scenes.names, scenes.find)
    SceneBatches(watched, batch=12, views=3, size=8)(0)
    sides = {name: tuple(shape) for name, shape, _ in asked}
    assert sides == {"a": (8, 12), "b": (12, 8), "c": (16, 29)}  # a bent lens is straightened at twice the size
    assert not any(depth for *_, depth in asked)


def test_squares_anywhere_are_off_the_middle_and_sometimes_two_of_one_photo(scenes):
    batches = SceneBatches(scenes.subset([0, 1]), batch=80, views=4, size=8, squares="anywhere")
    views = MultiViews.from_batch(batches(0))
    assert same(batches(0), batches(0))
    assert float((views.centre - 4).abs().max()) > 2
    places = views.camera_to_world[..., :3, 3]
    distances = (places[:, :, None] - places[:, None]).norm(dim=-1)
    together = ((distances < 1e-3).flatten(1).sum(1) - 4) // 2
    assert together.unique().tolist() == [0, 1]
    assert 0.1 < float(together.float().mean()) < 0.4
    middle = MultiViews.from_batch(replace(batches, squares="middle")(0))
    assert float((middle.centre - 4).abs().max()) < 0.5


def test_photos_of_squares_anywhere_are_read_so_that_squares_are_never_enlarged(scenes):
    sizes = []

    class Watched(type(scenes)):
        def read(self, index, frames=None, max_side=None, depth=True):
            views = super().read(index, frames, max_side, depth)
            sizes.append(min(views.images.shape[-2:]))
            return views

    watched = Watched(scenes.place, scenes.layout, scenes.names, scenes.find).subset([0, 1])
    SceneBatches(watched, batch=12, views=3, size=8, squares="anywhere")(0)
    assert set(sizes) == {12}


def test_scenes_that_cannot_be_used_are_passed_over_and_said(tmp_path):
    posed_folder(tmp_path / "good", ring(5))
    posed_folder(tmp_path / "short", ring(2))
    posed_folder(tmp_path / "torn", ring(4))
    for file in (tmp_path / "torn" / "images").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    told = {}
    batches = SceneBatches(open_scenes(tmp_path), batch=8, views=3, size=8, told=told.__setitem__)
    assert len(batches(0)["images"]) == 8
    assert set(told) == {"short", "torn"}
    assert "3 views of a scene that has 2" in told["short"]
    bad = replace(batches, scenes=open_scenes(tmp_path).subset([1, 2]))
    with pytest.raises(InputError, match="16 scenes in a row"):
        bad(0)


def test_masks_put_a_background_behind_objects_and_depth_comes_where_it_is_asked_for(tmp_path):
    scenes = open_scenes(co3d_category(tmp_path))
    batches = SceneBatches(scenes, batch=1, views=3, size=8)
    plain, white = batches(0), replace(batches, background=1.0)(0)
    torch.testing.assert_close(white["images"], 0.4 * plain["images"] + 0.6)
    assert float(plain["depth"].max()) == 0
    depth = replace(batches, depth=True, scale=(1.0, 1.0))(0)["depth"]
    assert torch.allclose(depth, torch.tensor(4.5 / viewing_distance(scenes.cameras(0))), rtol=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"rank": 2, "ranks": 2}, {"views": 0}, {"batch": 0}, {"scale": (2.0, 1.0)}, {"size": 0}]
)
def test_batches_of_nothing_are_refused(scenes, wrong):
    with pytest.raises(InputError):
        SceneBatches(scenes, **wrong)


def test_real_photos_make_a_batch(photos):
    batches = SceneBatches(open_scenes(photos("co3d_apple")), batch=1, views=6, size=96, scale=(1.0, 1.0))
    views = MultiViews.from_batch(batches(0))
    assert views.images.shape == (1, 6, 3, 96, 96)
    assert viewing_distance(views.cameras()[0]) == pytest.approx(1.0, abs=1e-3)
    target = torch.tensor([0.0, 0.0, 1.0])
    pixels, depth = views.cameras()[0].project(target[None])
    assert bool((depth > 0.5).all())
    assert bool(((pixels > 0) & (pixels < 96)).all())
