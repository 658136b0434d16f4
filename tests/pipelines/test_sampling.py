"""Photographs to sampled scenes: in the user's frame, the same by seed, whatever is given."""

import json
import math
from dataclasses import replace

import pytest
import torch

from diorama.cameras.poses import Similarity
from diorama.cameras.rotations import axis_rotation
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError
from diorama.fields.sampled_planes import SampledPlanes
from diorama.pipelines.question import ExtraViews, question_of
from diorama.pipelines.sampling import chunk_of, depth_limits, draw_scene, sample_scenes, seed_of
from diorama.scenes.pictures import render_views
from diorama.scenes.storage import load_scene
from diorama.systems.gibr import GIBRSampling, SamplingError
from diorama.types import Rendering
from tests.oracles import exact_views, ring_cameras
from tests.systems.drawn import model_of

QUICK = GIBRSampling(steps=2, coarse=4, fine=4)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def photos():
    return exact_views(ring_cameras(3, 24, 20, arc=60.0))


@pytest.fixture(scope="module")
def scene(model, photos):
    return sample_scenes(model, photos, sampling=QUICK)[0]


def moved(views, way):
    return replace(views, cameras=way.apply_cameras(views.cameras), depth=None)


def somewhere():
    turn = axis_rotation(torch.tensor([1.0, -2.0, 0.5]), torch.tensor(0.9)).double()
    return Similarity(40.0, turn, torch.tensor([3.0, 10.0, -7.0]).double())


