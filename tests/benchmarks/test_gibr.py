"""The benchmark of GIBR: what differs between its variants, what is measured, its cache and goals; miniatures of it."""

import json
import shutil
from dataclasses import replace

import pytest
import torch

from benchmarks import gibr_ablation, gibr_inputs, gibr_photos, gibr_worlds
from benchmarks.gibr import dealt_with, jobs, main
from benchmarks.gibr_ablation import ALONE, FIRST, IN_QUESTION, REST, recipe_of
from benchmarks.gibr_figures import psnr_over, scene_values, set_values, true_sight
from benchmarks.gibr_goals import paired, report, statistic, verdicts, worlds_table
from benchmarks.gibr_photos import CASES, VARIANTS, Blurred, Case, Flat, preset_of, windows
from benchmarks.gibr_rows import Bench, Job, Options
from benchmarks.gibr_worlds import HELD_OUT, question
from diorama.data.images import write_png
from diorama.data.transforms import write_transforms
from diorama.errors import InputError
from diorama.pipelines.gibr import gibr_recipe
from diorama.scenes.pictures import Pictures
from diorama.systems.gibr import GIBR
from diorama.types import Rendering
from tests.oracles import exact_views, ring_cameras
from tests.systems.drawn import TINY, balls, model_of


def row(table, variant, seed=0, scene="objects", views=2, **mean):
    return {
        "table": table, "scene": scene, "views": views, "variant": variant, "seed": seed, "steps": 3, "samples": 2,
        "mean": mean, "worlds": [mean, mean], "resolution": "16x16", "set": "development", "seconds": 1.0,
        "angles": [[0.0, 10.0, 2, 20.0], [10.0, 20.0, 0, None]],
    }  # fmt: skip


# What is compared ----------------------------------------------------------------------------------------------------


def test_networks_of_the_ablation_differ_in_one_thing_each_and_hardly_in_size():
    recipes = {variant: recipe_of(variant, 32) for variant in (*IN_QUESTION, *REST)}
    full, tiny = recipes["full"], gibr_recipe("tiny")
    assert (full.config.network, full.config.planes) == (tiny.config.network, tiny.config.planes)
    assert replace(full.training, rays=tiny.training.rays) == tiny.training
    assert len({repr(recipe) for recipe in recipes.values()}) == len(recipes)
    sizes = {name: sum(p.numel() for p in GIBR(one.config).parameters()) for name, one in recipes.items()}
    assert max(sizes.values()) < 1.05 * min(sizes.values()), sizes
    assert {recipe.loop for recipe in recipes.values()} == {recipes["full"].loop}
    with pytest.raises(InputError, match="unknown: half"):
        recipe_of("half", 32)


def test_three_seeds_for_what_is_in_question_and_one_for_the_rest():
    due = jobs(Options(tables=("ablation",)))
    counts = {variant: sum(job.variant == variant for job in due) for variant in (*IN_QUESTION, *REST)}
    assert counts == dict.fromkeys(IN_QUESTION, 3) | dict.fromkeys(REST, 1)
    for asked_otherwise in (ALONE, FIRST):
        assert [job.seed for job in due if job.variant == asked_otherwise] == [0, 1, 2]
    assert [job.views for job in jobs(Options(tables=("inputs",)))] == [0, 1, 2, 4, 6]
    assert len(jobs(Options(tables=("samplers",)))) == 5
    photos = jobs(Options(tables=("photos",)))
    assert len(photos) == 3 * 3 * len(VARIANTS)
    assert len({job.title for job in jobs(Options())}) == len(jobs(Options()))


def test_no_capture_to_tune_on_is_measured_in_the_end():
    assert not {case.folder for case in CASES["development"]} & {case.folder for case in CASES["test"]}


