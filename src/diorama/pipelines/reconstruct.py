"""`diorama reconstruct`: photos to a scene."""

import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro

import diorama
from diorama.data.splits import make_split
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError
from diorama.pipelines.draw import Drawing, DrawRun, settled_drawing
from diorama.pipelines.fit import (
    Geometry,
    Plan,
    held_out,
    measure_geometry,
    plan_fit,
    seconds_per_step,
    within_memory,
)
from diorama.pipelines.fit_run import Callback, FitRun, Progress, Say, quiet
from diorama.pipelines.live import LiveWindow
from diorama.pipelines.presets import FEW_PHOTOS, FitPreset, PresetName
from diorama.pipelines.priors import Method, choose_method, starts_from_samples, why_method
from diorama.pipelines.quantities import parse_bytes, parse_seconds
from diorama.pipelines.question import ExtraViews
from diorama.pipelines.refine import drawn_views, prior_beside, stereo_depth
from diorama.pipelines.uncertainty import Several, fit_several, sample_folders
from diorama.pipelines.workspace import Workspace, input_hashes
from diorama.priors.prior import Prior
from diorama.scenes.config import to_json
from diorama.scenes.scene import Scene
from diorama.scenes.storage import read_card, save_scene
from diorama.systems.gibr import GIBR, GIBRSampling

Masks = Literal["auto", "object", "none"]


def choose_device(device: str | None) -> str:
    """The device a run works on: what was asked for, else CUDA where there is one."""
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"device {device} was asked for, but this torch sees no CUDA device. `diorama doctor` says why."
        )
    return device


