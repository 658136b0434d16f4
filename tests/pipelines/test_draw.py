"""`reconstruct --method gibr`: samples as scenes on disk, gone on with after a kill, and when it is chosen."""

import json
from dataclasses import replace

import pytest
import torch

from diorama.data.transforms import write_transforms
from diorama.data.views import Views
from diorama.errors import DioramaError, InputError
from diorama.nets import pretrained
from diorama.pipelines import priors
from diorama.pipelines import reconstruct as verb
from diorama.pipelines.draw import Drawing, settled_drawing
from diorama.pipelines.evaluate import evaluate
from diorama.pipelines.evaluate_several import evaluate_several, several_text
from diorama.pipelines.live import LiveWindow
from diorama.pipelines.priors import choose_method, open_gibr, why_method
from diorama.pipelines.question import ExtraViews
from diorama.pipelines.reconstruct import reconstruct
from diorama.pipelines.uncertainty import sample_folders
from diorama.priors.prior import NullPrior
from diorama.scenes.denoising import load_denoising
from diorama.scenes.scene import Scene
from diorama.scenes.storage import load_scene
from diorama.systems.gibr import GIBRSampling
from diorama.viewer import server
from tests.oracles import exact_views, ring_cameras
from tests.pipelines.test_reconstruct import StoppedError
from tests.systems.drawn import model_of

QUICK = GIBRSampling(steps=2, coarse=4, fine=4)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def photos():
    return exact_views(ring_cameras(3, 24, 20, arc=60.0))


def draw(photos, model, samples=1, **more):
    return reconstruct(photos, method="gibr", prior=model, drawing=Drawing(samples, QUICK), device="cpu", **more)


def test_the_output_is_the_first_sample_and_holds_the_others_and_their_spread(photos, model, tmp_path):
    said, steps = [], []
    scene = draw(photos, model, 3, output=tmp_path / "scene", say=said.append,
                 callback=lambda p: steps.append((p.sample, p.step, p.steps)))  # fmt: skip
    folders = sample_folders(tmp_path / "scene")
    scenes = [load_scene(folder) for folder in folders]
    assert [one.provenance["sample"] for one in scenes] == [0, 1, 2]
    assert torch.equal(scene.field.perspective, scenes[0].field.perspective)
    assert not torch.equal(scenes[0].field.perspective, scenes[1].field.perspective)
    assert json.loads((tmp_path / "scene" / "spread" / "spread.json").read_text())["scenes"] == 3
    assert steps == [(sample, step, 2) for sample in range(3) for step in (1, 2)]
    assert not (tmp_path / "scene.partial").exists()
    for words in ("method: gibr (as asked)", "crop: ", "further views are invented", "a frame of 16 x 16 takes"):
        assert any(words in line for line in said), words
    told = scene.provenance
    assert (told["method"], told["why"], told["samples"]) == ("gibr", "as asked", 3)
    assert told["prior"] == {"kind": "gibr", "checksum": model.checksum}
    assert "seconds" in told


def test_a_killed_call_goes_on_with_the_samples_that_are_missing(photos, model, tmp_path):
    def kill(progress):
        if (progress.sample, progress.step) == (1, 2):
            raise StoppedError

    with pytest.raises(StoppedError):
        draw(photos, model, 3, output=tmp_path / "cut", callback=kill)
    assert not (tmp_path / "cut").exists()
    drawn = []
    draw(photos, model, 3, output=tmp_path / "cut", callback=lambda p: drawn.append(p.sample))
    assert drawn == [1, 1, 2, 2]
    draw(photos, model, 3, output=tmp_path / "whole")
    for one, two in zip(*(sample_folders(tmp_path / name) for name in ("cut", "whole")), strict=True):
        assert torch.equal(load_scene(one).field.perspective, load_scene(two).field.perspective)
    with pytest.raises(StoppedError):
        draw(photos, model, 3, output=tmp_path / "other", callback=kill)
    with pytest.raises(InputError, match="drawing"):
        draw(photos, model, 4, output=tmp_path / "other")


