"""The loop: steps as a generator that the caller may stop, plot or test."""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from diorama.errors import DioramaError
from diorama.training.optim import set_rates


@runtime_checkable
class Fit(Protocol):
    """What a system tells the loop."""

    def losses(self, step: int) -> dict[str, Tensor]:
        """Weighted loss terms; their sum is minimised."""
        ...

    def after_backward(self, step: int) -> None:
        """Gradients that are cheaper to write down than to derive."""
        ...


class NonFiniteLossError(DioramaError):
    """A loss became NaN or infinite."""


def train_steps(
    system: Fit, optimizer: torch.optim.Optimizer, rate: Callable[[int], float], steps: Iterable[int]
) -> Iterator[tuple[int, dict[str, float]]]:
    """Take the given steps; yields each step's number and its weighted losses after the update.

    rate: factor on the learning rates at a step. Raises NonFiniteLossError, naming step and terms, before a bad
    update is made.
    """
    for step in steps:
        set_rates(optimizer, rate(step))
        optimizer.zero_grad(set_to_none=True)
        terms = system.losses(step)
        values = {name: float(term.detach()) for name, term in terms.items()}
        bad = [name for name, value in values.items() if not math.isfinite(value)]
        if bad:
            raise NonFiniteLossError(
                f"At step {step} the loss terms {bad} are not finite. The last checkpoint is kept; "
                "start again with a lower learning rate, or report this with your photos' layout."
            )
        torch.stack(list(terms.values())).sum().backward()
        system.after_backward(step)
        optimizer.step()
        yield step, values
