"""What each part of preset `few` is worth on few photos of five real captures.

    python -m benchmarks.few_views                                  # everything
    python -m benchmarks.few_views --scenes fox --variants few laptop --steps 1000

Every photo set is fitted with `laptop`, with `few`, with `few` minus each of its parts, and with `few` plus each part
that it leaves out, for the same number of steps, and measured on its every8 test photos. Rows are cached under
`out/few_views` by the hash of settings and photos, so that a run that was stopped goes on; each notes the code that
made it, and `--again` takes none of other code. Contact sheets lie beside them.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from benchmarks.machine import machine
from benchmarks.rows import (
    FIT,
    NOT_OF_A_FIT,
    code_digest,
    fit_settings,
    kept_row,
    other_code_note,
    row_key,
    save_rows,
    stack_strips,
    write_strip,
)
from diorama.cameras.poses import capture_shape
from diorama.data.open import open_views
from diorama.data.splits import make_split
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.eval.measure import HeldOut, ViewResult
from diorama.eval.report import panels
from diorama.eval.tables import format_value, short_digest, text_table
from diorama.files import write_json
from diorama.pipelines.evaluate import evaluate
from diorama.pipelines.presets import FEW_PARTS, SPARE_PARTS, FitPreset, extended, few, laptop, without
from diorama.pipelines.reconstruct import reconstruct
from diorama.pipelines.workspace import input_hashes
from diorama.scenes.scene import Scene
from diorama.scenes.storage import load_scene
from diorama.types import Rendering

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "few_views.json"

COLUMNS = (
    "psnr", "psnr_masked", "ssim_uniform7", "flip", "depth_abs_rel", "depth_median_abs_m", "depth_inliers", "near_mass",
    "psnr_mean_colour",
)  # fmt: skip
MOST_NEAR_MASS = 0.1
LEAST_GAIN = 3.0
"""dB above the training photos' mean colour that `few` must reach on every scene."""


@dataclass(frozen=True)
class Case:
    """A capture and how many of its photos are learned from, after every eighth was held out."""

    folder: str
    views: int


CASES = {
    "co3d_apple": Case("co3d_apple", 9),
    "temple": Case("middlebury_templeSparseRing", 9),
    "7scenes": Case("rgbd_7scenes_redkitchen", 9),
    "fox": Case("fox", 9),
    "fountain": Case("strecha_fountain_P11", 4),
}
VARIANTS = ("laptop", "few", *(f"few-{part}" for part in FEW_PARTS), *(f"few+{part}" for part in SPARE_PARTS))


@dataclass(frozen=True)
class Options:
    """Preset `laptop` against `few`, and `few` minus and plus single parts, on few photos of real captures."""

    scenes: tuple[str, ...] = tuple(CASES)
    variants: tuple[str, ...] = VARIANTS
    seeds: tuple[int, ...] = (0,)
    steps: int = 1000
    """Steps of every fit: equal for all variants, so that a busy machine does not decide."""
    budget: str | None = None
    """Time for every fit instead of steps (90s, 3m)."""
    max_side: int = 240
    """Photos are shrunk to this long side, in pixels."""
    data: Path = field(default_factory=lambda: Path(os.environ.get("DIORAMA_DATA", ROOT.parent / "shared" / "data")))
    """Folder of the captures."""
    work: Path = ROOT / "out" / "few_views"
    """Scenes, cached rows and contact sheets."""
    results: Path = RESULTS
    device: str | None = None
    again: bool = False
    """Make rows anew that other code made than the present one."""


def main(options: Options) -> int:
    """Run what is missing, print the table; 1 if a check fails."""
    unknown = [name for name in options.scenes if name not in CASES]
    unknown += [name for name in options.variants if name not in VARIANTS]
    if unknown:
        raise InputError(f"unknown: {unknown}. Scenes are {list(CASES)}, variants {list(VARIANTS)}.")
    rows = []
    for row in run(options):
        rows.append(row)
        values = ", ".join(f"{c} {format_value(c, row['mean'].get(c))}" for c in ("psnr", "near_mass"))
        print(f"{row['scene']} {row['variant']} seed {row['seed']}: {values}, {row['seconds']} s", flush=True)
        save(options.results, rows)
    other = other_code_note(rows, [code_digest(FIT, NOT_OF_A_FIT)] * len(rows))
    print("\n" + table(rows) + ("" if other is None else f"\n\n{other}"))
    print(f"\ncontact sheets: {options.work}/*.png")
    failures = check(rows)
    print("\n".join(failures) if failures else "checks passed")
    return 1 if failures else 0


def run(options: Options) -> Iterator[dict[str, Any]]:
    """The rows, one fit after the other, those of earlier runs from the cache."""
    code = code_digest(FIT, NOT_OF_A_FIT)
    for name in options.scenes:
        case = CASES[name]
        views = open_views(options.data / case.folder, max_side=options.max_side)
        for seed in options.seeds:
            for variant in options.variants:
                yield row_of(name, case, variant, seed, views, code, options)
        contact_sheet(options, name)


