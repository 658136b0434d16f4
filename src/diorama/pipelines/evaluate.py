"""`diorama evaluate`: a scene against the photos it never saw, or a published protocol from photos to table."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro
from jaxtyping import Bool, Float
from torch import Tensor

from diorama.cameras.pinhole import join_cameras
from diorama.data.scale import scene_scale
from diorama.data.splits import Split
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.eval.measure import (
    Columns,
    HeldOut,
    PartsFn,
    SceneResult,
    ViewResult,
    columns_with_reasons,
    held_out,
    measured_views,
)
from diorama.eval.metrics import mean_colour
from diorama.eval.perceptual import Lpips
from diorama.eval.report import html_page, panels, to_json
from diorama.eval.tables import scene_table
from diorama.files import write_json, write_text
from diorama.pipelines.presets import PresetName
from diorama.pipelines.reconstruct import Method, quiet
from diorama.pipelines.showing import scene_folders
from diorama.pipelines.workspace import input_hashes
from diorama.scenes.scene import Scene
from diorama.scenes.storage import load_scene
from diorama.scenes.visibility import known_depth, observe
from diorama.types import Rendering

METRICS, REPORT = "metrics.json", "report.html"
"""What a measured scene folder holds besides the scene."""

METRES = {"metres": 1.0, "millimetres": 1e-3}
"""Metres per user unit, where the frame states its unit."""

Look = Callable[[HeldOut, Rendering, ViewResult], None]

KNOWN_SHARE = 0.9
"""Training photos whose true depth is known in at least this share of the pixels say by it what they saw."""

POSE_TOLERANCE = 1e-3
"""How far a training photo's camera may be from the scene's, as a share of the scene's near depth."""


@dataclass(frozen=True)
class Options:
    """Measure a scene on the photos that were held out of it, or run a few-view protocol (llff, dtu, co3d).

    `diorama evaluate SCENE` writes metrics.json and report.html into the scene's folder. `diorama evaluate llff --data
    DIR -o OUT` fits and measures every scene of DIR; what is finished in OUT is not fitted again.
    """

    target: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SCENE|PROTOCOL")]
    """A scene folder (its samples are measured too), a folder of generated scenes, or a protocol: llff, dtu, co3d."""
    photos: Path | None = None
    """Scene: where its photos lie now, if they were moved since the fit."""
    lpips: tuple[Path, ...] = ()
    """Files with LPIPS weights (VGG16 or AlexNet, .safetensors or .pth); without one LPIPS is not measured."""
    data: Path | None = None
    """Protocol: the folder of one scene, or a folder of such folders."""
    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Protocol: where scenes, tables and reports are written: OUT/SCENE/VIEWS/SEED."""
    views: str = "3,6,9"
    """Protocol: how many training photos, separated by commas."""
    seeds: str = "0"
    """Protocol: seeds, separated by commas; tables show their mean."""
    method: Method = "auto"
    """Protocol: as in reconstruct."""
    prior: str | None = None
    """Protocol: as in reconstruct; implies --method diffusionerf."""
    preset: PresetName = "auto"
    """Protocol: as in reconstruct."""
    budget: str | None = None
    """Protocol: time for each fit, as in reconstruct (90s, 5m)."""
    steps: int | None = None
    """Protocol: number of steps of each fit, instead of a budget."""
    device: str | None = None
    """cpu, or cuda; unset: the GPU if torch sees one."""


def evaluate(
    scene: Scene | Path | str,
    photos: Views | Path | str | None = None,
    *,
    lpips: Sequence[Lpips | Path | str] = (),
    device: str | None = None,
    title: str | None = None,
    facts: Mapping[str, str] | None = None,
    signed_ssim: bool = False,
    look: Look | None = None,
    say: Callable[[str], None] = quiet,
) -> SceneResult:
    """Measure a scene on exactly the photos its stored split holds out.

    photos: where they are (or the Views), if not where the scene was made from. lpips: nets or weight files. A scene
    given as a folder gets `metrics.json` and `report.html`. title, facts: name and further lines for the head of
    the table. look: called with every photo, its render and its figures.
    Raises InputError when nothing was held out, when the photos cannot be found or are not those of the scene, and
    when the scene was built with its own test photos.
    """
    folder = None if isinstance(scene, Scene) else Path(scene)
    loaded = scene if isinstance(scene, Scene) else load_scene(scene, device or "cpu")
    split = stored_split(loaded)
    nets = tuple(net if isinstance(net, Lpips) else Lpips.from_file(net) for net in lpips)
    views = photos if isinstance(photos, Views) else open_again(loaded, photos)
    views = in_scene_frame(views, loaded, split)
    train, test = views[views.index_of(split.train)], views[views.index_of(split.test)]
    refuse_leakage(loaded, split, test)
    surface, surface_source = surface_depths(test, loaded)
    parts, parts_source = parts_by_sight(loaded, train, test)
    composited = loaded.background == "white" and views.object is not None
    if composited:
        train, test = on_white(train), on_white(test)
    columns, missing = columns_with_reasons(
        Columns(
            lpips=nets,
            signed_ssim=signed_ssim,
            metres_per_unit=METRES.get(loaded.frame.units),
            baseline=mean_colour(train.images[:, :3], None if train.ignore is None else ~train.ignore),
            density=lambda positions: loaded.density(positions),
            near=loaded.sampling.near / loaded.similarity.scale,
            parts=parts,
        )
    )
    results, pictures = [], {}
    for held, rendering, result in measured_views(loaded.render, held_out(test, surface), columns):
        results.append(result)
        if folder is not None:
            pictures[result.name] = panels(held, rendering, parts=parts(held, rendering))
        if look is not None:
            look(held, rendering, result)
        say(f"{len(results)}/{len(test)} {result.name}: PSNR {result.values['psnr']:.2f} dB")
    name = title or (folder.resolve().name if folder is not None else "scene")
    outcome = SceneResult(name, tuple(results), missing=missing)
    known = known_facts(loaded, split, outcome, nets, surface_source, composited)
    outcome = replace(outcome, facts=known | {"visible, occluded, outside": parts_source} | dict(facts or {}))
    if folder is not None:
        write_json(folder / METRICS, to_json(outcome) | {"split": split.to_dict()})
        write_text(folder / REPORT, html_page(outcome, pictures))
    return outcome


def stored_split(scene: Scene) -> Split:
    """The scene's own split, its hash checked; InputError with advice when nothing was held out."""
    stored = scene.provenance.get("split")
    if not isinstance(stored, dict):
        raise InputError(
            "this scene does not say which photos were held out. Reconstruct it again with --split every8."
        )
    try:
        split = Split.from_dict(stored)
    except (KeyError, TypeError) as error:
        raise InputError(f"the scene's split is damaged ({error}). Reconstruct the scene again.") from error
    if not split.test:
        raise InputError(
            f"nothing was held out of this scene (split: {split.source}, all {len(split.train)} photos were learned "
            "from), so there is nothing to measure it on. Reconstruct again with --split every8 or --views N."
        )
    return split


