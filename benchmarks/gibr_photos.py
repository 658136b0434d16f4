"""Few photographs of real captures: GIBR, and GIBR as the start of a fit, against fits without it.

All methods see the same square photos (`--side` pixels), learn from the same of them, and render between the same near
and far: those of one measurement of the given photos, half of the nearest surface and a hundred median depths. What a
given photo shows, what is hidden from all and what lies outside of all frames is told by one reference scene for all
methods: a fit to all photos that are not held out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.gibr_figures import MEASURES, means, rounded
from benchmarks.gibr_rows import Bench, Job, Options
from benchmarks.rows import FIT, Row, capture_facts, code_digest, fit_settings, locked, row_key, write_strip
from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import capture_shape
from diorama.data.open import open_views
from diorama.data.splits import Split, make_split, spread_indices
from diorama.data.square import square_crop
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.eval.angles import by_angle, nearest_input_angle
from diorama.eval.distribution import RANDOM_CONV, frechet_distance
from diorama.eval.measure import Columns, HeldOut, PartsFn, held_out, measured_views
from diorama.eval.metrics import mean_colour
from diorama.eval.report import panels
from diorama.eval.sharpness import spectrum_distance
from diorama.pipelines.draw import Drawing
from diorama.pipelines.evaluate import on_white
from diorama.pipelines.fit import measure_geometry
from diorama.pipelines.presets import FitPreset, few, without
from diorama.pipelines.question import ExtraViews
from diorama.pipelines.reconstruct import choose_device, reconstruct
from diorama.scenes.scene import Scene
from diorama.scenes.storage import load_scene
from diorama.scenes.visibility import context_depth, observe
from diorama.systems.gibr import GIBR
from diorama.types import RenderFn, Rendering

BASELINE, REFINED = "fit", "gibr-refine"
VARIANTS = ("mean-colour", BASELINE, "fit-blurred", "few", "regression", "regression-refine", "gibr", REFINED)
"""fit: preset `few` without a word of stereo; few: with it; fit-blurred: its pictures at the model's resolution."""
OF_MODEL = {"gibr": "model", REFINED: "model", "regression": "regression", "regression-refine": "regression"}
"""Which of the benchmark's models a variant asks."""

REFERENCE_PHOTOS = 20
"""At most so many are given to the reference scene."""
WINDOW, STRIDE = 32, 16
"""Pixels: the Frechet distance is between windows of this side, cut this far apart from renders and photographs."""
BLUR_PIXELS = 48
"""What `fit-blurred` is shrunk to where no model is named."""

DRAWN = ("diorama.pipelines.draw", "diorama.pipelines.refine", "diorama.pipelines.reconstruct")
"""Modules that decide a scene of a model, besides those of fits."""


@dataclass(frozen=True)
class Case:
    """A capture, and how its photos are split."""

    name: str
    folder: str
    split: str = "every8"


CASES = {
    "development": (
        Case("fox", "fox"), Case("co3d_apple", "co3d_apple"), Case("fountain", "strecha_fountain_P11"),
    ),
    "test": (Case("dtu_scan24", "dtu_scan24", "protocol"), Case("lego", "nerf_synthetic_lego", "protocol")),
}  # fmt: skip


def cases(options: Options) -> list[Case]:
    """The captures that were asked for. InputError for names that do not exist."""
    known = CASES[options.split]
    wrong = sorted(set(options.scenes) - {case.name for case in known})
    if wrong:
        raise InputError(f"unknown: {wrong}. Scenes of split {options.split} are {[case.name for case in known]}.")
    return [case for case in known if not options.scenes or case.name in options.scenes]


def jobs(options: Options) -> Iterator[Job]:
    """Every method on every set of photos."""
    for case in cases(options):
        for count in options.views:
            for variant in options.variants or VARIANTS:
                if variant in VARIANTS:
                    for seed in options.photo_seeds:
                        yield Job("photos", case.name, count, variant, seed)


@dataclass(frozen=True)
class Photos:
    """A capture, square and small, and which of its photos are given.

    views: as they are measured. learned: as methods see them: no depth, no points, and no masks but those that cut an
    object out of rendered pictures. near, far: between which all methods render, as fits find them; user units.
    """

    case: Case
    views: Views
    learned: Views
    split: Split
    near: float
    far: float

    @property
    def train(self) -> Views:
        """What is given."""
        return self.views[self.views.index_of(self.split.train)]

    def test(self, most: int) -> Views:
        """What is measured: at most so many of the photos that are held out."""
        names = self.split.test
        chosen = [names[index] for index in spread_indices(len(names), min(most, len(names)))]
        return self.views[self.views.index_of(chosen)]


@cache
def opened(folder: Path, side: int) -> Views:
    """All photos of a capture, the middle square of each."""
    return square_crop(open_views(folder, max_side=4 * side), side)[0]


