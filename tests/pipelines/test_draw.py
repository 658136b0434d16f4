"""`reconstruct --method gibr`: samples as scenes on disk, gone on with after a kill, and when it is chosen."""

import json
from dataclasses import replace

import pytest
import torch

from diorama.data.transforms import write_transforms
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.nets import pretrained
from diorama.pipelines import priors
from diorama.pipelines import reconstruct as verb
from diorama.pipelines.draw import Drawing
from diorama.pipelines.evaluate import evaluate
from diorama.pipelines.evaluate_several import evaluate_several, several_text
from diorama.pipelines.live import LiveWindow
from diorama.pipelines.priors import choose_method, open_gibr, why_method
from diorama.pipelines.reconstruct import reconstruct
from diorama.pipelines.uncertainty import sample_folders
from diorama.priors.prior import NullPrior
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
    assert told["seconds"] > 0


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


def test_auto_takes_gibr_for_one_photo_where_its_weights_are_shipped(photos, model, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "SHIPPED", tmp_path)
    assert choose_method("auto", None, 1) == ("baseline", None)
    model.save_pretrained(tmp_path / "gibr-small")
    assert "gibr-small" in priors.shipped()
    for count, method in ((1, "gibr"), (2, "baseline"), (None, "baseline")):
        assert choose_method("auto", None, count)[0] == method
    said = []
    scene = reconstruct(photos[[0]], drawing=Drawing(1, QUICK), device="cpu", say=said.append)
    assert scene.provenance["method"] == "gibr"
    assert scene.provenance["why"] == why_method("auto", "gibr", None)
    assert any("single photo" in line for line in said)


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
    with pytest.raises(InputError, match="at least 1"):
        Drawing(0)
    with pytest.raises(InputError, match="positive"):
        Drawing(distance=-1.0)


def test_whoever_watches_sees_another_scene_after_every_step(photos, model, monkeypatch):
    shown = []

    class Watcher:
        url = "http://localhost"

        def __init__(self, render, cameras, **more):
            shown.append((0, render(cameras[:1]).colour))

        def update(self, step, steps, *, render):
            shown.append((step, render(photos.cameras[:1]).colour))

        def finish(self, render):
            shown.append(("end", render(photos.cameras[:1]).colour))

        def stop(self):
            shown.append(("stop", None))

    monkeypatch.setattr(server, "Viewer", Watcher)
    window = LiveWindow()
    window.close(draw(photos, model, callback=window.show))
    assert [step for step, _ in shown] == [0, 1, 2, "end", "stop"]
    assert not torch.equal(shown[1][1], shown[2][1])
    torch.testing.assert_close(shown[2][1], shown[3][1])


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
        photos=folder, output=tmp_path / "scene", prior=str(weights), sampler_steps=2, samples=2, device="cpu"
    )
    assert verb.command(options) == 0
    told = capsys.readouterr().out
    assert "method: gibr (the prior that was named is for it), 2 steps of dpm on cpu" in told
    assert "sampled in" in told
    assert len(sample_folders(tmp_path / "scene")) == 2
