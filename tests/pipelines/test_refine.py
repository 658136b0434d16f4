"""`--refine`: samples of a multi-view model start a fit."""

from dataclasses import replace

import pytest
import torch

from diorama.cameras.poses import Similarity
from diorama.data.scale import scene_scale
from diorama.data.square import tile_cameras
from diorama.errors import InputError
from diorama.pipelines.draw import Drawing
from diorama.pipelines.fit import Geometry
from diorama.pipelines.live import LiveWindow
from diorama.pipelines.reconstruct import reconstruct
from diorama.pipelines.refine import RefineConfig, looked_from, mean_depth, sampled_views, stereo_depth
from diorama.pipelines.sampling import sample_scenes
from diorama.pipelines.workspace import Workspace
from diorama.scenes.scene import Scene
from diorama.scenes.storage import load_scene
from diorama.systems.gibr import GIBRSampling
from diorama.types import Rendering
from diorama.viewer import server
from diorama.viewer.painting import PaintConfig
from tests.oracles import exact_views, ring_cameras
from tests.pipelines.test_reconstruct import StoppedError
from tests.systems.drawn import model_of

QUICK = GIBRSampling(steps=2, coarse=4, fine=4)
FEW = RefineConfig(pixels=8, views=2)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def photos():
    return exact_views(ring_cameras(3, 24, 20, arc=60.0))


@pytest.fixture(scope="module")
def scenes(model, photos):
    return sample_scenes(model, photos, samples=2, sampling=QUICK)


def refine(photos, model, **more):
    return reconstruct(
        photos, method="gibr", refine=True, prior=model, drawing=Drawing(2, QUICK), device="cpu", steps=6, split="none",
        **more,
    )  # fmt: skip


def test_samples_of_long_photos_are_looked_at_in_all_their_squares(model):
    long = exact_views(ring_cameras(2, 20, 36, arc=60.0))
    scene = sample_scenes(model, long, sampling=QUICK)[0]
    cameras = looked_from(scene, FEW)
    assert cameras.size.tolist() == [[8, 8]] * (4 + FEW.views)
    wanted = tile_cameras(long.cameras, 8)
    torch.testing.assert_close(cameras[:4].origins, wanted.origins, atol=1e-4, rtol=0)
    torch.testing.assert_close(cameras[:4].centre, wanted.centre, atol=1e-4, rtol=0)


def test_a_sample_compared_with_itself_has_no_spread_and_two_have_their_mean(scenes, photos):
    alone = sampled_views([scenes[0], scenes[0]], photos.cameras, Similarity.identity(), FEW)
    both = sampled_views(scenes, photos.cameras, Similarity.identity(), FEW)
    other = sampled_views([scenes[1]], photos.cameras, Similarity.identity(), FEW)
    assert float(alone.deviation.max()) < 1e-6
    assert float(both.deviation.max()) > 0
    torch.testing.assert_close(both.colour, 0.5 * (alone.colour + other.colour), rtol=0, atol=1e-5)
    assert both.colour.shape == (5, 3, 8, 8)


def test_the_views_follow_the_fit_into_its_frame(scenes, photos):
    plain = sampled_views(scenes, photos.cameras, Similarity.identity(), FEW)
    larger = sampled_views(scenes, photos.cameras, replace(Similarity.identity(), scale=3.0), FEW)
    torch.testing.assert_close(larger.depth, 3.0 * plain.depth)
    torch.testing.assert_close(larger.cameras.origins, 3.0 * plain.cameras.origins)
    assert torch.equal(larger.colour, plain.colour)


def test_what_is_cut_out_is_known_as_such_and_stays_so_on_disk(scenes, photos, tmp_path):
    seen = sampled_views(scenes, photos.cameras, Similarity.identity(), FEW)
    white = [replace(scene, background="white") for scene in scenes]
    cut = sampled_views(white, photos.cameras, Similarity.identity(), FEW)
    assert (seen.cut_out, cut.cut_out) == (False, True)
    assert float(seen.depth_trust(0.05).max()) > 0 == float(cut.depth_trust(0.05).max())
    work = Workspace.beside(tmp_path / "scene", {}, force=False)
    work.save_sampled(cut)
    assert work.sampled().cut_out


def test_stereo_takes_the_word_from_the_samples_depth_only_where_it_has_one(scenes, photos):
    seen = sampled_views(scenes, photos.cameras, Similarity.identity(), FEW)
    assert not seen.placed.any()
    depth = torch.zeros(3, 10, 12)
    depth[0] = 4.0
    sure, unsure = (Geometry(scene_scale(photos), depth, torch.full_like(depth, share), ()) for share in (0.9, 0.1))
    told, untold = (stereo_depth(photos, geometry) for geometry in (sure, unsure))
    assert stereo_depth(photos, Geometry(scene_scale(photos), None, None, ())) is None
    placed = sampled_views(scenes, photos.cameras, Similarity.identity(), FEW, stereo=told).placed
    assert placed.any()
    assert not placed.all()
    assert not sampled_views(scenes, photos.cameras, Similarity.identity(), FEW, stereo=untold).placed.any()


