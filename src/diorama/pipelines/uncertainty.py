"""Several scenes of the same photos in one folder, and how much they disagree at every pixel.

    OUTPUT                  the first scene, whole, as if it were alone
    OUTPUT/samples/001 ...  the others, each a whole scene
    OUTPUT/spread/          the spread from the cameras of all photos, held-out ones too: numbers and pictures

The spread is a standard deviation over scenes: large where the photos do not decide. It is not an error bar: what all
scenes get wrong alike (a wrong pose, a habit of the method) does not show, and it says nothing of single pixels' odds.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras, join_cameras
from diorama.data.images import write_png
from diorama.data.tensors import save_tensors
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.eval.samples import spread_map
from diorama.files import whole_folder, write_json
from diorama.pipelines.fit_run import FitRun
from diorama.pipelines.workspace import Workspace
from diorama.rendering.false_colour import heat
from diorama.scenes.scene import DEFAULT_MEMORY, Scene
from diorama.scenes.storage import load_scene, save_scene
from diorama.scenes.visibility import shrunk
from diorama.streams import stream
from diorama.types import RenderFn, Rendering

SAMPLES, SPREAD = "samples", "spread"
"""Sub-folders of a scene that is the first of several."""

MEANING = (
    "standard deviation over scenes that were made independently of the same photos: how much they disagree. "
    "Not an error bar: what all of them get wrong alike does not show"
)

FULL = {"colour": 0.25, "depth": 0.25}
"""What is shown as light yellow: this standard deviation of colour in [0, 1], and of depth as a share of its mean."""

STORED_SIDE = 160
"""Pixels of the longer side of stored maps."""

SOLID = 0.5
"""A scene that is less opaque than this has no depth there."""

What = Literal["colour", "depth"]


@dataclass(frozen=True)
class Several:
    """How many fits, and in what they differ."""

    fits: int = 4
    """With seeds that follow each other; the first has the seed that was asked for."""
    dropout: float = 0.0
    """Share of every photo's pixels that a fit does not learn from, in random blocks of its own; the first has all."""
    block: int = 16
    """Pixels a side of these blocks."""

    def __post_init__(self) -> None:
        if self.fits < 2:
            raise InputError(f"the spread of {self.fits} fit says nothing. Give --uncertainty 2 or more.")
        if not (0.0 <= self.dropout <= 0.9 and self.block > 0):
            raise InputError(f"{self.dropout:g} of the pixels cannot be left out. Give --uncertainty-dropout 0 to 0.9.")


# The spread of any scenes --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spread:
    """How much scenes disagree, as seen from some cameras.

    colour: standard deviation in [0, 1], root mean square over channels. depth: of planar depth, user units, over the
    scenes that are at least half opaque there; 0 where fewer than two are. n - 1 in both denominators. mean: of colour
    and opacity over all scenes, of depth over those that have one.
    """

    colour: Float[Tensor, "view h w"]
    depth: Float[Tensor, "view h w"]
    mean: Rendering

    @property
    def relative_depth(self) -> Float[Tensor, "view h w"]:
        """`depth` as a share of its mean; 0 where there is none."""
        return torch.where(self.mean.depth > 0, self.depth / self.mean.depth.clamp_min(1e-9), 0.0)


def spread_of(scenes: Sequence[RenderFn], cameras: Cameras) -> Spread:
    """The spread of two or more scenes from cameras of their common user frame."""
    drawn = [scene(cameras) for scene in scenes]
    colours, opacity = torch.stack([one.colour for one in drawn]), torch.stack([one.opacity for one in drawn])
    depths, solid = torch.stack([one.depth for one in drawn]).double(), (opacity > SOLID).double()
    count = solid.sum(0)
    mean = (solid * depths).sum(0) / count.clamp_min(1)
    variance = (solid * (depths - mean).square()).sum(0) / (count - 1).clamp_min(1)
    return Spread(
        spread_map(colours).to(colours.dtype),
        (variance.sqrt() * (count >= 2)).to(colours.dtype),
        Rendering(colours.mean(0), mean.to(colours.dtype), opacity.mean(0)),
    )


def spread_pictures(scenes: Sequence[RenderFn], what: What) -> RenderFn:
    """Draws the spread as colours (black over red to light yellow, full at `FULL`), with the scenes' mean depth."""

    def draw(cameras: Cameras) -> Rendering:
        found = spread_of(scenes, cameras)
        return Rendering(as_heat(found, what), found.mean.depth, found.mean.opacity)

    return draw


def open_spread(scene: Path, what: What, *, device: str | None = None, max_memory: str | None = None) -> RenderFn:
    """The spread of a set on disk, as `spread_pictures` draws it, each scene within a limit of memory (`4GB`)."""
    from diorama.pipelines.quantities import memory_limit
    from diorama.pipelines.reconstruct import choose_device

    limit = memory_limit(max_memory)
    scenes = open_samples(scene, choose_device(device))
    return spread_pictures([partial(one.render, max_memory=limit) for one in scenes], what)


def spread_words(what: What) -> str:
    """What the colours of `spread_pictures` mean."""
    of = "" if what == "colour" else " of its mean"
    return f"spread of {what}: black is 0, light yellow {FULL[what]:g}{of} and more; {MEANING}"


def as_heat(spread: Spread, what: What) -> Float[Tensor, "view 3 h w"]:
    """A spread as colours."""
    values = spread.colour if what == "colour" else spread.relative_depth
    return heat(values / FULL[what]).transpose(0, 1).contiguous()


# Several scenes in one folder ----------------------------------------------------------------------------------------


