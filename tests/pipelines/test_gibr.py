"""`diorama train gibr`: the whole road, on folders of scenes without a pixel of known depth and on worlds."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from diorama.cli.main import main
from diorama.data.images import read_image
from diorama.diffusion.objective import UniformWeight
from diorama.errors import InputError, OutputError
from diorama.pipelines import gibr, train
from diorama.pipelines.gibr import gibr_recipe, scenes_of_worlds
from diorama.pipelines.reconstruct import quiet
from diorama.pipelines.train_options import Options, settled_gibr
from diorama.systems.gibr import GIBR, GIBRTraining
from diorama.training.checkpoint import weights_of_run
from diorama.training.distributed import Share
from diorama.training.weights import load_weights
from tests.data.tiny import posed_folder, ring
from tests.systems.drawn import balls, model_of
from tests.training.ranks import environment


@pytest.fixture
def scenes(tmp_path):
    """Three scenes of six photographs each, without depth."""
    for name in ("one", "two", "three"):
        posed_folder(tmp_path / "scenes" / name, ring(6))
    return tmp_path / "scenes"


def test_scenes_without_depth_are_learned_from_and_what_needs_depth_is_left_open(scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gibr, "HELD_OUT", 2)
    out = tmp_path / "run"
    posed_folder(scenes / "too_short", ring(2))
    asked = ["train", "gibr", "--size", "tiny", "--data", str(scenes), "-o", str(out), "--pixels", "16", "--views", "3",
             "--batch", "4", "--steps", "2", "--device", "cpu"]  # fmt: skip
    assert main(asked) == 0
    found = json.loads((out / "held_out.json").read_text())["2"]
    assert found["near_mass"] is None
    assert found["depth_rank_corr"] is None
    assert found["psnr_held_out"] > 0
    said = capsys.readouterr().out
    assert "held out" in said
    assert said.count("scene too_short is passed over: 4 views of a scene that has 2") == 1
    assert "depth rank" not in said
    config = GIBR.from_pretrained(out / "model").config
    assert (config.pixels, config.views) == (16, 3)
    assert (out / "curves.html").is_file()
    sheet = read_image(out / "samples" / "0000002.png")[0]
    assert sheet.shape == (3, 2 * 5 * 36, 4 * 36), "of two scenes five rows, of three views and one that is held out"
    assert float(sheet.std()) > 0.1
    assert "near_mass" not in (out / "model" / "README.md").read_text(), "the card leaves out what is not known"


def test_a_model_that_could_not_be_saved_at_the_end_is_saved_by_the_same_command(scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gibr, "HELD_OUT", 2)
    out = tmp_path / "run"
    asked = ["train", "gibr", "--size", "tiny", "--data", str(scenes), "-o", str(out), "--pixels", "16", "--views", "3",
             "--batch", "2", "--steps", "1", "--device", "cpu"]  # fmt: skip

    def full(*asked):
        raise OutputError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(train, "save_gibr", full)
        assert main(asked) == 2
    assert not (out / "model").exists()
    capsys.readouterr()
    assert main(asked) == 0
    assert "and its weights are saved now" in capsys.readouterr().out
    assert load_weights(out / "model").step == 1
    assert GIBR.from_pretrained(out / "model").config.pixels == 16
    assert main(asked) == 0
    assert "saved now" not in capsys.readouterr().out


def test_a_model_may_learn_without_views_that_are_held_out_and_is_looked_at_all_the_same(tmp_path):
    said = []
    look = gibr.LookAtScenes(tmp_path, GIBRTraining(held_out=0, rays=8), balls(1, 3), said.append)
    look(model_of(), 7)
    found = json.loads((tmp_path / "held_out.json").read_text())["7"]
    assert found["psnr_held_out"] is None
    assert found["psnr_own_in"] > 0
    assert "held out" not in said[0]
    assert "own plane in" in said[0]


def test_settings_of_the_recipe_are_changed_by_a_file_and_remembered(tmp_path):
    file = tmp_path / "settings.json"
    file.write_text('{"training": {"drop_other": 0, "weight": {}}, "config": {"planes": {"pool": "mean"}}, "batch": 2}')
    chosen = settled_gibr(Options(what="gibr", size="tiny", settings=file))
    usual = gibr_recipe("tiny")
    assert chosen.training == replace(usual.training, drop_other=0.0, weight=UniformWeight())
    assert chosen.config == replace(usual.config, planes=replace(usual.config.planes, pool="mean"))
    assert chosen.batch == 2
    file.write_text('{"training": {"regression": true}}')
    assert not settled_gibr(Options(what="gibr", size="tiny", settings=file)).config.denoises
    for text, said in (("[1]", "by name"), ("{", "no JSON file"), ('{"train": {}}', "no setting 'train'")):
        file.write_text(text)
        with pytest.raises(InputError, match=said):
            settled_gibr(Options(what="gibr", size="tiny", settings=file))


@pytest.mark.slow
def test_two_ranks_of_the_command_share_worlds_batch_and_folder(tmp_path):
    """As on two GPUs; each rank has a scene of each step's two, and the first one alone says and writes."""
    out = tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "diorama.cli.main"]
    asked = on_worlds(out, "--worlds", "4", "--steps", "2")
    done = subprocess.run(
        [sys.executable, *launcher, *asked], env=environment(), capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stderr
    assert GIBR.from_pretrained(out / "model").config.pixels == 16
    assert len(list((out / "samples").iterdir())) == 1
    begins = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines() if "begins" in line]
    assert [line["ranks"] for line in begins] == [2]
    assert done.stdout.count("memory of a step, 1 scenes at a time") == 1
    assert done.stdout.count("2 steps in") == 1


