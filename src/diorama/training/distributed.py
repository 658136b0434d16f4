"""Several processes, one training: plain torch under `torchrun`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Share:
    """Which of how many processes this one is."""

    rank: int = 0
    count: int = 1


def current_share() -> Share:
    """This process among its group; alone where there is no group."""
    if distributed.is_available() and distributed.is_initialized():
        return Share(distributed.get_rank(), distributed.get_world_size())
    return Share()


@contextmanager
def process_group(device: torch.device) -> Iterator[tuple[Share, torch.device]]:
    """Join the group that `torchrun` started, and leave it at the end, all together; alone, nothing happens.

    A rank that left at once could end while a thread of gloo still holds tensors of the last exchange; to let go of
    them it needs the interpreter, and where that is ending it aborts the process.

    device: its type decides between gloo (CPU) and nccl (CUDA). Yields this process's share and its own device: with
    several GPUs, the one `torchrun` numbered for it.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Share(), device
        return
    if device.type != "cpu":
        device = torch.device(device.type, int(os.environ.get("LOCAL_RANK", "0")))
        torch.get_device_module(device).set_device(device)
    distributed.init_process_group(distributed.get_default_backend_for_device(device))
    try:
        yield current_share(), device
        wait_for_all()
    finally:
        distributed.destroy_process_group()


def parallel(network: nn.Module) -> nn.Module:
    """The network whose gradients are means over all ranks; the network itself where there is one rank."""
    if current_share().count == 1:
        return network
    device = next(network.parameters()).device
    return DistributedDataParallel(network, device_ids=None if device.type == "cpu" else [device.index])


def wait_for_all() -> None:
    """Go on when all ranks have come this far."""
    if current_share().count > 1:
        distributed.barrier()


def mean_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The mean of a small vector over all ranks, equal bit for bit on each: what they decide by it they decide alike.

    A NaN on one rank is a NaN on all.
    """
    share = current_share()
    if share.count > 1:
        values = values / share.count
        distributed.all_reduce(values)
    return values
