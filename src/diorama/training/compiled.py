"""A network that torch compiles: quicker steps after a slow first one, where there is a compiler."""

from typing import cast

import torch
from torch import nn

from diorama.errors import InputError


def compiled(network: nn.Module) -> nn.Module:
    """The network, with the same parameters, as `torch.compile` runs it; only its results' rounding may differ.

    A sum is compiled first, as the network itself is compiled when it is called. Raises InputError where that fails.
    """
    device = next(network.parameters()).device
    try:
        torch.compile(_sum)(torch.ones(2, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise InputError(
            f"torch cannot compile here ({reason}). It needs a C++ compiler (g++ or clang++), and triton for a GPU. "
            "Install them, or leave out --compile."
        ) from error
    return cast(nn.Module, torch.compile(network))


def _sum(values: torch.Tensor) -> torch.Tensor:
    return values.sum()