def test_what_decides_nothing_of_a_sample_may_change_when_a_killed_call_goes_on(photos, model, tmp_path):
    def kill(progress):
        if progress.sample == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        draw(photos, model, 2, output=tmp_path / "cut", callback=kill)
    drawn = []
    draw(photos, model, 2, output=tmp_path / "cut", callback=lambda p: drawn.append(p.sample), max_memory="300MB")
    assert drawn == [1, 1]


def test_one_sample_is_drawn_and_four_where_a_fit_starts_from_them_unless_told_otherwise():
    def count(drawing, **more):
        return settled_drawing(drawing, "gibr", None, None, None, **more).samples

    alike = Drawing(extra=ExtraViews(count=0))
    assert [count(asked) for asked in (None, Drawing(), alike, 3, Drawing(2))] == [1, 1, 1, 3, 2]
    assert [count(asked, refine=True) for asked in (None, Drawing(), alike, 1, Drawing(2))] == [4, 4, 1, 1, 2]
    for asked in (None, 1, Drawing(), Drawing(1)):
        assert settled_drawing(asked, "baseline", None, None, None) is None


def test_a_limit_of_memory_holds_for_all_that_is_drawn(photos, model, tmp_path, monkeypatch):
    asked, whole = [], Scene.chunk

    def noted(scene, max_memory, *field):
        asked.append(max_memory)
        return whole(scene, max_memory, *field)

    monkeypatch.setattr(Scene, "chunk", noted)
    draw(photos, model, 2, output=tmp_path / "scene", max_memory="3MB")
    assert set(asked) == {3 << 20}


def test_held_out_photos_stay_out_and_can_be_measured(model, tmp_path):
    views = exact_views(ring_cameras(9, 24, 20, arc=80.0))
    scene = draw(views, model, split="every8", count=3, output=tmp_path / "scene")
    assert len(scene.names) == 3
    assert len(scene.held_out) == 2
    result = evaluate(tmp_path / "scene", views)
    assert len(result.views) == 2
    assert all(view.values["psnr"] > 0 for view in result.views)
    assert "gibr" in result.facts["method"]


def test_samples_are_measured_together_and_their_spread_against_their_errors(model, tmp_path):
    views = exact_views(ring_cameras(9, 24, 20, arc=80.0))
    draw(views, model, 2, split="every8", count=2, output=tmp_path / "scene")
    folders = sample_folders(tmp_path / "scene")
    told = evaluate_several(folders, tmp_path / "scene", views)
    row = told["first_mean_best"]["psnr"]
    assert row["least"] <= row["mean"] <= row["largest"]
    assert row["first"] in (row["least"], row["largest"])
    assert told["psnr_of_mean"] >= row["mean"]  # squared error is convex
    assert told["ause"] >= 0
    assert [one["deviations"] for one in told["coverage"]] == [0.5, 1.0, 2.0, 3.0]
    assert all((folder / "metrics.json").exists() for folder in folders)
    assert (tmp_path / "scene" / "several.json").exists()
    assert "AUSE" in several_text(told)


def test_scenes_that_are_not_samples_of_one_thing_are_not_measured_together(photos, model, tmp_path):
    draw(photos, model, output=tmp_path / "one")
    draw(photos[[0, 1]], model, output=tmp_path / "two")
    with pytest.raises(InputError, match="Evaluate each of them by itself"):
        evaluate_several([tmp_path / "one", tmp_path / "two"], tmp_path, photos)


def test_a_regression_is_given_the_photos_alone_and_says_so(photos):
    regressing, said = model_of(replace(model_of().config, denoises=False)), []
    scene = reconstruct(photos, method="gibr", prior=regressing, device="cpu", say=said.append)
    assert scene.field.config.views == 3
    assert any("learned to regress" in line for line in said)


def test_scenes_come_in_the_users_frame_whatever_its_scale(photos, model):
    from tests.pipelines.test_sampling import moved, somewhere

    way = somewhere()
    here, there = draw(photos, model), draw(moved(photos, way), model)
    cameras = ring_cameras(2, 12, 12, radius=2.0)
    torch.testing.assert_close(
        here.render(cameras).colour, there.render(way.apply_cameras(cameras)).colour, atol=5e-3, rtol=0
    )


