"""A training on disk: what was asked, where it stands, and from where it goes on."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from diorama.data.tensors import load_tensors, save_tensors
from diorama.errors import InputError
from diorama.files import write_json
from diorama.training.checkpoint import pack, pack_average, unpack, unpack_average
from diorama.training.schedule import Horizon, ScheduleConfig, horizon_of_budget, horizon_of_steps
from diorama.training.watch import Watch
from diorama.training.weights import RAW, Weights, put_weights

ASKED, CHECKPOINT, TRUNK = "run.json", "checkpoint.safetensors", "trunk.safetensors"
"""What was asked; the last good state; the state before the rate fell, from which a longer run goes on."""


@dataclass(frozen=True)
class Length:
    """How long a run was asked to be: a number of steps in all, or seconds, or neither (until it is stopped)."""

    steps: int | None = None
    budget: float | None = None
    """Seconds."""

    def __post_init__(self) -> None:
        if self.steps is not None and self.budget is not None:
            raise InputError("both steps and a budget were given. Give one of them.")

    def horizon(self, schedule: ScheduleConfig, first: int, now: int, seconds: float) -> Horizon:
        """The horizon of a run at the constant rate that began with step `first` and stands at `now`."""
        if self.steps is not None:
            return horizon_of_steps(schedule, first, self.steps, now)
        if self.budget is not None:
            return horizon_of_budget(schedule, first, now, seconds, self.budget)
        return Horizon(first)


@dataclass
class Run:
    """A training between two steps. All of it is in a checkpoint; together with the seed it decides what follows.

    The random numbers of a step depend on seed, step and rank alone, and so does its batch: `step` is the position in
    the data and in every random stream.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel
    length: Length
    parts: int
    step: int = 0
    seconds: float = 0.0
    horizon: Horizon = field(default_factory=Horizon)
    watch: Watch = field(default_factory=Watch)
    whole: bool = True
    """False while an update is under way: an interrupted update must not be kept."""

    @property
    def ended(self) -> bool:
        """Whether all steps are taken."""
        return self.horizon.ended(self.step)

    def look_ahead(self, schedule: ScheduleConfig, *, first: int, trained: bool) -> None:
        """Set the horizon, as seen from here, of a run that began with step `first`, perhaps from trained weights."""
        horizon = self.length.horizon(schedule, first, self.step, self.seconds)
        self.horizon = replace(horizon, trained=trained)

    def save(self, file: Path) -> None:
        """Write all of it, whole or not at all. Raises OutputError; the file that was there then stays."""
        state = {
            "format": 1, "step": self.step, "seconds": self.seconds, "parts": self.parts,
            "length": asdict(self.length), "horizon": asdict(self.horizon), "watch": asdict(self.watch),
        }  # fmt: skip
        save_tensors(file, pack(self.network, self.optimizer) | pack_average(self.average), state)

    def load(self, file: Path) -> None:
        """Put back what `save` wrote, all but the length; of the parts of a batch the larger number counts.

        Raises InputError for another network or a broken file.
        """
        tensors, state = load_tensors(file)
        if state.get("format") != 1:
            raise InputError(f"{file} is no checkpoint of this version. Give another folder.")
        try:
            unpack(tensors, self.network, self.optimizer)
        except (ValueError, KeyError) as error:
            raise InputError(f"{file} is not a checkpoint of this network ({error}). Give another folder.") from error
        unpack_average(tensors, self.average)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.parts = max(self.parts, int(state["parts"]))
        self.horizon, self.watch = Horizon(**state["horizon"]), Watch(**state["watch"])


def open_run(
    run: Run,
    schedule: ScheduleConfig,
    folder: Path,
    continue_from: Weights | None,
    say: Callable[[str], None],
) -> None:
    """Bring a fresh run to where its folder stands: new, from other weights, resumed, or made longer.

    A run whose rate has begun to fall can only be made longer, from its trunk. Raises InputError.
    """
    if (folder / CHECKPOINT).is_file():
        _resume(run, schedule, folder, say)
        return
    if continue_from is not None:
        put_weights(continue_from, run.network, run.average)
        run.step = continue_from.step
        found = f"given weights at step {run.step}"
        if not continue_from.raw_known:
            found = f"averaged weights alone, as there is no {RAW} beside them: steps count from 0, the average is kept"
        say(f"goes on from {found}; the rate rises over {schedule.rewarm} steps")
    run.look_ahead(schedule, first=run.step, trained=continue_from is not None)


def _resume(run: Run, schedule: ScheduleConfig, folder: Path, say: Callable[[str], None]) -> None:
    _, state = load_tensors(folder / CHECKPOINT)
    before = Horizon(**state["horizon"])
    same = Length(**state["length"]) == run.length
    if before.total is not None and (same or before.total == run.length.steps):
        run.load(folder / CHECKPOINT)
        say(f"{folder}: resumed at step {run.step} of {before.total}")
        return
    falling = before.falling(int(state["step"]))
    if falling and not _is_longer(run.length, before, float(state["seconds"])):
        raise InputError(
            f"{folder} is already ending with step {before.total}, after {state['seconds']:.0f} s. To go on, ask for "
            "more steps or a longer budget than that."
        )
    if falling and not (folder / TRUNK).is_file():
        raise InputError(
            f"{folder} has no {TRUNK}, the state before the rate fell, so it cannot be made longer. Start another run "
            "that continues from its weights."
        )
    run.load(folder / (TRUNK if falling else CHECKPOINT))
    say(f"{folder}: {'made longer from' if falling else 'resumed at'} step {run.step}")
    run.look_ahead(schedule, first=before.first, trained=before.trained)


def _is_longer(length: Length, before: Horizon, seconds: float) -> bool:
    if length.steps is not None:
        return before.total is None or length.steps > before.total
    return length.budget is None or length.budget > seconds


def remember(folder: Path, asked: Mapping[str, Any]) -> None:
    """Write down what was asked; raises InputError, with the difference, where it was asked in other words before."""
    file = folder / ASKED
    asked = json.loads(json.dumps(dict(asked)))
    if not file.is_file():
        write_json(file, asked)
        return
    try:
        before = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(f"{file} is damaged ({error}). Give another folder.") from error
    changed = [f"{key} was {before.get(key)!r}, now {asked.get(key)!r}" for key in sorted({*before, *asked})
               if before.get(key) != asked.get(key)]  # fmt: skip
    if changed:
        raise InputError(
            f"{folder} holds a run with other settings: {'; '.join(changed)}. Give the same settings to go on with it, "
            "or another folder."
        )


def keep_trunk(folder: Path) -> None:
    """Keep a copy of the checkpoint apart."""
    aside = folder / f".{TRUNK}"
    shutil.copyfile(folder / CHECKPOINT, aside)
    aside.replace(folder / TRUNK)
