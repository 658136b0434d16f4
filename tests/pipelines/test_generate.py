"""`generate`: scenes from a seed, a folder of them, and what the other verbs make of it."""

import json
from typing import get_args

import pytest
import torch

import diorama
from diorama.cameras.layouts import Layout
from diorama.data.images import read_image
from diorama.errors import InputError, OutputError
from diorama.export.observed import observed_cloud
from diorama.export.points import PointCloud
from diorama.pipelines import evaluate as evaluating
from diorama.pipelines import generate as verb
from diorama.pipelines import view as viewing
from diorama.pipelines.export import export
from diorama.pipelines.generate import generate
from diorama.pipelines.render import render
from diorama.pipelines.showing import scene_folders
from diorama.scenes.denoising import load_denoising
from diorama.scenes.storage import load_scene
from diorama.scenes.visibility import observe
from diorama.systems.gibr import GIBRSampling
from diorama.viewer.server import Viewer
from tests.pipelines.test_reconstruct import StoppedError
from tests.pipelines.test_view import free_port
from tests.systems.drawn import model_of

QUICK = GIBRSampling(steps=2, coarse=4, fine=4)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(verb, "SHOWN", (1, 16))
    monkeypatch.setattr(verb, "SHEET_SCALE", 1)


@pytest.fixture
def two(model, tmp_path):
    """A folder of two scenes."""
    draw(model, 2, output=tmp_path / "two")
    return tmp_path / "two"


def draw(model, count=2, **more):
    return generate(count=count, prior=model, sampling=QUICK, device="cpu", **more)


def test_a_folder_holds_whole_scenes_and_a_sheet_of_them(model, two):
    assert sorted(path.name for path in two.iterdir()) == ["000", "001", "sheet.png"]
    scenes = [load_scene(two / name) for name in ("000", "001")]
    for index, scene in enumerate(scenes):
        assert scene.render(scene.cameras[:1]).colour.isfinite().all()
        assert scene.provenance["method"] == "gibr"
        assert (scene.provenance["seed"], scene.provenance["sample"]) == (0, index)
        assert scene.provenance["prior"]["checksum"] == model.checksum
        assert scene.frame.units == "arbitrary"
        assert len(scene.cameras) == 4
    assert not torch.equal(scenes[0].field.perspective, scenes[1].field.perspective)
    assert read_image(two / "sheet.png")[0].shape[0] == 3
    assert not two.with_name("two.partial").exists()


def test_a_scene_is_the_same_by_seed_and_number_alone_and_among_others(model):
    one, two = draw(model, 1, seed=3), draw(model, 2, seed=3)
    assert torch.equal(one[0].field.perspective, two[0].field.perspective)
    assert not torch.equal(one[0].field.perspective, draw(model, 1, seed=4)[0].field.perspective)


@pytest.mark.parametrize("layout", get_args(Layout))
def test_views_stand_where_they_were_asked_to(model, layout):
    (scene,) = draw(model, 1, cameras=layout, views=3)
    assert scene.field.config.views == 3
    wanted = verb.layout_cameras(layout, 3, 16)
    torch.testing.assert_close(scene.cameras.camera_to_world, wanted.camera_to_world)
    assert scene.thumbnails.shape == (3, 3, 16, 16)


def test_more_views_than_the_model_learned_from_are_remarked_on(model):
    for views in (4, 5):
        said = []
        draw(model, 1, views=views, say=said.append)
        assert any("learned from 4" in line for line in said) == (views > 4)


def test_a_killed_call_goes_on_with_the_scenes_that_are_missing(model, tmp_path):
    def kill(progress):
        if (progress.sample, progress.step) == (1, 1):
            raise StoppedError

    with pytest.raises(StoppedError):
        draw(model, 3, output=tmp_path / "scenes", callback=kill)
    assert not (tmp_path / "scenes").exists()
    drawn = []
    draw(model, 3, output=tmp_path / "scenes", callback=lambda p: drawn.append(p.sample))
    assert drawn == [1, 1, 2, 2]
    with pytest.raises(StoppedError):
        draw(model, 3, output=tmp_path / "others", callback=kill)
    with pytest.raises(InputError, match="seed was 0, now 1"):
        draw(model, 3, seed=1, output=tmp_path / "others")


def test_what_exists_is_replaced_by_force_if_it_holds_scenes(model, two, tmp_path):
    with pytest.raises(OutputError, match="--force"):
        draw(model, output=two)
    draw(model, 1, output=two, force=True)
    assert not (two / "001").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="not a folder of scenes"):
        draw(model, output=tmp_path / "mine", force=True)
    assert (tmp_path / "mine" / "letter.txt").exists()


