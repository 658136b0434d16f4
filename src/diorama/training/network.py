"""Training of a network: steps as a generator that the caller may stop, plot or test."""

import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from diorama.errors import InputError
from diorama.nets.ema import averaged_model
from diorama.streams import stream
from diorama.training.batches import Batch, Batches, sample_count
from diorama.training.compiled import compiled
from diorama.training.distributed import current_share, mean_over_ranks, parallel, wait_for_all
from diorama.training.gradient import LossFn, Precision, batch_gradient
from diorama.training.log import Record, RunLog
from diorama.training.loop import NonFiniteLossError
from diorama.training.memory import peak_memory
from diorama.training.optim import AdamWConfig, adamw, set_rates
from diorama.training.run import CHECKPOINT, Length, Run, keep_trunk, open_run, remember
from diorama.training.schedule import ScheduleConfig, rate_factor
from diorama.training.watch import ADVICE, WatchConfig
from diorama.training.weights import Weights, digest_of


@dataclass(frozen=True)
class EmaConfig:
    """The average of the weights (`nets.ema`)."""

    decay: float = 0.999
    """Share of the old average that an update keeps, once warmed up."""
    every: int = 1
    """Steps between two updates (10, with decay 0.995, for the published patch prior [code])."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; everything here decides the result."""

    seed: int = 0
    """Of every random number of the training: noise, times, dropout."""
    optim: AdamWConfig = AdamWConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    ema: EmaConfig = EmaConfig()
    watch: WatchConfig = WatchConfig()
    clip: float | None = 1.0
    """Largest norm of the whole gradient; None leaves it as it is."""
    parts: int = 1
    """Gradient accumulation: a batch goes through the network in this many parts."""
    precision: Precision = "auto"
    """bf16 autocast: auto takes it on an accelerator that has it. Weights and averages are float32 always."""


@dataclass(frozen=True)
class Keeping:
    """What is written while a run goes on; decides nothing of its result."""

    log_every: int = 20
    """Steps between two lines of the log."""
    checkpoint_seconds: float = 60.0
    """Between checkpoints, or as rarely as keeps them under 5 % of the time."""
    sample_every: int = 1000
    """Steps between two sample sheets."""
    tensorboard: bool = False
    """Write the log for tensorboard too (extra `train`)."""


@runtime_checkable
class SampleFn(Protocol):
    """Looks at the averaged network now and then (a sheet of samples, a held-out loss)."""

    def __call__(self, network: nn.Module, step: int, /) -> None:
        """Called without gradients, in evaluation mode, on the first rank alone; must not change the network."""
        ...


def quiet(line: str) -> None:
    """Say nothing."""
    del line


@dataclass
class Clock:
    """Seconds and samples of this process, on top of the seconds of earlier ones."""

    before: float
    began: float = field(default_factory=lambda: perf_counter())  # looked up when a clock is made
    samples: int = 0

    def seconds(self) -> float:
        """Of the whole run."""
        return self.before + perf_counter() - self.began

    def speed(self) -> float:
        """Samples per second of this process."""
        return self.samples / max(perf_counter() - self.began, 1e-9)


def train(
    network: nn.Module,
    loss_fn: LossFn,
    batches: Batches,
    config: TrainingConfig,
    length: Length,
    folder: Path,
    *,
    about: Mapping[str, Any] | None = None,
    continue_from: Weights | None = None,
    sample: SampleFn | None = None,
    keeping: Keeping | None = None,
    compile: bool = False,
    say: Callable[[str], None] = quiet,
) -> Generator[Record]:
    """Train a network, on its device, and yield a record of every step after its update.

    folder: holds the run; the same call goes on with it, on CPU bit for bit as if it had never stopped, and a call with
    a greater length goes on from before the rate fell. about: JSON-ready facts (network, data) that must be the same
    when a run is resumed; so must config, but that more parts may be asked for. continue_from: weights
    (`weights.load_weights`) from which a new run goes on, counting steps from theirs. compile: let torch compile
    the network (`compiled.compiled`); a run may go on with it or without, as only rounding differs. Runs as one of
    several ranks where `distributed.process_group` is open. When it has ended, `checkpoint.weights_of_run` reads the
    weights.

    Raises InputError for a folder of another run, NonFiniteLossError (with step and term; the last good checkpoint
    stays), MemoryLimitError, OutputError.
    """
    keeping = keeping or Keeping()
    run = Run(network, adamw(network, config.optim), averaged_model(network, config.ema.decay), length, config.parts)
    asked = {"training": decisive(config), "about": dict(about or {}), "continue_from": digest_of(continue_from)}
    if current_share().rank == 0:
        remember(folder, asked)
    wait_for_all()
    open_run(run, config.schedule, folder, continue_from, say)
    if run.ended:
        return
    wrapped = parallel(compiled(network.train()) if compile else network.train())
    scribe = Scribe.of(run, folder, keeping, sample, say) if current_share().rank == 0 else None
    tell = say if scribe is None else scribe.tell
    clock = Clock(run.seconds)
    try:
        for batch in batches(run.step):
            settle(run, config.schedule)
            if scribe is not None and run.step == run.horizon.decay_from:
                scribe.keep_trunk()
            record = take_step(run, wrapped, loss_fn, batch, config, clock, tell)
            if scribe is not None:
                scribe.after(record)
            yield record
            if run.ended:
                return
        raise InputError(f"the data ended after {run.step} batches. Give data that goes on, or ask for fewer steps.")
    except NonFiniteLossError as error:
        if scribe is not None:
            scribe.log.event(run.step, "stopped", why=str(error))
        raise
    except (KeyboardInterrupt, GeneratorExit):
        if scribe is not None and run.whole and run.watch.calm and not run.ended:
            scribe.checkpoint()
        raise
    finally:
        if scribe is not None:
            scribe.log.close()


