"""Weights that change over a run."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Ramp:
    """A number that goes linearly from `first` to `last` between `start` and `end`, and stays."""

    first: float
    last: float
    start: float = 0.0
    end: float = 1.0
    unit: Literal["run", "steps"] = "run"
    """Whether start and end are shares of the run or absolute steps."""

    def at(self, step: int, steps: int) -> float:
        """The value at a step of a run of `steps`; start == end is a jump (after `end` it is `last`)."""
        place = step / max(steps, 1) if self.unit == "run" else float(step)
        if place >= self.end:
            return self.last
        if place <= self.start:
            return self.first
        return self.first + (self.last - self.first) * (place - self.start) / (self.end - self.start)


def constant(value: float) -> Ramp:
    """A number that does not change."""
    return Ramp(value, value)
