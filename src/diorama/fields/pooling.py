"""What fields made of several views share: an MLP that what each view says of a point goes through, pooling, a decoder.

Functions of layers, not a module: a field keeps its layers under its own names.
"""

import itertools
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from diorama.kernels.pooled_mlp import More, more_of_all, pooled_mlp
from diorama.kernels.view_gather import pool_views

Pool = Literal["max", "mean", "softmax"]


SILU_GAIN = 1.677
"""SiLU divides the root mean square of unit Gaussian numbers by this."""


PIECE = 4096
"""Points that are decoded at a time on a CPU where no gradient is wanted."""


def linear_layers(widths: list[int], *, last: bool) -> nn.ModuleList:
    """Linear layers from each width to the next, with SiLU after each but, unless `last`, the last.

    Those with SiLU after them start so that numbers keep their size on the way (He's rule, arXiv 1502.01852). Torch's
    own start divides them by three at each layer: what planes hold would not be seen for hundreds of steps.
    """
    layers = [nn.Linear(given, made) for given, made in itertools.pairwise(widths)]
    for layer in layers if last else layers[:-1]:
        nn.init.normal_(layer.weight, std=SILU_GAIN / layer.in_features**0.5)
        nn.init.zeros_(layer.bias)
    return nn.ModuleList(layers)


def pooled_answers(
    read: nn.ModuleList,
    pool: Pool,
    features: Float[Tensor, "scene view point f"],
    keep: Bool[Tensor, "scene view point"],
    code: More,
) -> tuple[Float[Tensor, "scene point d"], Bool[Tensor, "scene point"]]:
    """What the views that may be asked say of each point together (0 where there is none), and whether there is any.

    code: (scene, rows of it: view * points + point) -> further inputs (row, k) of the MLP, which carry no gradient.
    """
    layers = [layer for layer in read if isinstance(layer, nn.Linear)]
    if pool == "max":
        device = features.device.type
        fast = torch.is_autocast_enabled(device)
        return pooled_mlp(
            features, keep, [layer.weight for layer in layers], [layer.bias for layer in layers], code,
            compute=torch.get_autocast_dtype(device) if fast else features.dtype,
        )  # fmt: skip
    h = _through(read, torch.cat([features, more_of_all(features, code)], dim=-1), last=True)
    return pool_views(h, keep, pool)


def density_and_colour(
    decode: nn.ModuleList,
    nothing: Float[Tensor, "d"],
    pooled: Float[Tensor, "scene point d"],
    known: Bool[Tensor, "scene point"],
    shift: float,
) -> tuple[Float[Tensor, "scene point"], Float[Tensor, "scene point rgb=3"]]:
    """The decoder: softplus(logit + shift) and colour in [0, 1]. nothing: what stands where no view may be asked."""
    if pooled.device.type != "cpu" or torch.is_grad_enabled():
        out = _decoded(decode, nothing, pooled, known)
    else:  # pieces that stay in the cache
        pieces = zip(pooled.flatten(0, 1).split(PIECE), known.flatten().split(PIECE), strict=True)
        out = torch.cat([_decoded(decode, nothing, *piece) for piece in pieces]).unflatten(0, known.shape)
    density = -torch.nn.functional.logsigmoid(-out[..., 0] - shift)  # softplus, in equal bits anywhere
    return density, torch.sigmoid(out[..., 1:])


def _decoded(decode: nn.ModuleList, nothing: Tensor, pooled: Tensor, known: Tensor) -> Tensor:
    return _through(decode, torch.where(known[..., None], pooled, nothing.to(pooled)), last=False).float()


def _through(layers: nn.ModuleList, x: Tensor, *, last: bool) -> Tensor:
    # linear layers with SiLU after each but, unless `last`, the last
    for index, layer in enumerate(layers):
        x = layer(x)
        if last or index < len(layers) - 1:
            x = torch.nn.functional.silu(x, inplace=False)
    return x