def open_again(scene: Scene, photos: Path | str | None) -> Views:
    """The photos the scene was made from, as they were read then, from where they were or from `photos`."""
    from diorama.data.open import LAYOUTS, open_views

    place = photos or scene.provenance.get("input")
    if place is None:
        raise InputError("this scene does not say where its photos are. Name their folder with --photos.")
    if not Path(place).exists():
        raise InputError(f"the photos of this scene are no longer at {place}. Name their folder with --photos.")
    layout = scene.provenance.get("layout")
    known = layout if layout in LAYOUTS and photos is None else None
    return open_views(place, layout=known, max_side=scene.provenance.get("max_side"))


def in_scene_frame(views: Views, scene: Scene, split: Split) -> Views:
    """The views with cameras in the scene's frame: their own, checked against the scene's, or those the scene stored.

    The training photos' cameras must be the scene's. InputError names the first photo that is missing or has moved."""
    absent = [name for name in (*split.train, *split.test) if name not in views.names]
    if absent:
        raise InputError(
            f"{len(absent)} of the scene's {len(split.train) + len(split.test)} photos are not there, {absent[:3]} "
            "first. Name the folder with all of them with --photos."
        )
    if views.cameras is None:
        return with_stored_cameras(views, scene, split)
    kept = [name for name in scene.names if name in split.train]
    now = views.cameras[views.index_of(kept)]
    then = scene.cameras[[scene.names.index(name) for name in kept]]
    moved = (now.origins - then.origins).norm(dim=-1)
    limit = POSE_TOLERANCE * scene.near
    if bool((moved > limit).any()) or bool(((now.axes * then.axes).sum(-1) < 0.9999).any()):
        worst = kept[int(moved.argmax())]
        raise InputError(
            f"the cameras of these photos are not those the scene was made with ({worst} moved by {moved.max():.3g} "
            "user units). Name the original folder with --photos, or reconstruct again."
        )
    return views


def with_stored_cameras(views: Views, scene: Scene, split: Split) -> Views:
    """Bare photos with the cameras that were found for them when the scene was made."""
    if scene.held_out is None:
        raise InputError("the scene holds no cameras of held-out photos. Reconstruct again with --split every8.")
    cameras = join_cameras([scene.cameras, scene.held_out])
    return replace(views[views.index_of((*scene.names, *split.test))], cameras=cameras)


def refuse_leakage(scene: Scene, split: Split, test: Views) -> None:
    """InputError if the scene, or the geometry it was fitted to, was built with a photo of its own test set.

    By name (fitted photos, photos behind the geometry) and by content (hash of pixels, camera and perhaps masks)."""
    provenance = scene.provenance
    hashes = provenance.get("photos") or {}
    used = {*scene.names, *hashes, *(provenance.get("geometry_from") or ())}
    leaked = sorted(used & set(split.test))
    if not leaked and hashes:
        contents = set(hashes.values())
        both = [*input_hashes(test).items(), *input_hashes(replace(test, object=None)).items()]
        leaked = sorted({name for name, digest in both if digest in contents})
    if leaked:
        raise InputError(
            f"this scene was built with {len(leaked)} of its own {len(split.test)} test photos ({leaked[:3]} first), "
            "so its figures would mean nothing. Reconstruct it from the training photos alone (--split)."
        )


