"""Does the prior help? DiffusioNeRF with a trained prior against total variation and against no prior at all.

    python -m benchmarks.diffusionerf                          # the test scenes, touched once per frozen config
    python -m benchmarks.diffusionerf --split development      # the scenes to tune on
    python -m benchmarks.diffusionerf --equal steps            # equal steps alone
    python -m benchmarks.diffusionerf --shard 1/2              # half of the fits; the other half: --shard 2/2

Fits see no depth truth. Pixels of procedural rooms count as hidden where no training photo shows the surface. Rows are
found again by the hash of their settings and data, under `out/diffusionerf` or, where that is gone, in the file of
results, so that a run that was stopped goes on, on another machine too; each notes the code that made it, and `--again`
takes none of other code. Contact sheets lie in `out`. Shards share both folders and may run side by side. Differences
to `few` are paired: same scene, same photos, same seed, and for equal seconds the same machine. The last lines say
which goals were reached (`pairs.GOALS`); the exit code is 1 if one was not.
"""

import math
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import tyro

from benchmarks.machine import machine
from benchmarks.pairs import BASELINE, IDENTITY, TRAINED, paired_table, table, verdict_text, verdicts
from benchmarks.rooms import WORLDS_SEED, room, seen_from
from benchmarks.rows import (
    FIT,
    NOT_OF_A_FIT,
    Row,
    capture_facts,
    code_digest,
    fit_settings,
    kept_row,
    locked,
    other_code_note,
    row_key,
    save_rows,
    stack_strips,
    stored_rows,
    write_strip,
)
from diorama.cameras.poses import CaptureShape, capture_shape
from diorama.data.open import open_views
from diorama.data.splits import Split, make_split
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.eval import metrics
from diorama.eval.measure import HeldOut, ViewResult, mean_measured
from diorama.eval.report import panels
from diorama.eval.tables import format_value
from diorama.files import write_json
from diorama.nets.pretrained import shipped
from diorama.pipelines.evaluate import evaluate
from diorama.pipelines.presets import FEW_PARTS, FitPreset, few, paper, without
from diorama.pipelines.priors import SHIPPED_PRIOR, open_prior
from diorama.pipelines.reconstruct import choose_device, reconstruct
from diorama.priors.prior import Prior
from diorama.priors.schedule import Ramp
from diorama.scenes.scene import Scene
from diorama.scenes.storage import load_scene
from diorama.types import Rendering
from diorama.worlds.builtin import cameras_around, table_top
from diorama.worlds.layouts import Kind
from diorama.worlds.trace import photograph

ROOT = Path(__file__).resolve().parents[1]
MAIN = (BASELINE, "tv", TRAINED)
"""Fitted with every seed."""
REST = ("photo-only", "paper-terms", "tv-4x", "prior-4x", "prior-no-photos", "prior-eps")
"""Fitted with the first seed, at the first number of views and for equal steps. tv-4x: as many weights tried for one
prior as the other. prior-eps: Adam's epsilon for the tables is 1e-8, so that entries which no photo touches hardly
move."""
PAPER_STEPS = 12_000
"""Length of the published run, in which the published schedules are counted."""
LOUDER = 4.0

Equal = Literal["steps", "seconds"]


@dataclass(frozen=True)
class Case:
    """A scene: a capture's folder or the number of a procedural room, and how many photos are learned from."""

    name: str
    place: str | tuple[Kind, int]
    views: tuple[int, ...]
    split: str = "protocol"
    ablate: bool = True
    """Fit the variants of `REST` too."""
    without_total_variation: tuple[int, ...] = ()
    """Numbers of views at which `tv` is left out."""

    @property
    def group(self) -> str:
        """Scenes whose differences are averaged: all rooms of a kind are one group."""
        return self.name if isinstance(self.place, str) else f"{self.place[0]}s"


TEST = (
    *(Case(f"workshop-{n}", ("workshop", n), (3, 6), without_total_variation=(6,)) for n in range(4)),
    Case("apc_box", "rgbd_apc_box", (3, 6, 9), "every8", ablate=False),
    Case("dtu_scan24", "dtu_scan24", (3, 6, 9), ablate=False),
    Case("llff_fern", "llff_fern", (3, 6, 9), ablate=False),
)
DEVELOPMENT = (
    *(Case(f"room-{n}", ("room", n), (3,)) for n in range(2)),
    Case("fox", "fox", (9,), "every8"),
    Case("co3d_apple", "co3d_apple", (9,), "every8"),
    Case("fountain", "strecha_fountain_P11", (4,), "every8"),
)
CASES = {"test": TEST, "development": DEVELOPMENT}


