"""What a U-Net is built of, attention apart: residual blocks, resampling, and how the time enters.

Convolutions keep whatever memory format their input and weights have; `channels_last` is worth asking for.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float
from torch import Tensor, nn

Resample = Literal["up", "down"]
M = TypeVar("M", bound=nn.Module)


def time_embedding(
    time: Float[Tensor, "batch"], width: int, longest_period: float = 10_000.0
) -> Float[Tensor, "batch width"]:
    """Cosines, then sines, of `time` at width/2 frequencies falling geometrically from 1 to 1 / longest_period.

    Always in float32: bfloat16 could not tell step 998 from 999. Source: DDPM (arXiv 2006.11239), appendix B.
    """
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=time.device) / half
    angles = time.float()[:, None] * torch.exp(-math.log(longest_period) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class StandardisedConv2d(nn.Conv2d):
    """A convolution whose filters have mean 0 and variance 1. Source: Weight Standardization (arXiv 1903.10520)."""

    def forward(self, input: Float[Tensor, "batch i h w"]) -> Float[Tensor, "batch o p q"]:
        """The convolution, standardised in the weights' own precision even under autocast."""
        filters = self.weight.flatten(1)  # a layer norm of each: what var_mean takes ten times as long for on a CPU
        weight = F.layer_norm(filters, filters.shape[1:], eps=1e-5).view_as(self.weight)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


class PostNormBlock(nn.Module):
    """Residual block of DDPM's descendants: twice convolution, norm, SiLU; the time scales and shifts the first half.

    Source: spec of DiffusioNeRF (arXiv 2302.12231, authors' code), residual block.
    """

    def __init__(self, given: int, made: int, embedding: int, *, groups: int, standardised: bool) -> None:
        super().__init__()
        convolution = StandardisedConv2d if standardised else nn.Conv2d
        self.modulation = nn.Linear(embedding, 2 * made)
        self.first = convolution(given, made, 3, padding=1)
        self.first_norm = nn.GroupNorm(groups, made)
        self.second = convolution(made, made, 3, padding=1)
        self.second_norm = nn.GroupNorm(groups, made)
        self.skip = nn.Conv2d(given, made, 1) if given != made else nn.Identity()

    def forward(self, x: Float[Tensor, "batch i h w"], embedding: Float[Tensor, "batch e"]) -> Tensor:
        """Same height and width; channels as built."""
        h = modulate(self.first_norm(self.first(x)), self.modulation(F.silu(embedding)))
        h = F.silu(self.second_norm(self.second(F.silu(h))))
        return h + self.skip(x)


class PreNormBlock(nn.Module):
    """Residual block of ADM: twice norm, SiLU, convolution; resampling happens inside; it starts as the identity.

    Source: Dhariwal and Nichol (arXiv 2105.05233), "BigGAN residual block" and adaptive group normalisation.
    """

    def __init__(
        self,
        given: int,
        made: int,
        embedding: int,
        *,
        groups: int,
        standardised: bool,
        resample: Resample | None = None,
    ) -> None:
        super().__init__()
        convolution = StandardisedConv2d if standardised else nn.Conv2d
        self.resample = resample
        self.modulation = nn.Linear(embedding, 2 * made)
        self.first_norm = nn.GroupNorm(groups, given)
        self.first = convolution(given, made, 3, padding=1)
        self.second_norm = nn.GroupNorm(groups, made)
        self.second = zero(nn.Conv2d(made, made, 3, padding=1))
        self.skip = nn.Conv2d(given, made, 1) if given != made else nn.Identity()

    def forward(self, x: Float[Tensor, "batch i h w"], embedding: Float[Tensor, "batch e"]) -> Tensor:
        """Height and width as they come, or halved (average), or doubled (nearest)."""
        h = F.silu(self.first_norm(x))
        if self.resample is not None:
            h, x = resized(h, self.resample), resized(x, self.resample)
        h = modulate(self.second_norm(self.first(h)), self.modulation(F.silu(embedding)))
        return self.second(F.silu(h)) + self.skip(x)


def modulate(x: Float[Tensor, "batch c h w"], scale_shift: Float[Tensor, "batch cc"]) -> Float[Tensor, "batch c h w"]:
    """x * (1 + scale) + shift, per sample and channel; `scale_shift` holds the scales, then the shifts."""
    scale, shift = scale_shift[:, :, None, None].chunk(2, dim=1)
    return torch.addcmul(shift, x, 1 + scale) if x.dtype == shift.dtype else x * (1 + scale) + shift


def resized(x: Float[Tensor, "batch c h w"], resample: Resample) -> Float[Tensor, "batch c p q"]:
    """Twice the side by repeating pixels, or half of it by averaging 2x2 pixels."""
    if resample == "up":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    return F.avg_pool2d(x, 2)


class Upsample(nn.Module):
    """Twice the side: nearest neighbour, then a 3x3 convolution."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(given, made, 3, padding=1)

    def forward(self, x: Float[Tensor, "batch i h w"]) -> Float[Tensor, "batch o 2*h 2*w"]:
        """Channels as built."""
        return self.convolution(resized(x, "up"))


def zero(module: M) -> M:
    """The module with all its parameters at zero, so that what it adds starts at nothing."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def full_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Inside of it, autocast does nothing: for the few layers that bfloat16 would harm. Nothing where there is none."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
