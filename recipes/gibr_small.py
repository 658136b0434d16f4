"""GIBR `small` from nothing, on one or two CPU cores: a curriculum of runs, each of which goes on from the one before.

    python -m recipes.gibr_small -o runs/gibr_small --textures PHOTOS --minutes 75

The same command, again and again, until it says that all is done. Worlds are drawn once for all stages but the last,
which has larger ones of its own. A stage that is finished is passed over; one that was stopped goes on. What comes of
it is `OUTPUT/STAGE/model` of the last stage.
"""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from diorama.data.multiview import Squares
from diorama.pipelines.reconstruct import choose_device
from diorama.pipelines.train import command
from diorama.pipelines.train_options import Options as Training
from diorama.training.gradient import lacks_bf16
from diorama.worlds.layouts import Kind


@dataclass(frozen=True)
class Stage:
    """A run of the curriculum."""

    name: str
    pixels: int
    views: int
    no_clean: float
    """Probability that no view is clean; 0 at first, while what a scene is has to be learned."""
    budget: str
    squares: Squares = "middle"
    """Which square of its photo a view shows; anywhere needs larger worlds, which are drawn for those stages."""
    times: Literal["uniform", "high"] = "uniform"
    """How noisy the views are; only the noisier half at first, when the clean views must say what a scene is."""


STAGES = (
    Stage("1_small_pictures", 32, 4, 0.0, "25m", times="high"),
    Stage("2_full_size", 48, 4, 0.15, "240m"),
    Stage("3_more_views", 48, 5, 0.15, "90m"),
    Stage("4_larger_pictures", 64, 5, 0.15, "60m"),
    Stage("5_squares_anywhere", 64, 5, 0.15, "60m", "anywhere"),
)
KINDS: tuple[Kind, ...] = ("object", "object", "outdoor", "room")


@dataclass(frozen=True)
class Options:
    """Train GIBR `small` by stages; stops after some minutes, and goes on when it is called again."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the runs."""
    textures: Path | None = None
    """Photos that a part of the materials show crops of."""
    worlds: int = 4096
    """Drawn before the first stage: 20 MB a hundred."""
    minutes: float | None = None
    """Stop after so long."""
    continue_from: Path | None = None
    """Weights that the first unfinished stage goes on from, where the runs before it are not at hand."""


def main(options: Options) -> int:
    """Run the stages that are missing; 0 when all are done, 130 when the time is up."""
    try:
        with time_limit(options.minutes):
            run_stages(options)
    except KeyboardInterrupt:
        print("the time is up; the same command goes on")
        return 130
    print(f"all stages are done: {options.output / STAGES[-1].name / 'model'}")
    return 0


def run_stages(options: Options) -> None:
    """Every stage in turn, from the weights of the one before."""
    before = options.continue_from
    for stage in STAGES:
        folder = options.output / stage.name
        if not (folder / "model" / "config.json").is_file():
            began = time.perf_counter()
            command(training(stage, folder, before, options))
            print(f"{stage.name}: {(time.perf_counter() - began) / 60:.0f} minutes in this call")
        before = folder / "model"


def training(stage: Stage, folder: Path, before: Path | None, options: Options) -> Training:
    """What `diorama train gibr` is asked for a stage."""
    slow = lacks_bf16(torch.device(choose_device(None)))
    return Training(
        "gibr", folder, size="small", budget=stage.budget, textures=options.textures, worlds=options.worlds,
        kinds=KINDS, scenes=options.output / f"scenes_{stage.squares}", squares=stage.squares, pixels=stage.pixels,
        views=stage.views, no_clean=stage.no_clean, times=stage.times, continue_from=before,
        precision="full" if slow else "bf16",
    )  # fmt: skip


@contextmanager
def time_limit(minutes: float | None) -> Iterator[None]:
    """KeyboardInterrupt, as from Ctrl-C, after so many minutes."""
    if minutes is None:
        yield
        return

    def up(number: int, frame: object) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, up)
    signal.setitimer(signal.ITIMER_REAL, 60.0 * minutes)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options)))
