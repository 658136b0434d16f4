"""How much memory a training takes: what it has taken, and what a step will keep for its gradient."""

import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


def peak_memory(device: torch.device) -> int | None:
    """Most bytes that this process has had at once: on a CUDA device, or elsewhere resident ones of the whole process.

    None where the system does not say (no `resource` module).
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def state_bytes(network: nn.Module) -> int:
    """What a network that learns holds between steps: weights, gradients, two moments of Adam, averaged weights."""
    return 5 * sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())


def saved_bytes(run: Callable[[], object]) -> int:
    """What a computation keeps for its gradient, each tensor counted once; parameters are left out.

    Exact, and it needs no memory for tensors without contents (`FakeTensorMode`). What backpropagation itself needs
    for a moment is not in it.
    """
    kept: dict[int, tuple[torch.UntypedStorage, int]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()  # kept, so that its number is not given to another one
        if not (tensor.is_leaf and tensor.requires_grad):
            kept[storage._cdata] = (storage, storage.nbytes())
        return tensor

    with torch.enable_grad(), saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(size for _, size in kept.values())
