"""What a training says while it runs: a JSON line every few steps, and the same for tensorboard."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diorama.errors import MissingExtraError
from diorama.files import write_text


@dataclass(frozen=True)
class Record:
    """One step, after its update."""

    step: int
    """Updates made so far."""
    terms: dict[str, float]
    """Weighted loss terms, means over the batch of all ranks."""
    gradient_norm: float
    """Before clipping."""
    rate: float
    """Factor on the learning rates."""
    seconds: float
    """Spent on the run so far; what lay between a kill and the checkpoint before it is not counted."""
    samples_per_second: float
    """Over all ranks, since this process began."""
    steps: int | None
    """The step the run ends with; None while a time budget has not been turned into steps."""
    seconds_left: float
    """Expected."""
    parts: int
    """In how many parts the batch went."""
    memory: int | None = None
    """Most bytes that this rank has had at once so far (`memory.peak_memory`); None where the system does not say."""

    @property
    def loss(self) -> float:
        """The sum of the terms."""
        return sum(self.terms.values())


class RunLog:
    """`log.jsonl`: each line a JSON object with `step`; those of records hold means since the line before."""

    def __init__(self, folder: Path, step: int, *, every: int, tensorboard: bool) -> None:
        """Open the log of a run that stands at `step`; what a killed process wrote of later steps is taken out."""
        self.every, self.waiting = every, list[Record]()
        self.board = _summary_writer(folder / "tensorboard", step) if tensorboard else None
        file = folder / "log.jsonl"
        if file.is_file():
            kept = [line for line in file.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
            write_text(file, "".join(f"{line}\n" for line in kept))
        self.file = file.open("a", encoding="utf-8", buffering=1)

    def event(self, step: int, name: str, **facts: Any) -> None:
        """Something that happened, besides steps."""
        self._write({"step": step, "event": name, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), **facts})

    def record(self, record: Record) -> None:
        """Note a step; a line is written every `every` steps and at the end of the run."""
        self.waiting.append(record)
        if record.step % self.every and record.step != record.steps:
            return
        count = len(self.waiting)
        terms = {name: sum(r.terms.get(name, 0.0) for r in self.waiting) / count for name in record.terms}
        norm = sum(r.gradient_norm for r in self.waiting) / count
        self.waiting.clear()
        self._write(
            {
                "step": record.step, "terms": terms, "gradient_norm": norm, "rate": record.rate,
                "seconds": round(record.seconds, 2), "samples_per_second": round(record.samples_per_second, 2),
                "over": count, "memory": record.memory,
            }
        )  # fmt: skip
        if self.board is not None:
            figures = {f"loss/{name}": value for name, value in terms.items()}
            figures |= {"gradient_norm": norm, "rate": record.rate, "samples_per_second": record.samples_per_second}
            figures |= {} if record.memory is None else {"memory": record.memory}
            for name, value in figures.items():
                self.board.add_scalar(name, value, record.step)

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.board is not None:
            self.board.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self.file.write(json.dumps(line, allow_nan=False) + "\n")


def _step_of(line: str) -> float:
    """The step of a line; infinite for one that was cut short."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


def _summary_writer(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError(
            "tensorboard is not installed. Install it with: pip install 'diorama[train]', or leave it out: log.jsonl "
            "holds the same figures."
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)
