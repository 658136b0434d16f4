"""A small multilayer perceptron on many points, in pieces that stay in the cache.

Layer after layer over all points, a CPU writes every activation to memory and reads it back; here each piece of the
points goes through all layers at once, which takes about half the time at 10^5 points. Optionally in bfloat16, where
the processor multiplies it (AVX-512 BF16, AMX), which takes half of that again.

One twin only, in torch: its matrix products are the processor's own already. On CUDA it runs the layers one by one.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor

PIECES = {torch.float32: 2048, torch.bfloat16: 16384}
"""Points per piece, by the type of the products; bfloat16 pays a larger fixed price per product."""


def fused_mlp(
    inputs: Float[Tensor, "n i"],
    weights: Sequence[Tensor],
    biases: Sequence[Tensor] | None = None,
    *,
    leak: float = 0.0,
    compute: torch.dtype = torch.float32,
) -> Float[Tensor, "n o"]:
    """Linear layers with ReLU between them and none at the end; weights are (out, in), as in `torch.nn.Linear`.

    leak: slope of the ReLUs below zero, 0 or more; with a little of it no unit can fall silent for good.
    Gradients to inputs, weights and biases, once; for compute=float32 exact. With compute=bfloat16 (for float32
    tensors on the CPU; ignored elsewhere) inputs and hidden activations are rounded to 8 bits, sums and the last
    layer stay float32; ask `multiplies_bfloat16` whether that is any faster.
    """
    biases = [weight.new_zeros(weight.shape[0]) for weight in weights] if biases is None else list(biases)
    if inputs.device.type != "cpu" or len(weights) < 2:
        return mlp_reference(inputs, weights, biases, leak)
    if inputs.dtype != torch.float32:
        compute = inputs.dtype
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (inputs, *weights, *biases)):
        return _PiecewiseMlp.apply(inputs, leak, compute, *weights, *biases)
    return _forward(inputs, leak, compute, list(weights), biases)[0]


def mlp_reference(
    inputs: Float[Tensor, "n i"], weights: Sequence[Tensor], biases: Sequence[Tensor], leak: float = 0.0
) -> Float[Tensor, "n o"]:
    """`fused_mlp` in plain torch."""
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        inputs = F.leaky_relu(F.linear(inputs, weight, bias), leak)
    return F.linear(inputs, weights[-1], biases[-1])


def multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for products of bfloat16; without them they are slower than float32."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(supported and supported())


def _forward(
    inputs: Tensor,
    leak: float,
    compute: torch.dtype,
    weights: list[Tensor],
    biases: list[Tensor],
    keep: bool = False,
) -> tuple[Tensor, list[Tensor]]:
    # the output, and if kept what each layer was given
    count, length = len(inputs), PIECES.get(compute, 2048)
    rows = count if keep else min(length, count)
    given = [inputs.new_empty(rows, weight.shape[1], dtype=compute) for weight in weights]
    if compute == inputs.dtype and keep:
        given[0] = inputs
    turned = [weight.to(compute).t() for weight in weights[:-1]]
    shifts = [bias.to(compute) for bias in biases[:-1]]
    out = inputs.new_empty(count, weights[-1].shape[0])
    for start in range(0, count, length):
        piece = slice(start, min(start + length, count))
        kept = piece if keep else slice(0, piece.stop - start)
        layer = given[0][kept] if given[0] is inputs else given[0][kept].copy_(inputs[piece])
        for turn, shift, target in zip(turned, shifts, given[1:], strict=True):
            layer = F.leaky_relu_(torch.addmm(shift, layer, turn, out=target[kept]), leak)
        torch.addmm(biases[-1], layer.to(out.dtype), weights[-1].t(), out=out[piece])
    return out, given if keep else []


class _PiecewiseMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, leak: float, compute: torch.dtype, *parameters: Tensor) -> Tensor:
        layers = len(parameters) // 2
        out, given = _forward(inputs, leak, compute, list(parameters[:layers]), list(parameters[layers:]), keep=True)
        ctx.save_for_backward(*parameters[:layers], *given)
        ctx.leak, ctx.compute = leak, compute
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # read once: checkpoints compute them again at every reading
        leak, compute = ctx.leak, ctx.compute
        layers = len(saved) // 2
        weights, given = saved[:layers], saved[layers:]
        products = [weight.to(compute) for weight in weights]
        to_weights = [torch.zeros_like(weight) for weight in weights]
        to_biases = [weight.new_zeros(weight.shape[0]) for weight in weights]
        to_inputs = gradient.new_empty(len(gradient), weights[0].shape[1]) if ctx.needs_input_grad[0] else None
        edges = [*range(0, len(gradient), PIECES.get(compute, 2048)), len(gradient)]
        for start, stop in pairwise(edges):
            slope = gradient[start:stop].to(compute)
            for layer in range(layers - 1, -1, -1):
                was_given = given[layer][start:stop]
                if compute == gradient.dtype:
                    to_weights[layer].addmm_(slope.t(), was_given)
                else:
                    to_weights[layer] += slope.t() @ was_given
                to_biases[layer] += slope.sum(0, dtype=gradient.dtype)
                if layer:
                    # what a unit gave has the sign of what it was given
                    slope = torch.ops.aten.leaky_relu_backward(slope @ products[layer], was_given, leak, True)
                elif to_inputs is not None:
                    to_inputs[start:stop] = slope @ products[0]
        return to_inputs, None, None, *to_weights, *to_biases