@pytest.mark.parametrize("inputs", [0, 1, 2, 4, 6])
def test_a_model_never_sees_the_views_that_it_is_measured_by_and_a_regression_only_what_is_given(inputs):
    model, views = model_of(), balls(1, 10)
    asked = question(model, views, inputs)
    assert torch.equal(asked.held.images, views.images[:, -HELD_OUT:])
    count = asked.encoded.images.shape[1]
    assert int(asked.given.sum()) == inputs < count <= 10 - HELD_OUT
    assert count >= 4
    if inputs >= 2:
        alone = question(model, views, inputs, denoise=False)
        assert bool(alone.given.all())
        assert alone.encoded.images.shape[1] == inputs


def test_the_baseline_fit_is_few_that_measures_stereo_for_near_and_far_and_hears_none_of_it():
    views = exact_views(ring_cameras(3))
    fit, whole = preset_of("fit", views), preset_of("few", views)
    assert fit.stereo
    assert fit.fit.losses.depth.at(0, 100) == 0.0 < whole.fit.losses.depth.at(0, 100)
    assert replace(fit, fit=replace(fit.fit, losses=replace(fit.fit.losses, depth=whole.fit.losses.depth))) == whole
    assert preset_of("fit-blurred", views) == fit
    assert preset_of("gibr-refine", views) == whole


def test_a_shard_makes_all_methods_on_the_same_photos_and_single_networks():
    photos = jobs(Options(tables=("photos",), photo_seeds=(0, 1)))
    assert len({dealt_with(job) for job in photos}) == len(photos) / len(VARIANTS) == 3 * 3 * 2
    networks = jobs(Options(tables=("ablation",)))
    assert len({dealt_with(job) for job in networks}) == len(networks)


# What is measured ----------------------------------------------------------------------------------------------------


def truth_of(held):
    """The photographs themselves as a render."""
    known = (held.depth > 0).to(held.depth)
    return Pictures(held.images, held.depth, known, torch.zeros_like(known))


def test_what_a_given_view_sees_is_visible_and_with_none_all_surfaces_are_hidden():
    views = balls(1, 6, size=24)
    held, surface = views.last(3), views.last(3).depth[0] > 0
    own, nothing, some = (true_sight(held, given) for given in (held, views.first(0), views.first(1)))
    assert float(own.visible.sum() / surface.sum()) > 0.99
    assert torch.equal(nothing.hidden, surface)
    assert torch.equal(some.visible | some.hidden, surface)
    assert bool(some.visible.any())
    assert bool(some.hidden.any())


def test_the_truth_scores_best_in_every_figure_and_noise_on_hidden_pixels_shows_there_alone(rng):
    views = balls(1, 6, size=24)
    held, sight = views.last(3), true_sight(views.last(3), views.first(1))
    truth = truth_of(held)
    best = scene_values(truth, held, sight)
    assert best["psnr"] == best["psnr_visible"] == best["psnr_hidden"] == 100.0
    assert best["ssim"] == pytest.approx(1.0)
    assert best["depth_rank_corr"] == pytest.approx(1.0)
    assert best["confirmed"] == best["confirmed_truth"]
    assert best["sharpness"] == best["near_mass"] == 0.0
    noisy = held.images + 0.1 * torch.randn(held.images.shape, generator=rng) * sight.hidden[None, :, None]
    worse = scene_values(replace(truth, colour=noisy.clamp(0, 1)), held, sight)
    assert worse["psnr_visible"] == 100.0
    assert worse["psnr_hidden"] < 30
    assert worse["fine"] > 0
    assert psnr_over(held.images[0], held.images[0], torch.zeros_like(sight.hidden)) is None


def test_the_distance_of_hidden_pixels_does_not_hear_of_visible_ones(rng):
    photos = torch.rand(6, 3, 16, 16, generator=rng)
    hidden = torch.zeros(6, 16, 16, dtype=torch.bool)
    hidden[:, :8] = True
    above, below = photos.clone(), photos.clone()
    above[:, :, :8] = 0.5
    below[:, :, 8:] = 0.5
    assert set_values(below, photos, hidden)["frechet_hidden"] == pytest.approx(0.0, abs=1e-6)
    assert set_values(above, photos, hidden)["frechet_hidden"] > 0.01
    assert set_values(photos, photos, hidden)["frechet"] == pytest.approx(0.0, abs=1e-6)
    assert set_values(photos[:3], photos[:3], hidden[:3])["frechet"] is None


