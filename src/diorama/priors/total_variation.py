"""Total variation as a prior: neighbouring pixels are alike, jumps are rare but may be large."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.priors.levels import noise_level
from diorama.priors.prior import PatchEncoding, Prior

COLOUR_SCALE, DISPARITY_SCALE = 0.2, 0.02
"""Typical size of a pixel's gradient in the coding's [-1, 1]; ours."""


class TotalVariationPrior(Prior):
    """Density proportional to exp(-sum |gradient| / scale), each channel by itself; a Laplace law of gradients.

    The kink at zero is rounded off at the standard deviation of the level's noise: differences that noise explains pull
    in proportion, larger ones with the constant strength of total variation.
    """

    kind = "total-variation"

    def __init__(
        self, encoding: PatchEncoding, colour_scale: float = COLOUR_SCALE, disparity_scale: float = DISPARITY_SCALE
    ) -> None:
        super().__init__()
        if not (colour_scale > 0 and disparity_scale > 0):
            raise ValueError(f"scales of total variation must be positive, not {colour_scale} and {disparity_scale}")
        self.encoding = encoding
        self.colour_scale, self.disparity_scale = colour_scale, disparity_scale

    @staticmethod
    def from_settings(settings: dict[str, Any], encoding: PatchEncoding) -> "TotalVariationPrior":
        """From what `settings` gave."""
        return TotalVariationPrior(encoding, **{name: float(value) for name, value in settings.items()})

    def settings(self) -> dict[str, Any]:
        """The two scales."""
        return {"colour_scale": self.colour_scale, "disparity_scale": self.disparity_scale}

    def energy(self, patch: Float[Tensor, "batch c h w"], level: int) -> Float[Tensor, "batch"]:
        """Minus the log-density, up to a constant; differentiable."""
        across, down = _differences(patch)
        length = (across.square() + down.square() + self._rounding(level)).sqrt()
        return (length.sum((2, 3)) / self._scales(patch)).sum(1)

    def score(self, patch: Float[Tensor, "batch c h w"], level: int) -> Float[Tensor, "batch c h w"]:
        """Minus the gradient of `energy`, in closed form: the divergence of the rounded unit gradients."""
        self.encoding.require(patch, level)
        x = patch.detach().to(torch.float32)
        across, down = _differences(x)
        length = (across.square() + down.square() + self._rounding(level)).sqrt()
        across, down = across / length, down / length
        push = across + down
        push[..., :, 1:] -= across[..., :, :-1]
        push[..., 1:, :] -= down[..., :-1, :]
        return push / self._scales(x)[:, None, None]

    def _rounding(self, level: int) -> float:
        return noise_level(level, self.encoding.steps)[1] ** 2

    def _scales(self, like: Tensor) -> Float[Tensor, "c"]:
        return like.new_tensor([self.colour_scale] * 3 + [self.disparity_scale])


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    # forward differences, zero beyond the last column and row
    across = torch.nn.functional.pad(x.diff(dim=-1), (0, 1))
    down = torch.nn.functional.pad(x.diff(dim=-2), (0, 0, 0, 1))
    return across, down
