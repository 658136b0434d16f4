"""What a training took, and what it will keep."""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from diorama.training.memory import peak_memory, saved_bytes, state_bytes


def test_the_peak_never_falls_and_knows_of_a_large_tensor():
    before = peak_memory(torch.device("cpu"))
    large = torch.ones(before + (64 << 20), dtype=torch.uint8)
    during = peak_memory(torch.device("cpu"))
    assert during >= large.numel()
    del large
    assert peak_memory(torch.device("cpu")) >= during


def test_what_is_kept_is_counted_once_and_without_parameters():
    """A product keeps its two factors; a square keeps what is squared, which the product after it keeps as well."""
    x, weight = torch.ones(10, 3, requires_grad=True) * 2, nn.Parameter(torch.ones(10, 3))
    assert saved_bytes(lambda: x * weight) == 4 * 30
    assert saved_bytes(lambda: (x.square() * x).sum()) == 2 * 4 * 30
    assert saved_bytes(lambda: x + 1) == 0


def test_what_would_not_fit_is_counted_without_contents():
    with FakeTensorMode():
        layer = nn.Linear(1 << 10, 1 << 10)
        given = torch.empty(1 << 30, 1 << 10)
        assert saved_bytes(lambda: layer(given).sigmoid()) == 2 * 4 * (1 << 40)
        assert state_bytes(layer) == 5 * 4 * ((1 << 20) + (1 << 10))
