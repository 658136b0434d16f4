"""Where a patch prior pushes the depth of a fit, against where the truth lies.

    python -m benchmarks.push [--rooms 0 1] [--prior FOLDER] [--steps 1000]

Procedural rooms are fitted to three photos without a prior. Held-out views of the fits are cut into patches; what is
wrong with their disparity is known there, and so is what each prior would push, at each noise level, asked about the
patch as it is (the published way) or about a noisy copy of it. Printed per band of cosine waves: the cosine between
push and error (1: it mends, 0: it knows nothing, below: it spoils), and how large both are; the same as JSON.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from benchmarks.machine import machine
from benchmarks.rooms import room
from diorama.data.rgbd_coding import encode_with_disparity, to_disparity
from diorama.data.splits import make_split
from diorama.data.views import Views
from diorama.files import write_json
from diorama.pipelines.presets import few
from diorama.pipelines.priors import open_prior
from diorama.pipelines.reconstruct import reconstruct
from diorama.priors.gaussian import dct, inverse_dct
from diorama.priors.levels import noise_level
from diorama.priors.prior import PatchEncoding, Prior
from diorama.priors.score import noisy_score
from diorama.scenes.scene import Scene
from diorama.scenes.storage import load_scene
from diorama.streams import stream
from diorama.worlds.layouts import Kind

ROOT = Path(__file__).resolve().parents[1]
LEVELS = (3, 7, 19, 47, 99)
BANDS = ((0, 1, "mean"), (1, 2, "tilt"), (2, 5, "2 to 4"), (5, 13, "5 to 12"), (13, None, "finer"))
"""Half periods along the sides of a patch: first, one after the last, name."""
PHOTOS = 3


@dataclass(frozen=True)
class Options:
    """Does what a prior pushes point towards the truth?"""

    rooms: tuple[int, ...] = (0, 1)
    kind: Kind = "room"
    prior: str | None = None
    """Folder of the trained prior; unset: the one that comes with diorama."""
    steps: int = 1000
    draws: int = 4
    """Noisy copies of a patch that answers are averaged over."""
    work: Path = ROOT / "out" / "push"
    """Fits."""
    results: Path = ROOT / "benchmarks" / "results" / "push.json"


def main(options: Options) -> int:
    """Fit what is missing, measure, print and write."""
    priors = {"trained": open_prior(options.prior), "gaussian": open_prior("gaussian"), "tv": open_prior("tv")}
    encoding = priors["trained"].encoding
    pairs = [patches(fitted(number, options), sharp_room(number, options, encoding), encoding)
             for number in options.rooms]  # fmt: skip
    seen, truth = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    print(f"{len(seen)} patches of {len(options.rooms)} rooms; disparity is wrong by "
          f"{rms((truth - seen)[:, 3]):.4f} (root mean square, coded)")  # fmt: skip
    rows = []
    print("prior     shown  level  " + "  ".join(f"{name:>18}" for *_, name in BANDS))
    for row in measured(priors, seen, truth, options):
        rows.append(row)
        cells = (f"{band['cosine']:+.3f} ({band['push']:.4f})" for band in row["bands"].values())
        print(f"{row['prior']:9} {row['shown']:6} {row['level']:5d}  " + "  ".join(f"{cell:>18}" for cell in cells))
    error = {name: rms(band_of((truth - seen)[:, 3], low, high)) for low, high, name in BANDS}
    print(f"{'error':23}" + "  ".join(f"{f'({value:.4f})':>18}" for value in error.values()))
    asked = {"rooms": list(options.rooms), "kind": options.kind, "steps": options.steps, "draws": options.draws}
    write_json(options.results, {
        "command": "python -m benchmarks.push", "machine": machine(), "options": asked, "photos": PHOTOS, "seed": 0,
        "patches": len(seen), "error": error, "rows": rows,
    })  # fmt: skip
    return 0


def fitted(number: int, options: Options) -> Scene:
    """The fit of a room without a prior."""
    place = options.work / f"{options.kind}-{number}_{options.steps}"
    if not (place / "scene.json").is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        views = replace(room(options.kind, number, 160, 120), depth=None)
        reconstruct(views, method="baseline", preset=few("inward", masked=False), split="protocol", count=PHOTOS,
                    steps=options.steps, output=place)  # fmt: skip
    return load_scene(place)


def sharp_room(number: int, options: Options, encoding: PatchEncoding) -> Views:
    """The held-out photos of a room, at the resolution that patches have, with depth."""
    views = room(options.kind, number, encoding.window.width, encoding.window.height)
    return views[views.index_of(make_split(views, "protocol", PHOTOS).test)]


@torch.no_grad()
def patches(
    scene: Scene, held: Views, encoding: PatchEncoding
) -> tuple[Float[Tensor, "patch 4 h w"], Float[Tensor, "patch 4 h w"]]:
    """All windows of the held-out views, as the scene shows them and as they are; the median depth is the prior's."""
    assert held.cameras is not None
    assert held.depth is not None
    found = []
    for index in range(len(held)):
        depth, photo = held.depth[[index]], held.images[[index]]
        drawn = scene(held.cameras[[index]])
        metres = encoding.median_depth / float(depth[depth > 0].median())
        there = to_disparity(depth.clamp_min(1e-3) * metres, encoding.depth_floor) * (depth > 0)
        shown = to_disparity(drawn.depth * metres, encoding.depth_floor) * drawn.opacity
        pair = (encode_with_disparity(drawn.colour.clamp(0, 1), shown), encode_with_disparity(photo, there))
        found.append([windows(picture, encoding.window.size) for picture in pair])
    return torch.cat([shown for shown, _ in found]), torch.cat([there for _, there in found])


def windows(picture: Float[Tensor, "1 4 h w"], size: int) -> Float[Tensor, "patch 4 size size"]:
    """A picture cut into squares, without what is left at its right and bottom."""
    return picture.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


def measured(
    priors: Mapping[str, Prior],
    seen: Float[Tensor, "patch 4 h w"],
    truth: Float[Tensor, "patch 4 h w"],
    options: Options,
) -> Iterator[dict[str, Any]]:
    """A row per prior, noise level, and way of asking."""
    error = (truth - seen)[:, 3]
    for name, prior in priors.items():
        for level in LEVELS:
            for shown, draws in (("clean", 0), ("noisy", options.draws if prior.diffuses else 0)):
                if shown == "noisy" and not draws:
                    continue
                sigma = noise_level(level, prior.encoding.steps)[1]
                push = sigma**2 * noisy_score(prior, seen, level, draws, stream(0, "push", level))[:, 3]
                bands = {}
                for low, high, band in BANDS:
                    ours, theirs = band_of(push, low, high), band_of(error, low, high)
                    cosine = float((ours * theirs).sum() / (ours.norm() * theirs.norm()).clamp_min(1e-12))
                    bands[band] = {"cosine": cosine, "push": rms(ours)}
                yield {"prior": name, "level": level, "shown": shown, "bands": bands}


def band_of(maps: Float[Tensor, "patch h w"], low: int, high: int | None) -> Float[Tensor, "patch h w"]:
    """What cosine waves of low to high - 1 half periods along the longer count hold of the maps."""
    waves = dct(maps)
    kept = torch.zeros_like(waves)
    kept[..., :high, :high] = waves[..., :high, :high]
    kept[..., :low, :low] = 0.0
    return inverse_dct(kept)


def rms(values: Tensor) -> float:
    """Root mean square."""
    return float(values.square().mean().sqrt())


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