def test_windows_cover_a_picture_and_a_blurred_scene_keeps_its_mean_colour(rng):
    pictures = torch.rand(2, 3, 64, 64, generator=rng)
    cut = windows(pictures)
    assert cut.shape == (2 * 9, 3, 32, 32)
    assert torch.equal(cut[0], pictures[0, :, :32, :32])
    assert windows(pictures[..., :20, :20]).shape == (2, 3, 20, 20)
    cameras = ring_cameras(2, 64, 64)
    seen = Blurred(lambda asked: Rendering(pictures, pictures[:, 0], pictures[:, 0]), 16)(cameras)
    torch.testing.assert_close(seen.colour.mean(), pictures.mean(), rtol=0.01, atol=0.0)
    assert float(seen.colour.var()) < 0.5 * float(pictures.var())
    assert float(Flat(torch.tensor([0.1, 0.2, 0.3]))(cameras).colour[1, 2].mean()) == pytest.approx(0.3)


# Goals ---------------------------------------------------------------------------------------------------------------


def test_differences_are_taken_within_seeds():
    rows = [row("ablation", "full", seed, psnr=15.0 + seed) for seed in range(3)]
    rows += [row("ablation", "regression", seed, psnr=14.0 + 2 * seed) for seed in range(2)]
    found = paired(rows, "full", "regression", "psnr")
    assert (found.mean, found.count) == (0.5, 2)
    assert found.error == pytest.approx(0.5)
    assert paired(rows, "full", "no-polar", "psnr") is None
    assert statistic([2.0]).error is None


def goals(rows):
    return {verdict.goal.split(" (")[0]: verdict.reached for verdict in verdicts(rows)}


def test_nothing_is_reached_where_nothing_was_measured():
    assert {verdict.reached for verdict in verdicts([])} == {None}
    assert report([]).count("open") == len(verdicts([]))


@pytest.mark.parametrize(("gain", "reached"), [(1.2, True), (0.9, False), (-3.0, False)])
def test_dropout_must_gain_a_decibel(gain, reached):
    rows = [row("ablation", variant, psnr=value) for variant, value in (("full", 14 + gain), ("no-own-dropout", 14.0))]
    assert goals(rows)["own-plane dropout on against off, held-out views"] is reached


@pytest.mark.parametrize(("hidden", "visible", "reached"), [(-0.1, -0.4, (True, True)), (0.1, -0.6, (False, False))])
def test_diffusion_must_look_better_where_nothing_was_seen_and_be_as_good_where_it_was(hidden, visible, reached):
    rows = [
        row("ablation", FIRST, frechet_hidden=1.0 + hidden, psnr_visible=20.0 + visible),
        row("ablation", "regression", frechet_hidden=1.0, psnr_visible=20.0),
    ]
    found = goals(rows)
    assert found["against the regression, hidden pixels"] is reached[0]
    assert found["against the regression, visible pixels"] is reached[1]


@pytest.mark.parametrize(("spreads", "reached"), [((0.2, 0.1, 0.05), True), ((0.2, 0.21, 0.05), False), ((0.2,), None)])
def test_spread_must_fall_with_every_further_input(spreads, reached):
    rows = [row("inputs", "dpm-10", views=count, spread=spread) for count, spread in enumerate(spreads)]
    assert goals(rows)["spread over samples, by inputs"] is reached


