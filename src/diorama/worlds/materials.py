"""What surfaces are made of: textures with the colours of nature and of shops, some glossy, a few that mirror."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.worlds import patterns as row
from diorama.worlds.palettes import Draw, PaletteConfig, palettes, tinted
from diorama.worlds.roles import LOOKS, TINTS
from diorama.worlds.roles import Role as Role


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
        return Materials(*(getattr(self, each.name)[chosen] for each in fields(self)))

    def to(self, device: torch.device | str) -> "Materials":
        """The same materials on a device."""
        return Materials(*(getattr(self, each.name).to(device) for each in fields(self)))


@dataclass(frozen=True)
class MaterialConfig:
    """How materials are drawn."""

    palette: PaletteConfig = field(default_factory=PaletteConfig)
    photo_share: float = 1.0
    """Times each role's own share of materials that show a crop of a photo, where there are photos."""
    contrast: tuple[float, float] = (0.4, 1.4)
    """How far textures go from their first colour to their last."""
    stain: tuple[float, float] = (0.03, 0.18)
    """Standard deviation of log brightness: wear, dirt, uneven dye."""
    glossy_share: float = 0.35
    gloss: tuple[float, float] = (0.05, 0.6)
    shine: tuple[float, float] = (8.0, 200.0)
    mirror_share: float = 0.05
    mirror: tuple[float, float] = (0.15, 0.7)


def sample_materials(
    count: int,
    generator: torch.Generator,
    *,
    role: Role = "thing",
    photos: int = 0,
    config: MaterialConfig = MaterialConfig(),
) -> Materials:
    """Draw materials. photos: how many photo crops there are to choose from (the first axis of the photo stack)."""
    look, draw = LOOKS[role], Draw(count, generator)
    weights = torch.tensor(list(look.kinds.values()), dtype=torch.float32)
    kind = torch.tensor(list(look.kinds))[torch.multinomial(weights, count, True, generator=generator)]
    pictured = draw.uniform() < config.photo_share * look.photos * (photos > 0)
    kind = torch.where(pictured, row.PHOTO, kind)
    colours = palettes(draw, config.palette, lighter=look.lighter, vivid=look.vivid, calm=look.calm)
    for number, tint in {number: look.tint or TINTS.get(number) for number in look.kinds}.items():
        if tint is not None:
            chosen = (draw.uniform() < tint.share) & (kind == number)
            colours = torch.where(chosen[:, None, None], tinted(draw, tint, look.calm), colours)
    smallest, largest = look.cell
    params = torch.zeros(count, row.COLUMNS)
    params[:, row.SEED] = draw.whole(1 << 20)
    params[:, row.CELL] = draw.log_uniform(smallest, largest)
    params[:, row.ONE : row.ONE + 9] = colours.reshape(count, 9)
    params[:, row.CONTRAST] = draw.between(*config.contrast)
    params[:, row.GAIN] = draw.between(0.45, 0.85)
    params[:, row.WARP] = draw.between(0.0, 1.0)
    params[:, row.STAIN] = draw.between(*config.stain)
    params[:, row.STAIN_CELL] = draw.log_uniform(0.5 * smallest, 1.5 * largest)
    params[:, row.STAIN_GAIN] = draw.between(0.75, 1.05)
    params[:, row.COSINE] = 1.0
    params[:, row.ASPECT] = draw.between(1.0, 3.0)
    params[:, row.JOINT] = draw.between(0.2, 0.8)
    params[:, row.AXIS] = draw.whole(3)
    params[:, row.WIDTH] = draw.between(0.0, 1.0)
    params[:, row.PICTURE] = draw.whole(max(1, photos))
    params = fit_to_kind(params, kind, generator)
    crop = draw.log_uniform(*look.crop)
    params[:, row.CELL] = torch.where(kind == row.PHOTO, crop, params[:, row.CELL])
    glossy, mirrors = (draw.uniform() < share for share in (config.glossy_share, look.mirrors * config.mirror_share))
    gloss, mirror = draw.between(*config.gloss), draw.between(*config.mirror)
    return Materials(
        kind,
        params,
        torch.where(glossy, gloss, 0.0),
        draw.log_uniform(*config.shine),
        torch.where(mirrors, mirror, 0.0),
    )


def join_materials(several: Sequence[Materials]) -> Materials:
    """One table from several; the rows of the second follow those of the first."""
    return Materials(*(torch.cat([getattr(one, each.name) for one in several]) for each in fields(Materials)))


def fit_to_kind(
    params: Float[Tensor, "n column"], kind: Int[Tensor, "n"], generator: torch.Generator
) -> Float[Tensor, "n column"]:
    """Rows of numbers with those drawn again that have a range of their own for the kind of texture."""
    params, draw = params.clone(), Draw(len(params), generator)

    def put(number: int, column: int, value: Tensor | float) -> None:
        params[:, column] = torch.where(kind == number, value, params[:, column])

    cell = params[:, row.CELL].clone()
    turn = draw.between(-0.6, 0.6) * (draw.uniform() < 0.3) + 1.5707963 * draw.whole(4)
    loose = (kind == row.LEAVES) | (kind == row.PHOTO) | (kind == row.PRINT) | (kind == row.CHECKS) | (kind == row.DOTS)
    params[:, row.COSINE] = torch.where(loose, turn.cos(), params[:, row.COSINE])
    params[:, row.SINE] = torch.where(loose, turn.sin(), params[:, row.SINE])
    put(row.PLAIN, row.STAIN, draw.log_uniform(0.015, 0.12))
    put(row.VORONOI, row.JOINT, draw.between(0.02, 0.25))
    put(row.VORONOI, row.WARP, draw.between(0.0, 0.5))
    put(row.MARBLE, row.CELL, 3 * cell)
    put(row.MARBLE, row.WARP, draw.between(0.6, 2.0))
    put(row.WOOD, row.AXIS, params[:, row.AXIS] * (draw.uniform() < 0.6))
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
    put(row.PHOTO, row.STAIN, draw.between(0.0, 0.06))
    light = draw.log_uniform(0.8, 1.5)[:, None].expand(-1, 3)
    chosen = (kind == row.PHOTO)[:, None]
    params[:, row.ONE : row.ONE + 3] = torch.where(chosen, light, params[:, row.ONE : row.ONE + 3])
    return params
