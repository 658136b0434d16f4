"""What surfaces are made of: textures with the colours of nature and of shops, some glossy, a few that mirror.

Colours follow photographs: in the logarithm of light, brightness varies most, yellow against blue half as much, red
against green least (Ruderman, Cronin and Chiao, "Statistics of cone responses to natural images", 1998); the colours
of one material are relatives of each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.worlds import patterns as row

Role = Literal["thing", "furniture", "wall", "ceiling", "floor", "ground", "building"]
"""What a surface is part of; it decides which textures are likely and how large their features are."""


@dataclass(frozen=True)
class Materials:
    """One row a material; the arrays that a ray caster indexes by the material of what it hit.

    kind, params: see `patterns`. gloss: strength of highlights, 0 (matt) to 1. shine: their sharpness, the exponent of
    a Blinn-Phong lobe. mirror: share of light that is reflected as by a mirror, 0 to 1, seen straight on.
    """

    kind: Int[Tensor, "m"]
    params: Float[Tensor, "m column"]
    gloss: Float[Tensor, "m"]
    shine: Float[Tensor, "m"]
    mirror: Float[Tensor, "m"]

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, index: Tensor | slice | Sequence[int]) -> "Materials":
        """Some of the rows, always a batch."""
        chosen = index if isinstance(index, slice | Tensor) else torch.as_tensor(index, dtype=torch.long)
        return Materials(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def to(self, device: torch.device | str) -> "Materials":
        """The same materials on a device."""
        return Materials(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class MaterialConfig:
    """How materials are drawn. Colours are linear reflectances."""

    photo_share: float = 1.0
    """Times a role's own share of materials that show a crop of a photo, where there are photos: `PICTURED`."""
    brightness: float = -1.35
    """Mean natural logarithm of reflectance: e^-1.35 = 0.26; photographers' grey is 0.18, painted rooms are lighter."""
    brightness_spread: float = 0.75
    """Its standard deviation between materials."""
    vivid_share: float = 0.22
    """Share of colours that are dyed or painted: any hue, strong. The others are earth, wood, skin, stone, leaf."""
    relative_spread: float = 0.55
    """Standard deviation of log brightness between the colours of one material."""
    glossy_share: float = 0.35
    mirror_share: float = 0.05


ROLES: dict[Role, tuple[dict[int, float], tuple[float, float], float]] = {
    "thing": (
        {row.PLAIN: 2, row.NOISE: 2, row.VORONOI: 1, row.MARBLE: 0.6, row.WOOD: 1, row.STRIPES: 0.8, row.DOTS: 0.5,
         row.CHECKS: 0.5, row.PRINT: 2, row.LEAVES: 1.5},
        (0.01, 0.08), 0.0,
    ),
    "furniture": (
        {row.PLAIN: 2.5, row.NOISE: 1.5, row.WOOD: 3, row.STRIPES: 0.5, row.CHECKS: 0.3, row.MARBLE: 0.4,
         row.LEAVES: 0.5, row.VORONOI: 0.2},
        (0.02, 0.15), -0.1,
    ),
    "wall": (
        {row.PLAIN: 4, row.NOISE: 1.5, row.BRICK: 1, row.STRIPES: 0.5, row.LEAVES: 0.5, row.DOTS: 0.2, row.WOOD: 0.4,
         row.MARBLE: 0.2},
        (0.04, 0.4), 0.6,
    ),
    "ceiling": ({row.PLAIN: 5, row.NOISE: 1, row.BRICK: 0.5, row.WOOD: 0.5}, (0.05, 0.5), 0.8),
    "floor": (
        {row.WOOD: 3, row.BRICK: 2, row.NOISE: 2, row.PLAIN: 1, row.MARBLE: 0.7, row.CHECKS: 0.7, row.VORONOI: 0.5,
         row.LEAVES: 0.7, row.STRIPES: 0.2},
        (0.05, 0.4), 0.0,
    ),
    "ground": ({row.NOISE: 3, row.LEAVES: 2, row.VORONOI: 1.5, row.BRICK: 1, row.PLAIN: 0.5}, (0.05, 1.5), -0.2),
    "building": (
        {row.PLAIN: 2, row.NOISE: 1.5, row.BRICK: 3, row.STRIPES: 1, row.CHECKS: 0.5, row.WOOD: 0.7, row.PRINT: 0.5},
        (0.1, 1.2), 0.1,
    ),
}  # fmt: skip
"""Role -> (how often each kind is drawn, smallest and largest feature in metres, added to the log of reflectance)."""


TINTED: dict[int, tuple[float, float, float, float]] = {
    row.WOOD: (0.8, -1.5, 0.55, 0.12),
    row.BRICK: (0.45, -1.4, 0.4, 0.16),
}
"""Kind -> (share of its materials with colours of its own; their mean log brightness, yellow and red)."""
TINTED_GROUND = (0.6, -1.7, 0.55, -0.04)
"""The same for whatever lies on the ground outdoors: grass, earth and leaves."""


