"""The few-view benchmark: its variants, its cache, and checks that can fail. (The figures themselves take hours.)"""

import json
from dataclasses import replace

import pytest

from benchmarks import few_views
from benchmarks.few_views import CASES, VARIANTS, Case, Options, check, main, preset_of, save, table
from diorama.data.images import write_png
from diorama.data.transforms import write_transforms
from diorama.errors import InputError
from tests.oracles import exact_views, ring_cameras

SMALL = Case("ball", 4)


def row(variant="few", psnr=20.0, floor=12.0, near_mass=0.05):
    return {
        "scene": "fox", "variant": variant, "seed": 0, "views": 9, "split": "d" * 64, "code": "c", "resolution": "8x6",
        "steps": 3, "seconds": 1.0, "mean": {"psnr": psnr, "psnr_mean_colour": floor, "near_mass": near_mass},
    }  # fmt: skip


def test_every_variant_differs_from_few_in_one_thing():
    views = exact_views(ring_cameras(4))
    presets = {variant: preset_of(variant, views) for variant in VARIANTS}
    assert len(set(map(repr, presets.values()))) == len(VARIANTS)
    assert presets["few"].stereo
    assert not presets["few-stereo"].stereo


def test_fog_and_a_scene_no_better_than_one_colour_fail_the_checks():
    assert check([row(), row("laptop", psnr=5.0, near_mass=0.9)]) == []
    assert "below 0.1 is needed" in check([row(near_mass=0.2)])[0]
    assert "not measured" in check([row(near_mass=None)])[0]
    assert "mean colour" in check([row(psnr=14.9)])[0]


def test_the_table_shows_what_each_part_is_worth():
    assert "-1.50" in table([row(), row("few-stereo", psnr=18.5)])


def test_rows_of_other_runs_stay_and_repeated_ones_are_replaced(tmp_path):
    save(tmp_path / "results.json", [row(), row("laptop")])
    save(tmp_path / "results.json", [row(psnr=25.0)])
    stored = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert sorted((r["variant"], r["mean"]["psnr"]) for r in stored) == [("few", 25.0), ("laptop", 20.0)]


def test_names_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match="unknown"):
        main(Options(scenes=("atlantis",)))
    assert set(CASES) == {"co3d_apple", "temple", "7scenes", "fox", "fountain"}


def test_a_row_is_fitted_once_and_leaves_a_contact_sheet(tmp_path, monkeypatch, capsys):
    views = exact_views(ring_cameras(9, width=40, height=30))
    (tmp_path / "data" / "ball").mkdir(parents=True)
    for name, image in zip(views.names, views.images, strict=True):
        write_png(tmp_path / "data" / "ball" / name, image)
    write_transforms(tmp_path / "data" / "ball" / "transforms.json", views.cameras, views.names, views.frame)
    monkeypatch.setitem(CASES, "ball", SMALL)
    fitted, reconstruct = [], few_views.reconstruct

    def counted(*arguments, **rest):
        fitted.append(rest["preset"])
        return reconstruct(*arguments, **rest)

    monkeypatch.setattr(few_views, "reconstruct", counted)
    monkeypatch.setattr(few_views, "code_digest", lambda *modules: "this code")
    options = Options(
        scenes=("ball",), variants=("laptop",), steps=2, data=tmp_path / "data", work=tmp_path / "work",
        results=tmp_path / "results" / "few_views.json",
    )  # fmt: skip
    assert main(options) == 0
    assert main(options) == 0
    assert len(fitted) == 1
    monkeypatch.setattr(few_views, "code_digest", lambda *modules: "other code")
    assert main(options) == 0
    assert len(fitted) == 1, "rows of other code count, and that is said"
    assert "1 of 1 rows were made by other code" in capsys.readouterr().out
    assert main(replace(options, again=True)) == 0
    assert len(fitted) == 2
    assert (tmp_path / "work" / "ball.png").is_file()
    stored = json.loads(options.results.read_text())["rows"][0]
    assert stored["steps"] == 2
    assert {"cpu", "cores", "torch"} <= set(stored["machine"])
    assert len(stored["test"]) == 2
