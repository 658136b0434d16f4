"""The verb: resuming, refusing, choosing. Toy photos, few steps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import diorama
from diorama.cameras.pinhole import Cameras
from diorama.data.tensors import load_tensors
from diorama.data.views import Views
from diorama.errors import InputError, MemoryLimitError, OutputError, ViewsError
from diorama.fields.hashgrid import GridConfig, HashFieldConfig
from diorama.pipelines import fit_run
from diorama.pipelines.presets import laptop
from diorama.pipelines.quantities import parse_bytes, parse_seconds
from diorama.pipelines.reconstruct import reconstruct
from diorama.pipelines.workspace import Workspace
from diorama.rendering import render
from diorama.systems import diffusionerf
from diorama.systems.diffusionerf import DiffusioNeRF
from diorama.training.loop import NonFiniteLossError

TINY = replace(
    laptop(),
    field=HashFieldConfig(
        grid=GridConfig(levels=3, log2_table_size=8, finest_resolution=32),
        hidden=8, geometry=3, colour_hidden=8, colour_layers=1, sh_degree=1,
        proposal=GridConfig(levels=2, log2_table_size=8, finest_resolution=32),
    ),
    fit=replace(laptop().fit, rays=64, sampling=replace(laptop().fit.sampling, coarse=8, fine=4)),
)  # fmt: skip


@pytest.fixture
def views():
    torch.manual_seed(0)
    poses = torch.eye(4).repeat(5, 1, 1)
    poses[:, 0, 3] = torch.linspace(-0.6, 0.6, 5)
    size = torch.full((5, 2), 16, dtype=torch.int64)
    cameras = Cameras.pinhole(poses, torch.full((5, 2), 20.0), torch.full((5, 2), 8.0), size)
    bounds = torch.tensor([[2.0, 4.0]]).repeat(5, 1)
    return Views(torch.rand(5, 3, 16, 16), tuple("abcde"), cameras, bounds=bounds)


class StoppedError(Exception):
    """As a kill would, without a chance to save."""


def stop_at(step):
    def callback(progress):
        if progress.step == step:
            raise StoppedError

    return callback


def weights(path):
    return load_tensors(Path(path) / "field.safetensors")[0]


def test_killed_and_resumed_ends_bit_equal(views, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_run, "CHECKPOINT_SECONDS", -1.0)
    reconstruct(views, preset=TINY, steps=12, output=tmp_path / "whole")
    with pytest.raises(StoppedError):
        reconstruct(views, preset=TINY, steps=12, output=tmp_path / "cut", callback=stop_at(7))
    assert not (tmp_path / "cut").exists()
    assert (tmp_path / "cut.partial" / "checkpoint.safetensors").exists()
    first = []
    reconstruct(views, preset=TINY, steps=12, output=tmp_path / "cut", callback=lambda p: first.append(p.step))
    assert 1 < first[0] <= 8
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not (tmp_path / "cut.partial").exists()


def test_ctrl_c_keeps_the_work(views, tmp_path):
    def interrupt(progress):
        if progress.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reconstruct(views, preset=TINY, steps=12, output=tmp_path / "scene", callback=interrupt)
    _, meta = load_tensors(tmp_path / "scene.partial" / "checkpoint.safetensors")
    assert meta["step"] == 5


def narrow(monkeypatch, most):
    """A machine whose memory holds the samples of so many rays; returns how many were rendered at a time."""
    taken, render_rays = [], render.render_rays

    def limited(field, rays, *rest):
        if len(rays) > most and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        taken.append(len(rays))
        return render_rays(field, rays, *rest)

    for module in (render, diffusionerf):
        monkeypatch.setattr(module, "render_rays", limited)
    return taken


def test_out_of_memory_halves_the_rays_at_a_time_and_goes_on(views, tmp_path, monkeypatch):
    taken, told = narrow(monkeypatch, 40), []
    scene = reconstruct(views, preset=TINY, steps=4, split="none", output=tmp_path / "scene", say=told.append)
    assert "out of memory at step 0: 32 rays are rendered at a time from now on, instead of 64" in told
    assert scene.provenance["rays_at_once"] == 32
    assert scene.provenance["steps"] == 4
    assert taken.count(32) >= 2 * 2 * 4, "each step twice 32 rays, and again for the gradient"


def test_less_at_a_time_is_the_same_fit_but_for_random_bins(views, monkeypatch):
    plain = reconstruct(views, preset=TINY, steps=30, split="none")
    narrow(monkeypatch, 40)
    pieces = reconstruct(views, preset=TINY, steps=30, split="none")
    one, two = (scene.render(views.cameras).colour for scene in (plain, pieces))
    assert float((one - two).abs().mean()) < 0.3 * float((one - views.images).abs().mean())


def test_memory_that_is_never_enough_is_said_with_what_to_do(views, monkeypatch):
    narrow(monkeypatch, 8)
    with pytest.raises(MemoryLimitError, match=r"step 0 does not fit.*--max-side"):
        reconstruct(views, preset=TINY, steps=4, split="none")


def test_other_arguments_do_not_resume_and_say_the_difference(views, tmp_path):
    with pytest.raises(StoppedError):
        reconstruct(views, preset=TINY, steps=12, output=tmp_path / "scene", callback=stop_at(2))
    with pytest.raises(InputError, match="steps_asked was 12, now 13"):
        reconstruct(views, preset=TINY, steps=13, output=tmp_path / "scene")
    brighter = replace(views, images=views.images.clone())
    brighter.images[1] *= 0.5
    with pytest.raises(InputError, match=r"inputs of 1 photos \(b\)"):
        reconstruct(brighter, preset=TINY, steps=12, output=tmp_path / "scene")
    reconstruct(views, preset=TINY, steps=3, output=tmp_path / "scene", force=True)


def test_a_finished_output_is_refused_before_any_work(views, tmp_path):
    reconstruct(views, preset=TINY, steps=2, output=tmp_path / "scene")
    called = []
    with pytest.raises(OutputError, match="--force"):
        reconstruct(views, preset=TINY, steps=2, output=tmp_path / "scene", callback=called.append)
    assert not called


def test_the_budget_becomes_steps_once(views, tmp_path):
    with pytest.raises(StoppedError):
        reconstruct(views, preset=TINY, budget="20s", output=tmp_path / "scene", callback=stop_at(2))
    settled = json.loads((tmp_path / "scene.partial" / "steps.json").read_text())["steps"]
    seen = []

    def look(progress):
        seen.append(progress.steps)
        raise StoppedError

    with pytest.raises(StoppedError):
        reconstruct(views, preset=TINY, budget="20s", output=tmp_path / "scene", callback=look)
    assert seen == [settled]


def test_provenance_tells_how_the_scene_came_to_be(views, tmp_path):
    scene = reconstruct(views, preset=TINY, steps=2, split="every8", seed=5, output=tmp_path / "scene")
    told = diorama.load_scene(tmp_path / "scene").provenance
    assert told["seed"] == 5
    assert told["steps"] == 2
    assert told["split"]["test"] == ["a"]
    assert set(told["photos"]) == set("bcde") == set(scene.names)
    assert told["geometry_from"] == list("bcde")
    assert scene.held_out is not None


def test_one_photo_is_enough_to_run(views):
    scene = reconstruct(views[[0]], preset=TINY, steps=2)
    assert scene.render(views.cameras[[0]]).colour.shape == (1, 3, 16, 16)


def test_no_photos_no_cameras_no_pixels_are_said(views):
    with pytest.raises(ViewsError, match="no photos"):
        reconstruct(views[[]], preset=TINY, steps=2)
    hidden = replace(views, ignore=torch.ones(5, 16, 16, dtype=torch.bool))
    with pytest.raises(ViewsError, match="masked out"):
        reconstruct(hidden, preset=TINY, steps=2)
    with pytest.raises(ViewsError, match="--object-masks"):
        reconstruct(views, preset=TINY, steps=2, masks="object")
    with pytest.raises(InputError, match="one of them"):
        reconstruct(views, preset=TINY, steps=2, budget="5m")
    with pytest.raises(InputError, match="doctor"):
        reconstruct(views, preset=TINY, steps=2, device="cuda:7")


def test_ignored_pixels_never_reach_the_loss(views):
    poisoned = replace(views, images=views.images.clone(), ignore=torch.zeros(5, 16, 16, dtype=torch.bool))
    poisoned.ignore[:, :8] = True
    clean = replace(poisoned, images=poisoned.images.clone())
    poisoned.images[:, :, :8] = 7.0
    one, two = (reconstruct(v, preset=TINY, steps=3, seed=1).field.table for v in (poisoned, clean))
    assert torch.equal(one, two)


def test_an_exploding_loss_stops_and_names_step_and_term(views):
    views.images[2] = float("nan")
    with pytest.raises(NonFiniteLossError, match="photometric"):
        reconstruct(views, preset=TINY, steps=5)


def test_a_fit_whose_loss_explodes_stops_and_leaves_the_last_good_checkpoint(views, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_run, "CHECKPOINT_SECONDS", -1.0)
    kept, exploding = [], DiffusioNeRF.losses
    save = Workspace.save

    def losses(system, step):
        return {name: term * (1e3 if step >= 120 else 1.0) for name, term in exploding(system, step).items()}

    monkeypatch.setattr(DiffusioNeRF, "losses", losses)
    monkeypatch.setattr(Workspace, "save", lambda work, *rest: kept.append(rest[2]) or save(work, *rest))
    with pytest.raises(NonFiniteLossError, match="At step 129 the loss term 'photometric' has exploded"):
        reconstruct(views, preset=TINY, steps=200, output=tmp_path / "scene")
    assert max(kept) <= 120
    tensors, meta = load_tensors(tmp_path / "scene.partial" / "checkpoint.safetensors")
    assert meta["step"] == max(kept)
    assert all(bool(tensor.isfinite().all()) for tensor in tensors.values() if tensor.is_floating_point())


def test_object_masks_put_the_object_into_a_ball(views):
    masked = replace(views, object=torch.ones(5, 16, 16))
    scene = reconstruct(masked, preset=TINY, steps=2, masks="object")
    assert scene.sphere is not None
    assert scene.background == "white"
    assert reconstruct(masked, preset=TINY, steps=2).sphere is None


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), (12.5, 12.5)])
def test_durations(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5m", "0", "5 parsecs"])
def test_wrong_durations_are_refused(text):
    with pytest.raises(InputError, match="Write"):
        parse_seconds(text)


def test_amounts_of_memory():
    assert parse_bytes("4GB") == 4 << 30
    assert parse_bytes("500M") == 500 << 20
    with pytest.raises(InputError, match="4GB"):
        parse_bytes("lots")