@dataclass(frozen=True)
class Options:
    """The trained prior against total variation and the baseline, on few photos of rooms and real captures."""

    split: Literal["test", "development"] = "test"
    """development: scenes to tune on. test: scenes to touch once per frozen config."""
    scenes: tuple[str, ...] = ()
    """Only these; none named: all of the split."""
    variants: tuple[str, ...] = (*MAIN, *REST)
    seeds: tuple[int, ...] = (0, 1, 2)
    """For the baseline, total variation and the prior; the other variants take the first."""
    equal: tuple[Equal, ...] = ("steps", "seconds")
    """What all fits have the same of: steps, then seconds (baseline, total variation and prior alone)."""
    steps: int = 1000
    seconds: float = 60.0
    prior: str | None = None
    """Folder of the trained prior; unset: the one that comes with diorama, and no rows of it where there is none."""
    room_size: tuple[int, int] = (160, 120)
    """Width and height of the photos of procedural rooms, pixels."""
    max_side: int = 252
    """Real photos are shrunk to this long side, pixels."""
    data: Path = field(default_factory=lambda: Path(os.environ.get("DIORAMA_DATA", ROOT.parent / "shared" / "data")))
    """Folder of the captures."""
    work: Path = ROOT / "out" / "diffusionerf"
    """Scenes, cached rows and contact sheets."""
    results: Path = ROOT / "benchmarks" / "results" / "diffusionerf.json"
    device: str | None = None
    again: bool = False
    """Make rows anew that other code made than the present one."""
    shard: str = "1/1"
    """I/N: the I-th of N parts of the fits, for N processes that share the folders (one thread each, on N cores)."""

    @property
    def part(self) -> tuple[int, int]:
        """Which part, from 0, of how many. InputError where it is none."""
        first, _, last = self.shard.partition("/")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise InputError(f"--shard {self.shard}: I/N with I from 1 to N is needed, as in --shard 1/2.")
        return int(first) - 1, int(last)


@dataclass(frozen=True)
class Job:
    """One row to be made."""

    case: Case
    views: int
    variant: str
    equal: Equal
    seed: int

    @property
    def title(self) -> str:
        """The row's name, fit for a file."""
        return f"{self.case.name}_{self.views}_{self.variant}_{self.equal}_{self.seed}"


def main(options: Options) -> int:
    """Run what is missing, print rows, paired differences and goals; 1 if a goal was not reached."""
    part, parts = options.part
    prior, note = trained_prior(options)
    if note is not None:
        print(note, flush=True)
    rows = []
    for row in run(options, prior):
        rows.append(row)
        values = ", ".join(f"{c} {format_value(c, row['mean'].get(c))}" for c in ("psnr", "depth_abs_rel"))
        print(f"{' '.join(str(row[k]) for k in IDENTITY)}: {values}, {row['seconds']} s", flush=True)
        save_rows(options.results, rows, IDENTITY, "python -m benchmarks.diffusionerf")
    if parts > 1:
        rows = list(run(options, prior, fit=False))
        print(f"shard {part + 1} of {parts} is done; below are all {len(rows)} rows that there are so far")
    other = other_code_note(rows, [code_of_fits()] * len(rows))
    print("\n" + table(rows))
    print(f"\npaired differences to `{BASELINE}` (mean +- standard error, number of pairs)\n" + paired_table(rows))
    print("\n" + verdict_text(rows))
    print(f"\ncontact sheets: {options.work}/*.png")
    print("\n".join(line for line in (note, other) if line is not None))
    return 1 if any(verdict.reached is False for verdict in verdicts(rows)) else 0


def trained_prior(options: Options) -> tuple[Prior | None, str | None]:
    """The trained prior, or None and a line that says why its rows are missing."""
    if options.prior is None and SHIPPED_PRIOR not in shipped():
        return None, (
            f"no rows of the trained prior: this version comes without its weights ({SHIPPED_PRIOR}). "
            "Name the folder of a trained one with --prior."
        )
    return open_prior(options.prior), None


def run(options: Options, prior: Prior | None, *, fit: bool = True) -> Iterator[Row]:
    """The rows of this shard, one fit after the other, those of earlier runs from the cache.

    fit: False makes nothing, and yields what there is of all shards.
    """
    code = code_of_fits()
    known = CASES[options.split]
    wrong = [name for name in options.scenes if name not in {case.name for case in known}]
    wrong += [name for name in options.variants if name not in (*MAIN, *REST)]
    if wrong:
        raise InputError(
            f"unknown: {wrong}. Scenes of split {options.split} are {[case.name for case in known]}, "
            f"variants {[*MAIN, *REST]}."
        )
    committed = {row["key"]: row for row in stored_rows(options.results) if "key" in row}
    part, parts = options.part
    number = 0
    for case in known:
        if options.scenes and case.name not in options.scenes:
            continue
        views = open_case(case, options)
        due = [job for job in jobs(case, options) if prior is not None or not job.variant.startswith(TRAINED)]
        for job in due:
            number += 1
            if fit and (number - 1) % parts != part:
                continue
            row = row_of(job, views, prior, code, committed, options, fit=fit)
            if row is not None:
                yield row
        strips = [options.work / "strips" / f"{job.title}.png" for job in due if job.seed == options.seeds[0]]
        with locked(options.work):
            stack_strips(options.work / f"{case.name}.png", strips)


