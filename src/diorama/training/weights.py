"""Weights that travel: averages, which are used, and beside them raw ones, from which training goes on.

A checkpoint holds four numbers a parameter in full precision; two files in half precision are a quarter of it, each
small enough to be committed, and Adam's moments are found again in a few hundred steps.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from diorama.data.tensors import load_tensors, save_tensors
from diorama.errors import InputError, OutputError

AVERAGE, RAW = "model.safetensors", "raw.safetensors"

MANY = 1_000_000
"""Updates of an average of which only that it is trained is known: so many that `nets.ema.warmed_decay` is over."""


@dataclass(frozen=True)
class Weights:
    """A trained network: its raw and its averaged parameters and buffers, by the names of its `state_dict`."""

    raw: dict[str, Tensor]
    average: dict[str, Tensor]
    step: int
    """Updates behind them."""
    averaged: int
    """Updates of the average behind them."""
    raw_known: bool = True
    """False where the average stands in for raw weights that are not there; step is 0 then."""


def save_raw(folder: Path, weights: Weights) -> None:
    """Write the raw side as half precision into a folder of weights. Raises OutputError where fp16 cannot hold it."""
    save_tensors(folder / RAW, half(weights.raw), {"step": weights.step, "averaged": weights.averaged})


def load_weights(folder: Path, inside: str = "") -> Weights:
    """A folder of weights as float32.

    inside: what the names of the network begin with where the folder holds a whole around it, such as `network.`.
    Without the raw file the average stands in for it, with `raw_known` False: a little behind, but a place to start
    from; it counts as the average of `MANY` updates, so that those to come do not push it aside. Raises InputError.
    """
    if not (folder / AVERAGE).is_file():
        raise InputError(f"{folder} holds no {AVERAGE}; a folder with it, and with {RAW}, is needed to continue from.")
    average = full(load_tensors(folder / AVERAGE)[0])
    average = {name[len(inside) :]: tensor for name, tensor in average.items() if name.startswith(inside)}
    if not (folder / RAW).is_file():
        return Weights(average, average, 0, MANY, raw_known=False)
    raw, meta = load_tensors(folder / RAW)
    return Weights(full(raw), average, int(meta.get("step", 0)), int(meta.get("averaged", 0)))


def put_weights(weights: Weights, network: nn.Module, average: AveragedModel) -> None:
    """Put them into a network and its average; raises InputError where they belong to another network."""
    try:
        network.load_state_dict(weights.raw)
        average.module.load_state_dict(weights.average)
    except RuntimeError as error:
        raise InputError(f"the weights belong to another configuration: {error}") from error
    average.n_averaged.fill_(weights.averaged)


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as fp16, others as they are."""
    out = {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool((tensor.abs() <= torch.finfo(torch.float16).max).all()):
            raise OutputError(
                f"{name} holds {float(tensor.abs().max()):.4g}, which half precision cannot. Train with weight decay."
            )
        out[name] = tensor.half() if tensor.is_floating_point() else tensor
    return out


def full(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floating-point tensors as float32, others as they are."""
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def digest_of(weights: Weights | None) -> str | None:
    """SHA-256 over the raw weights and their step; None for none."""
    if weights is None:
        return None
    digest = hashlib.sha256(str(weights.step).encode())
    for name, tensor in sorted(weights.raw.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