def test_one_photo_without_a_pose_is_enough(photos, model, tmp_path):
    bare = Views(photos.images[:1], ("me.jpg",), layout="folder")
    scene = draw(bare, model, output=tmp_path / "scene")
    assert scene.provenance["poses"] == "none"
    assert scene.render(scene.cameras).colour.isfinite().all()


def test_a_single_photo_of_a_posed_capture_has_the_captures_scale(photos, model):
    said = []
    scene = draw(replace(photos, depth=None), model, count=1, split="none", say=said.append)
    distance = (photos.cameras.origins - torch.tensor([0.0, 0.0, 0.5])).norm(dim=-1).median()
    assert 1 / scene.similarity.scale == pytest.approx(float(distance), rel=1e-2)
    assert any("held out or not" in line for line in said)


def test_auto_takes_gibr_for_one_photo_or_two_where_its_weights_are_shipped(photos, model, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path)
    assert choose_method("auto", None, 1) == ("baseline", None)
    model.save_pretrained(tmp_path / "gibr-small")
    assert "gibr-small" in priors.shipped()
    for count, method in ((1, "gibr"), (2, "gibr"), (3, "baseline"), (None, "baseline")):
        assert choose_method("auto", None, count)[0] == method
    said = []
    scene = reconstruct(photos[[0]], drawing=Drawing(1, QUICK), device="cpu", say=said.append)
    assert scene.provenance["method"] == "gibr"
    assert scene.provenance["why"] == why_method("auto", "gibr", None)
    assert any("single photo" in line for line in said)
    two = reconstruct(photos[[0, 1]], steps=2, drawing=Drawing(2, QUICK), device="cpu", say=said.append)
    assert (two.provenance["method"], two.provenance["refine"], two.provenance["steps"]) == ("gibr", True, 2)
    assert any("two photos" in line for line in said)
    fitted = reconstruct(photos[[0, 1]], steps=2, preset="few", device="cpu")
    assert fitted.provenance["method"] == "baseline"
    for asked in ({"steps": 3}, {"preset": "few"}):
        said.clear()
        bare = replace(photos[[0]], cameras=None, depth=None)
        with pytest.raises(DioramaError):  # one photo has no pose to be found
            reconstruct(bare, device="cpu", say=said.append, **asked)
        assert any("steer a fit; else one photo goes to gibr" in line for line in said)
    said.clear()
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path / "nothing")
    assert "does not come with" in why_method("auto", "baseline", None, photos=1, fitted=True)
    assert why_method("auto", "baseline", None, photos=2, fitted=True).startswith("no prior was named, and")


def test_what_is_named_as_prior_decides_the_method(model, tmp_path):
    folder = model.save_pretrained(tmp_path / "mine")
    method, opened = choose_method("auto", folder)
    assert method == "gibr"
    assert opened.checksum == model.checksum
    assert choose_method("auto", "tv")[0] == "diffusionerf"
    assert choose_method("gibr", str(folder))[0] == "gibr"
    for method, prior in (("baseline", model), ("diffusionerf", model), ("gibr", "tv"), ("gibr", NullPrior())):
        with pytest.raises(InputError):
            choose_method(method, prior)
    with pytest.raises(InputError, match="gibr"):
        choose_method("diffusionerf", folder)


def test_without_weights_gibr_says_how_to_get_some(photos, monkeypatch, tmp_path):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path)
    with pytest.raises(InputError, match="diorama train gibr"):
        open_gibr(None)


def test_settings_of_the_other_kind_of_method_are_refused(photos, model):
    for wrong in ({"steps": 5}, {"budget": "1m"}):
        with pytest.raises(InputError, match="sampler-steps"):
            draw(photos, model, **wrong)
    with pytest.raises(InputError, match="--samples"):
        draw(photos, model, uncertainty=2, output="nowhere")
    with pytest.raises(InputError, match="--method gibr"):
        reconstruct(photos, drawing=4, steps=2)
    with pytest.raises(InputError, match="Give an output"):
        draw(photos, model, 4)
    with pytest.raises(InputError, match="all samples are alike"):
        Drawing(2, extra=ExtraViews(count=0))
    with pytest.raises(InputError, match="at least 1"):
        Drawing(0)
    with pytest.raises(InputError, match="positive"):
        Drawing(distance=-1.0)


