"""The learning rate of a network: warm-up, constant, and a fall over the last fifth.

The constant part needs no horizon: from any point in it a run can go on for longer, or begin to fall. Source of the
shape: arXiv 2405.18392, which finds a fall over a fifth of the run as good as a cosine tuned to its length.
"""

from dataclasses import dataclass

from diorama.errors import InputError


@dataclass(frozen=True)
class ScheduleConfig:
    """The factor on the learning rate; all lengths in steps (updates of the weights)."""

    warm_up: int = 500
    """The rate rises linearly from zero over this many steps."""
    rewarm: int = 200
    """The same where committed weights are continued from: the weights are trained, Adam's moments are not."""
    decay_share: float = 0.2
    """Share of the run over which the rate falls linearly."""
    floor: float = 0.01
    """Factor of the last step."""

    def __post_init__(self) -> None:
        if not (0 <= self.decay_share < 1 and 0 < self.floor <= 1 and self.warm_up >= 0 and self.rewarm >= 0):
            raise InputError(
                f"the schedule {self} is not possible: decay_share lies in [0, 1), floor in (0, 1], and warm_up and "
                "rewarm are not negative."
            )


@dataclass(frozen=True)
class Horizon:
    """Which steps a run takes: `first`, ..., `total` - 1, of which those from `decay_from` on at a falling rate.

    first is 0, or the step of the weights the run continues from. decay_from and total are None as long as a time
    budget has not been turned into steps. trained: the run continues from weights, whose step may be unknown (0).
    """

    first: int = 0
    decay_from: int | None = None
    total: int | None = None
    trained: bool = False

    def ended(self, step: int) -> bool:
        """Whether nothing is left to do before step number `step`."""
        return self.total is not None and step >= self.total

    def falling(self, step: int) -> bool:
        """Whether step number `step - 1` was taken at a falling rate: such weights are no place to go on from."""
        return self.decay_from is not None and step > self.decay_from


def horizon_of_steps(config: ScheduleConfig, first: int, total: int, now: int) -> Horizon:
    """A run that ends with `total` steps and stands at step `now`, still at the constant rate.

    Raises InputError where total lies behind.
    """
    if total <= now:
        raise InputError(f"{total} steps were asked for, but {now} are taken already. Ask for more than that.")
    fall = round(config.decay_share * (total - first))
    return Horizon(first, max(total - fall, now), total)


def horizon_of_budget(config: ScheduleConfig, first: int, now: int, seconds: float, budget: float) -> Horizon:
    """The horizon of a run under a time budget, asked before step `now` with `seconds` spent.

    Open until 1 - decay_share of the budget is spent; then as many steps of decay as the rest has room for, at the
    mean speed so far.
    """
    taken = now - first
    if taken < 1 or seconds < (1 - config.decay_share) * budget:
        return Horizon(first)
    fall = max(int((budget - seconds) * taken / seconds), 1)
    return Horizon(first, now, now + fall)


def rate_factor(config: ScheduleConfig, horizon: Horizon, step: int) -> float:
    """The factor on the learning rate at step number `step`, in (0, 1]."""
    rise = config.rewarm if horizon.first or horizon.trained else config.warm_up
    factor = min(1.0, (step - horizon.first + 1) / max(rise, 1))
    if horizon.total is not None and horizon.decay_from is not None and step >= horizon.decay_from:
        fallen = (step - horizon.decay_from + 1) / (horizon.total - horizon.decay_from)
        factor *= 1.0 - (1.0 - config.floor) * min(fallen, 1.0)
    return factor