@cache
def photos_of(case: Case, count: int, options: Options) -> Photos:
    """The photos of a case with so many given."""
    views = opened(options.data / case.folder, options.side)
    cut_out = views.layout == "blender" and views.object is not None
    learned = replace(views, depth=None, points=None, object=views.object if cut_out else None)
    split = make_split(views, case.split, count)
    given = learned[learned.index_of(split.train)]
    scale = measure_geometry(given, stereo=True).scale
    near = max(0.5 * float(scale.near.min()), 1e-3 * scale.median_depth)
    shown = on_white(views) if cut_out else views
    return Photos(case, shown, learned, split, near, 100.0 * scale.median_depth)


# Scenes --------------------------------------------------------------------------------------------------------------


def preset_of(variant: str, given: Views) -> FitPreset:
    """The fit of a variant; `fit` measures stereo for the near, far and scale of `few`, and hears none of it."""
    assert given.cameras is not None
    whole = few(capture_shape(given.cameras), given.object is not None)
    return replace(without(whole, "stereo"), stereo=True) if variant.startswith("fit") else whole


def scene_of(job: Job, photos: Photos, bench: Bench, model: GIBR | None) -> Scene:
    """Fit or draw the scene of a row; one that lies in the work folder is the scene."""
    options = bench.options
    variant = BASELINE if job.variant == "fit-blurred" else job.variant
    given = photos.learned[photos.learned.index_of(photos.split.train)]
    preset = preset_of(variant, given)
    refined = variant.endswith("-refine")
    drawing = Drawing(options.samples if refined else 1)
    if variant.startswith("regression"):
        drawing = Drawing(extra=ExtraViews(count=0))
    key = row_key(scene_decides(job, photos, bench, model) | {"variant": variant, "code": code()})
    place = options.work / "scenes" / f"{photos.case.name}_{job.views}_{variant}_{job.seed}_{key}"
    with locked(place):
        if (place / "scene.json").is_file():
            return load_scene(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        fits: dict[str, Any] = {"preset": preset, "steps": options.fit_steps} if model is None or refined else {}
        draws: dict[str, Any] = {} if model is None else {"prior": model, "drawing": drawing, "refine": refined}
        return reconstruct(
            photos.learned, method="baseline" if model is None else "gibr", seed=job.seed, split=photos.case.split,
            count=job.views, output=place, device=options.device, **fits, **draws,
        )  # fmt: skip


def scene_decides(job: Job, photos: Photos, bench: Bench, model: GIBR | None) -> Row:
    """All that decides the scene of a row, besides its name."""
    options = bench.options
    given = photos.learned[photos.learned.index_of(photos.split.train)]
    refined = job.variant.endswith("-refine")
    return {
        "photos": capture_facts(photos.case.name, photos.learned), "split": photos.split.digest,
        "preset": fit_settings(preset_of(job.variant, given), prior=refined, sampled=refined),
        "steps": options.fit_steps, "samples": options.samples,
        "model": None if model is None else model.checksum, "device": choose_device(options.device),
        "seed": job.seed,
    }  # fmt: skip


def reference_of(case: Case, count: int, options: Options) -> Scene:
    """The scene that tells seen from unseen, by as many photos as help; never by those that are held out."""
    learned = photos_of(case, count, options).learned
    assert learned.cameras is not None
    preset = few(capture_shape(learned.cameras), learned.object is not None)
    facts = capture_facts(case.name, learned)
    key = row_key(
        {"photos": facts, "steps": options.fit_steps, "preset": fit_settings(preset), "code": code_digest(FIT)}
    )
    place = options.work / "scenes" / f"{case.name}_reference_{key}"
    with locked(place):
        if (place / "scene.json").is_file():
            return load_scene(place)
        place.parent.mkdir(parents=True, exist_ok=True)
        return reconstruct(
            learned, method="baseline", preset=preset, split=case.split, steps=options.fit_steps, output=place,
            count=min(len(make_split(learned, case.split).train), REFERENCE_PHOTOS), device=options.device,
        )  # fmt: skip


@dataclass(frozen=True)
class Flat:
    """A scene of one colour."""

    colour: Float[Tensor, "rgb=3"]

    def __call__(self, cameras: Cameras) -> Rendering:
        """That colour everywhere, and no surface."""
        width, height = cameras.size[0].tolist()
        nothing = torch.zeros(len(cameras), height, width)
        return Rendering(self.colour[None, :, None, None].expand(len(cameras), 3, height, width), nothing, nothing)


@dataclass(frozen=True)
class Blurred:
    """A scene whose pictures are shrunk to so many pixels a side and enlarged again."""

    render: RenderFn
    pixels: int

    def __call__(self, cameras: Cameras) -> Rendering:
        """The blurred pictures; depth as it was."""
        seen = self.render(cameras)
        size = seen.colour.shape[-2:]
        small = torch.nn.functional.interpolate(seen.colour, (self.pixels, self.pixels), mode="area")
        large = torch.nn.functional.interpolate(small, size, mode="bilinear", align_corners=False)
        return replace(seen, colour=large)


def render_of(job: Job, photos: Photos, bench: Bench, model: GIBR | None) -> tuple[RenderFn, Row]:
    """The pictures of a row, and what is told of how they were made."""
    if job.variant == "mean-colour":
        return Flat(mean_colour(photos.train.images[:, :3])), {}
    scene = scene_of(job, photos, bench, model)
    facts = {
        "seconds": scene.provenance.get("seconds"), "steps": scene.provenance.get("steps"),
        "prior": scene.provenance.get("prior_used"), "notes": scene.provenance.get("question"),
    }  # fmt: skip
    unit = scene.similarity.scale
    scene = replace(scene, sampling=replace(scene.sampling, near=unit * photos.near, far=unit * photos.far))
    if job.variant == "fit-blurred":
        return Blurred(scene.render, bench.model.config.pixels if bench.model else BLUR_PIXELS), facts
    return scene.render, facts


# Rows ----------------------------------------------------------------------------------------------------------------


def code() -> str:
    """What stands for the code that makes a row."""
    return code_digest((*MEASURES, *FIT, *DRAWN))


def row_of(job: Job, bench: Bench) -> Row | None:
    """Measure one method on one set of photos; None without the model or the capture that it needs."""
    options = bench.options
    case = next(case for case in CASES[options.split] if case.name == job.scene)
    which = OF_MODEL.get(job.variant)
    model = getattr(bench, which) if which else None
    if (which and model is None) or not (options.data / case.folder).is_dir():
        return None
    photos = photos_of(case, job.views, options)
    blur = bench.model.config.pixels if bench.model and job.variant == "fit-blurred" else None
    decides = scene_decides(job, photos, bench, model) | {
        "side": options.side, "tests": options.tests, "blur": blur,
    }  # fmt: skip

    def make(place: Path) -> Row:
        del place
        render, facts = render_of(job, photos, bench, model)
        return {**measured(job, photos, render, bench), **facts}

    return bench.row(job, decides, code(), make)


def measured(job: Job, photos: Photos, render: RenderFn, bench: Bench) -> Row:
    """What the held-out photos say of a method."""
    options, train, test = bench.options, photos.train, photos.test(bench.options.tests)
    assert train.cameras is not None and test.cameras is not None  # noqa: PT018
    columns = Columns(
        flip=False, baseline=mean_colour(train.images[:, :3]), parts=sight_of(photos.case, job.views, options)
    )
    angles = nearest_input_angle(test.cameras, train.cameras)
    values, renders = [], []
    tiles: list[dict[str, bytes]] = []
    for held, rendering, result in measured_views(render, held_out(test), columns):
        colour = rendering.colour[0].clamp(0, 1)
        spectrum = spectrum_distance(colour, held.photo)
        values.append({**result.values, "sharpness": spectrum.distance, "fine": spectrum.fine})
        renders.append(colour)
        if len(tiles) < 2:
            tiles.append(panels(held, rendering, longest_side=160))
    write_strip(options.work / "strips" / f"{job.title}.png", tiles, job.title)
    made, wanted = windows(torch.stack(renders)), windows(test.images[:, :3])
    apart = frechet_distance(made, wanted, RANDOM_CONV).value if len(made) > 1 else None
    mean = means(values) | {"frechet": apart}
    bins = by_angle([value["psnr"] for value in values], angles)
    tests = [
        {"name": name, "angle": round(float(angle), 1), **rounded(value)}
        for name, angle, value in zip(test.names, angles, values, strict=True)
    ]
    return {
        "split": photos.split.digest, "set": options.split, "resolution": f"{options.side}x{options.side}",
        "crop": "the middle square of each photo", "near": photos.near, "far": photos.far, "mean": rounded(mean),
        "test": tests, "angles": [[one.low, one.high, one.count, one.mean] for one in bins],
    }  # fmt: skip


@cache
def sight_of(case: Case, count: int, options: Options) -> PartsFn:
    """Which pixels of a photograph the given ones show, which they hide, and which none has in its frame."""
    train, known = photos_of(case, count, options).train, dict[str, dict[str, Tensor]]()
    reference = reference_of(case, count, options)
    assert train.cameras is not None
    context = context_depth(train.cameras, reference.render)

    def parts(held: HeldOut, rendering: Rendering) -> dict[str, Bool[Tensor, "h w"]]:
        del rendering
        if held.name not in known:
            seen = observe(context, held.camera, reference.render(held.camera))
            known[held.name] = {name: part[0] for name, part in seen.parts().items()}
        return known[held.name]

    return parts


def windows(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "m 3 side side"]:
    """Overlapping square windows of pictures; of smaller pictures all of each."""
    side = min(WINDOW, *pictures.shape[-2:])
    cut = pictures.unfold(2, side, STRIDE).unfold(3, side, STRIDE)
    return cut.permute(0, 2, 3, 1, 4, 5).reshape(-1, pictures.shape[1], side, side)
