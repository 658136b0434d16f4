"""The benchmark of DiffusioNeRF: what is fitted, its cache, hidden pixels, paired differences; a miniature of it."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch

from benchmarks import diffusionerf
from benchmarks.diffusionerf import CASES, MAIN, REST, TEST, Case, Options, jobs, main, preset_of
from benchmarks.pairs import GOALS, paired, paired_table, verdict_text, verdicts
from benchmarks.rooms import seen_from
from diorama.errors import InputError
from tests.oracles import ring_cameras


def row(variant, psnr, seed=0, scene="workshop-0", group="workshops", equal="steps", cpu="a", **more):
    return {
        "scene": scene, "group": group, "views": 3, "variant": variant, "equal": equal, "seed": seed,
        "machine": {"cpu": cpu}, "mean": {"psnr": psnr, **more},
    }  # fmt: skip


def test_every_variant_that_is_no_prior_alone_changes_the_fit():
    presets = {variant: preset_of(variant, "inward") for variant in (*MAIN, *REST)}
    assert presets["few"] == presets["tv"] == presets["prior"]
    assert presets["tv-4x"] == presets["prior-4x"]
    assert presets["prior-eps"].optim.table_eps == 1e-8 > presets["prior"].optim.table_eps
    assert len(set(map(repr, presets.values()))) == 6
    assert presets["prior-4x"].fit.prior.gradient_share == pytest.approx(4 * presets["few"].fit.prior.gradient_share)
    assert not presets["photo-only"].stereo
    assert presets["photo-only"].fit.losses.distortion.at(900, 1000) == 0
    assert presets["paper-terms"].fit.losses.distortion.at(999, 1000) > 0


def test_three_seeds_for_the_three_in_question_and_one_for_the_rest():
    due = list(jobs(TEST[0], Options()))
    for equal, rest in (("steps", 1), ("seconds", 0)):
        some = [job.variant for job in due if job.views == 3 and job.equal == equal]
        assert [some.count(variant) for variant in (*MAIN, *REST)] == [3] * len(MAIN) + [rest] * len(REST)
    assert {job.variant for job in due if job.views == 6} == {"few", "prior"}
    assert {job.variant for job in jobs(TEST[-1], Options())} == set(MAIN)


def test_no_scene_to_tune_on_is_a_test_scene():
    assert not {case.place for case in CASES["test"]} & {case.place for case in CASES["development"]}
    assert {case.place[0] for case in TEST if not isinstance(case.place, str)} == {"workshop"}


def test_differences_are_taken_within_pairs():
    rows = [row("few", 10.0), row("few", 20.0, 1), row("few", 30.0, 2), row("tv", 11.0), row("tv", 23.0, 1)]
    found = paired(rows, "tv", "psnr")
    assert (found.mean, found.count) == (2.0, 2)
    assert found.error == pytest.approx(math.sqrt(2.0) / math.sqrt(2.0))
    assert paired(rows, "prior", "psnr") is None
    assert paired(rows[:4], "tv", "psnr").error is None, "one pair has no standard error"
    assert "+2.00 +- 1.00 (2)" in paired_table(rows)


def test_equal_seconds_are_equal_on_one_machine_alone():
    for equal, count in (("steps", 2), ("seconds", 1)):
        rows = [row("few", 10.0, equal=equal), row("few", 20.0, 1, equal=equal, cpu="b")]
        rows += [row("prior", 11.0, seed, equal=equal) for seed in (0, 1)]
        assert paired(rows, "prior", "psnr").count == count


def pairs_of(gains, *columns, **where):
    """Rows whose trained prior differs from the baseline by these gains in some columns, one a seed."""
    rows = []
    for seed, gain in enumerate(gains):
        for variant, value in (("few", 20.0), ("prior", 20.0 + gain)):
            rows.append(row(variant, value, seed, **where, **dict.fromkeys(columns, value)))
    return rows


@pytest.mark.parametrize(
    ("gains", "reached"), [([1.0, 1.2, 1.1], True), ([0.1], True), ([-0.1, 0.2, 0.0], False), ([-1.0, -1.1], False)]
)
def test_to_win_is_to_gain_more_than_a_standard_error(gains, reached):
    goals = {goal.what: goal for goal in GOALS}
    rows = pairs_of(gains, group="dtu_scan24")
    assert goals["DTU, the whole photo"].verdict(paired(rows, "prior", "psnr")) == reached
    errors = pairs_of([-gain for gain in gains], "depth_abs_rel", group="apc_box")
    assert goals["depth against the sensor"].verdict(paired(errors, "prior", "depth_abs_rel")) == reached


@pytest.mark.parametrize(("gains", "reached"), [([-0.25, -0.27], True), ([-0.4, -0.42], False), ([-1.5, 0.1], True)])
def test_on_llff_it_may_lose_a_little_or_what_cannot_be_told_from_nothing(gains, reached):
    (goal,) = (goal for goal in GOALS if goal.what == "LLFF")
    assert goal.verdict(paired(pairs_of(gains, group="llff_fern"), "prior", "psnr")) == reached


def test_goals_are_judged_at_equal_steps_and_at_equal_seconds_and_the_latter_decide():
    assert {verdict.reached for verdict in verdicts([])} == {None}
    won = []
    for equal in ("steps", "seconds"):
        for group in ("dtu_scan24", "llff_fern"):
            won += pairs_of([2.0, 2.2], "psnr_masked", group=group, equal=equal)
        for group in ("apc_box", "workshops"):
            won += pairs_of([-0.02, -0.03], "depth_abs_rel", group=group, equal=equal)
    assert [verdict.reached for verdict in verdicts(won)] == [True] * 2 * len(GOALS)
    assert verdict_text(won).endswith("equal seconds): yes")
    only_steps = [one for one in won if one["equal"] == "steps"]
    assert verdict_text(only_steps).endswith("not known yet")
    assert verdict_text(only_steps).count("open") == len(GOALS)
    lost = [*only_steps, *pairs_of([-2.0, -2.1], group="llff_fern", equal="seconds")]
    assert verdict_text(lost).endswith("no")
    assert "FAIL  LLFF (psnr), equal seconds: -2.05 +- 0.05 (2); needed" in verdict_text(lost)


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


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_that_is_none_is_refused(tmp_path, shard):
    with pytest.raises(InputError, match="--shard"):
        main(Options(shard=shard, work=tmp_path, results=tmp_path / "r.json"))


@pytest.fixture
def miniature(tmp_path, monkeypatch):
    """Options for one small room without weights, and the methods that were really fitted."""
    monkeypatch.setitem(CASES, "development", (Case("mini", ("workshop", 0), (3,), ablate=False),))
    monkeypatch.setattr(diffusionerf, "shipped", list)
    fitted, reconstruct = [], diffusionerf.reconstruct

    def counted(*arguments, **rest):
        fitted.append(rest["method"])
        assert arguments[0].depth is None, "a fit sees no depth truth"
        return reconstruct(*arguments, **rest)

    monkeypatch.setattr(diffusionerf, "reconstruct", counted)
    monkeypatch.setattr(diffusionerf, "code_digest", lambda *modules: "this code")
    options = Options(
        split="development", variants=("few", "tv", "prior"), seeds=(0,), equal=("steps",), steps=2, room_size=(40, 30),
        work=tmp_path / "work", results=tmp_path / "diffusionerf.json",
    )  # fmt: skip
    return options, fitted


def test_a_miniature_of_one_room_is_fitted_once_and_says_what_is_missing(miniature, monkeypatch, capsys):
    options, fitted = miniature
    assert main(options) == 0
    assert main(options) == 0
    assert fitted == ["baseline", "diffusionerf"], "the second run takes its rows from the cache"
    told = capsys.readouterr().out
    assert "no rows of the trained prior" in told
    assert "(1)" in told.split("paired differences")[1]
    assert "open  LLFF" in told
    rows = json.loads(options.results.read_text())["rows"]
    assert [r["variant"] for r in rows] == ["few", "tv"]
    assert rows[0]["prior"] is None
    assert rows[1]["prior"]["gradient_ratio"] == pytest.approx(0.1, rel=1e-2), "one measurement, at the first step"
    for one in rows:
        assert 0 < one["mean"]["hidden_share"] < 1
        assert one["mean"]["psnr_visible"] != one["mean"]["psnr_hidden"]
        assert one["mean"]["depth_abs_rel_hidden"] > 0
    assert (options.work / "mini.png").is_file()
    assert "--again" not in told
    monkeypatch.setattr(diffusionerf, "code_digest", lambda *modules: "other code")
    main(options)
    assert len(fitted) == 2, "rows of other code count, and that is said"
    assert "2 of 2 rows were made by other code" in capsys.readouterr().out
    main(replace(options, again=True))
    assert len(fitted) == 4
    assert {row["code"] for row in json.loads(options.results.read_text())["rows"]} == {"other code"}


def test_two_shards_make_every_row_once_and_the_file_of_results_is_enough_to_go_on(miniature, capsys):
    options, fitted = miniature
    assert main(replace(options, shard="1/2")) == 0
    assert fitted == ["baseline"]
    assert main(replace(options, shard="2/2")) == 0
    assert fitted == ["baseline", "diffusionerf"]
    assert "all 2 rows that there are" in capsys.readouterr().out
    assert len(json.loads(options.results.read_text())["rows"]) == 2
    shutil.rmtree(options.work)
    assert main(options) == 0
    assert len(fitted) == 2, "rows are found in the results where the work folder is gone"
    assert "(1)" in capsys.readouterr().out.split("paired differences")[1]
