"""Held-out worlds as questions to a model: some of their views given, some denoised, others to measure by."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.gibr_figures import Sight, means, rounded, sample_values, scene_values, set_values, true_sight
from benchmarks.rooms import WORLDS_SEED
from benchmarks.rows import Row, locked, write_strip
from diorama.data.multiview import MultiViews, multi_views_of
from diorama.data.square import square_crop
from diorama.data.tensors import load_tensors, save_tensors
from diorama.diffusion.samplers import noise_from_seeds
from diorama.eval.measure import HeldOut
from diorama.eval.report import panels
from diorama.pipelines.gibr import WORLD_VIEWS, ZOOM
from diorama.pipelines.question import ExtraViews
from diorama.scenes.pictures import Pictures, render_views
from diorama.streams import stream
from diorama.systems.gibr import GIBR, GIBRSampling, sample
from diorama.types import Rendering
from diorama.worlds.dataset import ViewGroup, Worlds, WorldsConfig
from diorama.worlds.layouts import Kind
from diorama.worlds.shards import Shards
from diorama.worlds.stored import StoredMultiViews, write_scenes

SIDE = 64
"""Pixels of stored photographs; smaller ones are their area averages."""
HELD_OUT = 3
"""Views of each world that are neither given nor denoised."""
SHARD = 64
"""Worlds in a file."""
SHOWN = 4
"""Worlds on a contact sheet."""
LARGEST_STRIP = 96
"""Small pictures are enlarged up to about this side on contact sheets."""
CHUNK = 1024
"""Rays at a time, which decides nothing of the result: what a processor's caches hold."""


