"""A published few-view protocol from photos to table: every scene fitted, measured, and beside it others' figures."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from diorama.data import co3d, dtu
from diorama.data.images import image_size, list_images
from diorama.data.splits import make_split
from diorama.data.views import Views
from diorama.errors import InputError, OutputError
from diorama.eval.measure import mean_measured
from diorama.eval.perceptual import Lpips
from diorama.eval.protocols import Protocol, at_protocol_size, departures
from diorama.eval.tables import format_value, html_table, short_digest, text_table
from diorama.files import write_json, write_text
from diorama.pipelines.evaluate import METRICS, evaluate
from diorama.pipelines.presets import PresetName
from diorama.pipelines.priors import Method, choose_method
from diorama.pipelines.reconstruct import Progress, reconstruct
from diorama.pipelines.workspace import difference, input_hashes
from diorama.scenes.storage import read_card

LARGEST_SIDE = 640
"""Pixels; photos of protocols without a size of their own are shrunk to it."""

TABLE_COLUMNS = (
    "psnr", "psnr_visible", "psnr_occluded", "psnr_outside",
    "ssim_uniform7", "ssim_signed7", "ssim_gaussian11", "flip", "lpips", "lpips_vgg16", "lpips_alexnet",
    "average_vgg16", "average_alexnet", "psnr_masked", "ssim_uniform7_masked", "ssim_signed7_masked",
    "lpips_vgg16_masked", "lpips_alexnet_masked", "average_vgg16_masked", "average_alexnet_masked",
    "depth_abs_rel", "near_mass", "psnr_mean_colour",
)  # fmt: skip
"""Columns of the printed table, in this order, where they exist."""


@dataclass(frozen=True)
class FitRequest:
    """How every scene is fitted; as in `reconstruct`."""

    method: Method = "auto"
    prior: str | None = None
    preset: PresetName = "auto"
    budget: str | None = None
    steps: int | None = None
    device: str | None = None


@dataclass(frozen=True)
class Row:
    """One measured fit. mean: column -> mean over the scene's test views."""

    scene: str
    views: int
    seed: int
    digest: str
    resolution: str
    mean: dict[str, float | None]


def run_protocol(
    protocol: Protocol,
    data: Path,
    output: Path,
    *,
    counts: Sequence[int],
    seeds: Sequence[int],
    request: FitRequest,
    lpips: Sequence[Path | str] = (),
    say: Callable[[str], None],
) -> list[Row]:
    """Fit and measure every scene of `data` for every number of views and seed; finished ones are not fitted again.

    Each fit is a normal scene in `output/SCENE/VIEWS/SEED`. Writes `output/results.json` and `output/results.html`,
    and tells the table through `say`. A run that was killed goes on where it stood when called again."""
    nets = tuple(Lpips.from_file(path) for path in lpips)
    folders = scene_folders(protocol, data)
    rows: list[Row] = []
    notes: list[str] = list(protocol.notes)
    for folder in folders:
        views = protocol_views(protocol, folder)
        apart = departures(protocol, folder.name, size_on_disk(folder))
        notes += [line for line in apart if line not in notes]
        for line in apart:
            say(f"{folder.name}: {line}")
        for count in counts:
            for seed in seeds:
                place = output / folder.name / str(count) / str(seed)
                fit(protocol, views, folder, place, count, seed, request, say)
                row = measured(protocol, views, place, nets, folder.name, count, seed, say)
                rows.append(row)
                write_results(output, protocol, rows, notes, request)
    say("\n" + results_text(protocol, rows, notes, request))
    return rows


def scene_folders(protocol: Protocol, data: Path) -> list[Path]:
    """`data` itself if it is a scene of the protocol's layout, else the folders in it that are."""
    if not data.is_dir():
        raise InputError(
            f"--data {data} is no folder. Needed: one scene in the layout of {protocol.name}, or a folder of such."
        )
    if is_member(protocol, data):
        return [data]
    found = sorted(child for child in data.iterdir() if child.is_dir() and is_member(protocol, child))
    if not found:
        raise InputError(
            f"neither {data} nor a folder in it is a scene in the layout of {protocol.name} "
            f"({protocol.marker}). Name the right folder with --data."
        )
    return found


def is_member(protocol: Protocol, folder: Path) -> bool:
    """Whether a folder has the protocol's layout."""
    match protocol.name:
        case "llff":
            return (folder / "poses_bounds.npy").is_file()
        case "dtu":
            return dtu.matches(folder)
        case _:
            return co3d.matches(folder)


