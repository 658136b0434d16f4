"""The RGBD patch prior: a U-Net that predicts the noise in 48 x 48 patches of colour and disparity.

Source: spec of DiffusioNeRF, section 1.
"""

from dataclasses import asdict, replace
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
from diorama.priors.levels import STEPS, noise_level, noise_levels
from diorama.priors.prior import PatchEncoding, Prior

PAPER, SMALL = diffusionerf_paper(), patch_prior_small()
"""The published network, 36.25 million parameters [code]; and the one that is to be shipped."""


DETAIL_LIMIT = 4.0
"""Detail is cut off at so many standard deviations of the noise: an edge is no noise."""


class DetailUNet(nn.Module):
    """A U-Net that is also shown what is finer than its neighbourhood, in units of the noise.

    At low noise nearly all that a network sees is the clean patch, and the noise that it is asked for is a hundredth of
    it: (x - blurred x) / sigma brings it to the size of 1. Ours; a small network hardly starts to learn without it.
    """

    def __init__(self, config: UNetConfig, steps: int = STEPS) -> None:
        super().__init__()
        self.config, self.steps = config, steps
        self.unet = UNet(replace(config, in_channels=2 * config.in_channels))

    def forward(self, x: Float[Tensor, "batch c h w"], time: Float[Tensor, "batch"]) -> Float[Tensor, "batch o h w"]:
        """As the U-Net; time is the step of the schedule."""
        return self.unet(torch.cat([x, self.detail(x, time)], dim=1), time)

    def detail(self, x: Float[Tensor, "batch c h w"], time: Float[Tensor, "batch"]) -> Float[Tensor, "batch c h w"]:
        """x less its mean over 3 x 3 pixels (binomial weights), over sigma of the step, within `DETAIL_LIMIT`."""
        line = x.new_tensor([0.25, 0.5, 0.25])
        kernel = (line[:, None] * line).expand(x.shape[1], 1, 3, 3)
        with torch.autocast(x.device.type, enabled=False):
            padded = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
            blurred = torch.nn.functional.conv2d(padded, kernel, groups=x.shape[1])
        sigma = noise_levels(time.round().long(), self.steps)[1].to(x)
        return ((x - blurred) / sigma[:, None, None, None]).clamp(-DETAIL_LIMIT, DETAIL_LIMIT)


class RgbdPatchPrior(Prior):
    """Score = -predicted noise / noise level, in float32 whatever the caller's autocast says.

    detail: the network is a `DetailUNet`, as that of our own weights; otherwise a plain U-Net, as published.
    """

    kind = "rgbd-patch"

    def __init__(self, config: UNetConfig, encoding: PatchEncoding, *, detail: bool = False) -> None:
        super().__init__()
        self.encoding = encoding
        self.network = DetailUNet(config, encoding.steps) if detail else UNet(config)

    @staticmethod
    def from_settings(settings: dict[str, Any], encoding: PatchEncoding) -> "RgbdPatchPrior":
        """From what `settings` gave."""
        detail = settings.get("detail", False)
        if not isinstance(detail, bool):
            raise ValueError(f"detail is {detail!r}; it must be true or false")
        return RgbdPatchPrior(UNetConfig.from_settings(settings["network"]), encoding, detail=detail)

    def settings(self) -> dict[str, Any]:
        """The network's config, and whether it is shown detail."""
        return {"network": asdict(self.network.config), "detail": isinstance(self.network, DetailUNet)}

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
