"""`diorama reconstruct`: photos to a scene."""

import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
import tyro

import diorama
from diorama.data.splits import make_split
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError
from diorama.pipelines.fit import (
    Geometry,
    HeldOut,
    Plan,
    as_scene,
    build,
    held_out,
    measure_geometry,
    plan_fit,
    seconds_per_step,
    within_memory,
)
from diorama.pipelines.presets import FEW_PHOTOS, FitPreset, PresetName
from diorama.pipelines.priors import Method, choose_method
from diorama.pipelines.quantities import parse_bytes, parse_seconds
from diorama.pipelines.workspace import Workspace, input_hashes
from diorama.priors.prior import Prior
from diorama.scenes.config import to_json
from diorama.scenes.scene import Scene
from diorama.scenes.storage import save_scene
from diorama.systems.diffusionerf import DiffusioNeRF
from diorama.training.loop import train_steps
from diorama.training.optim import adam, exponential

if TYPE_CHECKING:
    from diorama.viewer.server import Viewer

Masks = Literal["auto", "object", "none"]


@dataclass(frozen=True)
class Progress:
    """Where a fit stands, as callbacks see it."""

    step: int
    steps: int
    seconds: float
    losses: dict[str, float]
    psnr: float | None
    """PSNR (dB) over a sample of held-out pixels at the last look; None without held-out photos."""
    scene: Callable[[], Scene]
    """The scene as it is now."""


CHECKPOINT_SECONDS = 30.0
"""Between checkpoints, or as rarely as keeps them under 5 % of the time."""

Callback = Callable[[Progress], None]
Say = Callable[[str], None]


