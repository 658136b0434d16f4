"""Whether a training is still sound: nothing NaN, nothing exploding."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from diorama.training.loop import NonFiniteLossError


@dataclass(frozen=True)
class WatchConfig:
    """When a loss counts as exploded."""

    factor: float = 20.0
    """Times its running mean."""
    patience: int = 10
    """Steps in a row above it; one odd batch is no explosion, and the clipped gradient survives it."""
    memory: int = 100
    """Steps over which the running mean forgets; nothing is judged before so many were seen."""


@dataclass
class Watch:
    """What the watch remembers; plain numbers, so that a checkpoint can hold them."""

    seen: int = 0
    means: dict[str, float] = field(default_factory=dict)
    strikes: dict[str, int] = field(default_factory=dict)

    @property
    def calm(self) -> bool:
        """Whether no term stands above its limit: only then is a checkpoint a good one."""
        return not any(self.strikes.values())

    def look(self, step: int, terms: Mapping[str, float], config: WatchConfig) -> None:
        """Take note of a step's terms, before its update is made; raises NonFiniteLossError naming step and term."""
        bad = sorted(name for name, value in terms.items() if not math.isfinite(value))
        if bad:
            raise NonFiniteLossError(f"At step {step} the loss terms {bad} are not finite. {ADVICE}")
        for name, value in terms.items():
            mean = self.means.setdefault(name, abs(value))
            if self.seen >= config.memory and abs(value) > config.factor * mean:
                self.strikes[name] = self.strikes.get(name, 0) + 1
            else:
                self.strikes[name] = 0
                share = max(1.0 / config.memory, 1.0 / (self.seen + 1))
                self.means[name] = mean + share * (abs(value) - mean)
            if self.strikes[name] >= config.patience:
                raise NonFiniteLossError(
                    f"At step {step} the loss term {name!r} has exploded: {value:.4g}, for {config.patience} steps "
                    f"more than {config.factor:g} times its running mean of {mean:.4g}. {ADVICE}"
                )
        self.seen += 1


ADVICE = (
    "The last good checkpoint is kept; start again from it with a lower learning rate (a network: or a smaller clip)."
)
