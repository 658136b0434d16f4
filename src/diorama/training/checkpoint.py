"""What a fit needs to go on exactly where it stopped."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from diorama.errors import InputError


def pack(system: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Parameters, buffers and optimiser state under flat names."""
    tensors = {f"system.{name}": tensor for name, tensor in system.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors


def unpack(tensors: Mapping[str, Tensor], system: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put back what `pack` took; raises InputError when it belongs to another config."""
    prefix = "system."
    own = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        system.load_state_dict(own)
    except RuntimeError as error:
        raise InputError(f"the checkpoint belongs to another configuration: {error}") from error
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