def decisive(config: TrainingConfig) -> dict[str, Any]:
    """What a run must have been asked for to go on: all of its config but in how many parts a batch goes, which
    changes where memory does not suffice."""
    asked = asdict(config)
    del asked["parts"]
    return asked


def settle(run: Run, schedule: ScheduleConfig) -> None:
    """Turn a time budget into steps, once, when it is time for the rate to fall."""
    if run.horizon.total is None:
        run.look_ahead(schedule, first=run.horizon.first, trained=run.horizon.trained)


def take_step(
    run: Run,
    network: nn.Module,
    loss_fn: LossFn,
    batch: Batch,
    config: TrainingConfig,
    clock: Clock,
    say: Callable[[str], None],
) -> Record:
    """One update of the run's network (`network` is the same, perhaps wrapped for several ranks) and its average."""
    share, factor = current_share(), rate_factor(config.schedule, run.horizon, run.step)
    set_rates(run.optimizer, factor)
    run.optimizer.zero_grad(set_to_none=True)
    seed = stream(config.seed, f"training of rank {share.rank}", run.step).initial_seed()
    terms, run.parts = batch_gradient(network, loss_fn, batch, run.parts, seed, config.precision, say)
    gradients = [parameter.grad for parameter in run.network.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    clock.samples += sample_count(batch) * share.count
    figures = torch.stack([*terms.values(), norm, torch.tensor(clock.seconds(), device=norm.device)])
    *parts, length, run.seconds = mean_over_ranks(figures).tolist()
    values: dict[str, float] = dict(zip(terms, parts, strict=True))
    run.watch.look(run.step, values, config.watch)
    if not math.isfinite(length):
        raise NonFiniteLossError(
            f"At step {run.step} the gradient of {_not_finite(run.network)} is not finite. {ADVICE}"
        )
    run.whole = False
    if config.clip is not None:
        nn.utils.clip_grads_with_norm_(run.network.parameters(), config.clip, norm)
    run.optimizer.step()
    if (run.step + 1) % config.ema.every == 0:
        run.average.update_parameters(run.network)
    run.step += 1
    run.whole = True
    return Record(
        step=run.step, terms=values, gradient_norm=length, rate=factor, seconds=run.seconds,
        samples_per_second=clock.speed(), steps=run.horizon.total, seconds_left=seconds_left(run), parts=run.parts,
        memory=peak_memory(norm.device),
    )  # fmt: skip


def seconds_left(run: Run) -> float:
    """Until the run ends, at its mean speed so far; infinite for a run without an end."""
    if run.horizon.total is not None:
        return (run.horizon.total - run.step) * run.seconds / max(run.step - run.horizon.first, 1)
    return math.inf if run.length.budget is None else max(run.length.budget - run.seconds, 0.0)


def _not_finite(network: nn.Module) -> str:
    """The first parameter whose gradient is not finite."""
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not bool(parameter.grad.isfinite().all()):
            return name
    return "the network"


@dataclass
class Scribe:
    """Writes down, on the first rank, what happens between steps: log, sample sheets, checkpoints."""

    run: Run
    folder: Path
    keeping: Keeping
    sample: SampleFn | None
    log: RunLog
    say: Callable[[str], None]
    saved: float
    pause: float

    @staticmethod
    def of(run: Run, folder: Path, keeping: Keeping, sample: SampleFn | None, say: Callable[[str], None]) -> "Scribe":
        """A scribe with an open log."""
        log = RunLog(folder, run.step, every=keeping.log_every, tensorboard=keeping.tensorboard)
        log.event(run.step, "begins", ranks=current_share().count, torch=torch.__version__, parts=run.parts)
        return Scribe(run, folder, keeping, sample, log, say, perf_counter(), keeping.checkpoint_seconds)

    def tell(self, line: str) -> None:
        """Say a line and write it down."""
        self.log.event(self.run.step, "note", says=line)
        self.say(line)

    def after(self, record: Record) -> None:
        """What a step leaves behind."""
        self.log.record(record)
        if self.sample is not None and (record.step % self.keeping.sample_every == 0 or self.run.ended):
            with torch.no_grad():
                self.sample(self.run.average.module, record.step)
        late = perf_counter() - self.saved > self.pause
        if self.run.ended or (late and self.run.watch.calm):
            self.checkpoint()

    def checkpoint(self) -> None:
        """Write the last good state, and see that this stays under 5 % of the time."""
        began = perf_counter()
        self.run.save(self.folder / CHECKPOINT)
        self.saved = perf_counter()
        self.pause = max(self.keeping.checkpoint_seconds, 20.0 * (self.saved - began))

    def keep_trunk(self) -> None:
        """Checkpoint the last state at the constant rate, and keep it apart: from here a longer run goes on."""
        self.tell(f"the rate falls from step {self.run.step} to step {self.run.horizon.total}")
        self.checkpoint()
        keep_trunk(self.folder)
