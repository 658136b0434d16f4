"""`diorama demo`: three photos of a scene in the box become a scene, which is measured against the exact truth."""

import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from diorama.data.images import write_png
from diorama.data.open import open_views
from diorama.data.transforms import write_transforms
from diorama.data.views import Views
from diorama.errors import OutputError
from diorama.eval.metrics import depth_errors, psnr
from diorama.export.video import write_video
from diorama.pipelines.reconstruct import Progress, reconstruct
from diorama.rendering.false_colour import colour_depth
from diorama.scenes.scene import Scene
from diorama.types import RenderFn, Rendering
from diorama.worlds.builtin import cameras_around, table_top
from diorama.worlds.trace import photograph

PHOTOS = (-20.0, 0.0, 20.0)
"""Where the three photos are taken, in degrees around the table."""
HELD_OUT = (-10.0, 10.0)
"""Where the scene is compared with the truth, which the fit never saw."""
SWING = 22.0
"""The film swings this many degrees to either side."""
FILM_SECONDS = 35.0
"""The film gets as many frames as can be drawn in this time, between 8 and 36."""


@dataclass(frozen=True)
class Options:
    """The whole road on a small scene in the box: three photos, a fit, figures against the exact truth, a film.

    Needs no download and takes at most two minutes on two cores.
    """

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("diorama_demo")
    """Folder for the photos, the scene, the film and the preview."""
    budget: str = "60s"
    """Time for the fit: `30s`, `2m`."""
    width: int = 240
    """Width of the photos in pixels; they are three quarters as high."""
    seed: int = 0
    """Seed of every random choice."""
    force: bool = False
    """Replace a demo folder that exists already."""


@dataclass(frozen=True)
class Result:
    """What the demo found out."""

    psnr: float
    """Held-out PSNR in dB, mean over the held-out views."""
    depth_error: float
    """Held-out depth: mean over the views of the mean |depth - truth| / truth, where the truth is not sky."""
    seconds: float
    """Wall time of everything."""
    scene: Path
    film: Path
    preview: Path


def command(options: Options) -> int:
    """Run the demo and print what came of it."""
    result = demo(options.output, budget=options.budget, width=options.width, seed=options.seed, force=options.force)
    print(f"\nheld-out PSNR   {result.psnr:.1f} dB")
    print(f"held-out depth  {100 * result.depth_error:.1f} % mean relative error against the exact truth")
    print(f"film            {result.film}")
    print(f"preview         {result.preview}  (photos; held-out truth, render and depth)")
    print(f"took            {result.seconds:.0f} s\n")
    print(f"Look around in it:  diorama view {result.scene}")
    return 0


def demo(
    output: Path,
    *,
    budget: str | None = "60s",
    steps: int | None = None,
    width: int = 240,
    film_frames: int | None = None,
    seed: int = 0,
    force: bool = False,
) -> Result:
    """Photograph the built-in table-top, reconstruct it through the public door, measure it, film it.

    steps: of the fit, in place of the budget. film_frames: how many pictures the film draws; None fills `FILM_SECONDS`.
    Raises OutputError if `output` exists and is not an unfinished demo, unless `force` is given.
    """
    started = time.perf_counter()
    make_room(output, force=force)
    world, height = table_top(), width * 3 // 4
    print(f"1. photographing the table-top: {len(PHOTOS)} photos for the fit, {len(HELD_OUT)} held out", flush=True)
    photos = photograph(world, cameras_around(PHOTOS, width=width, height=height))
    truth = photograph(world, cameras_around(HELD_OUT, width=width, height=height))
    write_photos(output / "photos", photos)

    print(f"2. reconstructing {output / 'photos'} ({f'{steps} steps' if steps else budget})", flush=True)
    views = open_views(output / "photos")
    scene = fit(views, output / "scene", seed=seed, budget=None if steps else budget, steps=steps)

    print("3. comparing with the truth, filming", flush=True)
    assert truth.cameras is not None
    before = time.perf_counter()
    seen = scene.render(truth.cameras)
    per_view = (time.perf_counter() - before) / len(HELD_OUT)
    write_png(output / "preview.png", contact_sheet(photos, truth, seen))
    count = film_frames or min(36, max(8, int(FILM_SECONDS / max(per_view, 1e-3))))
    frames = film(scene.render, count, width=width, height=height)
    write_video(output / "orbit.mp4", frames, fps=max(8.0, len(frames) / 4))
    return Result(
        psnr=float(psnr(seen.colour, truth.images).mean()),
        depth_error=_depth_error(seen, truth),
        seconds=time.perf_counter() - started,
        scene=output / "scene",
        film=output / "orbit.mp4",
        preview=output / "preview.png",
    )


