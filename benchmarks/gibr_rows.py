"""Options of the benchmark of GIBR, its rows, and where they are found again."""

import os
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from benchmarks.machine import machine
from benchmarks.rows import Row, kept_row, row_key, stored_rows
from diorama.errors import InputError
from diorama.files import write_json
from diorama.nets.pretrained import shipped
from diorama.pipelines.priors import SHIPPED_GIBR, open_gibr
from diorama.systems.gibr import GIBR

ROOT = Path(__file__).resolve().parents[1]
COMMAND = "python -m benchmarks.gibr"
REGRESSION = ROOT / "benchmarks" / "weights" / "gibr-small-regression"
IDENTITY = ("table", "scene", "views", "variant", "seed")

Table = Literal["ablation", "inputs", "samplers", "photos"]
TABLES: tuple[Table, ...] = ("ablation", "inputs", "samplers", "photos")


@dataclass(frozen=True)
class Options:
    """GIBR: what its parts are worth, what more inputs bring, its samplers, and real photos."""

    tables: tuple[Table, ...] = TABLES
    shard: str = "1/1"
    """I/N: the I-th of N parts of the rows, for N processes that share the folders (one thread each, on N cores)."""
    prior: Path | None = None
    """Folder of the trained model; unset: the one that comes with diorama, and no rows of it where there is none."""
    regression: Path | None = REGRESSION
    """photos: folder of a network of the same size that was trained without noise; None: no rows of it."""
    variants: tuple[str, ...] = ()
    """ablation and photos: only these; none named: all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """ablation: of the three variants in question, `full-alone` and `full-first`; the others take the first."""
    steps: int = 1200
    """ablation: steps of each network; about ten minutes of one core, and the same on every machine."""
    minutes: float | None = None
    """ablation: such a time on one core instead, which counts what their steps cost."""
    pixels: int = 32
    """ablation: side of the pictures."""
    training_worlds: int = 512
    """ablation: how many worlds are drawn to learn from, once."""
    drawn: Path | None = None
    """ablation: a folder where such worlds lie already (`worlds.stored.write_scenes`), instead of drawing them."""
    worlds: int = 32
    """Held-out worlds that networks are measured on."""
    few_worlds: int = 4
    """samplers: so many of them."""
    samples: int = 4
    """inputs, and photos that are refined: scenes drawn of each."""
    split: Literal["development", "test"] = "development"
    """photos: the scenes to tune on, or those to touch once."""
    scenes: tuple[str, ...] = ()
    """photos: only these; none named: all of the split."""
    views: tuple[int, ...] = (2, 3, 6)
    """photos: how many are given."""
    photo_seeds: tuple[int, ...] = (0,)
    side: int = 96
    """photos: the middle square of each is shrunk to this side, in pixels, for all methods and for measuring."""
    fit_steps: int = 1000
    """photos: steps of every fit."""
    tests: int = 8
    """photos: at most so many held-out ones are measured, evenly spread."""
    data: Path = field(default_factory=lambda: Path(os.environ.get("DIORAMA_DATA", ROOT.parent / "shared" / "data")))
    """Folder of the captures."""
    work: Path = ROOT / "out" / "gibr"
    """Worlds, runs, scenes, cached rows and contact sheets."""
    results: Path = ROOT / "benchmarks" / "results" / "gibr.json"
    device: str | None = None
    again: bool = False
    """Make rows anew that other code made than the present one."""

    @property
    def part(self) -> tuple[int, int]:
        """Which part, from 0, of how many. InputError where it is none."""
        first, _, last = self.shard.partition("/")
        if not (first.isdecimal() and last.isdecimal() and 1 <= int(first) <= int(last)):
            raise InputError(f"--shard {self.shard}: I/N with I from 1 to N is needed, as in --shard 1/2.")
        return int(first) - 1, int(last)


@dataclass(frozen=True)
class Job:
    """One row to be made."""

    table: Table
    scene: str
    views: int
    variant: str
    seed: int = 0

    @property
    def title(self) -> str:
        """The row's name, fit for a file."""
        return f"{self.table}_{self.scene}_{self.views}_{self.variant}_{self.seed}"

    @property
    def identity(self) -> Row:
        """What tells the row from all others."""
        return {name: getattr(self, name) for name in IDENTITY}


@dataclass(frozen=True)
class Bench:
    """The options, the models they name, and the rows that exist.

    make: False where nothing is to be made, and rows are only looked up.
    """

    options: Options
    model: GIBR | None
    regression: GIBR | None
    committed: dict[str, Row]
    notes: tuple[str, ...]
    make: bool = True

    @staticmethod
    def of(options: Options) -> "Bench":
        """Open the models; a note, a line long, for each that is not there."""
        notes, model, regression = [], None, None
        device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        if options.prior is None and SHIPPED_GIBR not in shipped():
            notes.append(
                f"no rows of trained weights: this version comes without them ({SHIPPED_GIBR}). Name the folder of a "
                "trained model with --prior."
            )
        else:
            model = open_gibr(options.prior, device)
        if options.regression is not None:
            regression = open_gibr(options.regression, device)
        elif "photos" in options.tables:
            notes.append("no rows of a regression network on photos: name the folder of one with --regression.")
        known = {row["key"]: row for row in stored_rows(options.results) if "key" in row}
        return Bench(options, model, regression, known, tuple(notes))

    def row(self, job: Job, decides: Row, code: str, make: Callable[[Path], Row], *, look: bool = True) -> Row | None:
        """A row from the work folder, from the committed results, or made now; None where it is not to be made.

        decides: settings and data, besides the row's name. code: what stands for the code that makes it.
        make: gets a folder for what it must not do twice.
        look: False where rows of the committed file do not count.
        """
        key = row_key({**job.identity, **decides})
        stored = self.options.work / "rows" / f"{job.title}_{key}.json"
        row = kept_row(key, code, stored, self.committed if look else {}, again=self.options.again)
        if row is not None or not self.make:
            return row
        place = self.options.work / "parts" / f"{job.title}_{row_key({'row': key, 'code': code})}"
        place.mkdir(parents=True, exist_ok=True)
        row = {"key": key, **job.identity, "code": code, **make(place), "machine": machine()}
        write_json(stored, row)
        return row


@contextmanager
def one_thread() -> Any:
    """So that a budget of time means the same on any number of cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