@pytest.fixture
def few(monkeypatch):
    """Few worlds with few cameras, judged by few."""
    for name, number in {"HELD_OUT": 2, "HELD_OUT_WORLDS": 2, "WORLD_VIEWS": 4}.items():
        monkeypatch.setattr(gibr, name, number)


def on_worlds(out, *more):
    return ["train", "gibr", "--size", "tiny", "--data", "worlds", "-o", str(out), "--pixels", "16", "--views", "2",
            "--kinds", "object", "--batch", "2", "--device", "cpu", *more]  # fmt: skip


def test_worlds_that_are_stored_are_learned_from_and_what_needs_depth_is_measured(few, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(on_worlds(out, "--worlds", "2", "--steps", "2")) == 0
    assert sorted(path.name for path in (out / "scenes").iterdir()) == ["held_out", "learned"]
    found = json.loads((out / "held_out.json").read_text())["2"]
    assert 0 <= found["near_mass"] <= 1
    assert -1 <= found["depth_rank_corr"] <= 1
    assert set(found["loss_by_t"]) == {"0.1", "0.3", "0.5", "0.7", "0.9", "1.0"}
    said = capsys.readouterr()
    assert "depth rank" in said.out
    assert "memory of a step, 2 scenes at a time: about " in said.out
    assert " GB, " in said.err, "the bar shows what there was"
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["memory"] > 1 << 27 for line in lines if "terms" in line] == [True]
    card = (out / "model" / "README.md").read_text()
    assert '"stored": 2' in card
    page = (out / "curves.html").read_text()
    for name in ("noisy", "clean", "held_out", "loss_by_t.0.5"):
        assert f">{name} " in page, "a line and its last value for every term and every time"
    for name in ("psnr_own_in", "psnr_own_out", "psnr_held_out", "near_mass", "depth_rank_corr"):
        assert f">{name} {found[name]:.4g}<" in page
    assert page.count("<polyline") == 3 + 4 + 2 + 6
    assert f"| near_mass | {found['near_mass']:.3f} |" in card


def test_endless_worlds_are_learned_from_and_a_run_that_was_stopped_ends_the_same(few, tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    endless = ("--worlds", "0", "--batch", "1", "--steps", "2")
    monkeypatch.setattr(gibr.LookAtScenes, "__call__", lambda self, network, step: None)
    assert main(on_worlds(whole, *endless)) == 0
    assert not (whole / "scenes").exists(), "nothing is stored"
    with monkeypatch.context() as patched:

        def stop(self, network, step):
            raise KeyboardInterrupt

        patched.setattr(gibr.LookAtScenes, "__call__", stop)
        assert main(on_worlds(cut, *endless, "--sample-every", "1")) == 130
    assert weights_of_run(cut).step == 1
    assert main(on_worlds(cut, *endless)) == 0
    one, two = (folder / "model" / "model.safetensors" for folder in (whole, cut))
    assert one.read_bytes() == two.read_bytes()
    assert main(on_worlds(cut, "--worlds", "2", "--batch", "1", "--steps", "4")) == 2, "stored worlds are another run"


def test_every_step_of_endless_worlds_has_its_own_and_is_the_same_when_asked_again(few, tmp_path):
    recipe = gibr_recipe("tiny")
    recipe = replace(recipe, batch=2, config=replace(recipe.config, pixels=16, views=2))

    def data(rank=0, ranks=1, worlds=0, squares="middle"):
        return scenes_of_worlds(
            tmp_path / "scenes", recipe, 0, Share(rank, ranks), worlds=worlds, kinds=("object",), textures=None,
            squares=squares, say=quiet,
        )  # fmt: skip

    one = data()
    batches = [one.batch_at(0), one.batch_at(1), data(0, 2).batch_at(0), data(1, 2).batch_at(0)]
    assert [len(batch["images"]) for batch in batches] == [2, 2, 1, 1]
    pictures = torch.cat([batch["images"] for batch in batches]).flatten(0, 1).flatten(1)
    assert len(torch.unique(pictures, dim=0)) == len(pictures)
    again = data()
    sent = pickle.loads(pickle.dumps(again.batch_at))
    assert torch.equal(sent(1)["images"], batches[1]["images"]), "as another process draws it ahead"
    assert torch.equal(again.batch_at(1)["images"], batches[1]["images"])
    assert torch.equal(again.held_out.images, one.held_out.images)
    assert float(one.held_out.depth.amax()) > 0
    anywhere = data(squares="anywhere")
    assert torch.equal(anywhere.held_out.images, one.held_out.images), "judged as ever, so that figures compare"
    assert anywhere.facts == one.facts | {"squares": "anywhere"}
    centre = anywhere.batch_at(0)["centre"]
    assert centre.shape == (2, 3, 2)
    assert float((centre - 8).abs().amax()) > 1 > float((one.batch_at(0)["centre"] - 8).abs().amax())
    with pytest.raises(InputError, match="-1 worlds"):
        data(worlds=-1)