def preset_of(variant: str, train: Views) -> FitPreset:
    """The fit of a variant, for photos of this kind."""
    assert train.cameras is not None
    shape = capture_shape(train.cameras)
    if variant == "laptop":
        return laptop(shape)
    whole = few(shape, train.object is not None)
    if variant.startswith("few+"):
        return extended(whole, variant.removeprefix("few+"))
    return whole if variant == "few" else without(whole, variant.removeprefix("few-"))


def row_of(name: str, case: Case, variant: str, seed: int, views: Views, code: str, options: Options) -> dict[str, Any]:
    """One fit and its figures, from the cache if it was made before."""
    split = make_split(views, "every8", case.views)
    train = views[views.index_of(split.train)]
    preset = preset_of(variant, train)
    length = {"budget": options.budget} if options.budget else {"steps": options.steps}
    decides = {
        "scene": name, "variant": variant, "seed": seed, "preset": fit_settings(preset), "split": split.digest,
        "photos": input_hashes(views), "device": options.device, **length,
    }  # fmt: skip
    key = row_key(decides)
    stored = options.work / "rows" / f"{name}_{variant}_{seed}_{key}.json"
    known = kept_row(key, code, stored, {}, again=options.again)
    if known is not None:
        return known
    place = options.work / "scenes" / f"{name}_{variant}_{seed}_{row_key(decides | {'code': code})}"
    stored.parent.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    scene: Scene
    if (place / "scene.json").is_file():
        scene = load_scene(place)
    else:
        notes = {"input": str(options.data / case.folder), "layout": views.layout, "max_side": options.max_side}
        scene = reconstruct(
            views, preset=preset, seed=seed, split="every8", count=case.views, output=place, notes=notes,
            device=options.device, steps=None if options.budget else options.steps, budget=options.budget,
        )  # fmt: skip
    strip: list[dict[str, bytes]] = []

    def look(held: HeldOut, rendering: Rendering, result: ViewResult) -> None:
        del result
        strip.append(panels(held, rendering, longest_side=200))

    result = evaluate(place, views, look=look)
    write_strip(options.work / "strips" / f"{name}_{seed}_{variant}.png", strip[:2], f"{name} {variant}")
    row = {
        "scene": name, "variant": variant, "seed": seed, "views": case.views, "split": split.digest, "code": code,
        "resolution": result.resolution, "steps": scene.provenance["steps"], "seconds": scene.provenance["seconds"],
        "shape": scene.provenance.get("shape"), "near_limit": result.facts["near_mass limit"], "machine": machine(),
        "mean": result.mean, "test": [{"name": v.name, **v.values} for v in result.views],
    }  # fmt: skip
    write_json(stored, row)
    return row


def check(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What `few` does not reach: no fog before the lens, and more than the mean colour on every scene."""
    failures = []
    for row in rows:
        if row["variant"] != "few":
            continue
        where = f"FAILED {row['scene']} seed {row['seed']}:"
        psnr, floor, fog = (row["mean"].get(c) for c in ("psnr", "psnr_mean_colour", "near_mass"))
        if fog is None or fog >= MOST_NEAR_MASS:
            failures.append(f"{where} near_mass {format_value('near_mass', fog)}, below {MOST_NEAR_MASS} is needed")
        if psnr < floor + LEAST_GAIN:
            failures.append(f"{where} {psnr:.2f} dB, {floor + LEAST_GAIN:.2f} (mean colour + {LEAST_GAIN}) is needed")
    return failures


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Every row, with its distance to `few` in dB."""
    whole = {(row["scene"], row["seed"]): row["mean"]["psnr"] for row in rows if row["variant"] == "few"}
    shown = [column for column in COLUMNS if any(row["mean"].get(column) is not None for row in rows)]
    text = []
    for row in rows:
        base = whole.get((row["scene"], row["seed"]))
        against = "" if base is None or row["variant"] == "few" else f"{row['mean']['psnr'] - base:+.2f}"
        text.append(
            {
                "scene": row["scene"], "variant": row["variant"], "seed": str(row["seed"]), "views": str(row["views"]),
                "split": short_digest(row["split"]), "size": row["resolution"], "vs few": against,
                **{c: format_value(c, row["mean"].get(c)) for c in shown},
                "steps": str(row["steps"]), "s": f"{row['seconds']:.0f}",
            }
        )  # fmt: skip
    return text_table(text) + "\nmetric backbones: none (no LPIPS weights); FLIP at 67 pixels per degree"


def save(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write the rows; rows of scenes and variants that this run leaves out stay."""
    save_rows(path, rows, ("scene", "variant", "seed"), "python -m benchmarks.few_views")


def contact_sheet(options: Options, name: str) -> None:
    """All variants of a scene below each other."""
    strips = options.work / "strips"
    files = [strips / f"{name}_{seed}_{variant}.png" for seed in options.seeds for variant in options.variants]
    stack_strips(options.work / f"{name}.png", files)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
