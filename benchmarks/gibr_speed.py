"""How fast GIBR is: a step of training and where it goes, three photos to a scene, a frame of 1024 x 1024.

    python -m benchmarks.gibr_speed [--photos ../shared/data/fox]

A step is one of recipe `small`, forward and backward, on random pictures; its kernels are gathering (project points
into all views, read their maps), and the perceptron of each view with the maximum over views. The same step with the
torch references of gathering, maximum and compositing gives the ratio; the twins take turns, and the least time counts.
The scene is sampled with the shipped weights, twice: the first time compiles. The frame is rendered within
`--max-memory`.
"""

import json
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import tyro
from torch.profiler import ProfilerActivity, profile

from benchmarks.machine import machine
from diorama.cameras.poses import look_at
from diorama.data.multiview import MultiViews
from diorama.data.open import open_views
from diorama.kernels.twins import Twin, use_twin
from diorama.pipelines.draw import Drawing
from diorama.pipelines.gibr import GIBRRecipe, gibr_recipe, scene_loss
from diorama.pipelines.quantities import parse_bytes
from diorama.pipelines.reconstruct import reconstruct
from diorama.scenes.scene import Scene
from diorama.systems.gibr import GIBR

RESULTS = Path(__file__).parent / "results" / "gibr_speed.json"

KERNELS = {"gathering": "diorama::gather_views", "perceptron and maximum": "_PooledMlp", "agreement": "_Agreement"}
"""Beginnings of the names under which a profile lists a kernel, forward and backward."""


@dataclass(frozen=True)
class Options:
    """Seconds of a training step, a scene and a frame of GIBR."""

    photos: Path | None = None
    """A capture to sample a scene of; unset: no scene, no frame."""
    views: int = 3
    side: int = 1024
    max_memory: str = "4GB"
    repeats: int = 5
    output: Path = RESULTS


@dataclass
class Report:
    """What was measured."""

    machine: dict[str, Any] = field(default_factory=machine)
    step: dict[str, Any] = field(default_factory=dict)
    scene: dict[str, Any] = field(default_factory=dict)
    frame: dict[str, Any] = field(default_factory=dict)


def random_scenes(recipe: GIBRRecipe) -> dict[str, torch.Tensor]:
    """A batch as training sees it: cameras on rings about the origin, random pictures."""
    generator = torch.Generator().manual_seed(0)
    shape = (recipe.batch, recipe.config.views + recipe.training.held_out)
    side = recipe.config.pixels
    turn = 2 * torch.pi * (torch.arange(shape[1]) / shape[1] + torch.rand(shape[0], 1, generator=generator))
    centres = torch.stack([turn.cos(), turn.sin(), torch.full(shape, 0.3)], dim=-1).reshape(-1, 3)
    poses = look_at(centres, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])).reshape(*shape, 4, 4).float()
    images = torch.rand(*shape, 3, side, side, generator=generator)
    focal, centre = torch.full((*shape, 2), 1.1 * side), torch.full((*shape, 2), 0.5 * side)
    return MultiViews(images, poses, focal, centre, torch.ones(*shape, side, side)).to_batch()


def step_of(recipe: GIBRRecipe) -> Callable[[], None]:
    """One step of training without its update; the same random numbers each time."""
    network, loss, batch = GIBR(recipe.config), scene_loss(recipe.config, recipe.training), random_scenes(recipe)

    def step() -> None:
        network.zero_grad()
        terms = loss(network, batch, torch.Generator().manual_seed(0))
        torch.stack(list(terms.values())).sum().backward()

    return step


def time_twins(step: Callable[[], None], repeats: int) -> dict[Twin, float]:
    """Least seconds of a step by twin, after one turn that compiles and warms."""
    best: dict[Twin, float] = {"numba": float("inf"), "reference": float("inf")}
    for turn in range(repeats + 1):
        for twin in best:
            with use_twin(twin):
                start = time.perf_counter()
                step()
            if turn:
                best[twin] = min(best[twin], time.perf_counter() - start)
    return best


def kernels_of(step: Callable[[], None]) -> dict[str, float]:
    """Shares of a step's processor time that each of `KERNELS` takes, forward and backward."""
    with use_twin("numba"), profile(activities=[ProfilerActivity.CPU]) as found:
        step()
    events = found.key_averages()
    whole = sum(event.self_cpu_time_total for event in events)
    return {
        name: sum(event.cpu_time_total for event in events if event.key.startswith(begins)) / whole
        for name, begins in KERNELS.items()
    }


def scene_of(options: Options) -> tuple[Scene, list[float]]:
    """A sampled scene of some photos, and the seconds that each of two takes."""
    assert options.photos is not None
    views = open_views(options.photos, max_side=640)
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        scene = reconstruct(views, method="gibr", count=options.views, drawing=Drawing(1))
        seconds.append(time.perf_counter() - start)
    return scene, seconds


def main(options: Options) -> None:
    """Measure, print, and write the report."""
    report = Report()
    print(", ".join(f"{name}: {value}" for name, value in report.machine.items()))
    recipe = gibr_recipe("small")
    step = step_of(recipe)
    times, shares = time_twins(step, options.repeats), kernels_of(step)
    ratio = times["reference"] / times["numba"]
    report.step = {"seconds": times["numba"], "reference_seconds": times["reference"], "ratio": ratio, "shares": shares}
    told = ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
    print(
        f"a step of {recipe.batch} scenes: {times['numba']:.2f} s, {ratio:.1f} times as fast as the references; {told}"
    )
    if options.photos is not None:
        scene, seconds = scene_of(options)
        report.scene = {"photos": options.photos.name, "views": options.views, "first": seconds[0], "again": seconds[1]}
        print(f"{options.views} photos to a scene: {seconds[1]:.1f} s ({seconds[0]:.1f} s the first time)")
        camera = scene.cameras[:1].resize(options.side, options.side)
        scene.render(camera.resize(64, 64))
        start = time.perf_counter()
        scene.render(camera, max_memory=parse_bytes(options.max_memory))
        spent = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        report.frame = {"side": options.side, "seconds": spent, "max_memory": options.max_memory, "peak_gib": peak}
        print(
            f"a frame of {options.side} x {options.side} within {options.max_memory}: {spent:.1f} s, peak {peak:.1f} GB"
        )
    options.output.write_text(json.dumps(vars(report), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options))