def quiet(line: str) -> None:
    """Say nothing."""
    del line


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
    prior: Prior | Path | str | None = None,
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
    say: Say = quiet,
) -> Scene:
    """Fit a scene to photos.

    method: baseline, or diffusionerf with a prior (`pipelines.priors.open_prior`; naming one means diffusionerf).
    split: which photos are held out (`data.splits`); count: how many training photos are used. steps, or budget
    (seconds, or `5m`), say how long; a budget becomes a number of steps once, after a short timing. output: where the
    scene is saved; unfinished work then lies in `OUTPUT.partial` and the same call goes on with it. callback: called
    after every step. notes: stored in the provenance. say: told every choice, a line each.
    Raises InputError, ViewsError or OutputError for what the caller can mend.
    """
    started = time.perf_counter()
    device = choose_device(device)
    chosen_method, chosen_prior = choose_method(method, prior)
    if len(views) == 0:
        raise ViewsError("there are no photos to reconstruct from.")
    asked: dict[str, Any] = {
        "method": method, "preset_asked": preset if isinstance(preset, str) else to_json(preset), "seed": seed,
        "device": device, "masks": masks, "split_asked": str(split), "views_asked": count, "steps_asked": steps,
        "budget": budget, "max_memory": max_memory, "scale": scale, "version": diorama.__version__,
    }  # fmt: skip
    if chosen_prior is not None:
        asked["prior"] = {"kind": chosen_prior.kind, "checksum": chosen_prior.checksum}
    work = None
    if output is not None:
        work = Workspace.beside(Path(output), asked | {"inputs": input_hashes(views)}, force=force)
    views, pose_error = with_cameras(views, seed, say, work)
    views = with_masks_used(views, masks, say)
    chosen = make_split(views, split, count)
    train, test = views[views.index_of(chosen.train)], views[views.index_of(chosen.test)]
    say(f"split: {chosen.source}; {len(train)} photos to learn from, {len(test)} held out ({chosen.digest[:12]})")
    geometry = measured(train, preset, scale, work)
    plan = plan_fit(train, geometry, preset, pose_error=pose_error, prior=chosen_prior)
    if max_memory is not None:
        plan = within_memory(plan, parse_bytes(max_memory))
    say(f"method: {chosen_method}, preset {plan.preset_name}: {why(preset, train)}")
    for note in (*geometry.notes, *plan.notes):
        say(note)
    total = settle_steps(plan, steps, budget, started, seed, device, work)
    say(f"{total} steps on {device}")
    provenance = asked | (notes or {}) | {
        "method": chosen_method, "preset": plan.preset_name, "config": to_json(plan.preset), "shape": plan.shape,
        "notes": [*geometry.notes, *plan.notes], "split": chosen.to_dict(), "photos": input_hashes(train),
        "units": views.frame.units, "scale_source": geometry.scale.source, "steps": total,
        "poses": "given" if pose_error is None else "structure from motion", "pose_error": pose_error,
        "geometry_from": list(train.names),
        "versions": {"diorama": diorama.__version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip
    fit = FitRun(plan, geometry, train, test, held_out(test, plan), work, callback, seed, device)
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


def with_cameras(views: Views, seed: int, say: Say, work: Workspace | None) -> tuple[Views, float | None]:
    """The views, posed by structure from motion if they had no cameras, and then its mean error in pixels."""
    if views.cameras is not None:
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
) -> int:
    """How many steps: as asked, as settled before, by the budget, or the preset's own number."""
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
        total = max(int(0.92 * left / each), 50)  # looks at held-out pixels and checkpoints take the rest
    if work is not None:
        work.save_steps(total)
    return total


@dataclass
class FitRun:
    """One fit from its plan to its end: checkpoints, callbacks, the look at held-out pixels."""

    plan: Plan
    geometry: Geometry
    train: Views
    test: Views
    watched: HeldOut | None
    work: Workspace | None
    callback: Callback | None
    seed: int
    device: str

    def to_the_end(self, steps: int, provenance: dict[str, Any]) -> Scene:
        """Run (or go on) until all steps are taken."""
        system = build(self.plan, steps, self.seed, self.device)
        optimizer = adam(system, self.plan.preset.optim)
        first, before = self.work.resume(system, optimizer) if self.work else (0, 0.0)
        rate = exponential(self.plan.preset.optim, steps)
        started = saved = time.perf_counter()
        pause, psnr, done = CHECKPOINT_SECONDS, None, first
        look = max(steps // 20, 50)

        def scene() -> Scene:
            return self.scene(system, provenance)

        try:
            for step, losses in train_steps(system, optimizer, rate, range(first, steps)):
                done = step + 1
                now = time.perf_counter()
                if self.watched is not None and (done % look == 0 or done == steps):
                    psnr = self.watched.psnr(system)
                if self.callback is not None:
                    self.callback(Progress(done, steps, before + now - started, losses, psnr, scene))
                if self.work is not None and now - saved > pause and done < steps:
                    self.work.save(system, optimizer, done, before + now - started)
                    saved = time.perf_counter()
                    pause = max(CHECKPOINT_SECONDS, 20.0 * (saved - now))
        except KeyboardInterrupt:
            if self.work is not None and done > first:
                self.work.save(system, optimizer, done, before + time.perf_counter() - started)
            raise
        provenance["seconds"] = round(before + time.perf_counter() - started, 1)
        provenance["held_out_sample_psnr"] = psnr
        if system.guide is not None:
            scale, ratio = system.prior_scale.tolist()
            provenance["prior_used"] = system.guide.describe() | {"loudness": scale, "gradient_ratio": ratio}
        system.open_levels(steps)
        return self.scene(system, provenance)

    def scene(self, system: DiffusioNeRF, provenance: dict[str, Any]) -> Scene:
        """The field as it is now, as a scene."""
        return as_scene(self.plan, system, self.train, self.test, self.geometry.scale, provenance)


@dataclass(frozen=True)
class Options:
    """Photos to a scene: a folder of photos (posed or not), a data set, or a video."""

    photos: tyro.conf.Positional[Path]
    """Folder, transforms.json or video; the layout is recognised."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("scene")
    """Where the scene is written; unfinished work lies in OUTPUT.partial and the same command goes on with it."""
    method: Method = "auto"
    """baseline: a radiance field fitted under geometric terms; auto takes it. diffusionerf: and under a prior over
    small pictures with depth."""
    prior: str | None = None
    """tv, gaussian, null, the name of weights that come with diorama, or a folder; implies --method diffusionerf."""
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
    """Watch the fit in the browser."""


class LiveWindow:
    """The fit in the browser: opened at the first step, told of every further one."""

    def __init__(self) -> None:
        self.viewer: Viewer | None = None

    def show(self, progress: Progress) -> None:
        """Draw the scene as it is now, if a browser looks."""
        if self.viewer is None:
            from diorama.viewer.server import Viewer

            scene = progress.scene()
            self.viewer = Viewer(
                scene.render, scene.cameras, name="fit", live=True, thumbnails=scene.thumbnails,
                near=scene.near, far=scene.far,
            )  # fmt: skip
            print(f"watch the fit at {self.viewer.url}")
        self.viewer.update(progress.step, progress.steps)

    def close(self, scene: Scene) -> None:
        """Show the finished scene, and close."""
        if self.viewer is not None:
            self.viewer.finish(scene.render)
            self.viewer.stop()


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
    window = LiveWindow() if options.view else None

    def show(progress: Progress) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(total=progress.steps, initial=progress.step - 1, unit="step", dynamic_ncols=True)
        if window is not None:
            window.show(progress)
        bar.update(1)
        if progress.step % 20 == 0 or progress.step == progress.steps:
            held = "" if progress.psnr is None else f", held-out {progress.psnr:.2f} dB"
            bar.set_postfix_str(f"photometric {progress.losses['photometric']:.5f}{held}")

    notes = {"input": str(options.photos.resolve()), "layout": views.layout, "max_side": options.max_side}
    scene = reconstruct(
        views, method=options.method, preset=options.preset, prior=options.prior, seed=options.seed,
        device=options.device, callback=show,
        split=options.split, count=options.views, steps=options.steps, budget=options.budget, scale=options.scale,
        max_memory=options.max_memory,
        masks="object" if options.object_masks is not None else options.masks,
        output=options.output, force=options.force, notes=notes, say=print,
    )  # fmt: skip
    if bar is not None:
        bar.close()
    if window is not None:
        window.close(scene)
    seconds = scene.provenance["seconds"]
    print(f"{options.output}: done in {seconds:.0f} s. Look at it: diorama view {options.output}")
    return 0
