"""The loop: steps as a generator that the caller may stop, plot or test."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from diorama.errors import DioramaError, MemoryLimitError, out_of_memory
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

    def use_less_memory(self) -> str | None:
        """Do less at a time from now on, with the same result: what that is, in words; None where nothing is left."""
        ...


class NonFiniteLossError(DioramaError):
    """A loss became NaN or infinite."""


def train_steps(
    system: Fit,
    optimizer: torch.optim.Optimizer,
    rate: Callable[[int], float],
    steps: Iterable[int],
    say: Callable[[str], None] | None = None,
) -> Iterator[tuple[int, dict[str, float]]]:
    """Take the given steps; yields each step's number and its weighted losses after the update.

    rate: factor on the learning rates at a step. Where memory does not suffice the system is asked to use less, which
    `say` is told, and the step begun again. Raises NonFiniteLossError, naming step and terms or parameters, before a
    bad update is made, and MemoryLimitError where the system cannot use less.
    """
    for step in steps:
        set_rates(optimizer, rate(step))
        values = _with_gradient(system, optimizer, step, say)
        system.after_backward(step)
        refuse_nonfinite_gradient(step, optimizer)
        optimizer.step()
        yield step, values


def _with_gradient(
    system: Fit, optimizer: torch.optim.Optimizer, step: int, say: Callable[[str], None] | None
) -> dict[str, float]:
    """Put the gradient of a step into the parameters, in as much memory as there is; returns the weighted losses."""
    while True:
        optimizer.zero_grad(set_to_none=True)
        try:
            terms = system.losses(step)
            values = {name: float(term.detach()) for name, term in terms.items()}
            refuse_nonfinite(step, values)
            torch.stack(list(terms.values())).sum().backward()
            return values
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            reason = str(error).split("\n")[0] or type(error).__name__
        terms = {}
        optimizer.zero_grad(set_to_none=True)
        done = system.use_less_memory()
        if done is None:
            raise MemoryLimitError(
                f"step {step} does not fit into memory, however little is done at a time ({reason}). The last "
                "checkpoint is kept; use smaller photos (--max-side 320) or fewer (--views), or close other programs."
            )
        if say is not None:
            say(f"out of memory at step {step}: {done}")
        device = optimizer.param_groups[0]["params"][0].device
        getattr(torch.get_device_module(device), "empty_cache", lambda: None)()


def refuse_nonfinite(step: int, values: Mapping[str, float]) -> None:
    """Raise NonFiniteLossError, naming step and terms, where a loss is NaN or infinite."""
    bad = [name for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise NonFiniteLossError(
            f"At step {step} the loss terms {bad} are not finite. The last checkpoint is kept; "
            "start again with a lower learning rate, or report this with your photos' layout."
        )


def refuse_nonfinite_gradient(step: int, optimizer: torch.optim.Optimizer) -> None:
    """Raise NonFiniteLossError, naming step and kind of parameter, where a gradient is NaN or infinite.

    A loss can be finite where its gradient is not: a root at 0, a norm of nothing.
    """
    for group in optimizer.param_groups:
        found = [parameter.grad.sum() for parameter in group["params"] if parameter.grad is not None]
        if found and not bool(torch.stack(found).isfinite().all()):
            raise NonFiniteLossError(
                f"At step {step} the gradient of the {group['name']} parameters is not finite. The last checkpoint is "
                "kept; start again with a lower learning rate, or report this with your photos' layout."
            )