def protocol_views(protocol: Protocol, folder: Path) -> Views:
    """The photos of one scene at the protocol's size."""
    from diorama.data.open import open_views

    side = LARGEST_SIDE if protocol.size is None else max(protocol.size)
    return at_protocol_size(open_views(folder, layout=protocol.layout, max_side=side), protocol)


def size_on_disk(folder: Path) -> tuple[int, int] | None:
    """(width, height) of a scene's first photo file, None where there is none in the usual places."""
    for place in (folder / "images", folder / "image", folder / "rgb", folder):
        files = list_images(place) if place.is_dir() else []
        if files:
            return image_size(files[0])
    return None


def fit(
    protocol: Protocol,
    views: Views,
    folder: Path,
    place: Path,
    count: int,
    seed: int,
    request: FitRequest,
    say: Callable[[str], None],
) -> None:
    """Make sure that the scene of one fit stands at `place`; InputError if another one does.

    Photos are fitted whole, as the published methods do: object masks enter the measuring only."""
    views = replace(views, object=None)
    train = views[views.index_of(make_split(views, protocol.split, count).train)]
    if (place / "scene.json").is_file():
        refuse_other(place, request, seed, train)
        say(f"{place}: finished before")
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{place.parent} cannot be written ({error.strerror}). Choose another -o.") from error
    say(f"{place}: fitting {count} views, seed {seed}")
    notes: dict[str, Any] = {
        "input": str(folder.resolve()),
        "layout": views.layout,
        "max_side": LARGEST_SIDE if protocol.size is None else max(protocol.size),
        "protocol": protocol.name,
    }
    scene = reconstruct(
        views, method=request.method, prior=request.prior, preset=request.preset, seed=seed, device=request.device,
        split=protocol.split, count=count, budget=request.budget, steps=request.steps, output=place, notes=notes,
        callback=every_tenth(place, say),
    )  # fmt: skip
    say(f"{place}: {scene.provenance.get('steps')} steps in {scene.provenance.get('seconds')} s")


