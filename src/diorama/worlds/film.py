"""From linear light to photographs as cameras make them: exposure, lens, noise, tone curve, 8 bits, JPEG.

What one camera does is a `Film`: a handful of numbers a picture, drawn at random, so that nothing which learns from
worlds mistakes one tone curve for the truth. Nothing here is physics to the letter; each step is the simplest that
leaves the trace a real one leaves.
"""

import io
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Rec. 709 weights of linear red, green and blue."""


@dataclass(frozen=True)
class FilmConfig:
    """How far cameras differ. Ranges are uniform, spreads are standard deviations."""

    key: float = 0.16
    """What exposure brings the geometric mean luminance of a picture to (photographers' middle grey is 0.18)."""
    grey_world: float = 0.4
    """How far a camera makes the mean colour of a picture grey: 0 leaves the light's colour, 1 takes it all away."""
    exposure_spread: float = 0.45
    """Of the natural logarithm of exposure; 0.69 is one stop."""
    balance_spread: float = 0.06
    """Of the natural logarithm of the red and the blue gain: how well white is balanced."""
    shoulder: tuple[float, float] = (0.0, 0.8)
    """How gently highlights clip; 0 is a hard clip."""
    contrast: tuple[float, float] = (-0.15, 0.35)
    """Strength of the S of the tone curve; must stay in (-1, 0.5), where the curve rises everywhere."""
    saturation: tuple[float, float] = (0.8, 1.25)
    """Distance from grey, times this."""
    shot_noise: tuple[float, float] = (2e-5, 1.2e-3)
    """Variance of a white pixel's linear light, drawn log-uniformly: a good camera shrunk, to a phone at night."""
    read_noise: float = 0.003
    """Largest standard deviation of a black pixel's linear light."""
    blur: tuple[float, float] = (0.25, 0.7)
    """Standard deviation of the lens in pixels."""
    jpeg_share: float = 0.5
    """Share of pictures that are stored as JPEG before they are used."""
    jpeg_quality: tuple[int, int] = (60, 95)


STANDARD = FilmConfig()


@dataclass(frozen=True)
class Film:
    """What one camera does to each of some pictures; one number (or three) a picture."""

    gain: Float[Tensor, "view rgb=3"]
    """Exposure times white balance, on linear light whose geometric mean luminance is the key."""
    shoulder: Float[Tensor, "view"]
    contrast: Float[Tensor, "view"]
    saturation: Float[Tensor, "view"]
    shot: Float[Tensor, "view"]
    read: Float[Tensor, "view"]
    blur: Float[Tensor, "view"]
    quality: Int[Tensor, "view"]
    """Of the JPEG; 0 for none."""

    def __getitem__(self, index: Tensor | slice) -> "Film":
        """The films of some pictures."""
        return Film(*(getattr(self, field.name)[index] for field in fields(self)))


def sample_film(count: int, generator: torch.Generator, config: FilmConfig = STANDARD) -> Film:
    """Draw what `count` cameras do."""
    draw = torch.rand(count, 8, generator=generator)
    normal = torch.randn(count, 3, generator=generator)
    warmth = config.balance_spread * torch.stack([normal[:, 1], torch.zeros(count), normal[:, 2]], dim=-1)
    least, most = config.shot_noise
    low, high = config.jpeg_quality
    quality = (low + (high + 1 - low) * draw[:, 6]).floor().long()
    return Film(
        gain=torch.exp(config.exposure_spread * normal[:, :1] + warmth),
        shoulder=_between(config.shoulder, draw[:, 0]),
        contrast=_between(config.contrast, draw[:, 1]),
        saturation=_between(config.saturation, draw[:, 2]),
        shot=least * (most / least) ** draw[:, 3],
        read=config.read_noise * draw[:, 4] ** 2,
        blur=_between(config.blur, draw[:, 5]),
        quality=torch.where(draw[:, 7] < config.jpeg_share, quality, 0),
    )


def meter(linear: Float[Tensor, "view 3 h w"], config: FilmConfig = STANDARD) -> Float[Tensor, "rgb=3"]:
    """Exposure and white balance that suit pictures taken together: factors for linear red, green and blue.

    They bring the geometric mean luminance to the key, and the mean colour towards grey.
    """
    mean = linear.clamp(0.0, 4.0).mean((0, 2, 3)).clamp_min(1e-4)
    balance = (mean.mean() / mean) ** config.grey_world
    weights = linear.new_tensor(LUMINANCE)[:, None, None]
    luminance = (linear * balance[:, None, None] * weights).sum(1)
    return balance * config.key / luminance.clamp(1e-3, 4.0).log().mean().exp()


def develop(linear: Float[Tensor, "view 3 h w"], film: Film, generator: torch.Generator) -> Float[Tensor, "view 3 h w"]:
    """Photographs in [0, 1] on the 256 steps of 8 bits, from linear light whose geometric mean is the key (`meter`).

    The order is a camera's: lens, sensor (shot and read noise), white balance, tone curve, storage.
    """
    device = linear.device
    one = {field.name: getattr(film, field.name).to(device) for field in fields(film)}
    light = blurred(linear.clamp_min(0), one["blur"])
    noise = torch.randn(light.shape, generator=generator, device=generator.device).to(light)
    deviation = (one["shot"][:, None, None, None] * light + one["read"][:, None, None, None].square()).sqrt()
    exposed = ((light + deviation * noise) * one["gain"][:, :, None, None]).clamp_min(0)
    photo = toned(exposed, one["shoulder"], one["contrast"], one["saturation"])
    stored = (photo * 255).round() / 255
    for index in film.quality.nonzero()[:, 0].tolist():
        stored[index] = through_jpeg(stored[index], int(film.quality[index]))
    return stored


def toned(
    light: Float[Tensor, "view 3 h w"],
    shoulder: Float[Tensor, "view"],
    contrast: Float[Tensor, "view"],
    saturation: Float[Tensor, "view"],
) -> Float[Tensor, "view 3 h w"]:
    """Display colour in [0, 1]: highlights compressed (Reinhard et al. 2002, eq. 4, white at 3), sRGB, an S-curve."""
    shoulder, contrast, saturation = (one[:, None, None, None] for one in (shoulder, contrast, saturation))
    grey = (light * light.new_tensor(LUMINANCE)[:, None, None]).sum(1, keepdim=True)
    light = (grey + saturation * (light - grey)).clamp_min(0)
    gentle = 1.4 * light * (1 + light / 9.0) / (1 + light)
    display = encode_srgb(torch.lerp(light, gentle, shoulder).clamp(0, 1))
    return (display + 4 * contrast * (display - 0.5) * display * (1 - display)).clamp(0, 1)


def encode_srgb(linear: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Linear light in [0, 1] to display values in [0, 1]. Source: IEC 61966-2-1."""
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp_min(1e-8) ** (1 / 2.4) - 0.055)


def decode_srgb(display: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The inverse of `encode_srgb`."""
    return torch.where(display <= 0.04045, display / 12.92, ((display + 0.055) / 1.055).clamp_min(0) ** 2.4)


def blurred(pictures: Float[Tensor, "view c h w"], deviation: Float[Tensor, "view"]) -> Float[Tensor, "view c h w"]:
    """Each picture under its own Gaussian of so many pixels (at most about 1), borders repeated."""
    reach = 2
    steps = torch.arange(-reach, reach + 1, device=pictures.device, dtype=pictures.dtype)
    kernel = torch.exp(-0.5 * (steps / deviation.to(pictures).clamp_min(1e-3)[:, None]) ** 2)
    kernel = kernel / kernel.sum(-1, keepdim=True)
    height, width = pictures.shape[2:]
    padded = torch.nn.functional.pad(pictures, (reach,) * 4, mode="replicate")
    across = sum(kernel[:, i, None, None, None] * padded[..., i : i + width] for i in range(2 * reach + 1))
    assert isinstance(across, Tensor)
    down = sum(kernel[:, i, None, None, None] * across[:, :, i : i + height] for i in range(2 * reach + 1))
    assert isinstance(down, Tensor)
    return down


def through_jpeg(photo: Float[Tensor, "3 h w"], quality: int) -> Float[Tensor, "3 h w"]:
    """A photograph after it was written as JPEG and read again."""
    from PIL import Image

    pixels = (photo.detach().cpu() * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, format="JPEG", quality=quality)
    again = np.asarray(Image.open(stored), dtype=np.float32) / 255
    return torch.from_numpy(np.ascontiguousarray(again.transpose(2, 0, 1))).to(photo)


def _between(span: tuple[float, float], share: Tensor) -> Tensor:
    return span[0] + (span[1] - span[0]) * share