def code_of_fits() -> str:
    """What stands for the code that makes a row."""
    return code_digest((*FIT, "diorama.priors.prior"), NOT_OF_A_FIT)


def open_case(case: Case, options: Options) -> Views:
    """The photographs of a case, with depth truth and object masks where there are any."""
    if isinstance(case.place, str):
        return open_views(options.data / case.place, max_side=options.max_side)
    return room(*case.place, *options.room_size)


def jobs(case: Case, options: Options) -> Iterator[Job]:
    """What is to be fitted in a case; what makes a pair stands together."""
    for equal in options.equal:
        for count in case.views:
            for seed in options.seeds:
                for variant in options.variants:
                    rest = equal == "steps" and case.ablate and count == case.views[0] and seed == options.seeds[0]
                    if variant in REST and not rest:
                        continue
                    if variant == "tv" and count in case.without_total_variation:
                        continue
                    yield Job(case, count, variant, equal, seed)


def preset_of(variant: str, shape: CaptureShape) -> FitPreset:
    """The fit of a variant; a prior, if it has one, comes on top."""
    whole = few(shape, masked=False)
    guided, patches = whole.fit.prior, whole.fit.prior.patches
    match variant:
        case "photo-only":
            for part in FEW_PARTS:
                whole = without(whole, part)
            return whole
        case "paper-terms":
            return with_paper_terms(whole, shape)
        case "tv-4x" | "prior-4x":
            share = guided.gradient_share
            assert share is not None, "preset `few` sets the loudness of its prior by measuring"
            return replace(whole, fit=replace(whole.fit, prior=replace(guided, gradient_share=LOUDER * share)))
        case "prior-eps":
            return replace(whole, optim=replace(whole.optim, table_eps=1e-8))
        case "prior-no-photos":
            guided = replace(guided, patches=replace(patches, photo_share=0.0))
            return replace(whole, fit=replace(whole.fit, prior=guided))
        case _:
            return whole


def with_paper_terms(base: FitPreset, shape: CaptureShape) -> FitPreset:
    """The published geometric terms, and the ball they were made for, in place of our own and of endless space.

    Hash grid, samples, rays and steps stay ours, and the proposal keeps its own loss; there is no stereo. The published
    schedule of distortion is stretched from their run to this one; the frustum's first 100 steps stay 100, since it is
    they that empty the space before the cameras, which starts as dense as published. In endless space the distortion,
    which is in metres, would ask for walls before the cameras: what little light reaches the sky stops far away.
    """

    published, ours = paper(shape), base.fit
    terms = published.fit.losses
    ramp = terms.distortion
    distortion = Ramp(ramp.first, ramp.last, ramp.start / PAPER_STEPS, ramp.end / PAPER_STEPS)
    losses = replace(terms, interlevel=ours.losses.interlevel, distortion=distortion)
    bounds = published.fit.sampling
    sampling = replace(ours.sampling, near=bounds.near, spacing=bounds.spacing, last_opaque=bounds.last_opaque)
    shaped = published.field
    ball = replace(base.field, space=shaped.space, radius=shaped.radius, density_bias=shaped.density_bias)
    fit = replace(ours, losses=losses, sampling=sampling, background=published.fit.background)
    return replace(base, stereo=False, field=ball, fit=fit)


