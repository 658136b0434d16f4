"""The gradient of one batch: in parts that fit into memory, in bf16 where the device has it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from diorama.errors import MemoryLimitError, out_of_memory
from diorama.training.batches import Batch, batch_to, sample_count, slice_batch
from diorama.training.distributed import current_share

Precision = Literal["auto", "bf16", "full"]


@runtime_checkable
class LossFn(Protocol):
    """What a network is trained for."""

    def __call__(self, network: nn.Module, batch: Batch, generator: torch.Generator, /) -> dict[str, Tensor]:
        """Weighted loss terms, each a mean over the batch's samples; their sum is minimised.

        generator holds the step's own random numbers; it lies on the CPU, so that they are the same on every device.
        With several ranks, call the network itself, not its methods.
        """
        ...


def batch_gradient(
    network: nn.Module,
    loss_fn: LossFn,
    batch: Batch,
    parts: int,
    seed: int,
    precision: Precision,
    say: Callable[[str], None],
) -> tuple[dict[str, Tensor], int]:
    """Put the gradient of the batch's mean loss into the network; returns the terms and in how many parts it went.

    parts: the batch is cut into this many. Where memory does not suffice the number is doubled, which `say` is told,
    and the batch begun again. seed: of every random number drawn here, dropout included; parts draw one after another,
    so another number of parts draws others. Raises MemoryLimitError where a single sample does not fit.
    """
    device = next(network.parameters()).device
    batch = batch_to(batch, device)
    samples = sample_count(batch)
    parts = min(parts, samples)
    while True:
        try:
            with own_random_numbers(device, seed):
                generator = torch.Generator().manual_seed(seed)
                with_bf16 = autocast(device, precision)
                return _accumulate(network, loss_fn, batch, parts, generator, with_bf16), parts
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            reason = str(error).split("\n")[0]
        network.zero_grad(set_to_none=True)
        if samples == 1 or parts == samples:
            raise MemoryLimitError(
                f"one sample at a time does not fit into memory ({reason}). Take a smaller network or smaller samples."
            )
        if current_share().count > 1:
            raise MemoryLimitError(
                f"{samples // parts} samples at a time do not fit into the memory of rank {current_share().rank} "
                f"({reason}). Ranks cannot change their parts alone: start again with parts {2 * parts}."
            )
        parts = min(2 * parts, samples)
        say(f"out of memory: the batch now goes in {parts} parts of up to {-(-samples // parts)} samples")
        getattr(torch.get_device_module(device), "empty_cache", lambda: None)()


def _accumulate(
    network: nn.Module,
    loss_fn: LossFn,
    batch: Batch,
    parts: int,
    generator: torch.Generator,
    with_bf16: AbstractContextManager[object],
) -> dict[str, Tensor]:
    """Backpropagate part by part; ranks exchange gradients with the last one."""
    samples = sample_count(batch)
    edges = [samples * index // parts for index in range(parts + 1)]
    total: dict[str, Tensor] = {}
    for index in range(parts):
        part = slice(edges[index], edges[index + 1])
        share = (part.stop - part.start) / samples
        waits = isinstance(network, DistributedDataParallel) and index < parts - 1
        with network.no_sync() if waits else nullcontext():  # type: ignore[operator]
            with with_bf16:
                terms = loss_fn(network, slice_batch(batch, part), generator)
                loss = torch.stack([term.float() for term in terms.values()]).sum()
            (loss * share).backward()
        for name, term in terms.items():
            total[name] = total.get(name, 0.0) + term.detach().float() * share
    return total


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """bf16 where it is asked for, or where `auto` finds an accelerator that has it; else nothing."""
    supported = getattr(torch.get_device_module(device), "is_bf16_supported", lambda: False)
    if precision == "bf16" or (precision == "auto" and device.type != "cpu" and supported()):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def lacks_bf16(device: torch.device) -> bool:
    """Whether this is a CPU that is known to have no instructions for bf16: it takes many times as long there.

    Nothing is known before torch says what a CPU can do (`torch.cpu.get_capabilities`).
    """
    if device.type != "cpu":
        return False
    known = [has for name, has in getattr(torch.cpu, "get_capabilities", dict)().items() if "bf16" in name]
    return bool(known) and not any(known)


@contextmanager
def own_random_numbers(device: torch.device, seed: int) -> Iterator[None]:
    """Seed torch's global generators (dropout draws from them) and put them back afterwards."""
    on_cpu = device.type == "cpu"
    with torch.random.fork_rng(devices=[] if on_cpu else [device], device_type="cuda" if on_cpu else device.type):
        torch.default_generator.manual_seed(seed)
        if not on_cpu:
            torch.get_device_module(device).manual_seed(seed)
        yield
