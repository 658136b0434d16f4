"""What a training took, and what it will keep."""

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from diorama.training.memory import peak_memory, saved_bytes, state_bytes


def test_the_peak_is_in_bytes_and_never_falls():
    large = torch.ones(64 << 20, dtype=torch.uint8)
    peak = peak_memory(torch.device("cpu"))
    assert large.numel() < peak < 1 << 40, "neither kilobytes nor kilobytes of kilobytes"
    del large
    assert peak_memory(torch.device("cpu")) >= peak


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
