"""The card of a trained GIBR: its curve over all stages of the training, and what it does with worlds it never saw.

    python -m benchmarks.gibr --tables inputs samplers --prior runs/gibr_small/STAGE/model
    python -m recipes.gibr_card runs/gibr_small/STAGE/model --runs runs/gibr_small/*/

The first command measures; the second writes its rows of these weights into the README.md of the model's folder,
between two markers, with the curve (also as curve.json) and the last sheet of the training (sheet.png). What an earlier
curve.json in the folder says of other steps stays: runs are long, and their folders need not be at hand for ever.
"""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks.gibr_rows import Options as Benchmark
from benchmarks.rows import Row, stored_rows
from diorama.errors import InputError
from diorama.eval.tables import format_value
from diorama.files import write_json, write_text
from diorama.pipelines.gibr import HELD_OUT
from diorama.pipelines.looks import SAMPLES, read_figures
from diorama.systems.gibr import GIBR
from recipes.card import table, with_section

CURVE, SHEET = "curve.json", "sheet.png"

CURVE_COLUMNS = {
    "psnr_held_out": "held out", "psnr_own_out": "own plane out", "psnr_own_in": "own plane in",
    "psnr_mean_colour": "mean colour", "near_mass": "near mass", "depth_rank_corr": "depth rank",
}  # fmt: skip
"""Figures of a look at held-out scenes (`pipelines.gibr.Diagnosis`), and how the card calls them."""

ROW_COLUMNS = (
    "psnr", "psnr_visible", "psnr_hidden", "ssim", "depth_rank_corr", "consistent", "near_mass", "spread", "psnr_mean",
    "psnr_best", "frechet",
)  # fmt: skip
"""Of the benchmark's rows, those that there are."""


@dataclass(frozen=True)
class Options:
    """Write what was measured of a trained GIBR onto its card."""

    model: tyro.conf.Positional[Path]
    """Folder of the weights."""
    runs: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN")] = ()
    """Folders of the stages of its training, in order; none: curve and sheet stay as they are."""
    results: Path = Benchmark.results
    """What `python -m benchmarks.gibr` has written."""


def main(options: Options) -> int:
    """Write the section, the curve and the sheet; returns 0."""
    checksum = GIBR.from_pretrained(options.model).checksum
    before = options.model / CURVE
    earlier = json.loads(before.read_text(encoding="utf-8")) if before.is_file() else {}
    curve = curve_of(options.runs, earlier)
    rows = [row for row in stored_rows(options.results) if row.get("model") == checksum]
    readme = options.model / "README.md"
    write_text(readme, with_section(readme.read_text(encoding="utf-8"), markdown(curve, rows)))
    write_json(options.model / CURVE, curve)
    if options.runs and (sheets := sorted((options.runs[-1] / SAMPLES).glob("*.png"))):
        shutil.copyfile(sheets[-1], options.model / SHEET)
    print(f"{readme}: {len(curve)} looks and {len(rows)} rows")
    return 0


def curve_of(runs: Sequence[Path], earlier: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """What the looks of all stages found, by step, earlier ones included; InputError where a folder holds none.

    seed: of the worlds that were learned from. Held-out ones are those of the next seed.
    """
    curve = dict(earlier)
    for run in runs:
        found = read_figures(run)
        if not found:
            raise InputError(f"{run} holds no figures of a training. Give the folders of the stages.")
        asked = json.loads((run / "run.json").read_text(encoding="utf-8"))["about"]["data"]
        for step, figures in found.items():
            seed = asked["worlds"]["seed"] if "worlds" in asked else asked.get("seed")
            curve[step] = {"seed": seed, "pixels": asked["pixels"], "views": asked["views"], **figures}
    return dict(sorted(curve.items(), key=lambda item: int(item[0])))


def markdown(curve: Mapping[str, Mapping[str, Any]], rows: Sequence[Row]) -> str:
    """The curve and, where there are any, the rows of the benchmark."""
    lines = [
        "## Measured", "",
        f"While it learned, on {HELD_OUT} held-out worlds, other ones for each seed (PSNR in dB):", "",
    ]  # fmt: skip
    names = [name for name in CURVE_COLUMNS if any(look.get(name) is not None for look in curve.values())]
    lines += table(
        ["step", "seed", "pixels", "views", *(CURVE_COLUMNS[name] for name in names)],
        [
            [step, *(str(look.get(name, "")) for name in ("seed", "pixels", "views")),
             *(format_value(name, look.get(name)) for name in names)]
            for step, look in curve.items()
        ],
    )  # fmt: skip
    for kind, what in (("inputs", "Views that are given"), ("samplers", "Samplers")):
        some = [row for row in rows if row["table"] == kind]
        if some:
            columns = [name for name in ROW_COLUMNS if any(row["mean"].get(name) is not None for row in some)]
            lines += ["", f"{what}: `python -m benchmarks.gibr --tables {kind}`", ""]
            lines += table(
                ["given", "sampler", *columns],
                [[str(row["views"]), row["variant"], *(format_value(name, row["mean"].get(name)) for name in columns)]
                 for row in some],
            )  # fmt: skip
    lines += ["", f"![Held-out worlds: photos, what the network reads, what it renders, and depth]({SHEET})"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
