"""Renders as the photographs they are compared with: their background, their exposure."""

import torch
from jaxtyping import Float
from torch import Tensor


def over(
    colour: Float[Tensor, "ray rgb=3"], coverage: Float[Tensor, "ray"], background: Float[Tensor, "ray rgb=3"]
) -> Float[Tensor, "ray rgb=3"]:
    """Straight colour with coverage in [0, 1], laid over a background."""
    return colour * coverage[:, None] + background * (1.0 - coverage)[:, None]


def with_gain(colour: Float[Tensor, "ray rgb=3"], log_gain: Float[Tensor, "ray rgb=3"]) -> Float[Tensor, "ray rgb=3"]:
    """A render as a photo with another exposure and white balance would show it, in linear light.

    The gain acts on linear light; 2.2 is the display gamma taken for photographs.
    """
    return (colour.clamp_min(1e-4).log() + log_gain / 2.2).exp()


def exposure_spread(images: Float[Tensor, "view 3 h w"], usable: Float[Tensor, "view h w"]) -> float:
    """Standard deviation over photos of the log of their median linear brightness (natural log units).

    A rough measure: photos of one scene taken with one exposure differ by their content alone, mostly below 0.15.
    """
    medians = []
    for image, good in zip(images, usable, strict=True):
        grey = image.mean(0)[good > 0.5]
        if grey.numel():
            medians.append(2.2 * grey.median().clamp_min(1e-3).log())
    return float(torch.stack(medians).std()) if len(medians) > 1 else 0.0