def test_scenes_are_viewed_rendered_and_exported_like_any_other(two, tmp_path, monkeypatch, capsys):
    names = []

    def wait(viewer):
        names.extend(exhibit.name for exhibit in viewer.exhibits)
        viewer.stop()

    monkeypatch.setattr(Viewer, "wait", wait)
    assert viewing.command(viewing.Options(scenes=(two,), port=free_port(), device="cpu")) == 0
    assert names == ["000", "001"]
    scene = load_scene(two / "000")
    render(scene, tmp_path / "frames", path="orbit", seconds=0.1, fps=20.0, depth=True)
    assert len(list((tmp_path / "frames").glob("*.png"))) == 2
    export(scene, tmp_path / "views", kind="views")
    assert (tmp_path / "views" / "transforms.json").exists()
    with pytest.raises(InputError, match="holds 2 scenes"):
        load_scene(two)


def test_nobody_photographed_what_was_generated(two, tmp_path):
    scene, said = load_scene(two / "000"), []
    assert len(scene.cameras) == 4
    assert len(scene.photographed) == 0
    seen = scene.render(scene.cameras[:1])
    assert int(observe(scene, scene.cameras[:1], seen).count.sum()) == 0
    render(scene, tmp_path / "frames", path="orbit", seconds=0.05, fps=20.0, observed=True, say=said.append)
    assert any("0 % were seen by a photograph" in line for line in said)
    assert "how many of 0 photographs" in (tmp_path / "frames" / "observed.json").read_text()
    cloud = PointCloud(*(torch.rand(5, 3) for _ in range(4)))
    assert observed_cloud(cloud, scene).observed.tolist() == [0] * 5
    with pytest.raises(InputError, match="no photograph saw any of the 5 points"):
        observed_cloud(cloud, scene, "drop")


def test_evaluate_tells_whether_scenes_agree_with_themselves_and_differ(two, capsys):
    assert evaluating.command(evaluating.Options(target=str(two), device="cpu")) == 0
    told = json.loads((two / "several.json").read_text())
    assert set(told["agreement"]) == {"000", "001"}
    assert told["apart"] > 0
    assert "several.json" in capsys.readouterr().out


def test_folders_of_scenes_are_told_from_scenes(two, tmp_path):
    assert scene_folders(two) == [two / "000", two / "001"]
    assert scene_folders(two / "000") == [two / "000"]
    assert scene_folders(tmp_path / "nothing") == [tmp_path / "nothing"]


def test_the_command_draws_shows_keeps_and_says_where(model, tmp_path, capsys, monkeypatch):
    weights = model.save_pretrained(tmp_path / "model")
    options = verb.Options(
        method="gibr", count=1, output=tmp_path / "out", prior=str(weights), steps=2, device="cpu", cameras="walk",
        keep_steps=True, view=True,
    )  # fmt: skip
    shown = []

    class Window:
        def __init__(self, max_memory):
            assert max_memory is None

        def show(self, progress):
            shown.append((progress.step, progress.images.shape, len(progress.cameras)))

        def close(self, scene):
            shown.append(scene.names)

    monkeypatch.setattr(verb, "LiveWindow", Window)
    assert verb.command(options) == 0
    assert f"diorama view {tmp_path / 'out'}" in capsys.readouterr().out
    assert (tmp_path / "out" / "000" / "scene.json").exists()
    scene = load_scene(tmp_path / "out" / "000")
    assert shown == [(step, (4, 3, 16, 16), 4) for step in (1, 2)] + [scene.names]
    kept = load_denoising(tmp_path / "out" / "000")
    torch.testing.assert_close(kept.cameras.camera_to_world, scene.cameras.camera_to_world)
    torch.testing.assert_close(kept.images(1)[:, :, ::4, ::4], scene.thumbnails[:, :, ::4, ::4], atol=0.01, rtol=0)


def test_what_cannot_be_is_said(model):
    for wrong in ({"count": 0}, {"count": 2000}):
        with pytest.raises(InputError, match="Ask for 1"):
            draw(model, **wrong)
    with pytest.raises(InputError, match="Name ddim"):
        verb.command(verb.Options(method="gibr", eta=0.5))
    with pytest.raises(InputError, match="at least 2"):
        draw(model, views=1)
    assert diorama.generate is generate
