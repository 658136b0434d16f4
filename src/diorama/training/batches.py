"""Batches: where they come from, how they are cut into parts, how they travel to a device."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from diorama.errors import InputError

Batch = Any
"""A tensor whose first axis counts samples, or a dict, list or tuple of batches of equally many samples."""

LAST = 1 << 62
"""No run has more steps."""


@runtime_checkable
class Batches(Protocol):
    """Batches that can be entered anywhere: one batch per step, the same for the same number each time.

    With several ranks each rank gets its own (`distributed.current_share` says which), all equally large.
    """

    def __call__(self, first: int, /) -> Iterable[Batch]:
        """Batch number `first` and all that follow it."""
        ...


@dataclass(frozen=True)
class ByStep(Dataset[Batch]):
    """A function from a step to its batch, as torch's loader wants it."""

    batch_at: Callable[[int], Batch]

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step."""
        return self.batch_at(step)


def batches_at(batch_at: Callable[[int], Batch], *, workers: int = 0, pin: bool = False) -> Batches:
    """Batches from a function that makes the batch of a step, drawing whatever is random from the step's own stream.

    workers: processes that make batches ahead (the function must then be picklable); the batches are the same with any
    number. pin: put them into page-locked memory, from where an accelerator fetches them faster.
    """

    def batches(first: int, /) -> Iterable[Batch]:
        if workers == 0 and not pin:
            return map(batch_at, count(first))
        return DataLoader(
            ByStep(batch_at), batch_size=None, sampler=range(first, LAST), num_workers=workers, pin_memory=pin
        )

    return batches


def sample_count(batch: Batch) -> int:
    """How many samples a batch holds."""
    match batch:
        case Tensor():
            return len(batch)
        case dict() if batch:
            return sample_count(next(iter(batch.values())))
        case list() | tuple() if batch:
            return sample_count(batch[0])
        case _:
            raise InputError(
                f"a batch holds a {type(batch).__name__}; tensors, or dicts, lists and tuples of them, are needed."
            )


def slice_batch(batch: Batch, part: slice) -> Batch:
    """Some of a batch's samples."""
    return _each(batch, lambda tensor: tensor[part])


def batch_to(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device; pinned memory travels while the host goes on."""
    return _each(batch, lambda tensor: tensor.to(device, non_blocking=True))


def _each(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    match batch:
        case Tensor():
            return change(batch)
        case dict():
            return {name: _each(value, change) for name, value in batch.items()}
        case tuple() if hasattr(batch, "_fields"):
            return type(batch)(*(_each(value, change) for value in batch))
        case list() | tuple():
            return type(batch)(_each(value, change) for value in batch)
        case _:
            raise InputError(
                f"a batch holds a {type(batch).__name__}; tensors, or dicts, lists and tuples of them, are needed."
            )