def reconstruct(
    views: Views,
    *,
    method: Method = "auto",
    preset: PresetName | FitPreset = "auto",
    prior: Prior | GIBR | Path | str | None = None,
    seed: int = 0,
    device: str | None = None,
    callback: Callback | None = None,
    split: str | Path = "auto",
    count: int | None = None,
    steps: int | None = None,
    budget: str | float | None = None,
    scale: float | None = None,
    masks: Masks = "auto",
    max_memory: str | int | None = None,
    output: Path | str | None = None,
    force: bool = False,
    notes: dict[str, Any] | None = None,
    uncertainty: Several | int | None = None,
    drawing: Drawing | int | None = None,
    refine: bool = False,
    say: Say = quiet,
) -> Scene:
    """Fit a scene to photos, or draw scenes that show them from a model.

    method: baseline; diffusionerf with a prior (`pipelines.priors.open_prior`); or gibr, which draws from a multi-view
    model. Naming a prior means the one that it is for; auto without one takes gibr for a single photo, gibr and refine
    for two, else baseline. drawing: of gibr, how many scenes and how (`pipelines.draw`); several need an output.
    refine: of gibr, the samples start a fit instead of being the scene (`pipelines.refine`).
    split: which photos are held out (`data.splits`); count: how many training photos are used. steps, or budget
    (seconds, or `5m`), say how long; a budget becomes a number of steps once, after a short timing. output: where the
    scene is saved; unfinished work then lies in `OUTPUT.partial` and the same call goes on with it. callback: called
    after every step. notes: stored in the provenance. uncertainty: fit so many times and store, with the first scene,
    how much they disagree (`pipelines.uncertainty`); a budget is for all of them together. say: told every choice, a
    line each. Raises InputError, ViewsError or OutputError for what the caller can mend.
    """
    several = Several(uncertainty) if isinstance(uncertainty, int) else uncertainty
    if several is not None and output is None:
        raise InputError("several fits and their spread are stored as a folder. Give an output.")
    started = time.perf_counter()
    device = choose_device(device)
    if len(views) == 0:
        raise ViewsError("there are no photos to reconstruct from.")
    steered = preset != "auto" or several is not None
    fitted, learned = steered or not (steps is budget is None), len(make_split(views, split, count).train)
    photos = None if steered or (fitted and learned == 1) else learned
    chosen_method, chosen_prior = choose_method(method, prior, photos, device)
    refine = refine or starts_from_samples(method, prior, photos, chosen_method)
    drawing = settled_drawing(drawing, chosen_method, several, steps, budget, refine=refine)
    if drawing is not None and drawing.keep_steps and (output is None or refine):
        raise InputError(
            "steps are kept with sampled scenes that are stored, not with a fit that starts from them. Give an output, "
            "method gibr, and leave refine out."
        )
    if drawing is not None and drawing.count > 1 and output is None and not refine:
        raise InputError(
            f"{drawing.count} samples were asked for; they and their spread are stored as a folder. Give an output."
        )
    asked: dict[str, Any] = {
        "method": method, "preset_asked": preset if isinstance(preset, str) else to_json(preset), "seed": seed,
        "device": device, "masks": masks, "split_asked": str(split), "views_asked": count, "steps_asked": steps,
        "budget": budget, "max_memory": max_memory, "scale": scale, "version": diorama.__version__,
    }  # fmt: skip
    if chosen_prior is not None:
        asked["prior"] = {"kind": chosen_prior.kind, "checksum": chosen_prior.checksum}
    if several is not None:
        asked["uncertainty"] = to_json(several)
    if drawing is not None:
        asked |= {"drawing": to_json(drawing), "refine": refine}
    work = None
    if output is not None:
        request = asked | {"inputs": input_hashes(views)}
        if drawing is not None and not refine:
            del request["max_memory"]  # how many rays are in flight decides nothing of a sample
        work = Workspace.beside(Path(output), request, force=force)
    if chosen_method == "baseline" and views.cameras is None and len(views) == 1:  # no pose will be found
        say(f"method: baseline ({why_method(method, chosen_method, prior, photos=1, fitted=fitted)})")
    views, pose_error = with_cameras(views, seed, say, work, alone=isinstance(chosen_prior, GIBR) and not refine)
    views = with_masks_used(views, masks, say)
    chosen = make_split(views, split, count)
    train, test = views[views.index_of(chosen.train)], views[views.index_of(chosen.test)]
    say(f"split: {chosen.source}; {len(train)} photos to learn from, {len(test)} held out ({chosen.digest[:12]})")
    reason = why_method(method, chosen_method, prior, photos=len(train), fitted=fitted)
    provenance = asked | (notes or {}) | {
        "method": chosen_method, "why": reason, "split": chosen.to_dict(), "photos": input_hashes(train),
        "units": views.frame.units, "geometry_from": list(train.names), "pose_error": pose_error,
        "poses": "none" if views.cameras is None else "given" if pose_error is None else "structure from motion",
        "versions": {"diorama": diorama.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    limit = None if max_memory is None else parse_bytes(max_memory)
    model = chosen_prior if isinstance(chosen_prior, GIBR) else None
    run = None if model is None or drawing is None else DrawRun(model, drawing, seed, work, limit, callback, say)
    if run is not None and not refine:
        sampling = run.drawing.sampling
        say(f"method: gibr ({reason}), {sampling.steps} steps of {sampling.sampler} on {device}")
        place = None if output is None else Path(output)
        return run.of_photos(train, test, views.cameras, provenance, place, force=force)
    geometry = measured(train, preset, scale, work)
    patches = chosen_prior if isinstance(chosen_prior, Prior) else prior_beside() if refine else None
    plan = plan_fit(train, geometry, preset, pose_error=pose_error, prior=patches)
    plan = plan if limit is None else within_memory(plan, limit)
    if run is not None:
        heard = drawn_views(run, train, plan.similarity, stereo_depth(train, geometry))
        plan = replace(plan, sampled=heard)
        provenance |= {"samples": run.drawing.count, "samples_differ": round(float(heard.deviation.mean()), 6)}
    say(f"method: {chosen_method} ({reason}), preset {plan.preset_name}: {why(preset, train)}")
    for note in (*geometry.notes, *plan.notes):
        say(note)
    total = settle_steps(plan, steps, budget, started, seed, device, work, 1 if several is None else several.fits)
    say(f"{total} steps on {device}")
    provenance |= {
        "preset": plan.preset_name, "config": to_json(plan.preset), "shape": plan.shape, "steps": total,
        "notes": [*geometry.notes, *plan.notes], "scale_source": geometry.scale.source,
    }  # fmt: skip
    fit = FitRun(plan, geometry, train, test, held_out(test, plan), work, callback, seed, device, say)
    if several is not None and output is not None:
        return fit_several(fit, several, total, provenance, Path(output), force=force)
    scene = fit.to_the_end(total, provenance)
    if output is not None and work is not None:
        save_scene(scene, output, force=force)
        work.finish()
    return scene


def measured(train: Views, preset: PresetName | FitPreset, scale: float | None, work: Workspace | None) -> Geometry:
    """The geometry of the training photos: as measured before an interruption, or measured now and kept."""
    geometry = None if work is None else work.geometry()
    if geometry is None:
        stereo = preset.stereo if isinstance(preset, FitPreset) else preset != "paper"
        geometry = measure_geometry(train, stereo=stereo, scale=scale)
        if work is not None:
            work.save_geometry(geometry)
    return geometry


def why(preset: PresetName | FitPreset, train: Views) -> str:
    """The reason of the choice, in words."""
    if preset != "auto":
        return "as asked"
    return f"{len(train)} photos, and `few` is for up to {FEW_PHOTOS}"


def with_masks_used(views: Views, masks: Masks, say: Say) -> Views:
    """The views, with or without their object masks: `auto` cuts the object out where the pictures are rendered with a
    transparent background, and leaves photographs whole."""
    if views.object is None:
        if masks == "object":
            raise ViewsError(
                "object masks were asked for, but the photos have none. Name them with --object-masks DIR."
            )
        return views
    if masks == "object" or (masks == "auto" and views.layout == "blender"):
        say("object masks: the object alone is reconstructed")
        return views
    say("object masks: not used (--masks object cuts the object out)")
    return replace(views, object=None)


def with_cameras(
    views: Views, seed: int, say: Say, work: Workspace | None, *, alone: bool = False
) -> tuple[Views, float | None]:
    """The views, posed by structure from motion if they had no cameras, and then its mean error in pixels.

    alone: a single photo is left without a camera.
    """
    if views.cameras is not None or (alone and len(views) == 1):
        return views, None
    from diorama.data.structure_from_motion import PoseOptions, find_poses

    if work is not None and (found := work.poses(views)) is not None:
        return found
    say(f"{len(views)} photos without cameras: their poses are looked for (structure from motion)")
    posed, report = find_poses(views, options=PoseOptions(seed=seed))
    say(str(report))
    if work is not None:
        work.save_poses(posed, report.error)
    return posed, report.error


def settle_steps(
    plan: Plan,
    steps: int | None,
    budget: str | float | None,
    started: float,
    seed: int,
    device: str,
    work: Workspace | None,
    fits: int = 1,
) -> int:
    """How many steps each fit takes: as asked, as settled before, by the budget for all, or the preset's own number."""
    if steps is not None and budget is not None:
        raise InputError("both steps and a budget were given. Give one of them.")
    if steps is not None:
        if steps < 1:
            raise InputError(f"{steps} steps were asked for; at least 1 is needed.")
        return steps
    if work is not None and (settled := work.steps()) is not None:
        return settled
    total = plan.preset.steps
    if budget is not None:
        seconds = parse_seconds(budget)
        each = seconds_per_step(plan, seed, device)
        left = seconds - (time.perf_counter() - started) - 2.0
        total = max(int(0.92 * left / (fits * each)), 50)  # looks at held-out pixels and checkpoints take the rest
    if work is not None:
        work.save_steps(total)
    return total


@dataclass(frozen=True)
class Options:
    """Photos to a scene: a folder of photos (posed or not), a data set, or a video."""

    photos: tyro.conf.Positional[Path]
    """Folder, transforms.json or video; the layout is recognised."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("scene")
    """Where the scene is written; unfinished work lies in OUTPUT.partial and the same command goes on with it."""
    method: Method = "auto"
    """baseline: a radiance field fitted under geometric terms. diffusionerf: and under a prior over small pictures with
    depth. gibr: drawn from a multi-view model, which invents what the photos do not show. auto: baseline; gibr for a
    single photo, and gibr with --refine for two, if weights for it come with diorama."""
    prior: str | None = None
    """tv, gaussian, null, the name of weights that come with diorama, or a folder; implies the method it is for."""
    preset: PresetName = "auto"
    """auto: `few` up to 12 photos, else `laptop`. paper: the published numbers, which are meant for a GPU."""
    split: str = "auto"
    """auto, none, every8, protocol, or a JSON file with train and test names: which photos are held out."""
    views: int | None = None
    """Use this many training photos, chosen evenly after the test photos are taken out."""
    budget: str | None = None
    """How long the fit may take: 90s, 5m, 1h."""
    steps: int | None = None
    """Number of steps, instead of a budget."""
    max_memory: str | None = None
    """Upper limit of memory, as 4GB; fewer rays a step are taken where it does not suffice."""
    seed: int = 0
    """Decides every random choice: the same seed, steps and threads give the same scene on one machine."""
    uncertainty: int | None = None
    """Fit so many times (seeds SEED, SEED + 1, ...), and store how much the fits disagree at every pixel in
    OUTPUT/spread: where the photos do not decide; not an error bar. See `diorama render OUTPUT --spread colour`."""
    uncertainty_dropout: float = 0.0
    """Share of the photos' pixels, in random blocks, that every fit but the first does not learn from."""
    samples: int | None = None
    """gibr: how many scenes are drawn; OUTPUT is the first, OUTPUT/samples holds the others, OUTPUT/spread how much
    they disagree. Unset: 1. With --refine: 4; OUTPUT is then the fit, which follows them the less the more they
    disagree, and they are not kept."""
    sampler: Literal["dpm", "ddim"] = "dpm"
    """gibr: DPM-Solver++ or DDIM."""
    sampler_steps: int = 10
    """gibr: steps from noise to a scene."""
    extra_views: int | None = None
    """gibr: cameras that are added, for which the model invents pictures; unset: as many as make the views at least
    those it learned from; 0: the photos alone, from which one look makes the scene."""
    refine: bool = False
    """gibr: the samples start a fit of a radiance field to the photos, and fall silent before it ends."""
    keep_steps: bool = False
    """gibr: store what the views looked like after every step; `diorama view OUTPUT` shows them."""
    guidance: float = 0.0
    """gibr: 0 takes the photos as they are, more exaggerates them, at twice the time."""
    distance: float | None = None
    """gibr: from the cameras to what they show, in units of the photos' frame, where you know it."""
    max_side: int = 640
    """Photos are downscaled to this long side, in pixels."""
    scale: float | None = None
    """Metres per unit of the photos' frame, where you know better than the default (median depth 3 m)."""
    masks: Masks = "auto"
    """object: object masks and alpha cut the object out; none: the photos stay whole; auto: by the layout."""
    ignore_masks: Path | None = None
    """Folder or pattern of masks of what must not be learned from (people, the tripod)."""
    object_masks: Path | None = None
    """Folder or pattern of masks of the object; implies --masks object."""
    layout: str | None = None
    """Name of the layout when a folder holds two."""
    device: str | None = None
    """cpu or cuda; by default CUDA where there is one."""
    force: bool = False
    """Replace an existing scene."""
    view: bool = False
    """Watch the fit in the browser, or the first sample: the scene after every step, and its views as they come out of
    the noise."""


def command(options: Options) -> int:
    """Run the verb; progress goes to the terminal."""
    from tqdm import tqdm

    from diorama.data.masks import with_masks
    from diorama.data.open import open_views

    views = open_views(options.photos, layout=options.layout, max_side=options.max_side)
    print(
        f"{options.photos}: {views.layout}, {len(views)} photos of {views.images.shape[-1]} x {views.images.shape[-2]}"
    )
    for line in views.skipped:
        print(f"  skipped: {line}")
    if options.ignore_masks is not None or options.object_masks is not None:
        views = with_masks(views, ignore=options.ignore_masks, object=options.object_masks)
    bar: Any = None
    window = LiveWindow(options.max_memory) if options.view else None
    several = None if options.uncertainty is None else Several(options.uncertainty, options.uncertainty_dropout)
    shown: tuple[int, bool] | None = None

    def show(progress: Progress) -> None:
        nonlocal bar, shown
        if (progress.sample, progress.replaced) != shown:  # the next sample, or the fit that starts from them
            if bar is not None:
                bar.close()
            bar = tqdm(total=progress.steps, initial=progress.step - 1, unit="step", dynamic_ncols=True)
            shown = progress.sample, progress.replaced
        if window is not None and progress.sample == 0:
            window.show(progress)
        bar.update(1)
        if progress.losses and (progress.step % 20 == 0 or progress.step == progress.steps):
            held = "" if progress.psnr is None else f", held-out {progress.psnr:.2f} dB"
            bar.set_postfix_str(f"photometric {progress.losses['photometric']:.5f}{held}")

    sampling = GIBRSampling(sampler=options.sampler, steps=options.sampler_steps, guidance=options.guidance)
    notes = {"input": str(options.photos.resolve()), "layout": views.layout, "max_side": options.max_side}
    scene = reconstruct(
        views, method=options.method, preset=options.preset, prior=options.prior, seed=options.seed,
        device=options.device, callback=show,
        split=options.split, count=options.views, steps=options.steps, budget=options.budget, scale=options.scale,
        max_memory=options.max_memory,
        masks="object" if options.object_masks is not None else options.masks,
        output=options.output, force=options.force, notes=notes, uncertainty=several,
        drawing=Drawing(
            options.samples, sampling, ExtraViews(options.extra_views), options.distance, options.keep_steps
        ),
        refine=options.refine, say=print,
    )  # fmt: skip
    if bar is not None:
        bar.close()
    if window is not None:
        window.close(scene)
    seconds = sum(read_card(folder)["provenance"]["seconds"] for folder in sample_folders(options.output))
    done = "sampled" if scene.provenance["method"] == "gibr" and not scene.provenance["refine"] else "fitted"
    print(f"{options.output}: {done} in {seconds:.0f} s. Look at it: diorama view {options.output}")
    return 0
