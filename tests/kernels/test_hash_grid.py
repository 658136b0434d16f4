"""The hash grid: laws of the encoding, and twins that agree in values and gradients."""

import pytest
import torch

from diorama.kernels.hash_grid import GridLayout, grid_layout, hash_encode, hash_encode_reference

LAYOUT = grid_layout(6, 4, 64, 10)
"""Two dense levels, then hashed ones."""


def random_table(layout: GridLayout, features: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(layout.entries, features, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_points(count: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def values_and_gradients(encode, positions, table, level_weights=None):
    positions, table = positions.detach().requires_grad_(), table.detach().requires_grad_()
    out = encode(positions, table, LAYOUT, level_weights)
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=out.dtype)
    (out * probe.to(out.device)).sum().backward()
    return out.detach(), table.grad, positions.grad


@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("count", [0, 1, 7, 1001])
def test_numba_agrees_with_the_reference(count, features):
    positions, table = random_points(count), random_table(LAYOUT, features)
    got = values_and_gradients(hash_encode, positions, table)
    wanted = values_and_gradients(hash_encode_reference, positions, table)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_the_gradients_of_the_operation_pass_gradcheck():
    layout = grid_layout(3, 2, 9, 6)
    positions = random_points(5, torch.float64).requires_grad_()
    table = random_table(layout, 2, torch.float64).requires_grad_()
    weights = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, t: hash_encode(p, t, layout, weights), (positions, table))