def test_depths_are_averaged_as_their_inverses_and_need_every_sample():
    flat = torch.ones(1, 1, 2)
    seen = [Rendering(torch.zeros(1, 3, 1, 2), flat * torch.tensor(depth), flat) for depth in ([1.0, 2.0], [3.0, 0.0])]
    torch.testing.assert_close(mean_depth(seen), torch.tensor([[[1.5, 0.0]]]))


def test_one_command_makes_a_fitted_scene_and_says_what_the_samples_told(photos, model):
    said = []
    scene = refine(photos, model, say=said.append)
    assert scene.field.kind == "hash-grid"
    assert scene.provenance["method"] == "gibr"
    assert scene.provenance["refine"] is True
    assert scene.provenance["samples"] == 2
    assert scene.provenance["samples_differ"] > 0
    assert any("sampled views of" in line for line in said)
    assert scene.render(photos.cameras).colour.isfinite().all()


def test_a_killed_fit_does_not_draw_again(photos, model, tmp_path):
    def kill(progress):
        if progress.step == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        refine(photos, model, output=tmp_path / "scene", callback=kill)
    said = []
    refine(photos, model, output=tmp_path / "scene", say=said.append)
    assert (tmp_path / "scene" / "scene.json").is_file()
    assert not any("sample 0" in line for line in said)
    assert any("sampled views of" in line for line in said)


def test_samples_are_kept_one_by_one_within_the_memory_limit_and_their_steps_are_told(
    photos, model, tmp_path, monkeypatch
):
    asked, told, whole = [], [], Scene.chunk

    def noted(scene, max_memory, *field):
        asked.append(max_memory)
        return whole(scene, max_memory, *field)

    def kill(progress):
        if progress.replaced and (progress.sample, progress.step) == (1, 1):
            raise StoppedError

    monkeypatch.setattr(Scene, "chunk", noted)
    limited = {"max_memory": "1GB", "output": tmp_path / "scene"}
    with pytest.raises(StoppedError):
        refine(photos, model, callback=kill, **limited)
    kept = load_scene(tmp_path / "scene.partial" / "drawn" / "samples" / "000")
    refine(photos, model, callback=lambda p: told.append((p.replaced, p.sample, p.step)), **limited)
    assert set(asked) == {1 << 30}
    assert told[:3] == [(True, 1, 1), (True, 1, 2), (False, 0, 1)]
    assert torch.equal(kept.field.perspective, sample_scenes(model, photos, sampling=QUICK)[0].field.perspective)


def test_stored_samples_say_what_those_in_memory_do(photos, model, scenes, tmp_path):
    stored = [load_scene(scene.save(tmp_path / str(index))) for index, scene in enumerate(scenes)]
    one, two = (sampled_views(some, photos.cameras, Similarity.identity(), FEW) for some in (scenes, stored))
    for name in ("colour", "deviation", "depth", "observed"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name


def test_who_watches_sees_the_samples_and_then_the_fit(photos, model, monkeypatch):
    shown = []

    class Watcher:
        url = "http://localhost"

        def __init__(self, render, cameras, **more):
            self.look(0, render)

        def look(self, step, render):
            shown.append((step, None if render is None else render.func.__self__.field.kind))

        def show_denoising(self, denoising):
            shown.append(("views", None if denoising is None else len(denoising.cameras)))

        def pace(self, config):
            shown.append(("pace", config.live_share))

        def update(self, step, steps, *, render, note):
            self.look(step, render)

        def finish(self, render, *, thumbnails):
            self.look("end", render)

        def stop(self):
            shown.append(("stop", None))

    monkeypatch.setattr(server, "Viewer", Watcher)
    window = LiveWindow()
    window.close(refine(photos, model, callback=lambda p: window.show(p) if p.sample == 0 else None))
    planes, grid = "ib-planes", "hash-grid"
    assert shown[:5] == [(0, planes), ("views", 4), (1, planes), ("views", 4), (2, planes)]
    assert shown[5:8] == [("pace", PaintConfig().live_share), ("views", None), (1, grid)]
    assert shown[8:] == [*((step, None) for step in range(2, 7)), ("end", grid), ("stop", None)]


def test_what_cannot_be_refined_is_refused(photos, model):
    with pytest.raises(InputError, match="fit needs two"):
        refine(photos[[0]], model)
    with pytest.raises(InputError, match="draws no samples"):
        reconstruct(photos, method="baseline", refine=True, device="cpu")
