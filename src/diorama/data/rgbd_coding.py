"""How a picture with depth becomes the numbers that diffusion works on: (2 colour - 1, 2 disparity - 1).

Disparity = floor / max(depth, floor): 1 at the floor and nearer, 0.1 at ten times the floor, 0 at infinity. Depth is
planar and in metres, so the coding is absolute. Source: spec of DiffusioNeRF, section 1.4.
"""

import torch
from jaxtyping import Float
from torch import Tensor

DEPTH_FLOOR = 0.2
"""Metres [code]."""


def to_disparity(depth: Float[Tensor, "*batch h w"], floor: float = DEPTH_FLOOR) -> Float[Tensor, "*batch h w"]:
    """Planar depth (metres) as disparity in [0, 1]; infinity becomes 0. Unknown depth has no disparity: mask it out."""
    return floor / depth.clamp_min(floor)


def to_depth(disparity: Float[Tensor, "*batch h w"], floor: float = DEPTH_FLOOR) -> Float[Tensor, "*batch h w"]:
    """The inverse of `to_disparity` from the floor on; 0 and less become infinity, 1 and more the floor."""
    positive = disparity > 0
    depth = floor / torch.where(positive, disparity, torch.ones_like(disparity)).clamp_max(1.0)
    return torch.where(positive, depth, torch.full_like(depth, torch.inf))


def encode_rgbd(
    colour: Float[Tensor, "*batch 3 h w"], depth: Float[Tensor, "*batch h w"], floor: float = DEPTH_FLOOR
) -> Float[Tensor, "*batch 4 h w"]:
    """Display colour in [0, 1] and planar depth in metres -> [-1, 1]; differentiable in both."""
    return encode_with_disparity(colour, to_disparity(depth, floor))


def encode_with_disparity(
    colour: Float[Tensor, "*batch 3 h w"], disparity: Float[Tensor, "*batch h w"]
) -> Float[Tensor, "*batch 4 h w"]:
    """Display colour and disparity, both in [0, 1] -> [-1, 1]."""
    return 2.0 * torch.cat([colour, disparity.unsqueeze(-3)], dim=-3) - 1.0


def decode_rgbd(
    patch: Float[Tensor, "*batch 4 h w"], floor: float = DEPTH_FLOOR
) -> tuple[Float[Tensor, "*batch 3 h w"], Float[Tensor, "*batch h w"]]:
    """The inverse of `encode_rgbd`; colours are clamped to [0, 1]."""
    unit = 0.5 * (patch + 1.0)
    return unit[..., :3, :, :].clamp(0.0, 1.0), to_depth(unit[..., 3, :, :], floor)
