"""How sharp a render is next to the photograph: their power spectra, ring by ring.

PSNR forgives blur and punishes invented detail; the spectrum asks only how much detail of each size there is. Below
the noise of rounding to 8 bits no detail is told from none.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SpectrumConfig:
    """How spectra are drawn and compared."""

    rings: int = 16
    """Rings of equal width from 0 to 0.5 cycles a pixel; the first, where the mean lies, is left out."""
    high: float = 0.25
    """Cycles a pixel from which detail is fine: four pixels a wave and less."""
    floor: float = 1 / (12 * 255**2)
    """White noise added to the power of both pictures, as variance: that of rounding to 8 bits."""


@dataclass(frozen=True)
class SpectrumDistance:
    """distance: mean |difference| of the two spectra over all rings. fine: mean signed difference over the fine rings,
    negative where the render is blurrier than the photograph, positive where it is noisier. Both in dB."""

    distance: float
    fine: float


def spectrum_distance(
    render: Float[Tensor, "c h w"], photo: Float[Tensor, "c h w"], config: SpectrumConfig = SpectrumConfig()
) -> SpectrumDistance:
    """How the spectrum of a render differs from that of the photograph; 0 and 0 for equal pictures."""
    frequency, seen = radial_spectrum(render, config)
    _, wanted = radial_spectrum(photo, config)
    difference = seen - wanted
    return SpectrumDistance(float(difference.abs().mean()), float(difference[frequency >= config.high].mean()))


def radial_spectrum(
    picture: Float[Tensor, "c h w"], config: SpectrumConfig = SpectrumConfig()
) -> tuple[Float[Tensor, "ring"], Float[Tensor, "ring"]]:
    """Mean frequency (cycles a pixel) of each ring and the power in it, in dB of variance per mode; float64.

    The power is averaged over the ring and the channels, under a Hann window and without the windowed mean, so that
    brightness does not count. Rings that a small picture has no frequency in are left out."""
    height, width = picture.shape[-2:]
    tall, wide = (torch.hann_window(n + 2, periodic=False, dtype=torch.float64)[1:-1] for n in (height, width))
    window = (tall[:, None] * wide).to(picture.device)
    values = picture.double()
    mean = (values * window).sum((-2, -1), keepdim=True) / window.sum()
    power = torch.fft.fft2((values - mean) * window).abs().square().mean(0) / window.square().sum()
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64, device=picture.device) for n in (height, width))
    radius = (rows[:, None].square() + columns.square()).sqrt()
    ring = (radius * 2 * config.rings).long().flatten()
    kept = (ring >= 1) & (ring < config.rings)
    count = torch.bincount(ring[kept], minlength=config.rings)
    filled = count > 0
    frequency, mean_power = (
        torch.bincount(ring[kept], values.flatten()[kept], config.rings)[filled] / count[filled]
        for values in (radius, power)
    )
    return frequency, 10 * (mean_power + config.floor).log10()
