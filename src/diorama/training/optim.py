"""Optimisers of fits and of networks, and how the rates of a fit fall."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class OptimConfig:
    """Adam, as the fits use it."""

    table_rate: float = 1e-2
    head_rate: float = 1e-2
    decay: float = 0.1
    """Rates are multiplied by this over the run, exponentially."""
    warm_up: int = 0
    """Steps over which the rates rise from a hundredth."""
    table_eps: float = 1e-15
    """Entries that few rays touch still move at full speed [code]."""
    betas: tuple[float, float] = (0.9, 0.99)
    pose_rate: float = 2e-6
    """Radians, and shares of the median depth. Adam moves a pose by about this much every step however small its
    gradient, so a larger rate shakes poses that were right: 1e-4 cost 0.8 dB on exact ones."""
    gain_rate: float = 1e-3


def adam(system: nn.Module, config: OptimConfig) -> torch.optim.Adam:
    """One Adam with a group per kind of parameter; parameters that the config leaves out are not optimised."""
    groups: dict[str, list[nn.Parameter]] = {"table": [], "head": [], "pose": [], "gain": []}
    for name, parameter in system.named_parameters():
        last = name.rsplit(".", 1)[-1]
        kind = {"table": "table", "pose_shift": "pose", "log_gain": "gain"}.get(last, "head")
        groups[kind].append(parameter)
    rates = {
        "table": config.table_rate,
        "head": config.head_rate,
        "pose": config.pose_rate,
        "gain": config.gain_rate,
    }
    return torch.optim.Adam(
        [
            {"params": parameters, "lr": rates[kind], "rate": rates[kind], "name": kind,
             "eps": config.table_eps if kind == "table" else 1e-15}
            for kind, parameters in groups.items()
            if parameters
        ],
        betas=config.betas,
        fused=True,
    )  # fmt: skip


@dataclass(frozen=True)
class AdamWConfig:
    """AdamW, as networks are trained."""

    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    eps: float = 1e-8
    weight_decay: float = 0.0
    """Share of `rate` by which matrices and convolutions shrink per step; biases and norms (one axis) never do."""


def adamw(network: nn.Module, config: AdamWConfig) -> torch.optim.AdamW:
    """AdamW over a network's parameters that ask for a gradient."""
    free = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = {
        "matrices": ([p for p in free if p.ndim > 1], config.weight_decay),
        "vectors": ([p for p in free if p.ndim <= 1], 0.0),
    }
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": config.rate, "rate": config.rate, "name": name, "weight_decay": decay}
            for name, (parameters, decay) in groups.items()
            if parameters
        ],
        betas=config.betas,
        eps=config.eps,
        fused=True,
    )


def exponential(config: OptimConfig, steps: int) -> Callable[[int], float]:
    """The factor on every rate at a step: warm-up, then exponential decay."""

    def factor(step: int) -> float:
        warm = 1.0 if step >= config.warm_up else 0.01 + 0.99 * step / config.warm_up
        return warm * config.decay ** (step / max(steps, 1))

    return factor


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its rate times a factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["rate"] * factor
