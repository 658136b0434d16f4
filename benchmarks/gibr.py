"""Does GIBR work? What its parts are worth, what more photographs bring, its samplers, and real photos.

    python -m benchmarks.gibr                                   # all tables; real photos: the scenes to tune on
    python -m benchmarks.gibr --tables photos --split test      # the scenes to touch once
    python -m benchmarks.gibr --tables ablation --shard 1/2     # half of the networks; the other half: --shard 2/2
    python -m benchmarks.gibr --prior RUN/model --regression OTHER_RUN/model

ablation: small networks that differ in one thing, as many steps each as ten minutes of one core. inputs, samplers:
trained weights on held-out worlds, whose depth and hidden pixels are known exactly. photos: few photographs of real
captures. Rows are found again by the hash of their settings and data, under `out/gibr` or, where that is gone, in the
file of results, so that a run that was stopped goes on; each notes the code that made it, and `--again` takes none of
other code. Networks, worlds and scenes lie in `out` too.
The perceptual measure was named before the runs: the Frechet distance of `random-conv-v1` features. The last lines say
which goals were reached (`gibr_goals.verdicts`); the exit code is 1 if one was not.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace

import tyro

from benchmarks import gibr_ablation, gibr_inputs, gibr_photos
from benchmarks.gibr_goals import report, verdicts
from benchmarks.gibr_rows import COMMAND, IDENTITY, Bench, Job, Options
from benchmarks.gibr_worlds import strip_file
from benchmarks.rows import Row, locked, other_code_note, save_rows, stack_strips
from diorama.errors import InputError
from diorama.eval.tables import format_value

TOLD = ("psnr", "psnr_visible", "psnr_hidden", "frechet", "spread")
"""Columns that are said of every row as it comes."""


def main(options: Options) -> int:
    """Run what is missing, print rows, tables and goals; 1 if a goal was not reached."""
    part, parts = options.part
    check_names(options)
    bench = Bench.of(options)
    notes = [*bench.notes, *absent(options)]
    print("\n".join(notes), flush=True)
    rows = []
    for row in run(bench):
        rows.append(row)
        mean = row["mean"]
        told = ", ".join(f"{c} {format_value(c, mean[c])}" for c in TOLD if mean.get(c) is not None)
        print(f"{' '.join(str(row[k]) for k in IDENTITY)}: {told}", flush=True)
        save_rows(options.results, rows, IDENTITY, COMMAND)
    if parts > 1:
        rows = list(run(replace(bench, make=False)))
        print(f"shard {part + 1} of {parts} is done; below are all {len(rows)} rows that there are so far")
    present = {table: code_of(table) for table in {row["table"] for row in rows}}
    other = other_code_note(rows, [present[row["table"]] for row in rows])
    print("\n" + report(rows))
    for name in sheets(options):
        print(f"contact sheet: {name}")
    print("\n".join(notes if other is None else [*notes, other]))
    return 1 if any(verdict.reached is False for verdict in verdicts(rows)) else 0


def jobs(options: Options) -> list[Job]:
    """All rows that were asked for."""
    found: list[Job] = []
    if "ablation" in options.tables:
        found += gibr_ablation.jobs(options)
    found += gibr_inputs.jobs(options)
    if "photos" in options.tables:
        found += gibr_photos.jobs(options)
    return found


def code_of(table: str) -> str:
    """What stands for the code that would make a table's rows now."""
    match table:
        case "ablation":
            return gibr_ablation.code()
        case "photos":
            return gibr_photos.code()
        case _:
            return gibr_inputs.code()


def check_names(options: Options) -> None:
    """InputError for variants and scenes that do not exist."""
    known = (*gibr_ablation.VARIANTS, *gibr_photos.VARIANTS)
    wrong = sorted(set(options.variants) - set(known))
    if wrong:
        raise InputError(f"unknown: {wrong}. Variants are {list(known)}.")
    if "photos" in options.tables:
        gibr_photos.cases(options)


def absent(options: Options) -> list[str]:
    """A line for each capture that is not there."""
    if "photos" not in options.tables:
        return []
    missing = [case.folder for case in gibr_photos.cases(options) if not (options.data / case.folder).is_dir()]
    return [f"no rows of {name}: {options.data} holds no such capture (DIORAMA_DATA, --data)." for name in missing]


def run(bench: Bench) -> Iterator[Row]:
    """The rows of this shard, those of earlier runs from the cache; of all shards where nothing is to be made."""
    part, parts = bench.options.part
    groups: dict[object, int] = {}
    for job in jobs(bench.options):
        number = groups.setdefault(dealt_with(job), len(groups))
        if bench.make and number % parts != part:
            continue
        match job.table:
            case "ablation":
                row = gibr_ablation.row_of(job, bench)
            case "photos":
                row = gibr_photos.row_of(job, bench)
            case _:
                row = gibr_inputs.row_of(job, bench)
        if row is not None:
            yield row


def dealt_with(job: Job) -> object:
    """What one shard makes together: all methods on the same photos, since some are far dearer than others."""
    return (job.scene, job.views, job.seed) if job.table == "photos" else job


def sheets(options: Options) -> list[str]:
    """Contact sheets: the strips of a table, or of a capture, below each other."""
    groups: dict[str, list[Job]] = {}
    for job in jobs(options):
        if job.seed in (options.seeds[0], options.photo_seeds[0]):
            groups.setdefault(f"photos_{job.scene}" if job.table == "photos" else job.table, []).append(job)
    written = []
    with locked(options.work):
        for name, some in groups.items():
            sheet = options.work / f"{name}.png"
            stack_strips(sheet, [strip_file(options.work, job.title) for job in some])
            written += [str(sheet)] if sheet.is_file() else []
    return written


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