def row_of(
    job: Job,
    views: Views,
    prior: Prior | None,
    code: str,
    committed: Mapping[str, Row],
    options: Options,
    *,
    fit: bool = True,
) -> Row | None:
    """One fit and its figures, from the cache if it was made before; None if it was not and `fit` is False."""
    split = make_split(views, job.case.split, job.views)
    train = views[views.index_of(split.train)]
    assert train.cameras is not None
    preset = preset_of(job.variant, capture_shape(train.cameras))
    chosen = prior_of(job.variant, prior)
    settings = fit_settings(preset, prior=chosen is not None)
    length: dict[str, Any] = {"steps": options.steps} if job.equal == "steps" else {"budget": options.seconds}
    decides = (
        {"scene": job.case.name, "variant": job.variant, "seed": job.seed, "preset": settings,
         "split": split.digest, "photos": identity_of(job.case, views, options),
         "device": choose_device(options.device), "prior": None if chosen is None else [chosen.kind, chosen.checksum],
         **length}
    )  # fmt: skip
    key = row_key(decides)
    stored = options.work / "rows" / f"{job.title}_{key}.json"
    row = kept_row(key, code, stored, committed, again=options.again)
    if row is not None or not fit:
        return row
    place = options.work / "scenes" / f"{job.title}_{row_key(decides | {'code': code})}"
    stored.parent.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    if (place / "scene.json").is_file():
        scene: Scene = load_scene(place)
    else:
        if job.equal == "seconds":
            warm_up(prior, options.device)
        blind = replace(views, depth=None, object=None)  # what is measured against is not learned from
        scene = reconstruct(
            blind, method="baseline" if chosen is None else "diffusionerf", prior=chosen, preset=preset, seed=job.seed,
            split=job.case.split, count=job.views, output=place, device=options.device, **length,
        )  # fmt: skip
    row = {
        "key": key, "scene": job.case.name, "group": job.case.group, "views": job.views, "variant": job.variant,
        "equal": job.equal, "seed": job.seed, "split": split.digest, "code": code,
        "steps": scene.provenance["steps"], "seconds": scene.provenance["seconds"],
        "shape": scene.provenance.get("shape"), "prior": heard_of(scene), "machine": machine(),
        **figures(job, place, views, split, options),
    }  # fmt: skip
    write_json(stored, row)
    return row


@cache
def warm_up(prior: Prior | None, device: str | None) -> None:
    """Short fits that nobody counts, once: what compiles and loads does so before the first fit with a budget."""
    views = photograph(table_top(), cameras_around((-20.0, 0.0, 20.0), width=96, height=72))
    for one in (open_prior("tv"), prior):
        if one is not None:
            reconstruct(views, prior=one, preset="few", steps=17, split="none", device=device)


def heard_of(scene: Scene) -> Row | None:
    """What a scene notes of its prior, its many measured ratios to the photos' gradient as their geometric mean."""
    noted = scene.provenance.get("prior_used")
    if noted is None:
        return None
    ratios = [ratio for _, _, ratio in noted["gradient_ratios"]]
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None
    return {name: value for name, value in noted.items() if name != "gradient_ratios"} | {"gradient_ratio": mean}


def identity_of(case: Case, views: Views, options: Options) -> Any:
    """What stands for the photos of a case in the key of a row; of procedural ones it is their seed."""
    if isinstance(case.place, str):
        return capture_facts(case.place, views)
    return [*case.place, WORLDS_SEED, *options.room_size]


def prior_of(variant: str, trained: Prior | None) -> Prior | None:
    """The prior of a variant."""
    if variant.startswith("tv"):
        return open_prior("tv")
    return trained if variant.startswith("prior") else None


def figures(job: Job, place: Path, views: Views, split: Split, options: Options) -> Row:
    """What the held-out photos say of a scene; in procedural rooms visible and hidden pixels apart."""
    apart: dict[str, dict[str, float | None]] = {}
    strip: list[dict[str, bytes]] = []
    train = views[views.index_of(split.train)]

    def look(held: HeldOut, rendering: Rendering, result: ViewResult) -> None:
        apart[result.name] = {} if isinstance(job.case.place, str) else regions(held, rendering, train)
        strip.append(panels(held, rendering, longest_side=200))

    result = evaluate(place, views, look=look)
    write_strip(options.work / "strips" / f"{job.title}.png", strip[:2], job.title)
    values = {view.name: {**view.values, **apart[view.name]} for view in result.views}
    columns = dict.fromkeys(column for view in values.values() for column in view)
    mean = {column: mean_measured([view.get(column) for view in values.values()]) for column in columns}
    tests = [{"name": name, **view} for name, view in values.items()]
    return {"resolution": result.resolution, "mean": mean, "test": tests}


def regions(held: HeldOut, rendering: Rendering, train: Views) -> dict[str, float | None]:
    """PSNR and depth errors over the pixels that training photos show, over those they do not, and how many those are.

    Pixels without a surface (sky) belong to neither.
    """
    assert held.depth is not None
    assert train.cameras is not None
    assert train.depth is not None
    seen = seen_from(held.camera, held.depth, train.cameras, train.depth)
    hidden = ~seen & (held.depth > 0)
    values: dict[str, float | None] = {"hidden_share": float(hidden.float().mean())}
    colour = rendering.colour[0].clamp(0, 1).to(held.photo)
    for name, part in (("visible", seen), ("hidden", hidden)):
        number = float(metrics.psnr(colour, held.photo, part.to(held.photo))) if part.any() else None
        values[f"psnr_{name}"] = number
        errors = metrics.depth_errors(rendering.depth[0].to(held.depth), held.depth * part)
        for column in ("depth_abs_rel", "depth_median_abs"):
            values[f"{column}_{name}"] = errors.get(column)
    return values


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