def every_tenth(place: Path, say: Callable[[str], None]) -> Callable[[Progress], None]:
    """A callback that tells where a fit stands ten times on its way."""

    def tell(progress: Progress) -> None:
        if progress.step % max(1, progress.steps // 10) == 0:
            held = "" if progress.psnr is None else f", held-out sample {progress.psnr:.2f} dB"
            say(f"{place}: step {progress.step} of {progress.steps}, {progress.seconds:.0f} s{held}")

    return tell


def refuse_other(place: Path, request: FitRequest, seed: int, train: Views) -> None:
    """InputError if the finished scene at `place` was not made from these photos, or not in this way."""
    stored = read_card(place)["provenance"]
    wanted = {"preset": request.preset, "budget": request.budget, "seed": seed, "photos": input_hashes(train)}
    had = {"preset": stored.get("preset_asked")} | {key: stored.get(key) for key in ("budget", "seed", "photos")}
    if request.steps is not None:
        wanted["steps"], had["steps"] = request.steps, stored.get("steps")
    if request.method != "auto":
        wanted["method"], had["method"] = request.method, stored.get("method")
    if request.method != "auto" or request.prior is not None:
        _, prior = choose_method(request.method, request.prior)
        wanted["prior"] = None if prior is None else {"kind": prior.kind, "checksum": prior.checksum}
        had["prior"] = stored.get("prior")
    if had != wanted:
        raise InputError(
            f"{place} holds a scene that was made in another way: {difference(had, wanted)}. "
            "Choose another -o, or delete that folder."
        )


def measured(
    protocol: Protocol,
    views: Views,
    place: Path,
    nets: Sequence[Lpips],
    scene: str,
    count: int,
    seed: int,
    say: Callable[[str], None],
) -> Row:
    """The figures of one fit, measured now or, with the same nets, before."""
    stored = _stored_metrics(place / METRICS)
    nets_named = ", ".join(net.net for net in nets) or "none"
    if stored is None or stored["facts"].get("LPIPS net") != nets_named or "protocol" not in stored["facts"]:
        facts = {"protocol": protocol.name, "scene": scene, "views": str(count)}
        title = f"{scene}, {count} views, seed {seed}"
        evaluate(place, views, lpips=nets, title=title, facts=facts, signed_ssim=True)
        stored = _stored_metrics(place / METRICS)
        assert stored is not None
    mean = stored["mean"]
    say(f"{place}: PSNR {format_value('psnr', mean['psnr'])} dB")
    return Row(scene, count, seed, stored["facts"]["split hash"], stored["facts"]["resolution"], mean)


def averaged(rows: Sequence[Row]) -> dict[int, dict[str, float | None]]:
    """By number of views: mean over a scene's seeds first, then over scenes."""
    table: dict[int, dict[str, float | None]] = {}
    for count in dict.fromkeys(row.views for row in rows):
        chosen = [row for row in rows if row.views == count]
        columns = dict.fromkeys(column for row in chosen for column in row.mean)
        table[count] = {
            column: mean_measured(
                [
                    mean_measured([row.mean.get(column) for row in chosen if row.scene == scene])
                    for scene in dict.fromkeys(row.scene for row in chosen)
                ]
            )
            for column in columns
        }
    return table


def result_rows(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Every fit, the means, and the published figures, as rows of text."""
    shown = [column for column in TABLE_COLUMNS if any(column in row.mean for row in rows)]
    text = [
        {
            "scene": row.scene, "views": str(row.views), "seed": str(row.seed), "split": short_digest(row.digest),
            "resolution": row.resolution, **{c: format_value(c, row.mean.get(c)) for c in shown},
        }
        for row in rows
    ]  # fmt: skip
    scenes = len({row.scene for row in rows})
    seeds = len({row.seed for row in rows})
    for count, mean in averaged(rows).items():
        label = {"scene": f"mean of {scenes}", "views": str(count), "seed": f"mean of {seeds}"}
        text.append(label | {c: format_value(c, mean.get(c)) for c in shown})
    return text


def published_rows(protocol: Protocol, counts: Sequence[int]) -> list[dict[str, str]]:
    """What others reached on the whole set, as rows of text."""
    return [
        {
            "published": row.method, "LPIPS net": row.backbone, "views": str(count),
            "psnr": f"{row.figures[count][0]:.2f}",
            "ssim": f"{row.figures[count][1]:.3f}", "lpips": f"{row.figures[count][2]:.3f}",
            "average": f"{row.figures[count][3]:.3f}",
        }
        for count in counts for row in protocol.published if count in row.figures
    ]  # fmt: skip


def results_text(protocol: Protocol, rows: Sequence[Row], notes: Sequence[str], request: FitRequest) -> str:
    """The whole result as text."""
    published = published_rows(protocol, list(dict.fromkeys(row.views for row in rows)))
    parts = [heading(protocol, rows, request), text_table(result_rows(rows)), *(f"note: {line}" for line in notes)]
    if published:
        members = len(protocol.members)
        parts += [
            "",
            f"published means over all {members} scenes (spec 6.1), not comparable with fewer:",
            text_table(published),
        ]
    return "\n".join(parts)


def heading(protocol: Protocol, rows: Sequence[Row], request: FitRequest) -> str:
    """One line: what was run, and with which backbone it was measured."""
    length = f"{request.steps} steps" if request.steps else request.budget or "the preset's own length"
    masks = f"; photos fitted whole, masked columns: {protocol.masks}" if protocol.masks else ""
    nets = [name for name in ("vgg16", "alexnet") if any(f"lpips_{name}" in row.mean for row in rows)]
    backbone = f"LPIPS net: {', '.join(nets) or 'none, so LPIPS and Average were not measured'}"
    prior = "" if request.prior is None else f", prior {request.prior}"
    fit = f"method {request.method}{prior}, preset {request.preset}, {length}"
    return f"protocol {protocol.name}: {fit}; {backbone}{masks}"


def write_results(
    output: Path, protocol: Protocol, rows: Sequence[Row], notes: Sequence[str], request: FitRequest
) -> None:
    """`results.json` and `results.html` of what is there so far."""
    content = {
        "protocol": protocol.name,
        "request": vars(request),
        "notes": list(notes),
        "rows": [vars(row) for row in rows],
        "mean": {str(count): mean for count, mean in averaged(rows).items()},
        "published": [
            {"method": p.method, "LPIPS net": p.backbone, "figures": {str(n): row for n, row in p.figures.items()}}
            for p in protocol.published
        ],
    }
    write_json(output / "results.json", content)
    tables = [result_rows(rows), published_rows(protocol, list(dict.fromkeys(row.views for row in rows)))]
    caption = "Published means over the whole set; not comparable with fewer scenes."
    write_text(output / "results.html", html_table(heading(protocol, rows, request), tables, [*notes, caption]))


def _stored_metrics(path: Path) -> dict[str, Any] | None:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return stored if {"facts", "mean"} <= set(stored) else None
    except (OSError, ValueError, TypeError):
        return None