def test_on_photos_the_refined_scene_must_beat_the_fit_of_the_same_photos_and_seed():
    gains, rows = (1.0, 1.1, 0.9), []
    for scene, gain in enumerate(gains):
        rows += [row("photos", "fit", scene=str(scene), psnr=15.0), row("photos", "few", scene=str(scene), psnr=18.0)]
        rows.append(row("photos", "gibr-refine", scene=str(scene), psnr=15.0 + gain))
    found = {str(verdict.goal): verdict.reached for verdict in verdicts(rows) if verdict.reached is not None}
    assert list(found.values()) == [True, False]
    told = report([*rows, row("ablation", "full", psnr=14.0), row("inputs", "dpm-10", views=0, psnr=10.0, spread=0.1)])
    assert told.count("+1.00 +- 0.06 (3)") == 2, "among all pairs of methods, and as a goal"
    assert "-2.00 +- 0.06 (3)" in told.split("paired over")[1].split("gibr-refine - few")[1].split("\n")[0]
    assert "16.10 / - / -" in told.split("each scene")[1], "what was not measured is a dash"
    assert "20.00 (6)" in told, "photos of all scenes fall into one bin of angle"
    assert told.count("pass") == 1
    assert told.count("FAIL") == 1


# Miniatures ----------------------------------------------------------------------------------------------------------


def small_recipe(variant, pixels, recipe_of=gibr_ablation.recipe_of):
    whole = recipe_of(variant, pixels)
    few = replace(whole.config.sampling, coarse=4, fine=4)
    return replace(whole, config=replace(whole.config, sampling=few), batch=2, training=replace(whole.training, rays=8))


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """Options for two worlds of 16 pixels."""
    monkeypatch.setattr(gibr_worlds, "SIDE", 16)
    monkeypatch.setattr(gibr_worlds, "SHARD", 2)
    monkeypatch.setattr(gibr_inputs, "WORLD_KINDS", ("object",))
    monkeypatch.setattr(gibr_ablation, "recipe_of", small_recipe)
    for module in (gibr_ablation, gibr_inputs, gibr_photos):
        monkeypatch.setattr(module, "code_digest", lambda modules: "this code")
    return Options(
        tables=("ablation",), seeds=(0,), steps=2, pixels=16, training_worlds=2, worlds=2, few_worlds=1, samples=2,
        work=tmp_path / "work", results=tmp_path / "gibr.json", regression=None,
    )  # fmt: skip


def test_a_miniature_of_the_ablation_trains_every_network_once_and_shards_share_the_work(mini, monkeypatch, capsys):
    trained, train = [], gibr_ablation.train

    def counted(*arguments, **rest):
        trained.append(arguments[0].config)
        return train(*arguments, **rest)

    monkeypatch.setattr(gibr_ablation, "train", counted)
    options = replace(mini, variants=("full", "regression", "tri-planes", "no-held-out", ALONE, FIRST))
    main(replace(options, shard="1/2"))
    assert len(trained) == 3, "full, tri-planes, and the first again: a run that is finished already"
    main(replace(options, shard="2/2"))
    assert len(trained) == 6, "regression, no-held-out, and the first once more"
    assert "all 6 rows that there are" in capsys.readouterr().out
    rows = json.loads(options.results.read_text())["rows"]
    assert {row["variant"] for row in rows} == set(options.variants)
    whole = next(row for row in rows if row["variant"] == "full")
    assert len(list((options.work / "runs").glob("*_full*"))) == 1, "one network, asked three times"
    for variant in (ALONE, FIRST):
        otherwise = next(row for row in rows if row["variant"] == variant)
        assert otherwise["mean"]["psnr_own_in"] == whole["mean"]["psnr_own_in"]
        assert otherwise["mean"]["psnr"] != whole["mean"]["psnr"]
    for one in rows:
        assert one["steps"] == 2
        assert one["mean"].keys() >= {"psnr", "ssim", "depth_rank_corr", "confirmed", "near_mass", "psnr_own_in"}
        assert one["mean"]["frechet_hidden"] > 0
        assert len(one["worlds"]) == 2
        assert one["machine"]["threads"] >= 1
    assert (options.work / "ablation.png").is_file()
    shutil.rmtree(options.work)
    main(options)
    assert len(trained) == 6, "rows are found in the results where the work folder is gone"
    told = capsys.readouterr().out
    assert "against the regression, hidden pixels" in told
    monkeypatch.setattr(gibr_ablation, "code_digest", lambda modules: "other code")
    main(replace(options, variants=("full",)))
    assert len(trained) == 6, "rows of other code count, and that is said"
    assert "1 of 1 rows were made by other code" in capsys.readouterr().out
    main(replace(options, variants=("full",), again=True))
    assert len(trained) == 7


