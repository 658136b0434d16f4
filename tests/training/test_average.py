"""Averaged weights against the formula."""

import torch
from torch import nn

from diorama.training.average import EmaConfig, averaged, ema_decay


def test_the_decay_warms_up_as_one_plus_n_over_ten_plus_n():
    config = EmaConfig(decay=0.99)
    assert [ema_decay(config, n) for n in (0.0, 1.0, 8.0)] == [1 / 10, 2 / 11, 9 / 18]
    assert ema_decay(config, 1e4) == 0.99


def test_the_average_follows_the_formula():
    network = nn.Linear(2, 2)
    average = averaged(network, EmaConfig(decay=0.6))
    expected = None
    for n in range(30):
        with torch.no_grad():
            network.weight.copy_(torch.full((2, 2), float(n % 7)))
        average.update_parameters(network)
        value = float(n % 7)
        decay = min(0.6, (1 + n) / (10 + n))
        expected = value if expected is None else decay * expected + (1 - decay) * value
    assert torch.allclose(average.module.weight, torch.full((2, 2), expected), atol=1e-5)
    assert int(average.n_averaged) == 30


def test_the_average_is_a_copy_in_evaluation_mode_that_needs_no_gradient():
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    average = averaged(network, EmaConfig())
    assert network.training
    assert not average.training
    assert not any(p.requires_grad for p in average.parameters())
    network(torch.rand(8, 2))
    average.update_parameters(network)
    assert torch.equal(average.module[1].running_mean, network[1].running_mean)