def test_the_scene_renders_as_the_models_planes_do(model, photos):
    states = []
    scene = sample_scenes(model, photos, sampling=QUICK, seen=lambda index, state: states.append(state))[0]
    asked = question_of(model, photos)
    wanted = render_views(model, scene.field.planes, asked.views, "keep", which=torch.arange(3))
    small = asked.cameras[:3]
    seen = scene.render(small)
    assert float(seen.colour.std()) > 0.01
    gap = (seen.colour - wanted.colour[0]).abs()  # samples lie elsewhere, and this field was never trained
    assert float(gap.median()) < 0.05 * float(seen.colour.std())
    assert float(gap.mean()) < 0.05
    points = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(scene.field.geometry(points), model.field(scene.field.planes, points), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert [state.step for state in states] == [1, 2]
    assert states[-1].images.shape == (4, 3, 16, 16)
    before = states[-1].scene().render(small)
    torch.testing.assert_close(seen.colour, before.colour, atol=1e-6, rtol=0)


def test_the_finished_scene_leaves_out_own_planes_where_that_is_asked_before_and_after_it_is_stored(
    model, photos, scene, tmp_path
):
    dropped = sample_scenes(model, photos, sampling=replace(QUICK, final_own_plane="drop"))[0]
    asked = question_of(model, photos)
    wanted = render_views(
        model, dropped.field.planes, asked.views, "drop", which=torch.arange(3), sampling=dropped.sampling
    ).colour[0]
    here = asked.cameras[:3]
    torch.testing.assert_close(dropped.render(here).colour, wanted, atol=1e-3, rtol=1e-3)
    kept, elsewhere = scene.render(here).colour, ring_cameras(1, 12, 12, elevation=2.0)
    assert float((kept - wanted).abs().amax()) > 0.01
    assert torch.equal(dropped.render(elsewhere).colour, scene.render(elsewhere).colour)
    dropped.save(tmp_path / "dropped")
    again = load_scene(tmp_path / "dropped")
    assert torch.equal(again.render(again.cameras).colour, dropped.render(dropped.cameras).colour)
    scene.save(tmp_path / "kept")
    plain = sample_scenes(model, photos, sampling=replace(QUICK, given_first=False))[0]
    plain.save(tmp_path / "plain")
    settings = json.loads((tmp_path / "plain" / "scene.json").read_text())["field"]
    assert not {"own_plane", "first"} & set(settings), "older versions read"


def test_the_users_frame_is_kept(model, photos, scene):
    way = somewhere()
    other = sample_scenes(model, moved(photos, way), sampling=QUICK)[0]
    here = scene.render(scene.cameras)
    there = other.render(way.apply_cameras(scene.cameras))
    torch.testing.assert_close(here.colour, there.colour, atol=2e-3, rtol=0)
    torch.testing.assert_close(here.depth * way.scale, there.depth, rtol=1e-2, atol=1e-2 * way.scale)
    assert other.near == pytest.approx(way.scale * scene.near, rel=1e-2)


def test_context_cameras_are_those_of_the_whole_photos(photos, scene):
    torch.testing.assert_close(scene.cameras.camera_to_world, photos.cameras.camera_to_world)
    assert scene.names == photos.names
    point = torch.tensor([[0.1, 0.2, 0.3]])
    before, _ = photos.cameras.project(point.expand(3, 1, 3))
    after, _ = scene.cameras.project(point.expand(3, 1, 3))
    assert scene.cameras.size.tolist() == [[24, 20]] * 3
    torch.testing.assert_close(before, after, atol=1e-4, rtol=0)
    torch.testing.assert_close(scene.thumbnails, photos.images[:, :3])


def test_a_long_photo_is_several_views_and_one_photograph_of_the_scene(model):
    views = exact_views(ring_cameras(2, 20, 36, arc=60.0))
    asked = question_of(model, views)
    assert asked.given == 4
    assert len(asked.extra) == 1
    assert asked.context.names == views.names
    assert any("2 squares of each, which show all of each" in note for note in asked.notes)
    origins = asked.cameras.origins
    torch.testing.assert_close(origins[[0, 2]], origins[[1, 3]])
    corners = torch.tensor([[0.0, 0.0], [16.0, 16.0]])
    top, bottom = (asked.cameras[[tile]].unproject(corners[None])[0] for tile in (0, 1))
    whole = views.cameras[[0]].unproject(torch.tensor([[[0.0, 0.0], [20.0, 36.0]]]))[0]
    torch.testing.assert_close(torch.stack([top[0], bottom[1]]), whole, atol=1e-5, rtol=0)
    scene = draw_scene(model, asked, sampling=QUICK)
    assert scene.names == views.names
    assert scene.cameras.size.tolist() == [[20, 36]] * 2
    assert scene.field.config.views == 5
    assert scene.field.config.first == (0, 1, 2, 3)


def test_squares_of_a_single_photo_are_asked_with_all_others(model):
    alone = exact_views(ring_cameras(1, 20, 36))
    asked = question_of(model, alone)
    assert (asked.given, len(asked.extra)) == (2, 2)
    assert draw_scene(model, asked, sampling=QUICK).field.config.first == ()


def test_the_same_seed_is_the_same_scene_and_another_one_is_not(model, photos, scene):
    again = sample_scenes(model, photos, sampling=QUICK)[0]
    assert torch.equal(scene.field.perspective, again.field.perspective)
    other = sample_scenes(model, photos, sampling=QUICK, seed=1)[0]
    assert not torch.equal(scene.field.perspective, other.field.perspective)


def test_a_sample_is_the_same_alone_and_among_others(model, photos):
    many = sample_scenes(model, photos, samples=3, sampling=QUICK)
    alone = draw_scene(model, question_of(model, photos), 2, sampling=QUICK)
    assert torch.equal(many[2].field.perspective, alone.field.perspective)
    assert not torch.equal(many[0].field.perspective, many[1].field.perspective)
    assert len({seed_of(seed, index) for seed in range(3) for index in range(3)}) == 9


def test_provenance_tells_how_it_was_drawn_and_is_stored(model, photos, scene, tmp_path):
    told = load_scene(scene.save(tmp_path / "scene")).provenance
    assert told["method"] == "gibr"
    assert (told["seed"], told["sample"], told["steps"]) == (0, 0, 2)
    assert set(told["photos"]) == set(photos.names)
    assert len(told["extra_cameras"]) == 1
    assert len(told["weights"]) == 64
    assert any("crop" in line and "middle square" in line for line in told["question"])


@pytest.mark.parametrize(("given", "extra"), [(1, 3), (2, 2), (3, 1), (5, 1)])
def test_cameras_are_added_until_there_are_as_many_as_the_model_learned_from(model, given, extra):
    views = exact_views(ring_cameras(given, 24, 20, arc=100.0))
    asked = question_of(model, views)
    assert len(asked.extra) == extra
    assert asked.given == given
    assert any("learned from 4" in note for note in asked.notes) == (given + extra > 4)


def test_a_photo_without_a_pose_is_the_world_and_its_lens_is_guessed_or_from_exif(model, photos):
    bare = Views(photos.images[:1], ("me.jpg",), focal_hints=torch.tensor([float("nan")]))
    asked = question_of(model, bare)
    assert torch.equal(asked.context.cameras.camera_to_world[0], torch.eye(4))
    side, focal = asked.views.size, float(asked.views.focal[0, 0, 0])
    assert 2 * math.atan(0.5 * side * 24 / 20 / focal) == pytest.approx(math.radians(55), abs=1e-5)
    assert any("a guess" in note for note in asked.notes)
    hinted = question_of(model, replace(bare, focal_hints=torch.tensor([30.0])))
    assert float(hinted.views.focal[0, 0, 0]) == pytest.approx(30.0 * side / 20)
    assert any("EXIF" in note for note in hinted.notes)
    scene = draw_scene(model, asked, sampling=QUICK)
    assert scene.frame.name == "the camera of me.jpg"
    assert scene.render(scene.cameras).colour.isfinite().all()


def test_what_tells_the_scale_of_a_single_camera(model, photos):
    ring = photos.cameras
    distance = float((ring.origins - torch.tensor([0.0, 0.0, 0.5])).norm(dim=-1).median())
    alone = replace(photos[[0]], depth=None)
    assert question_of(model, alone).similarity.scale == pytest.approx(1.0)
    assert question_of(model, alone, known_distance=4.0).similarity.scale == pytest.approx(0.25)
    assert question_of(model, alone, poses=ring).similarity.scale == pytest.approx(1 / distance, rel=1e-3)
    measured = question_of(model, photos[[0]])
    assert any("depth maps" in note for note in measured.notes)
    assert question_of(model, photos).similarity.scale == pytest.approx(1 / distance, rel=1e-3)


def test_cameras_in_one_place_and_lenses_far_apart_work_and_are_said(model, photos):
    equal = replace(photos, cameras=photos.cameras[torch.zeros(3, dtype=torch.long)])
    said = []
    scene = sample_scenes(model, equal, sampling=QUICK, say=said.append)[0]
    assert scene.render(scene.cameras[:1]).colour.isfinite().all()
    assert any("one place" in line for line in said)
    zoomed = replace(photos, cameras=replace(photos.cameras, focal=photos.cameras.focal.clone()))
    zoomed.cameras.focal[0] *= 10
    asked = question_of(model, zoomed)
    assert any("factor of 10" in note for note in asked.notes)
    torch.testing.assert_close(asked.views.focal[0, 3], asked.views.focal[0, 1])


def test_views_that_look_apart_work_and_are_said(model, photos):
    pose = torch.eye(4).repeat(3, 1, 1)
    for index, angle in enumerate((0.0, 2.1, 4.2)):
        pose[index, :3, :3] = axis_rotation(torch.tensor([0.0, 1.0, 0.0]), torch.tensor(angle))
        pose[index, :3, 3] = pose[index, :3, 2]
    apart = replace(photos, cameras=replace(photos.cameras, camera_to_world=pose))
    asked = question_of(model, apart)
    assert any("look outwards" in note for note in asked.notes)
    assert draw_scene(model, asked, sampling=QUICK).render(asked.context.cameras).colour.isfinite().all()


@pytest.mark.parametrize("side", [6, 8, 500])
def test_photos_of_any_size_become_the_models_square(model, side):
    views = Views(torch.rand(2, 3, side, side + 1), ("a", "b"), ring_cameras(2, side + 1, side, arc=30.0))
    asked = question_of(model, views)
    assert asked.views.images.shape == (1, 4, 3, 16, 16)
    assert any("enlarged" in note for note in asked.notes) == (side < 16)


def test_objects_come_before_white(model, photos):
    coverage = torch.zeros(3, 20, 24)
    asked = question_of(model, replace(photos, object=coverage))
    assert float(asked.views.images[0, :3].min()) == 1.0
    assert asked.background == "white"


def test_without_noisy_views_there_is_one_scene(model, photos):
    said = []
    one, two = sample_scenes(
        model, photos, samples=2, sampling=QUICK, extra=ExtraViews(count=0), seen=lambda i, state: said.append(state)
    )
    assert torch.equal(one.field.perspective, two.field.perspective)
    assert [state.steps for state in said] == [1, 1]


def test_guidance_gets_two_noisy_views(model, photos):
    scene = sample_scenes(model, photos, sampling=replace(QUICK, guidance=1.0))[0]
    assert scene.field.config.views == 5


def test_what_cannot_be_is_said(model, photos):
    with pytest.raises(InputError, match="diorama generate"):
        question_of(model, photos[[]])
    with pytest.raises(ViewsError, match="diorama pose"):
        question_of(model, replace(photos, cameras=None))
    with pytest.raises(InputError, match="two views"):
        question_of(model, photos[[0]], extra=ExtraViews(count=0))
    with pytest.raises(InputError, match="positive"):
        question_of(model, photos, known_distance=-1.0)
    broken = replace(photos, images=photos.images.clone())
    broken.images[1, 0, 3, 5] = float("nan")
    with pytest.raises(InputError, match="view 1"):
        sample_scenes(model, broken, sampling=QUICK)
    wild = model_of()
    next(wild.parameters()).fill_(float("nan"))
    with pytest.raises(SamplingError, match="step 1 of"):
        sample_scenes(wild, photos, sampling=QUICK)


def test_less_memory_means_fewer_rays_at_a_time(model):
    sizes = [chunk_of(model, QUICK, 4, limit) for limit in (1, 20_000_000, 1 << 40)]
    assert sizes[0] == 64
    assert sizes == sorted(sizes)
    assert sizes[2] == 1024


def test_near_and_far_hold_nearly_all_surfaces():
    depth = torch.linspace(1.0, 2.0, 1000).reshape(1, 20, 50)
    seen = Rendering(torch.zeros(1, 3, 20, 50), depth, torch.ones(1, 20, 50))
    near, far = depth_limits(seen)
    assert near == pytest.approx(1.02, abs=1e-3)
    assert far == pytest.approx(1.98, abs=1e-3)
    sky = replace(seen, depth=torch.where(depth > 1.9, 1e6, depth))
    assert depth_limits(sky)[1] == pytest.approx(20 * 1.5, rel=1e-2)
    assert depth_limits(replace(seen, opacity=torch.zeros(1, 20, 50))) is None


@pytest.mark.slow
def test_a_picture_of_1024_pixels_a_side_asks_for_no_more_memory_at_once_than_is_allowed(scene, monkeypatch):
    sparse = replace(scene, sampling=replace(scene.sampling, coarse=2, fine=1))
    limit, asked, whole = 5 << 20, [], SampledPlanes.geometry

    def noted(field, positions):
        asked.append(positions.shape[:-1].numel())
        return whole(field, positions)

    sparse.render(scene.cameras[:1].resize(4, 4))  # makes the cube that weighs samples
    monkeypatch.setattr(SampledPlanes, "geometry", noted)
    seen = sparse.render(scene.cameras[:1].resize(1024, 1024), max_memory=limit)
    assert seen.colour.shape == (1, 3, 1024, 1024)
    assert seen.colour.isfinite().all()
    assert sum(asked) == 1024 * 1024
    assert max(asked) * scene.field.bytes_per_sample <= limit < sum(asked) * scene.field.bytes_per_sample


def test_a_megapixel_is_drawn_in_pieces_that_fit_the_limit(scene):
    assert scene.chunk(1 << 20) < scene.chunk(4 << 30) <= 2048
    camera = scene.cameras[:1].resize(40, 40)
    torch.testing.assert_close(
        scene.render(camera, max_memory=1).colour, scene.render(camera, max_memory=4 << 30).colour, atol=1e-5, rtol=0
    )
