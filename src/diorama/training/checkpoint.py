"""What a fit or a training needs to go on exactly where it stopped."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from diorama.data.tensors import load_tensors
from diorama.errors import InputError
from diorama.training.weights import Weights


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
    for parameter, moments in optimizer.state.items():
        for key, moment in moments.items():
            if moment.shape == parameter.shape:  # fused Adam walks through memory: both must lie in the same order
                moments[key] = torch.empty_like(parameter, dtype=moment.dtype).copy_(moment)


def pack_average(average: AveragedModel) -> dict[str, Tensor]:
    """The averaged network under flat names; the count of its updates with it."""
    own = {f"average.{name}": tensor for name, tensor in average.module.state_dict().items()}
    return own | {"averaged": average.n_averaged}


def unpack_average(tensors: Mapping[str, Tensor], average: AveragedModel) -> None:
    """Put back what `pack_average` took; raises InputError when it belongs to another config."""
    prefix = "average."
    own = {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        average.module.load_state_dict(own)
        average.n_averaged.copy_(tensors["averaged"])
    except (RuntimeError, KeyError) as error:
        raise InputError(f"the checkpoint belongs to another configuration: {error}") from error


def weights_of_run(folder: Path, file: str = "checkpoint.safetensors") -> Weights:
    """The raw and averaged weights of a run's last checkpoint, float32. Raises InputError where there is none."""
    if not (folder / file).is_file():
        raise InputError(f"{folder} holds no {file}: nothing was trained there yet.")
    tensors, meta = load_tensors(folder / file)
    sides = {
        side: {name[len(side) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{side}.")}
        for side in ("system", "average")
    }
    return Weights(sides["system"], sides["average"], int(meta["step"]), int(tensors["averaged"]))


def seconds_of_run(folder: Path, file: str = "checkpoint.safetensors") -> float:
    """Seconds that a run had been trained for at its last checkpoint. Raises InputError where that is damaged."""
    return float(load_tensors(folder / file)[1]["seconds"])
