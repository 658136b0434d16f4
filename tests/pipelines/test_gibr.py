"""`diorama train gibr` on folders of scenes: the whole road, without a single pixel of known depth."""

import json

import pytest

from diorama.cli.main import main
from diorama.errors import OutputError
from diorama.pipelines import gibr, train
from diorama.systems.gibr import GIBR
from diorama.training.weights import load_weights
from tests.data.tiny import posed_folder, ring


@pytest.fixture
def scenes(tmp_path):
    """Three scenes of six photographs each, without depth."""
    for name in ("one", "two", "three"):
        posed_folder(tmp_path / "scenes" / name, ring(6))
    return tmp_path / "scenes"


def test_scenes_without_depth_are_learned_from_and_what_needs_depth_is_left_open(scenes, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gibr, "HELD_OUT", 2)
    out = tmp_path / "run"
    asked = ["train", "gibr", "--size", "tiny", "--data", str(scenes), "-o", str(out), "--pixels", "16", "--views", "3",
             "--batch", "2", "--steps", "2", "--device", "cpu"]  # fmt: skip
    assert main(asked) == 0
    found = json.loads((out / "held_out.json").read_text())["2"]
    assert found["near_mass"] is None
    assert found["depth_rank_corr"] is None
    assert found["psnr_held_out"] > 0
    said = capsys.readouterr().out
    assert "held out" in said
    assert "depth rank" not in said
    config = GIBR.from_pretrained(out / "model").config
    assert (config.pixels, config.views) == (16, 3)
    assert (out / "curves.html").is_file()
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