def sample_folders(scene: Path) -> list[Path]:
    """The folders of all scenes of a set, the first one's first; of a scene that is alone, its own."""
    return [scene, *sorted(card.parent for card in (scene / SAMPLES).glob("*/scene.json"))]


def open_samples(scene: Path, device: str | torch.device = "cpu") -> list[Scene]:
    """All scenes of a set. InputError where there is only one."""
    folders = sample_folders(scene)
    if len(folders) < 2:
        raise InputError(
            f"{scene} holds a single scene, which has no spread. Make several: `diorama reconstruct PHOTOS "
            "--uncertainty 4`."
        )
    return [load_scene(folder, device) for folder in folders]


def make_samples(make: Callable[[int, Path], None], count: int, work: Path) -> list[Path]:
    """Scenes 0 to count - 1 below a folder of unfinished work; those that are whole there are not made again.

    make: saves the scene of a number at a place, whole or not at all.
    """
    folders = [work / SAMPLES / f"{index:03d}" for index in range(count)]
    for index, folder in enumerate(folders):
        if not (folder / "scene.json").is_file():
            make(index, folder)
    return folders


def gather_samples(folders: Sequence[Path], output: Path, *, force: bool = False) -> None:
    """Scenes that lie somewhere as one set at `output`, whole or not at all. What lies there now stays: files are
    linked where the disk can."""
    with whole_folder(output, force=force) as partial:
        for index, folder in enumerate(folders):
            place = partial if index == 0 else partial / SAMPLES / f"{index:03d}"
            shutil.copytree(folder, place, copy_function=_link_or_copy, dirs_exist_ok=True)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def save_spread(
    folder: Path, scenes: Sequence[Scene], side: int = STORED_SIDE, *, max_memory: int = DEFAULT_MEMORY
) -> Spread:
    """Write `folder/spread`: the spread from the cameras of the first scene's photos, held-out ones too.

    spread.safetensors: colour, depth (user units) and mean_depth, as in `Spread`, at most `side` pixels a side.
    spread.json: what they mean, names and sizes. NNN.png: colour and depth beside each other, as heat. max_memory:
    bytes for the samples of rays.
    """
    first = scenes[0]
    held = () if first.held_out is None else tuple(first.provenance["split"]["test"])
    cameras = first.cameras if first.held_out is None else join_cameras([first.cameras, first.held_out])
    small = join_cameras([shrunk(cameras[index : index + 1], side) for index in range(len(cameras))])
    names = [*first.names, *held]
    found = spread_of([partial(scene.render, max_memory=max_memory) for scene in scenes], small)
    pictures = torch.cat([as_heat(found, "colour"), as_heat(found, "depth")], dim=-1)
    tensors = {"colour": found.colour, "depth": found.depth, "mean_depth": found.mean.depth}
    with whole_folder(folder / SPREAD, force=True) as temporary:
        save_tensors(temporary / "spread.safetensors", tensors, {"names": names})
        for index, picture in enumerate(pictures):
            write_png(temporary / f"{index:03d}.png", picture)
        note = {
            "meaning": MEANING, "scenes": len(scenes), "names": names, "sizes": small.size.tolist(),
            "units": first.frame.units, "shown_full": FULL, "median_colour": _median(found.colour),
            "median_relative_depth": _median(found.relative_depth),
        }  # fmt: skip
        write_json(temporary / "spread.json", note)
    return found


def _median(values: Tensor) -> float:
    return round(float(values.median()), 6)


# Several fits --------------------------------------------------------------------------------------------------------


def fit_several(
    run: FitRun, several: Several, steps: int, provenance: dict[str, Any], output: Path, *, force: bool
) -> Scene:
    """Run a fit so many times with seeds that follow each other, and save them as one set with its spread.

    Everything but the seed (and the blocks left out) is the same: poses, split, stereo, steps. `run.work` keeps fits
    that are whole and the checkpoint of the one in hand, so that the same call goes on after a kill. Returns the first.
    """
    assert run.work is not None

    def make(index: int, place: Path) -> None:
        seed, work = run.seed + index, Workspace(place.with_name(place.name + ".partial"))
        run.say(f"fit {index + 1} of {several.fits}, seed {seed}")
        views = run.plan.views if index == 0 else with_blocks_left_out(run.plan.views, several, seed)
        one = replace(run, plan=replace(run.plan, views=views), seed=seed, work=work, sample=index)
        notes = provenance | {"seed": seed, "uncertainty": asdict(several) | {"sample": index}}
        save_scene(one.to_the_end(steps, notes), place)
        work.finish()

    folders = make_samples(make, several.fits, run.work.folder)
    run.say(f"the spread of {several.fits} fits is drawn from all photos' cameras")
    found = save_spread(folders[0], [load_scene(folder, run.device) for folder in folders])
    gather_samples(folders, output, force=force)
    run.work.finish()
    run.say(
        f"{output / SPREAD}: median spread of colour {_median(found.colour):.3f}, of depth "
        f"{_median(found.relative_depth):.1%}; {MEANING}"
    )
    return load_scene(output, run.device)


def with_blocks_left_out(views: Views, several: Several, seed: int) -> Views:
    """The views with random blocks of pixels to be ignored, besides those that are ignored already."""
    if several.dropout == 0:
        return views
    count, _, height, width = views.images.shape
    rows, columns = -(-height // several.block), -(-width // several.block)
    left_out = torch.rand(count, rows, columns, generator=stream(seed, "blocks left out")) < several.dropout
    blocks = left_out.repeat_interleave(several.block, 1).repeat_interleave(several.block, 2)[:, :height, :width]
    return replace(views, ignore=blocks if views.ignore is None else views.ignore | blocks)