HUES = (0.1, 0.75, 1.3, 2.4, 3.3, 4.2, -0.9)
"""Hues of dyed things, radians from yellow over red to blue and green: yellow, orange, red, pink, blue, teal, green."""
OFTEN = (0.16, 0.14, 0.24, 0.05, 0.2, 0.06, 0.15)


PICTURED: dict[Role, tuple[float, float, float]] = {
    "thing": (0.5, 0.1, 0.5),
    "furniture": (0.4, 0.4, 1.6),
    "wall": (0.3, 1.2, 4.0),
    "ceiling": (0.1, 1.5, 4.0),
    "floor": (0.35, 0.6, 3.0),
    "ground": (0.3, 1.5, 8.0),
    "building": (0.35, 1.5, 8.0),
}
"""Role -> (share of its materials that show a photo, smallest and largest side of the crop in metres)."""


def sample_materials(
    count: int,
    generator: torch.Generator,
    *,
    role: Role = "thing",
    photos: int = 0,
    config: MaterialConfig = MaterialConfig(),
) -> Materials:
    """Draw materials. photos: how many photo crops there are to choose from (the first axis of the photo stack)."""
    weights, (smallest, largest), lighter = ROLES[role]
    draw = _Draw(count, generator)
    kinds = torch.tensor(list(weights))
    kind = kinds[torch.multinomial(torch.tensor(list(weights.values())).float(), count, True, generator=generator)]
    share, smallest_crop, largest_crop = PICTURED[role]
    pictured = draw.uniform() < config.photo_share * share * (photos > 0)
    kind = torch.where(pictured, row.PHOTO, kind)
    params = torch.zeros(count, row.COLUMNS)
    params[:, row.SEED] = draw.whole(1 << 20)
    params[:, row.CELL] = draw.log_uniform(smallest, largest)
    params[:, row.ONE : row.ONE + 9] = palettes(count, generator, config, lighter).reshape(count, 9)
    for number, tint in (dict.fromkeys(weights, TINTED_GROUND) if role == "ground" else TINTED).items():
        params = _tinted(params, kind == number, draw, tint)
    params[:, row.CONTRAST] = draw.between(0.3, 1.2)
    params[:, row.GAIN] = draw.between(0.45, 0.85)
    params[:, row.WARP] = draw.between(0.0, 1.0)
    params[:, row.STAIN] = draw.between(0.0, 0.12)
    params[:, row.STAIN_CELL] = draw.log_uniform(smallest * 2, largest * 4)
    params[:, row.STAIN_GAIN] = draw.between(0.6, 1.0)
    params[:, row.COSINE] = 1.0
    params[:, row.ASPECT] = draw.between(1.0, 3.0)
    params[:, row.JOINT] = draw.between(0.2, 0.8)
    params[:, row.AXIS] = draw.whole(3)
    params[:, row.WIDTH] = draw.between(0.0, 1.0)
    params[:, row.PICTURE] = draw.whole(max(1, photos))
    params = fit_to_kind(params, kind, generator)
    crop = draw.log_uniform(smallest_crop, largest_crop)
    params[:, row.CELL] = torch.where(kind == row.PHOTO, crop, params[:, row.CELL])
    glossy = draw.uniform() < config.glossy_share
    mirror = draw.uniform() < config.mirror_share
    return Materials(
        kind,
        params,
        torch.where(glossy, draw.between(0.05, 0.6), 0.0),
        draw.log_uniform(8.0, 200.0),
        torch.where(mirror, draw.between(0.15, 0.7), 0.0) * (role != "ceiling"),
    )


def join_materials(several: Sequence[Materials]) -> Materials:
    """One table from several; the rows of the second follow those of the first."""
    return Materials(*(torch.cat([getattr(one, field.name) for one in several]) for field in fields(Materials)))


def palettes(
    count: int, generator: torch.Generator, config: MaterialConfig, lighter: float = 0.0
) -> Float[Tensor, "{count} colour=3 rgb=3"]:
    """Three related linear colours each: the first by itself, the others near it in brightness and hue.

    lighter: added to the natural logarithm of reflectance.
    """
    draw = _Draw(count, generator)
    brightness = config.brightness + lighter + config.brightness_spread * draw.normal(3) * torch.tensor([1.0, 0, 0])
    relative = config.relative_spread * draw.normal(3) * torch.tensor([0.0, 1, 1])
    level = brightness[:, :1].clamp(max=-0.1) + relative
    level = level.masked_fill(torch.tensor([True, False, False]), 0) + brightness * torch.tensor([1.0, 0, 0])
    vivid = draw.uniform() < config.vivid_share
    warm = torch.stack([0.26 + 0.22 * draw.normal(), 0.03 + 0.07 * draw.normal()], dim=-1)
    hue = torch.tensor(HUES)[torch.multinomial(torch.tensor(OFTEN), count, True, generator=generator)]
    hue, strength = hue + 0.3 * draw.normal(), draw.between(0.4, 1.3)
    dyed = torch.stack([strength * hue.cos(), 0.6 * strength * hue.sin()], dim=-1)
    tint = torch.where(vivid[:, None], dyed, warm)[:, None].expand(-1, 3, -1)
    near = 0.35 + 0.65 * (draw.uniform()[:, None, None] > 0.3)
    tint = tint * near + torch.stack([0.08 * draw.normal(3), 0.04 * draw.normal(3)], dim=-1)
    apart = (draw.uniform(3) < 0.15) & torch.tensor([False, True, True])
    turned = torch.stack([0.5 * draw.normal(3), 0.25 * draw.normal(3)], dim=-1)
    yellow, red = torch.where(apart[..., None], turned, tint).unbind(-1)
    return _linear(level, yellow, red)


