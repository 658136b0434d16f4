"""The benchmark of DiffusioNeRF: what is fitted, its cache, hidden pixels, paired differences; a miniature of it."""

import json
import math

import pytest
import torch

from benchmarks import diffusionerf
from benchmarks.diffusionerf import CASES, MAIN, REST, TEST, Case, Options, jobs, main, paired, preset_of
from benchmarks.rooms import seen_from
from diorama.errors import InputError
from tests.oracles import ring_cameras


def row(variant, psnr, seed=0, scene="workshop-0"):
    return {
        "scene": scene, "group": "workshops", "views": 3, "variant": variant, "equal": "steps", "seed": seed,
        "mean": {"psnr": psnr},
    }  # fmt: skip


def test_every_variant_that_is_no_prior_alone_changes_the_fit():
    presets = {variant: preset_of(variant, "inward") for variant in (*MAIN, *REST)}
    assert presets["few"] == presets["tv"] == presets["prior"]
    assert presets["tv-4x"] == presets["prior-4x"]
    assert len(set(map(repr, presets.values()))) == 5
    assert presets["prior-4x"].fit.prior.gradient_share == pytest.approx(4 * presets["few"].fit.prior.gradient_share)
    assert not presets["photo-only"].stereo
    assert presets["photo-only"].fit.losses.distortion.at(900, 1000) == 0
    assert presets["paper-terms"].fit.losses.distortion.at(999, 1000) > 0


def test_three_seeds_for_the_three_in_question_and_one_for_the_rest():
    due = list(jobs(TEST[0], Options()))
    assert [sum(job.variant == v and job.views == 3 for job in due) for v in (*MAIN, *REST)] == [3, 3, 3, 1, 1, 1, 1, 1]
    assert {job.variant for job in due if job.views == 6} == {"few", "prior"}
    assert {job.variant for job in jobs(TEST[-1], Options())} == set(MAIN)


def test_no_scene_to_tune_on_is_a_test_scene():
    assert not {case.place for case in CASES["test"]} & {case.place for case in CASES["development"]}
    assert {case.place[0] for case in TEST if not isinstance(case.place, str)} == {"workshop"}


def test_differences_are_taken_within_pairs():
    rows = [row("few", 10.0), row("few", 20.0, 1), row("few", 30.0, 2), row("tv", 11.0), row("tv", 23.0, 1)]
    mean, error, count = paired(rows, "tv", "psnr")
    assert (mean, count) == (2.0, 2)
    assert error == pytest.approx(math.sqrt(2.0) / math.sqrt(2.0))
    assert paired(rows, "prior", "psnr") is None
    assert paired(rows[:4], "tv", "psnr")[1] is None, "one pair has no standard error"


def test_a_pixel_is_seen_by_its_own_camera_and_hidden_behind_what_another_sees():
    camera = ring_cameras(1, width=8, height=6)
    depth = torch.full((6, 8), 2.0)
    depth[0, 0] = 0.0
    known = depth > 0
    assert torch.equal(seen_from(camera, depth, camera, depth[None]), known)
    in_front = torch.full((1, 6, 8), 1.0)
    assert not seen_from(camera, depth, camera, in_front).any()


def test_names_that_do_not_exist_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown: \\['fox'\\]"):
        main(Options(scenes=("fox",), work=tmp_path, results=tmp_path / "r.json"))


def test_a_miniature_of_one_room_is_fitted_once_and_says_what_is_missing(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(CASES, "development", (Case("mini", ("workshop", 0), (3,), ablate=False),))
    monkeypatch.setattr(diffusionerf, "shipped", list)
    fitted, reconstruct = [], diffusionerf.reconstruct

    def counted(*arguments, **rest):
        fitted.append(rest["method"])
        assert arguments[0].depth is None, "a fit sees no depth truth"
        return reconstruct(*arguments, **rest)

    monkeypatch.setattr(diffusionerf, "reconstruct", counted)
    monkeypatch.setattr(diffusionerf, "code_digest", lambda rooms: "this code")
    options = Options(
        split="development", variants=("few", "tv", "prior"), seeds=(0,), steps=2, room_size=(40, 30),
        work=tmp_path / "work", results=tmp_path / "diffusionerf.json",
    )  # fmt: skip
    assert main(options) == 0
    assert main(options) == 0
    assert fitted == ["baseline", "diffusionerf"], "the second run takes its rows from the cache"
    told = capsys.readouterr().out
    assert "no rows of the trained prior" in told
    assert "(1)" in told.split("paired differences")[1]
    rows = json.loads(options.results.read_text())["rows"]
    assert [r["variant"] for r in rows] == ["few", "tv"]
    for one in rows:
        assert 0 < one["mean"]["hidden_share"] < 1
        assert one["mean"]["psnr_visible"] != one["mean"]["psnr_hidden"]
        assert one["mean"]["depth_abs_rel_hidden"] > 0
    assert (tmp_path / "work" / "mini.png").is_file()
