"""Total variation as a prior: neighbouring pixels are alike, jumps are rare but may be large."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.priors.levels import noise_level
from diorama.priors.prior import PatchEncoding, Prior

COLOUR_SCALE, DISPARITY_SCALE = 0.1, 0.1
"""Typical gradient from pixel to pixel: of colour in [0, 1], and of disparity as a share of the patch's mean; ours."""

LEAST_DISPARITY = 1e-3
"""Mean disparities below (200 m) count as this."""


class TotalVariationPrior(Prior):
    """Density proportional to exp(-sum |gradient| / scale), each channel by itself; a Laplace law of gradients.

    Disparity is measured in units of the patch's own mean, so that its law does not know how far away things are: else
    everything would be pushed towards infinity, where disparity is flat. The kink at zero is rounded off at the
    standard deviation of the level's noise: differences that noise explains pull in proportion, larger ones with the
    constant strength of total variation.
    """

    kind = "total-variation"
    diffuses = False

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
        """Minus the log-density, up to a constant; 0 for a constant patch. Differentiable."""
        across, down = _differences(patch)
        rounding = self._rounding(level)
        length = (across.square() + down.square() + rounding**2).sqrt() - rounding
        return (length.sum((2, 3)) / self._units(patch)).sum(1)

    def score(self, patch: Float[Tensor, "batch c h w"], level: int) -> Float[Tensor, "batch c h w"]:
        """Minus the gradient of `energy`, in closed form: the divergence of the rounded unit gradients.

        For disparity there is a second part, the same for all pixels, that keeps its mean from falling.
        """
        self.encoding.require(patch, level)
        x = patch.detach().to(torch.float32)
        across, down = _differences(x)
        rounding = self._rounding(level)
        length = (across.square() + down.square() + rounding**2).sqrt()
        total = (length[:, 3] - rounding).sum((1, 2))
        across, down = across / length, down / length
        push = across + down
        push[..., :, 1:] -= across[..., :, :-1]
        push[..., 1:, :] -= down[..., :-1, :]
        units = self._units(x)
        push = push / units[..., None, None]
        free = _mean_disparity(x) > LEAST_DISPARITY
        slope = self.disparity_scale / (x.shape[-1] * x.shape[-2])
        push[:, 3] += (free * total * slope / units[:, 3].square())[:, None, None]
        return push

    def _rounding(self, level: int) -> float:
        return noise_level(level, self.encoding.steps)[1]

    def _units(self, x: Tensor) -> Float[Tensor, "batch c"]:
        # what a gradient of the coding's [-1, 1] is divided by
        colour = x.new_full((len(x), 3), 2.0 * self.colour_scale)
        disparity = 2.0 * self.disparity_scale * _mean_disparity(x).clamp_min(LEAST_DISPARITY)
        return torch.cat([colour, disparity[:, None]], dim=1)


def _mean_disparity(x: Tensor) -> Float[Tensor, "batch"]:
    return 0.5 * (x[:, 3].mean((1, 2)) + 1.0)


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    # forward differences, zero beyond the last column and row
    across = torch.nn.functional.pad(x.diff(dim=-1), (0, 1))
    down = torch.nn.functional.pad(x.diff(dim=-2), (0, 0, 0, 1))
    return across, down
