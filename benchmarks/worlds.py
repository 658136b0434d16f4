"""Do procedural worlds look like photographs, in figures, and how fast are they drawn?

    python -m benchmarks.worlds [--data ../shared/data] [--textures DIR] [--pictures 48]

Real pictures are brought to the field of view of the patch prior's camera: those with depth to a focal length of 175
pixels, the others to 256 pixels across. Scenes that are kept for tests are not looked at. Sizes: whole pictures of the
patch prior's camera for the figures, 96 x 96 and 48 x 48 for the rates.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import torch

from benchmarks.machine import machine
from diorama.data.images import read_image
from diorama.data.rgbd_coding import to_depth
from diorama.data.rgbd_patches import open_rgbd, shrink
from diorama.worlds.dataset import PatchGroup, PictureGroup, Worlds, WorldsConfig, expose, standing_cameras
from diorama.worlds.film import develop, sample_film
from diorama.worlds.layouts import Kind
from diorama.worlds.photos import photos_below
from diorama.worlds.shards import Shards
from diorama.worlds.statistics import SLANT, STEEPNESS, Picture, Summary, distance, summarise
from diorama.worlds.stored import StoredPatches, write_windows

RESULTS = Path(__file__).parent / "results" / "worlds.json"
PHOTOS = ("fox", "co3d_apple", "strecha_fountain_P11", "unposed_room", "odm_banana", "single_grocery")
"""Real photographs without depth that no test uses."""
DEPTHS = ("rgbd_7scenes_redkitchen",)
"""Real photographs with depth that no test uses (the depth of this one is not registered to its colour)."""
FIGURES = (
    "brightness", "contrast", "red_blue", "chroma", "chroma_high", "slope", "flat", "steep", "kurtosis",
    "nearest", "middle", "farthest", "sky", "edges", "aligned",
)  # fmt: skip
SIDE = 96
"""Pixels of the square pictures whose rate is measured."""


def real_photos(data: Path, name: str, count: int) -> list[Picture]:
    """Some photos of a set, 256 pixels across; masks and depth maps are left out."""
    files = [file for file in photos_below(data / name) if not {"mask", "masks", "depth"} & set(file.parts)]
    files = [file for file in files if "depth" not in file.name and "mask" not in file.name]
    return [Picture(read_image(file, 256)[0]) for file in files[:: max(1, len(files) // count)][:count]]


def real_depths(data: Path, name: str, count: int) -> list[Picture]:
    """Some pictures with depth, at a focal length of 175 pixels."""
    frames, pictures = open_rgbd(data / name), []
    for index in range(0, len(frames), max(1, len(frames) // count)):
        colour, depth, focal = frames.read(index)
        small, disparity, known = shrink(colour, depth, focal, min(175.0, float(focal[0])))
        pictures.append(Picture(small, torch.where(known, to_depth(disparity), 0.0)))
    return pictures


def world_pictures(worlds: Worlds, count: int) -> list[Picture]:
    """Whole pictures of the patch prior's camera, two a world, on random films; depth before scaling."""
    group = PictureGroup(worlds, 256, 192, 175.0, per_world=2)
    pictures = []
    for index in range((count + 1) // 2):
        shot = worlds.shot(index)
        pose, gain = standing_cameras(shot, worlds.config, 2, group.window)
        seen = expose(shot, group.cameras(pose), gain, worlds.config)
        photos = develop(seen.colour, sample_film(2, shot.generator, worlds.config.film), shot.generator)
        pictures += [Picture(photo, depth) for photo, depth in zip(photos, seen.depth, strict=True)]
    return pictures[:count]


def table(rows: dict[str, Summary], photos: Summary, depths: Summary | None) -> str:
    """One line a set; the last columns tell how far its gradients are from the real ones, in factors of ten."""
    lines = [f"{'':24s}" + "".join(f"{name:>12s}" for name in (*FIGURES, "gradients", "slants"))]
    for name, row in rows.items():
        cells = [getattr(row, figure) for figure in FIGURES]
        cells.append(distance(row.gradients, photos.gradients, STEEPNESS))
        both = depths is not None and bool(row.slants)
        cells.append(distance(row.slants, depths.slants, SLANT) if depths is not None and both else float("nan"))
        lines.append(f"{name:24s}" + "".join(f"{cell:12.3f}" for cell in cells))
    return "\n".join(lines)


def least(function: Callable[[int], object], repeats: int) -> float:
    """Least seconds of several calls, after one that compiles and warms; each gets a number of its own."""
    function(0)
    seconds = []
    for index in range(1, repeats + 1):
        start = time.perf_counter()
        function(index)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def rate(make: Callable[[int], Sequence[object]], groups: int) -> dict[str, float]:
    """How many of what a group makes come a second, and for each second of a core (which other work does not slow)."""
    make(0)
    wall, cores = time.perf_counter(), time.process_time()
    made = sum(len(make(index)) for index in range(1, groups + 1))
    return {
        "per_second": made / (time.perf_counter() - wall),
        "per_core_second": made / (time.process_time() - cores),
    }


def rates(worlds: Worlds, groups: int) -> dict[str, dict[str, float]]:
    """Pictures of 96 x 96 and patches of 48 x 48, eight a world; worlds, cameras and film included."""
    return {
        "pictures": rate(PictureGroup(worlds, SIDE, SIDE, float(SIDE), per_world=8), groups),
        "patches": rate(PatchGroup(worlds, per_world=8), groups),
    }


def stored_batch(worlds: Worlds, repeats: int) -> float:
    """Seconds to read, cut, develop and encode 64 patches of 48 x 48 from stored windows."""
    with tempfile.TemporaryDirectory() as folder:
        write_windows(Path(folder), worlds, 1, per_shard=4)
        return least(StoredPatches(Shards.open(Path(folder))), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--textures", type=Path, default=None)
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--groups", type=int, default=12, help="worlds whose drawing is timed")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as torch takes")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    kinds = get_args(Kind)
    rows: dict[str, Summary] = {}
    found = [name for name in PHOTOS if (options.data / name).is_dir()]
    rows |= {name: summarise(real_photos(options.data, name, 12)) for name in found}
    everything = [picture for name in found for picture in real_photos(options.data, name, 12)]
    with_depth = [name for name in DEPTHS if (options.data / name).is_dir()]
    rows |= {name: summarise(real_depths(options.data, name, 12)) for name in with_depth}
    drawn = {kind: Worlds(WorldsConfig((kind,), textures=options.textures)) for kind in kinds}
    rows |= {f"world: {kind}": summarise(world_pictures(worlds, options.pictures)) for kind, worlds in drawn.items()}
    print(", ".join(f"{name}: {value}" for name, value in machine().items()))
    report: dict[str, object] = {"machine": machine(), "pictures": options.pictures}
    report["textures"] = None if options.textures is None else options.textures.name
    if everything:
        photos = summarise(everything)
        depths = rows[with_depth[0]] if with_depth else None
        rows["all real photos"] = photos
        print(table(rows, photos, depths))
    speed = {kind: rates(worlds, options.groups) for kind, worlds in drawn.items()}
    for kind, found_rates in speed.items():
        for what, each in found_rates.items():
            print(f"{kind:10s}{what:10s}{each['per_second']:8.1f} a second{each['per_core_second']:8.1f} a core second")
    batch = stored_batch(drawn[kinds[0]], 20)
    print(f"a batch of 64 stored patches: {1e3 * batch:.0f} ms")
    report |= {"speed": speed, "stored_batch_seconds": batch}
    report["statistics"] = {name: _finite(asdict(row)) for name, row in rows.items()}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _finite(row: dict) -> dict:
    return {name: None if isinstance(value, float) and value != value else value for name, value in row.items()}


if __name__ == "__main__":
    main()