def test_whoever_watches_sees_another_scene_after_every_step(photos, model, monkeypatch):
    shown, views, told = [], [], []

    class Watcher:
        url = "http://localhost"

        def __init__(self, render, cameras, **more):
            shown.append((0, render(cameras[:1]).colour))

        def show_denoising(self, denoising):
            views.append(denoising)

        def update(self, step, steps, *, render, note):
            shown.append((step, render(photos.cameras[:1]).colour))

        def finish(self, render, *, thumbnails):
            shown.append(("end", render(photos.cameras[:1]).colour))

        def stop(self):
            shown.append(("stop", None))

    monkeypatch.setattr(server, "Viewer", Watcher)
    window = LiveWindow()

    def both(progress):
        told.append(progress.images)
        window.show(progress)

    window.close(draw(photos, model, callback=both))
    assert [step for step, _ in shown] == [0, 1, 2, "end", "stop"]
    assert not torch.equal(shown[1][1], shown[2][1])
    torch.testing.assert_close(shown[2][1], shown[3][1])
    for denoising, images in zip(views, told, strict=True):
        assert images.shape == (4, 3, 16, 16)
        torch.testing.assert_close(denoising.images(0), images, atol=0.5 / 255 + 1e-6, rtol=0)
        torch.testing.assert_close(denoising.cameras.origins[:3], photos.cameras.origins)
    assert not torch.equal(told[0][3], told[1][3])


def test_what_the_views_looked_like_after_every_step_is_kept_when_asked(photos, model, tmp_path):
    told = {}

    def seen(progress):
        told[progress.sample, progress.step] = progress.images

    asked = Drawing(2, QUICK, keep_steps=True)
    more = {"method": "gibr", "prior": model, "device": "cpu"}
    reconstruct(photos, drawing=asked, output=tmp_path / "scene", callback=seen, **more)
    for sample, folder in enumerate(sample_folders(tmp_path / "scene")):
        kept = load_denoising(folder)
        assert kept.pictures.shape == (2, 4, 3, 16, 16)
        for step in range(2):
            gap = (kept.images(step) - told[sample, step + 1]).abs().max()
            assert float(gap) <= 0.5 / 255 + 1e-6
        assert load_scene(folder).names == photos.names
    for wrong in ({}, {"output": tmp_path / "other", "refine": True}):
        with pytest.raises(InputError, match="steps are kept"):
            reconstruct(photos, drawing=asked, **more, **wrong)


def test_the_command_draws_from_a_folder_of_photos(photos, model, tmp_path, capsys):
    from diorama.data.images import write_png

    folder = tmp_path / "photos"
    (folder / "images").mkdir(parents=True)
    for name, image in zip(("a.png", "b.png", "c.png"), photos.images, strict=True):
        write_png(folder / "images" / name, image)
    write_transforms(
        folder / "transforms.json", photos.cameras, ("a.png", "b.png", "c.png"), photos.frame, folder="images"
    )
    weights = model.save_pretrained(tmp_path / "model")
    options = verb.Options(
        photos=folder, output=tmp_path / "scene", prior=str(weights), sampler_steps=2, samples=2, device="cpu",
        extra_views=2,
    )  # fmt: skip
    assert verb.command(options) == 0
    told = capsys.readouterr().out
    assert "method: gibr (the prior that was named is for it), 2 steps of dpm on cpu" in told
    assert "sampled in" in told
    assert len(sample_folders(tmp_path / "scene")) == 2
    assert load_scene(tmp_path / "scene").field.config.views == 3 + 2
    alone = replace(options, output=tmp_path / "alone", samples=None, extra_views=0)
    assert verb.command(alone) == 0
    assert load_scene(tmp_path / "alone").field.config.views == 3
    with pytest.raises(InputError, match="further cameras"):
        verb.command(replace(alone, extra_views=-1, force=True))
