"""The piecewise perceptron: the same function as its layers one by one."""

from itertools import pairwise

import pytest
import torch

from diorama.kernels.mlp import PIECES, fused_mlp, mlp_reference


def random_layers(widths: list[int], dtype: torch.dtype = torch.float32):
    g = torch.Generator().manual_seed(0)
    weights = [torch.randn(o, i, generator=g, dtype=dtype) / i**0.5 for i, o in pairwise(widths)]
    biases = [torch.randn(o, generator=g, dtype=dtype) / 4 for o in widths[1:]]
    return [tensor.requires_grad_() for tensor in weights], [tensor.requires_grad_() for tensor in biases]


def gradients(out: torch.Tensor, inputs: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    return torch.autograd.grad((out * probe).sum(), inputs)


@pytest.mark.parametrize("leak", [0.0, 0.01])
@pytest.mark.parametrize("count", [0, 1, 5, PIECES[torch.float32] * 2 + 3])
@pytest.mark.parametrize("widths", [[3, 8, 4], [32, 64, 64, 4]])
def test_pieces_agree_with_whole_layers(count, widths, leak):
    weights, biases = random_layers(widths)
    inputs = torch.randn(count, widths[0], generator=torch.Generator().manual_seed(2)).requires_grad_()
    leaves = [inputs, *weights, *biases]
    got, wanted = fused_mlp(inputs, weights, biases, leak=leak), mlp_reference(inputs, weights, biases, leak)
    torch.testing.assert_close(got, wanted)
    for one, other in zip(gradients(got, leaves), gradients(wanted, leaves), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        assert torch.equal(fused_mlp(inputs, weights, biases, leak=leak), got)


def test_without_a_leak_the_reference_is_a_stack_of_relus():
    weights, biases = random_layers([3, 8, 4])
    inputs = torch.randn(50, 3, generator=torch.Generator().manual_seed(2))
    wanted = torch.relu(inputs @ weights[0].t() + biases[0]) @ weights[1].t() + biases[1]
    torch.testing.assert_close(mlp_reference(inputs, weights, biases), wanted)


@pytest.mark.parametrize("leak", [0.0, 0.2])
def test_the_gradients_pass_gradcheck(leak):
    weights, biases = random_layers([3, 5, 4, 2], torch.float64)
    inputs = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    flat = [inputs, *weights, *biases]
    assert torch.autograd.gradcheck(lambda x, *p: fused_mlp(x, p[:3], p[3:], leak=leak), flat)


@pytest.mark.parametrize("count", [7, PIECES[torch.bfloat16] + 11])
def test_bfloat16_stays_within_its_digits(count):
    weights, biases = random_layers([24, 64, 64, 16])
    inputs = torch.randn(count, 24, generator=torch.Generator().manual_seed(2)).requires_grad_()
    leaves = [inputs, *weights, *biases]
    got = fused_mlp(inputs, weights, biases, compute=torch.bfloat16)
    wanted = mlp_reference(inputs, weights, biases)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.05)
    for one, other in zip(gradients(got, leaves), gradients(wanted, leaves), strict=True):
        assert one.dtype == torch.float32
        assert (one - other).norm() / other.norm() < 0.1  # some ReLUs near zero fall on the other side


def test_strided_inputs_missing_biases_and_frozen_inputs_are_fine():
    weights, _ = random_layers([4, 8, 2])
    inputs = torch.randn(4, 9).t()
    out = fused_mlp(inputs, weights)
    torch.testing.assert_close(out, mlp_reference(inputs, weights, [torch.zeros(8), torch.zeros(2)]))
    out.sum().backward()
    assert weights[0].grad is not None