def test_a_miniature_of_inputs_and_samplers_goes_on_where_it_was_stopped(mini, monkeypatch, tmp_path, capsys):
    model = tmp_path / "model"
    model_of(replace(TINY, sampling=replace(TINY.sampling, coarse=4, fine=4))).save_pretrained(model)
    monkeypatch.setattr(gibr_inputs, "INPUTS", (0, 2))
    quick = {name: replace(gibr_inputs.SAMPLERS[name], steps=2, coarse=4, fine=4) for name in ("ddim-10", "dpm-10")}
    monkeypatch.setattr(gibr_inputs, "SAMPLERS", quick)
    options = replace(mini, tables=("inputs", "samplers"), prior=model)
    asked, answer = [], gibr_worlds.answer

    def stopped(*arguments):
        asked.append(1)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return answer(*arguments)

    monkeypatch.setattr(gibr_worlds, "answer", stopped)
    with pytest.raises(KeyboardInterrupt):
        main(options)
    main(options)
    assert len(asked) == 4 + 2 + 2 * 2 + 2 * 2, "what was measured of the first world is not measured again"
    main(options)
    assert len(asked) == 14
    rows = json.loads(options.results.read_text())["rows"]
    assert [(row["table"], row["views"], row["variant"]) for row in rows] == [
        ("inputs", 0, "dpm-10"), ("inputs", 2, "dpm-10"), ("samplers", 2, "ddim-10"), ("samplers", 2, "dpm-10")
    ]  # fmt: skip
    assert all(row["mean"]["psnr_best"] >= row["mean"]["psnr_mean"] for row in rows)
    assert all(row["mean"]["spread"] > 0 for row in rows)
    assert rows[0]["mean"]["psnr_visible"] is None
    assert (options.work / "inputs.png").is_file()


def test_samplers_cost_a_multiple_of_the_first_and_nothing_is_said_of_another_machine():
    rows = [
        row("samplers", name, seconds=value) for name, value in (("ddim-10", 2.0), ("ddim-25", 5.0), ("dpm-10", 7.0))
    ]
    rows[2]["machine"] = "another"
    header, *lines = [line.split() for line in worlds_table(rows).splitlines()]
    assert "cost" in header
    assert [("1.00" in line, "2.50" in line, "3.50" in line) for line in lines] == [
        (True, False, False), (False, True, False), (False, False, False)
    ]  # fmt: skip


def test_without_weights_there_are_no_rows_and_a_line_that_says_so(mini, monkeypatch, capsys):
    monkeypatch.setattr("benchmarks.gibr_rows.shipped", list)
    assert main(replace(mini, tables=("inputs",))) == 0
    assert "no rows of trained weights" in capsys.readouterr().out
    assert not mini.results.exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"shard": "3/2"}, "--shard"),
        ({"variants": ("fulll",)}, "unknown: \\['fulll'\\]"),
        ({"tables": ("photos",), "scenes": ("atlantis",)}, "unknown: \\['atlantis'\\]"),
    ],
)
def test_what_does_not_exist_is_refused(mini, change, told):
    with pytest.raises(InputError, match=told):
        main(replace(mini, **change))