def _tinted(params: Tensor, possible: Tensor, draw: "_Draw", tint: tuple[float, float, float, float]) -> Tensor:
    """Rows of which a share has colours of one tint, of unequal brightness."""
    share, brightness, yellow, red = tint
    level = brightness + 0.45 * draw.normal()[:, None] + 0.35 * draw.normal(3)
    yellow_now = yellow + 0.15 * draw.normal()[:, None] + 0.05 * draw.normal(3)
    red_now = red + 0.06 * draw.normal()[:, None] + 0.02 * draw.normal(3)
    colours = _linear(level, yellow_now, red_now).reshape(draw.count, 9)
    chosen = ((draw.uniform() < share) & possible)[:, None].expand(-1, 9)
    params = params.clone()
    params[:, row.ONE : row.ONE + 9] = torch.where(chosen, colours, params[:, row.ONE : row.ONE + 9])
    return params


def _linear(level: Tensor, yellow: Tensor, red: Tensor) -> Tensor:
    """Linear colour from the logarithm of brightness and two opponent channels."""
    logarithm = level[..., None] + torch.stack([yellow * 0.5 + red, yellow * 0.5 - red, -yellow], dim=-1)
    return logarithm.exp().clamp(0.012, 0.92)


class _Draw:
    """Random columns of one length from one generator."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator = count, generator

    def uniform(self, *more: int) -> Tensor:
        return torch.rand(self.count, *more, generator=self.generator)

    def normal(self, *more: int) -> Tensor:
        return torch.randn(self.count, *more, generator=self.generator)

    def between(self, low: float, high: float) -> Tensor:
        return low + (high - low) * self.uniform()

    def log_uniform(self, low: float, high: float) -> Tensor:
        return low * (high / low) ** self.uniform()

    def whole(self, stop: int) -> Tensor:
        return (self.uniform() * stop).floor().clamp(max=stop - 1)


def fit_to_kind(
    params: Float[Tensor, "n column"], kind: Int[Tensor, "n"], generator: torch.Generator
) -> Float[Tensor, "n column"]:
    """Rows of numbers with those drawn again that have a range of their own for the kind of texture."""
    params, draw = params.clone(), _Draw(len(params), generator)

    def put(number: int, column: int, value: Tensor | float) -> None:
        params[:, column] = torch.where(kind == number, value, params[:, column])

    cell = params[:, row.CELL].clone()
    turn = draw.between(-0.6, 0.6) * (draw.uniform() < 0.3) + 1.5707963 * draw.whole(4)
    loose = (kind == row.LEAVES) | (kind == row.PHOTO) | (kind == row.PRINT) | (kind == row.CHECKS) | (kind == row.DOTS)
    params[:, row.COSINE] = torch.where(loose, turn.cos(), params[:, row.COSINE])
    params[:, row.SINE] = torch.where(loose, turn.sin(), params[:, row.SINE])
    put(row.PLAIN, row.STAIN, draw.between(0.0, 0.06))
    put(row.VORONOI, row.JOINT, draw.between(0.02, 0.25))
    put(row.VORONOI, row.WARP, draw.between(0.0, 0.5))
    put(row.MARBLE, row.CELL, 3 * cell)
    put(row.MARBLE, row.WARP, draw.between(0.6, 2.0))
    put(row.WOOD, row.CELL, draw.log_uniform(0.006, 0.04))
    put(row.WOOD, row.WIDTH, draw.log_uniform(0.06, 0.5))
    put(row.WOOD, row.CONTRAST, draw.between(0.3, 0.9))
    put(row.BRICK, row.JOINT, draw.between(0.02, 0.16))
    put(row.BRICK, row.WARP, 0.5 * (draw.uniform() < 0.6))
    put(row.STRIPES, row.WARP, 0.3 * draw.uniform() * (draw.uniform() < 0.3))
    put(row.DOTS, row.CELL, 2 * cell)
    put(row.PRINT, row.CELL, draw.between(4.0, 10.0) * cell)
    put(row.PRINT, row.ASPECT, draw.between(0.6, 1.6))
    put(row.LEAVES, row.CELL, 3 * cell)
    put(row.LEAVES, row.CONTRAST, draw.between(0.1, 0.8))
    put(row.LEAVES, row.JOINT, draw.between(0.0, 1.0))
    put(row.PHOTO, row.STAIN, draw.between(0.0, 0.05))
    light = draw.log_uniform(0.8, 1.5)[:, None].expand(-1, 3)
    chosen = (kind == row.PHOTO)[:, None]
    params[:, row.ONE : row.ONE + 3] = torch.where(chosen, light, params[:, row.ONE : row.ONE + 3])
    return params
