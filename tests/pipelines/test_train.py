"""`diorama train patch-prior` on a few made-up pictures: the whole road, interrupted and not."""

import json
import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diorama.cli.main import main
from diorama.data.images import write_depth_png, write_png
from diorama.data.rgbd_coding import encode_rgbd
from diorama.errors import InputError, OutputError
from diorama.nets.config import UNetConfig
from diorama.pipelines import patch_prior, train, train_options
from diorama.pipelines.patch_prior import GroupBatches, as_trained_on, recipe
from diorama.pipelines.train_options import Options
from diorama.priors.prior import PatchEncoding, Prior
from diorama.priors.rgbd_patch import DetailUNet
from diorama.streams import stream
from diorama.training.checkpoint import weights_of_run
from diorama.training.distributed import Share
from diorama.training.run import CHECKPOINT
from diorama.training.weights import RAW, load_weights

TINY = UNetConfig(
    width=8, multipliers=(1, 2), attention=("none", "none"), middle_attention="none", blocks=1, groups=4, patch=4
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Four pictures of 120 x 90 pixels with depth, by a camera of the prior's focal length."""
    folder = tmp_path_factory.mktemp("pictures")
    np.savetxt(folder / "camera-intrinsics.txt", np.array([[175.0, 0, 60], [0, 175.0, 45], [0, 0, 1]]))
    for index in range(4):
        colour = torch.rand(3, 90, 120, generator=stream(index, "colour"))
        write_png(folder / f"frame-{index:06d}.color.png", colour)
        write_depth_png(folder / f"frame-{index:06d}.depth.png", 1.0 + colour.mean(0))
        pose = np.eye(4)
        pose[0, 3] = 0.1 * index
        np.savetxt(folder / f"frame-{index:06d}.pose.txt", pose)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A network of a few thousand numbers, judged by few patches."""
    monkeypatch.setattr(train_options, "recipe", lambda size: replace(recipe(size), network=TINY, batch=4))
    monkeypatch.setattr(patch_prior, "HELD_OUT", 4)


def words(pictures, out, *more):
    return ["train", "patch-prior", "--data", str(pictures), "-o", str(out), "--device", "cpu", *more]


def test_a_run_ends_with_a_prior_its_card_and_pictures_to_look_at(pictures, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(words(pictures, out, "--steps", "6", "--sample-every", "4")) == 0
    prior = Prior.from_pretrained(out / "prior")
    assert prior.score(torch.zeros(1, 4, 48, 48), 19).isfinite().all()
    weights = weights_of_run(out)
    assert torch.equal(
        prior.network.state_dict()["unet.stem.weight"], weights.average["unet.stem.weight"].half().float()
    )
    assert load_weights(out / "prior", inside="network.").step == 6
    assert sorted(path.name for path in (out / "samples").iterdir()) == ["0000004.png", "0000006.png"]
    gains = json.loads((out / "held_out.json").read_text())
    assert [gain["level"] for gain in gains["6"]] == [3, 7, 19, 47, 99]
    assert 1.4 < prior.encoding.median_depth < 1.6, "the pictures lie about 1.5 m away, and the default is 3"
    card = (out / "prior" / "README.md").read_text()
    assert f"Median depth of 256 patches of it: {prior.encoding.median_depth:.3g} m" in card
    assert "6 steps in" in card
    assert "license: apache-2.0" in card
    assert f"{gains['6'][0]['joint']:.2f}" in card
    assert "--prior" in capsys.readouterr().out
    assert main(words(pictures, out, "--steps", "6", "--sample-every", "4")) == 0
    assert "was finished before, at step 6" in capsys.readouterr().out


def test_a_cpu_without_bf16_is_told_what_it_costs(pictures, tmp_path, monkeypatch, capsys):
    def stop(*asked, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stop)
    for lacking in (True, False):
        monkeypatch.setattr(train, "lacks_bf16", lambda device, lacking=lacking: lacking)
        assert main(words(pictures, tmp_path / "run", "--steps", "1", "--precision", "bf16")) == 130
        assert ("no instructions for bf16" in capsys.readouterr().out) is lacking


def test_an_interrupted_run_goes_on_and_ends_with_the_same_weights(pictures, tmp_path, monkeypatch, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(words(pictures, whole, "--steps", "6")) == 0
    with monkeypatch.context() as patched:

        def stop(self, network, step):
            raise KeyboardInterrupt

        patched.setattr(patch_prior.Look, "__call__", stop)
        assert main(words(pictures, cut, "--steps", "6", "--sample-every", "3")) == 130
    assert "run the same command again" in capsys.readouterr().err
    assert weights_of_run(cut).step == 3
    assert main(words(pictures, cut, "--steps", "6", "--sample-every", "3")) == 0
    assert (whole / CHECKPOINT).stat().st_size > 0
    one, two = (folder / "prior" / "model.safetensors" for folder in (whole, cut))
    assert one.read_bytes() == two.read_bytes()


def test_a_prior_is_a_place_to_go_on_from(pictures, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(words(pictures, first, "--steps", "4")) == 0
    assert main(words(pictures, second, "--steps", "7", "--continue-from", str(first / "prior"))) == 0
    assert weights_of_run(second).step == 7
    lines = [json.loads(line) for line in (second / "log.jsonl").read_text().splitlines()]
    assert next(line["rate"] for line in lines if "rate" in line) < 0.02


@pytest.mark.parametrize("failing", ["save_prior", "save_raw"])
def test_weights_that_could_not_be_saved_at_the_end_are_saved_by_the_same_command(
    pictures, tmp_path, monkeypatch, capsys, failing
):
    out = tmp_path / "run"

    def full(*asked):
        raise OutputError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(train if failing == "save_prior" else patch_prior, failing, full)
        assert main(words(pictures, out, "--steps", "3")) == 2
    assert not (out / "prior" / RAW).exists()
    capsys.readouterr()
    assert main(words(pictures, out, "--steps", "3")) == 0
    assert "was finished before, at step 3, and its weights are saved now" in capsys.readouterr().out
    saved, trained = load_weights(out / "prior", inside="network."), weights_of_run(out)
    assert saved.step == 3
    assert torch.equal(saved.raw["unet.stem.weight"], trained.raw["unet.stem.weight"].half().float())
    assert main(words(pictures, out, "--steps", "3")) == 0
    assert "was finished before, at step 3. Look" in capsys.readouterr().out


def test_a_run_made_longer_whose_weights_could_not_be_saved_does_not_keep_the_shorter_ones(
    pictures, tmp_path, monkeypatch
):
    out = tmp_path / "run"
    assert main(words(pictures, out, "--steps", "5")) == 0
    with monkeypatch.context() as patched:
        patched.setattr(train, "save_prior", lambda *asked: None)
        assert main(words(pictures, out, "--steps", "10")) == 0
    assert load_weights(out / "prior", inside="network.").step == 5
    assert main(words(pictures, out, "--steps", "10")) == 0
    assert load_weights(out / "prior", inside="network.").step == 10


KILLED = """
import os, signal, sys
from dataclasses import replace
from diorama.cli.main import main
from diorama.pipelines import patch_prior, train, train_options
from diorama.pipelines.patch_prior import noise_loss, recipe
from tests.pipelines.test_train import TINY

def deadly(times):
    loss, asked = noise_loss(times), []
    def counted(network, batch, generator, /):
        asked.append(1)
        if len(asked) == 10:
            os.kill(os.getpid(), signal.SIGKILL)
        return loss(network, batch, generator)
    return counted

train_options.recipe = lambda size: replace(recipe(size), network=TINY, batch=4)
train.noise_loss = deadly
patch_prior.HELD_OUT, patch_prior.WORLDS_A_SHARD = 8, 1
main(sys.argv[1:])
"""


@pytest.fixture
def few_worlds(monkeypatch):
    """One world is stored, and another judged by."""
    monkeypatch.setattr(patch_prior, "HELD_OUT", 8)
    monkeypatch.setattr(patch_prior, "WORLDS_A_SHARD", 1)


def worlds_words(out, *more):
    return ["train", "patch-prior", "--worlds", "1", "-o", str(out), "--device", "cpu", *more]


def test_a_training_on_worlds_goes_on_with_the_worlds_that_it_drew(few_worlds, tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    with monkeypatch.context() as patched:

        def stop(self, network, step):
            raise KeyboardInterrupt

        patched.setattr(patch_prior.Look, "__call__", stop)
        assert main(worlds_words(out, "--steps", "4", "--sample-every", "2")) == 130
    assert "1 worlds are drawn" in capsys.readouterr().out
    assert weights_of_run(out).step == 2
    windows = sorted((out / "windows").iterdir())
    assert [path.name for path in windows] == ["00000.safetensors", "recipe.json"]
    drawn = [path.stat().st_mtime_ns for path in windows]
    assert main(worlds_words(out, "--steps", "4", "--sample-every", "2")) == 0
    assert "resumed at step 2 of 4" in capsys.readouterr().out
    assert [path.stat().st_mtime_ns for path in windows] == drawn
    prior = Prior.from_pretrained(out / "prior")
    assert prior.score(torch.zeros(1, 4, 48, 48), 19).isfinite().all()
    assert prior.encoding.median_depth != PatchEncoding().median_depth


@pytest.mark.slow
def test_a_training_on_worlds_that_is_killed_ends_as_one_that_never_was(few_worlds, tmp_path, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(worlds_words(whole, "--steps", "10")) == 0
    asked = worlds_words(cut, "--steps", "10")
    done = subprocess.run([sys.executable, "-c", KILLED, *asked], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert weights_of_run(cut).step == 8, "the state before the rate fell"
    assert not (cut / "prior").exists()
    assert main(asked) == 0
    assert "resumed at step 8 of 10" in capsys.readouterr().out
    one, two = (folder / "prior" / "model.safetensors" for folder in (whole, cut))
    assert one.read_bytes() == two.read_bytes()


def test_worlds_that_are_drawn_anew_at_every_step_are_not_stored(few_worlds, tmp_path, monkeypatch):
    monkeypatch.setattr(patch_prior, "MEASURED", 4)
    out = tmp_path / "run"
    assert main(["train", "patch-prior", "--worlds", "0", "--steps", "1", "--device", "cpu", "-o", str(out)]) == 0
    assert not (out / "windows").exists()
    assert load_weights(out / "prior", inside="network.").step == 1


def test_the_network_is_compiled_where_that_is_asked_for(pictures, tmp_path, monkeypatch):
    compiled = []

    def untouched(what):
        compiled.append(what)
        return what

    monkeypatch.setattr(torch, "compile", untouched)
    assert main(words(pictures, tmp_path / "plain", "--steps", "1")) == 0
    assert not compiled
    assert main(words(pictures, tmp_path / "quick", "--steps", "1", "--compile")) == 0
    assert isinstance(compiled[-1], DetailUNet)


def test_a_machine_that_cannot_compile_says_what_is_missing(pictures, tmp_path, monkeypatch, capsys):
    def fails(what):
        def called(*given):
            raise RuntimeError("No working C++ compiler found")

        return called

    monkeypatch.setattr(torch, "compile", fails)
    assert main(words(pictures, tmp_path / "run", "--steps", "2", "--compile")) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "torch cannot compile here (No working C++ compiler found)" in said
    assert "leave out --compile" in said


def test_a_folder_of_something_else_is_left_alone(pictures, tmp_path, capsys):
    (tmp_path / "letter.txt").write_text("dear")
    assert main(words(pictures, tmp_path, "--steps", "4")) == 2
    assert "not the folder of a training" in capsys.readouterr().err
    with pytest.raises(OutputError):
        train.check_run_place(tmp_path / "letter.txt")


def test_a_run_lies_by_its_name_where_no_folder_is_named():
    named = [Options(what="gibr"), Options(what="patch-prior", size="paper")]
    assert [str(options.folder) for options in named] == ["runs/gibr-small", "runs/patch-prior-paper"]
    assert Options(what="gibr", output=Path("here")).folder == Path("here")


def test_other_options_than_those_of_the_run_are_refused(pictures, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(words(pictures, out, "--steps", "2")) == 0
    assert main(words(pictures, out, "--steps", "3", "--seed", "1")) == 2
    assert "holds a run with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--steps", "0"), "0 steps were asked for"),
        (("--batch", "0"), "--batch 0 was asked for"),
        (("--parts", "0"), "--parts 0 was asked for"),
        (("--sample-every", "-1"), "--sample-every -1 was asked for"),
        (("--steps", "3", "--budget", "1m"), "Give one of them"),
        (("--budget", "soon"), "not a duration"),
        (("--continue-from", "old.pth"), "is a pickle"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_trained(pictures, tmp_path, capsys, wrong, said):
    assert main(words(pictures, tmp_path / "run", *wrong)) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_steps_of_group_batches_are_the_same_whenever_asked_and_differ_between_steps_and_ranks():
    def group(number):
        return [torch.full((4, 2, 2), float(number))] * (number % 3)

    one, two = (GroupBatches(group, 5, Share(rank, 2)) for rank in (0, 1))
    assert torch.equal(one(3), one(3))
    assert one(3).shape == (5, 4, 2, 2)
    seen = [set(batch[:, 0, 0, 0].tolist()) for batch in (one(0), one(1), two(0), two(1))]
    assert len(set.union(*seen)) == sum(map(len, seen))


def test_the_median_depth_is_that_of_the_first_patches_if_not_most_are_of_the_sky():
    encoding = PatchEncoding()

    def batch_at(step):
        metres = torch.tensor([1.0, 2.0 + step, math.inf, 4.0 + step])[:, None, None].expand(4, 48, 48)
        return encode_rgbd(torch.zeros(4, 3, 48, 48), metres)

    first = torch.tensor([near for step in range(64) for near in (1.0, 2.0 + step, math.inf, 4.0 + step)])
    found = as_trained_on(encoding, batch_at)
    assert found.median_depth == pytest.approx(float(first.median()), rel=1e-3)
    assert replace(found, median_depth=encoding.median_depth) == encoding
    assert as_trained_on(encoding, lambda step: torch.full((9, 4, 48, 48), -1.0)) == encoding, "nothing but sky"


def test_pictures_that_give_no_patches_are_an_error():
    with pytest.raises(InputError, match="gave 0 patches where 5 were needed"):
        GroupBatches(lambda number: [], 5, Share())(0)


def test_the_recipes_are_those_of_the_issue_and_of_the_paper():
    small, paper = recipe("small"), recipe("paper")
    assert (small.batch, small.training.optim.rate, small.training.clip) == (64, 1e-3, 1.0)
    assert (small.training.schedule.warm_up, small.training.optim.betas) == (500, (0.9, 0.99))
    assert (paper.batch, paper.steps, paper.training.optim.rate) == (32, 650_000, 1e-4)
    assert (paper.training.ema.decay, paper.training.ema.every) == (0.995, 10)
    assert (paper.training.clip, paper.training.precision, paper.training.schedule.decay_share) == (None, "full", 0.0)