def drawn_worlds(work: Path, kinds: tuple[Kind, ...], count: int, *, held_out: bool) -> StoredMultiViews:
    """So many worlds (in whole files), drawn once; held-out ones are numbered apart from those to learn from."""
    each = min(count, SHARD) if held_out else SHARD
    seed = WORLDS_SEED if held_out else 0
    folder = work / "worlds" / f"{'held_out' if held_out else 'learned'}_{'-'.join(kinds)}_{each}"
    group = ViewGroup(Worlds(WorldsConfig(kinds=kinds, seed=seed)), WORLD_VIEWS, SIDE, SIDE, float(SIDE), ZOOM)
    with locked(folder):
        write_scenes(folder, group, -(-count // each), per_shard=each)
    return StoredMultiViews(Shards.open(folder))


def worlds_identity(kinds: tuple[Kind, ...], count: int, *, held_out: bool) -> Any:
    """What stands for drawn worlds in the key of a row: another processor may round a pixel another way."""
    return [*kinds, count, WORLDS_SEED if held_out else 0, SIDE, WORLD_VIEWS, list(ZOOM)]


def world_views(worlds: StoredMultiViews, index: int, pixels: int) -> MultiViews:
    """All views of one world in an order of chance, the last of them held out; the first is the reference."""
    order = torch.randperm(worlds.frame_count(index), generator=stream(0, "views of a benchmark", index)).tolist()
    return multi_views_of([square_crop(worlds.read(index, order), pixels)[0]], [0])[0]


@dataclass(frozen=True)
class Question:
    """One world: views that a model reads, the first of them given; views to measure by; what these show."""

    encoded: MultiViews
    given: Bool[Tensor, "scene view"]
    held: MultiViews
    sight: Sight


def question(model: GIBR, views: MultiViews, inputs: int, *, denoise: bool = True) -> Question:
    """So many views given, and as many more denoised as `reconstruct` would add (none for a regression)."""
    extra = ExtraViews().beside(inputs, model.config.views) if denoise else 0
    encoded, held = views.first(inputs + extra), views.last(HELD_OUT)
    given = (torch.arange(inputs + extra) < inputs)[None]
    return Question(encoded, given, held, true_sight(held, views.first(inputs)))


@dataclass(frozen=True)
class Answer:
    """One sampled scene from the held-out cameras; values: its figures; seconds: of denoising alone."""

    made: Pictures
    values: dict[str, float | None]
    seconds: float


def answer(model: GIBR, asked: Question, seed: int, sampling: GIBRSampling) -> Answer:
    """Sample the scene on the model's device, and render and measure what nobody gave."""
    device = next(model.parameters()).device
    encoded, held = (views.to(device) for views in (asked.encoded, asked.held))
    started = time.perf_counter()
    planes = sample(model, encoded, asked.given.to(device), noise_from_seeds([seed]), sampling, chunk=CHUNK).planes
    seconds = time.perf_counter() - started
    seen = render_views(model, planes, held, "keep", chunk=CHUNK)
    made = Pictures(*(part.cpu() for part in (seen.colour, seen.depth, seen.opacity, seen.near_mass)))
    return Answer(made, scene_values(made, asked.held, asked.sight), seconds)


@dataclass(frozen=True)
class Measured:
    """Worlds one after the other. values: of each world. renders, photos, hidden: of all held-out views in a row."""

    values: list[dict[str, float | None]]
    renders: Float[Tensor, "picture 3 h w"]
    photos: Float[Tensor, "picture 3 h w"]
    hidden: Bool[Tensor, "picture h w"]
    strips: list[dict[str, bytes]]

    def row(self) -> Row:
        """Means over worlds, distances between sets of pictures, and the figures of each world."""
        mean = means(self.values) | set_values(self.renders, self.photos, self.hidden)
        return {"mean": rounded(mean), "worlds": [rounded(values) for values in self.values]}


def measure(
    model: GIBR,
    worlds: StoredMultiViews,
    count: int,
    inputs: int,
    place: Path,
    *,
    pixels: int,
    samples: int = 1,
    sampling: GIBRSampling = GIBRSampling(),
    denoise: bool = True,
    seed: int = 0,
) -> Measured:
    """Ask a model about worlds; figures of a scene are means over its samples, sets and sheets show the first.

    place: a folder for what was measured of each world, so that a run that is stopped goes on with the next.
    """
    values, renders, photos, hidden, strips = [], [], [], [], []
    for index in range(count):
        asked = question(model, world_views(worlds, index, pixels), inputs, denoise=denoise)
        file = place / f"{index:04d}.safetensors"
        if not file.is_file():
            seeds = [stream(seed, f"sample {number}", index).initial_seed() for number in range(samples)]
            answers = [answer(model, asked, one, sampling) for one in seeds]
            save_answers(file, answers, asked)
        first, figures = first_of(file)
        values.append(figures)
        renders.append(first.colour)
        photos.append(asked.held.images[0])
        hidden.append(asked.sight.hidden)
        if index < SHOWN:
            strips.append(shown(first, asked.held))
    return Measured(values, torch.cat(renders), torch.cat(photos), torch.cat(hidden), strips)


def save_answers(file: Path, answers: list[Answer], asked: Question) -> None:
    """The figures of all samples of a world, and the pictures of the first."""
    drawn = torch.stack([one.made.colour[0] for one in answers])
    each = means([one.values | {"seconds": one.seconds} for one in answers])
    first = answers[0].made
    pictures = {"colour": first.colour[0], "depth": first.depth[0], "opacity": first.opacity[0]}
    save_tensors(file, pictures, each | sample_values(drawn, asked.held.images[0], asked.sight))


def first_of(file: Path) -> tuple[Rendering, dict[str, float | None]]:
    """What `save_answers` wrote."""
    pictures, figures = load_tensors(file)
    return Rendering(pictures["colour"], pictures["depth"], pictures["opacity"]), figures


def shown(made: Rendering, held: MultiViews) -> dict[str, bytes]:
    """The first held-out view for a contact sheet."""
    times = max(1, LARGEST_STRIP // held.size)

    def large(picture: Tensor) -> Tensor:
        return picture.repeat_interleave(times, -1).repeat_interleave(times, -2)

    rendering = Rendering(*(large(part[:1]) for part in (made.colour, made.depth, made.opacity)))
    camera = held.cameras()[0][:1]
    return panels(HeldOut("", large(held.images[0, 0]), camera, depth=large(held.depth[0, 0])), rendering)


def strip(work: Path, title: str, found: Measured) -> None:
    """The worlds of a row side by side."""
    write_strip(strip_file(work, title), found.strips, title)


def strip_file(work: Path, title: str) -> Path:
    """Where it lies."""
    return work / "strips" / f"{title}.png"