def fit(views: Views, output: Path, *, seed: int, budget: str | None, steps: int | None) -> Scene:
    """Reconstruct from all photos, with a progress bar; goes on where a stopped demo left off."""
    from tqdm import tqdm

    with tqdm(unit="step", dynamic_ncols=True, leave=False, disable=None) as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.steps
            bar.update(progress.step - bar.n)

        def say(line: str) -> None:
            bar.write(f"   {line}")

        return reconstruct(
            views,
            seed=seed,
            budget=budget,
            steps=steps,
            split="none",
            output=output,
            force=output.exists(),
            callback=show,
            say=say,
        )


def make_room(output: Path, *, force: bool) -> None:
    """Make the output folder; an unfinished demo is gone on with, a finished one replaced only by force."""
    ours = (output / "photos" / "transforms.json").is_file()
    finished = (output / "orbit.mp4").exists()
    if output.exists() and not (ours and not finished):
        if not (force and ours):
            advice = "Add --force to make it anew, or" if ours else "It holds no demo, so it is left alone:"
            raise OutputError(f"{output} exists already. {advice} choose another folder with -o.")
        shutil.rmtree(output)
    output.mkdir(parents=True, exist_ok=True)


def write_photos(folder: Path, photos: Views) -> None:
    """Photos as anybody would have them: PNG files and a transforms.json beside them."""
    assert photos.cameras is not None
    names = tuple(f"images/{name}" for name in photos.names)
    for name, image in zip(names, photos.images, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / name, image)
    write_transforms(folder / "transforms.json", photos.cameras, names, photos.frame)


def film(render: RenderFn, count: int, *, width: int, height: int) -> list[Float[Tensor, "3 h w"]]:
    """A swing through the arc of the photos, `count` pictures there and the same ones back."""
    angles = tuple(-SWING * math.cos(math.pi * index / (count - 1)) for index in range(count))
    there = list(render(cameras_around(angles, width=width, height=height)).colour)
    return there + there[-2:0:-1]


def contact_sheet(photos: Views, truth: Views, seen: Rendering) -> Float[Tensor, "3 h w"]:
    """Above, the photos; below, for each held-out view: truth, render, depth."""
    assert truth.depth is not None
    known = truth.depth[truth.depth > 0]
    near, far = (float(known.quantile(q)) for q in (0.01, 0.90))
    depths = colour_depth(seen.depth, torch.ones_like(seen.depth), near, far).transpose(0, 1)
    rows = [list(photos.images), *(list(row) for row in zip(truth.images, seen.colour, depths, strict=True))]
    gap = 4
    padded = [torch.cat([_framed(image, gap) for image in row], dim=2) for row in rows]
    return torch.cat(padded, dim=1)


def _framed(image: Tensor, gap: int) -> Tensor:
    return torch.nn.functional.pad(image, (gap, gap, gap, gap), value=1.0)


def _depth_error(seen: Rendering, truth: Views) -> float:
    assert truth.depth is not None
    pairs = zip(seen.depth, truth.depth, strict=True)
    errors = [depth_errors(rendered, exact)["depth_abs_rel"] for rendered, exact in pairs]
    return sum(errors) / len(errors)
