"""The RGBD patch prior: a U-Net that predicts the noise in 48 x 48 patches of colour and disparity.

Source: spec of DiffusioNeRF, section 1.
"""

from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diorama.diffusion.noise import discrete_cosine
from diorama.diffusion.objective import (
    LogUniformSteps,
    Objective,
    TimeLaw,
    UniformTimes,
    denoising_loss,
    draw_times,
)
from diorama.nets.config import UNetConfig, diffusionerf_paper, patch_prior_small
from diorama.nets.unet import UNet
from diorama.priors.levels import STEPS, noise_level
from diorama.priors.prior import PatchEncoding, Prior

PAPER, SMALL = diffusionerf_paper(), patch_prior_small()
"""The published network, 36.25 million parameters [code]; and the one that is to be shipped."""


class RgbdPatchPrior(Prior):
    """Score = -predicted noise / noise level, in float32 whatever the caller's autocast says."""

    kind = "rgbd-patch"

    def __init__(self, config: UNetConfig, encoding: PatchEncoding) -> None:
        super().__init__()
        self.encoding = encoding
        self.network = UNet(config)

    @staticmethod
    def from_settings(settings: dict[str, Any], encoding: PatchEncoding) -> "RgbdPatchPrior":
        """From what `settings` gave."""
        return RgbdPatchPrior(UNetConfig.from_settings(settings["network"]), encoding)

    def settings(self) -> dict[str, Any]:
        """The network's config."""
        return {"network": asdict(self.network.config)}

    def score(self, patch: Float[Tensor, "batch c h w"], level: int) -> Float[Tensor, "batch c h w"]:
        """-noise(patch, level) / sigma. The patch is neither scaled nor noised: it is taken as a noisy patch."""
        self.encoding.require(patch, level)
        _, sigma = noise_level(level, self.encoding.steps)
        with torch.no_grad(), torch.autocast(patch.device.type, enabled=False):
            steps = torch.full((len(patch),), float(level), device=patch.device)
            return -self.network(patch.detach().to(torch.float32), steps) / sigma


OBJECTIVE = Objective(prediction="noise", norm="l1")
"""Mean absolute error of the noise [code]."""

PAPER_TIMES, SMALL_TIMES = UniformTimes(), LogUniformSteps()
"""At which steps a network is trained: all alike [code]; or mostly where a fit asks, which is steps 3 to 99."""


def training_loss(
    network: nn.Module, patches: Float[Tensor, "batch c h w"], times: TimeLaw, generator: torch.Generator
) -> Float[Tensor, ""]:
    """The error of the noise that a network finds in patches, at random steps of the schedule; a mean over all.

    patches: encoded, on the network's device. Run it under autocast for speed.
    """
    schedule = discrete_cosine(STEPS)
    t = draw_times(times, schedule, len(patches), generator).to(patches.device)
    noise = torch.randn(patches.shape, generator=generator, device=generator.device).to(patches)
    return denoising_loss(network, patches, noise, t, schedule, OBJECTIVE).mean()