def surface_depths(test: Views, scene: Scene) -> tuple[Float[Tensor, "view"], str]:
    """First-percentile surface depth of each test view in user units, and what it was measured on."""
    measured = scene_scale(test)
    if "camera geometry" in measured.source:
        return torch.full((len(test),), scene.near), "the nearest surface any training photo sees"
    return measured.near.float(), measured.source


def parts_by_sight(scene: Scene, train: Views, test: Views) -> tuple[PartsFn, str]:
    """How pixels are split into what the training photos saw, what was hidden from them and what none had in its frame,
    and by which depth: the true one where training and test photos have it, else the scene's own, faults included."""
    if train.depth is None or test.depth is None or float((train.depth > 0).double().mean()) < KNOWN_SHARE:

        def by_scene(held: HeldOut, rendering: Rendering) -> dict[str, Bool[Tensor, "h w"]]:
            return {name: part[0] for name, part in observe(scene, held.camera, rendering).parts().items()}

        return by_scene, "by the scene's own depth, which may err"
    assert train.cameras is not None
    truth = known_depth(train.cameras, train.depth)

    def by_truth(held: HeldOut, rendering: Rendering) -> dict[str, Bool[Tensor, "h w"]]:
        depth = torch.zeros_like(rendering.depth) if held.depth is None else held.depth[None].to(rendering.depth)
        exact = Rendering(rendering.colour, depth, (depth > 0).to(depth))
        return {name: part[0] for name, part in observe(truth, held.camera, exact).parts().items()}

    return by_truth, "by the true depth of training and test photos"


def on_white(views: Views) -> Views:
    """The photos composited on white by their object masks, as scenes of masked objects are rendered."""
    assert views.object is not None
    cover = views.object[:, None]
    return replace(views, images=views.images[:, :3] * cover + (1 - cover))


def known_facts(
    scene: Scene, split: Split, result: SceneResult, nets: Sequence[Lpips], surface: str, composited: bool
) -> dict[str, str]:
    """What every table must name: metric backbone, resolution, seed, split hash, and how the scene was made."""
    provenance: dict[str, Any] = scene.provenance
    facts = {
        "method": f"{provenance.get('method')}, preset {provenance.get('preset')}, {provenance.get('steps')} steps",
        "seed": str(provenance.get("seed")),
        "split": f"{split.source}: {len(split.train)} learned from, {len(split.test)} held out",
        "split hash": split.digest,
        "resolution": result.resolution,
        "LPIPS net": ", ".join(net.net for net in nets) or "none",
        "near_mass limit": f"half of the first-percentile depth ({surface})",
        "units": scene.frame.units,
    }
    if isinstance(prior := provenance.get("prior"), dict):
        facts["prior"] = f"{prior.get('kind')} ({str(prior.get('checksum'))[:12]})"
    if composited:
        facts["photos"] = "composited on white by their object masks, as the scene is"
    return facts


def command(options: Options) -> int:
    """Run the verb; what was measured goes to the terminal."""
    from diorama.eval.protocols import find_protocol

    protocol = find_protocol(options.target)
    if protocol is None:
        if options.data is not None or options.output is not None:
            raise InputError(
                f"--data and -o belong to a protocol (llff, dtu, co3d); {options.target} is taken as a scene."
            )
        folders = scene_folders(Path(options.target))
        if len(folders) > 1 or folders[0] != Path(options.target):
            from diorama.pipelines.evaluate_several import SEVERAL, evaluate_several, several_text

            place = Path(options.target)
            content = evaluate_several(
                folders, place, options.photos, lpips=options.lpips, device=options.device, say=print
            )
            print(f"\n{several_text(content)}\n\n{place / SEVERAL}")
            return 0
        result = evaluate(options.target, options.photos, lpips=options.lpips, device=options.device, say=print)
        print(
            f"\n{scene_table(result)}\n\n{Path(options.target) / REPORT}: photo, render, error and depth side by side"
        )
        return 0
    if options.data is None or options.output is None:
        raise InputError(f"the protocol {protocol.name} needs --data DIR (photos) and -o OUT (scenes and tables).")
    from diorama.pipelines.protocol import FitRequest, run_protocol

    request = FitRequest(options.method, options.prior, options.preset, options.budget, options.steps, options.device)
    counts, seeds = (whole_numbers(text, name) for text, name in ((options.views, "views"), (options.seeds, "seeds")))
    run_protocol(
        protocol,
        options.data,
        options.output,
        counts=counts,
        seeds=seeds,
        request=request,
        lpips=options.lpips,
        say=print,
    )
    return 0


def whole_numbers(text: str, name: str) -> tuple[int, ...]:
    """`3,6,9` as numbers; InputError for anything else."""
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise InputError(f"--{name} {text}: whole numbers separated by commas are needed, as in --{name} 3,6,9.")
    return numbers