@pytest.fixture
def capture(mini, tmp_path, monkeypatch):
    """Options for nine photos of a ball, and the rows of which methods were really made."""
    views = exact_views(ring_cameras(9, width=40, height=32))
    folder = tmp_path / "data" / "ball"
    folder.mkdir(parents=True)
    for name, image in zip(views.names, views.images, strict=True):
        write_png(folder / name, image)
    write_transforms(folder / "transforms.json", views.cameras, views.names, views.frame)
    monkeypatch.setitem(CASES, "development", (Case("ball", "ball"), Case("gone", "gone")))
    made, reconstruct = [], gibr_photos.reconstruct

    def counted(*arguments, **rest):
        made.append((rest["method"], rest.get("refine", False)))
        assert arguments[0].depth is None
        return reconstruct(*arguments, **rest)

    monkeypatch.setattr(gibr_photos, "reconstruct", counted)
    gibr_photos.photos_of.cache_clear()
    gibr_photos.opened.cache_clear()
    gibr_photos.sight_of.cache_clear()
    model = tmp_path / "model"
    model_of(replace(TINY, sampling=replace(TINY.sampling, coarse=4, fine=4))).save_pretrained(model)
    options = replace(
        mini, tables=("photos",), views=(2,), side=32, fit_steps=2, samples=1, data=tmp_path / "data", prior=model,
    )  # fmt: skip
    return options, made


def test_a_miniature_of_one_capture_measures_all_methods_on_the_same_photos(capture, capsys):
    options, made = capture
    main(options)
    rows = {row["variant"]: row for row in json.loads(options.results.read_text())["rows"]}
    assert list(rows) == ["mean-colour", "fit", "fit-blurred", "few", "gibr", "gibr-refine"]
    assert sorted(made) == [("baseline", False)] * 3 + [("gibr", False), ("gibr", True)], "with the reference scene"
    assert len({row["split"] for row in rows.values()}) == 1
    assert len({(row["near"], row["far"]) for row in rows.values()}) == 1
    shares = {json.dumps([view["share_visible"] for view in row["test"]]) for row in rows.values()}
    assert len(shares) == 1, "one scene tells all methods what was seen"
    mean = rows["mean-colour"]["mean"]
    assert mean["psnr"] == pytest.approx(mean["psnr_mean_colour"], abs=1e-3)
    assert rows["fit-blurred"]["mean"]["fine"] < rows["fit"]["mean"]["fine"]
    assert all(row["mean"]["frechet"] is not None for row in rows.values())
    told = capsys.readouterr().out
    assert "no rows of gone" in told
    assert "no rows of a regression network" in told
    assert "real photos (development), 2 given: gibr-refine against fit" in told
    assert (options.work / "photos_ball.png").is_file()
    main(options)
    assert len(made) == 5, "the second run takes its rows from the cache"


def test_a_regression_network_draws_no_views_of_its_own(capture):
    options, made = capture
    options = replace(options, regression=options.prior, variants=("regression", "regression-refine"))
    main(options)
    rows = json.loads(options.results.read_text())["rows"]
    assert [row["variant"] for row in rows] == ["regression", "regression-refine"]
    assert ("gibr", True) in made
    assert "0 further views are invented" in " ".join(rows[0]["notes"])


def test_rows_are_found_by_all_that_decides_them(mini):
    bench = Bench(mini, None, None, {}, ())
    job, made = Job("inputs", "worlds", 2, "dpm-10"), []

    def make(place):
        made.append(place)
        return {"mean": {}}

    first = bench.row(job, {"x": 1}, "a", make)
    assert bench.row(job, {"x": 1}, "a", make) == first
    assert bench.row(job, {"x": 1}, "b", make) == first
    assert len(made) == 1
    bench.row(job, {"x": 2}, "a", make)
    bench.row(replace(job, seed=1), {"x": 1}, "a", make)
    assert len(made) == 3
    assert replace(bench, options=replace(mini, again=True)).row(job, {"x": 1}, "b", make)["code"] == "b"
    assert len(set(made)) == 4, "nothing that other code left half-done is gone on with"
    assert replace(bench, make=False).row(job, {}, "a", make) is None
    kept = {"kept": True, "code": "a"}
    anew = replace(bench, committed={first["key"]: kept}, options=replace(mini, work=mini.work / "new"))
    assert anew.row(job, {"x": 1}, "b", make) == kept
