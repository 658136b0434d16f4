"""A network of a few hundred numbers, data by step, and a loss that draws noise."""

import itertools

import torch
from torch import nn

from diorama.streams import stream
from diorama.training.batches import batches_at
from diorama.training.network import EmaConfig, Keeping, TrainingConfig, train
from diorama.training.optim import AdamWConfig
from diorama.training.run import Length
from diorama.training.schedule import ScheduleConfig

CONFIG = TrainingConfig(
    optim=AdamWConfig(rate=1e-2, weight_decay=1e-2),
    schedule=ScheduleConfig(warm_up=4, rewarm=20),
    ema=EmaConfig(decay=0.9),
)
OFTEN = Keeping(log_every=1, checkpoint_seconds=0.0)
"""A checkpoint after every step but those that would take more than 5 % of the time."""


def small_network(seed=0, dropout=0.1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Linear(3, 16), nn.SiLU(), nn.Dropout(dropout), nn.BatchNorm1d(16) if dropout else nn.Identity(),
            nn.Linear(16, 2),
        )  # fmt: skip


def batch_at(step, size=8):
    """Points in space and a smooth function of them."""
    points = torch.rand(size, 3, generator=stream(5, "toy", step))
    return {"points": points, "values": torch.stack([points.sum(-1), points.prod(-1)], dim=-1)}


def noisy_loss(network, batch, generator):
    noise = 0.01 * torch.randn(batch["points"].shape, generator=generator)
    return {"fit": (network(batch["points"] + noise) - batch["values"]).square().mean()}


def exact_loss(network, batch, generator):
    return {"fit": (network(batch["points"]) - batch["values"]).square().mean()}


def steps(network, folder, length, *, stop=None, loss=noisy_loss, config=CONFIG, data=batch_at, keeping=None, **more):
    """Train, and leave after `stop` records."""
    length = Length(steps=length) if isinstance(length, int) else length
    records = train(network, loss, batches_at(data), config, length, folder, keeping=keeping or Keeping(), **more)
    return list(itertools.islice(records, stop))


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
