"""Colours as the world has them: relatives in one material, brightness varying most, few of them vivid.

The axes are those in which photographs are least correlated: the logarithm of light, yellow against blue, red against
green, whose spreads fall in this order (Ruderman, Cronin and Chiao, "Statistics of cone responses to natural images",
1998). All colours are linear reflectances.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.worlds.roles import Tint

DARKEST, LIGHTEST = 0.012, 0.92
"""Soot and snow."""
HUES = (0.1, 0.75, 1.3, 2.4, 3.3, 4.2, -0.9)
"""Hues of dyed things, radians from yellow over red to blue and green: yellow, orange, red, pink, blue, teal, green."""
OFTEN = (0.16, 0.14, 0.24, 0.05, 0.2, 0.06, 0.15)


@dataclass(frozen=True)
class Draw:
    """Random columns of one length from one generator."""

    count: int
    generator: torch.Generator

    def uniform(self, *more: int) -> Tensor:
        """In [0, 1)."""
        return torch.rand(self.count, *more, generator=self.generator)

    def normal(self, *more: int) -> Tensor:
        """Of deviation 1."""
        return torch.randn(self.count, *more, generator=self.generator)

    def between(self, low: float, high: float) -> Tensor:
        """Uniform."""
        return low + (high - low) * self.uniform()

    def log_uniform(self, low: float, high: float) -> Tensor:
        """Uniform in its logarithm."""
        return low * (high / low) ** self.uniform()

    def whole(self, stop: int) -> Tensor:
        """0, 1, ..., stop - 1, as floats."""
        return (self.uniform() * stop).floor().clamp(max=stop - 1)


@dataclass(frozen=True)
class PaletteConfig:
    """How colours are drawn; spreads are standard deviations, brightness is the natural logarithm of reflectance."""

    brightness: float = -1.35
    """e^-1.35 = 0.26; photographers' grey is 0.18."""
    brightness_spread: float = 0.75
    vivid_share: float = 0.22
    """Share of materials that are dyed or painted: any hue, strong. The others are earth, wood, skin, stone, leaf."""
    vivid: tuple[float, float] = (0.4, 1.3)
    """How strong dyes are."""
    yellow: float = 0.15
    yellow_spread: float = 0.2
    red: float = 0.3
    """Of undyed colours, times their yellow: beige, brown and ochre, not olive."""
    red_spread: float = 0.05
    relative_spread: float = 0.75
    """Of log brightness between the colours of one material."""
    stranger_share: float = 0.12
    """Share of second and third colours that are of another hue altogether."""


def palettes(
    draw: Draw, config: PaletteConfig, *, lighter: float = 0.0, vivid: float = 1.0, calm: float = 1.0
) -> Float[Tensor, "m colour=3 rgb=3"]:
    """Three related colours each. lighter, vivid, calm: see `roles.Look`."""
    brightness = config.brightness + lighter + config.brightness_spread * draw.normal()
    relative = calm * config.relative_spread * draw.normal(3) * torch.tensor([0.0, 1.0, 1.0])
    level = brightness.clamp(max=-0.12)[:, None] + relative
    yellow = config.yellow + config.yellow_spread * draw.normal()
    earth = torch.stack([yellow, config.red * yellow + config.red_spread * draw.normal()], dim=-1)
    which = torch.multinomial(torch.tensor(OFTEN), draw.count, True, generator=draw.generator)
    hue, strength = torch.tensor(HUES)[which] + 0.3 * draw.normal(), draw.between(*config.vivid)
    dyed = torch.stack([strength * hue.cos(), 0.6 * strength * hue.sin()], dim=-1)
    tint = torch.where((draw.uniform() < vivid * config.vivid_share)[:, None], dyed, earth)[:, None]
    apart = calm * torch.tensor([0.08, 0.04]) * draw.normal(3, 2)
    stranger = (draw.uniform(3) < calm * config.stranger_share) & torch.tensor([False, True, True])
    chroma = torch.where(stranger[..., None], torch.tensor([0.5, 0.25]) * draw.normal(3, 2), tint + apart)
    return linear_colour(level, chroma[..., 0], chroma[..., 1])


def tinted(draw: Draw, tint: Tint, calm: float = 1.0) -> Float[Tensor, "m colour=3 rgb=3"]:
    """Three colours each of one family, of unequal brightness."""
    level = tint.brightness + 0.45 * draw.normal()[:, None] + 0.4 * calm * draw.normal(3)
    yellow = tint.yellow + 0.15 * draw.normal()[:, None] + 0.05 * draw.normal(3)
    red = tint.red + tint.red_spread * draw.normal()[:, None] + 0.02 * draw.normal(3)
    return linear_colour(level, yellow, red)


def linear_colour(
    level: Float[Tensor, "*n"], yellow: Float[Tensor, "*n"], red: Float[Tensor, "*n"]
) -> Float[Tensor, "*n rgb=3"]:
    """Linear colour from the logarithm of brightness, yellow (against blue) and red (against green)."""
    logarithm = level[..., None] + torch.stack([yellow * 0.5 + red, yellow * 0.5 - red, -yellow], dim=-1)
    return logarithm.exp().clamp(DARKEST, LIGHTEST)
