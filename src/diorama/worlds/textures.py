"""Colours that fill space: functions of a point in an object's own frame, in metres. Values are linear light in [0, 1].

This is the reference that runs on every device; `textures_numba` holds the scalar twin. What a row of numbers means is
said in `patterns`; the patterns that lie on faces are in `painted`. Everywhere `footprint` is the size in metres of
what a pixel sees of the surface: detail finer than that is left out, so that one ray a pixel hardly aliases.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.worlds import noise as lattice
from diorama.worlds import painted
from diorama.worlds import patterns as row
from diorama.worlds.painted import Painting, ramp, sharpened


def texture_colour(
    kind: Int[Tensor, "n"],
    params: Float[Tensor, "n column"],
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    footprint: Float[Tensor, "n"],
    photos: Float[Tensor, "k h w 3"] | None,
) -> Float[Tensor, "n 3"]:
    """Linear colour of surface points.

    kind, params: each point's row of its material. points, normals: in the object's own frame, metres; of a normal
    only the largest axis matters (which face of a box a pattern is painted on). footprint: metres of surface across
    one pixel. photos: what `photos.photo_stack` made; None where no material asks for one (those that do are then one
    flat colour).
    """
    colour = params[:, row.ONE : row.ONE + 3].clone()
    for number in kind.unique().tolist():
        mine = (kind == number).nonzero()[:, 0]
        own = Painting(params[mine], points[mine], normals[mine], footprint[mine])
        colour[mine] = _painted(number, own, photos)
    cell = params[:, row.STAIN_CELL]
    wash = lattice.layered_noise(
        points / cell[:, None], params[:, row.SEED].long() + 50, params[:, row.STAIN_GAIN], footprint / cell
    )
    return (colour * torch.exp(2 * params[:, row.STAIN] * wash)[:, None]).clamp(0, 1)


def _painted(kind: int, own: Painting, photos: Tensor | None) -> Tensor:
    match kind:
        case row.NOISE:
            return ramp(own, 0.5 + own.column(row.CONTRAST) * own.cloud(0))
        case row.VORONOI:
            return _voronoi(own)
        case row.MARBLE:
            return _marble(own)
        case row.WOOD:
            return _wood(own)
        case row.STRIPES:
            return _stripes(own)
        case row.BRICK:
            return painted.brick(own)
        case row.DOTS:
            return painted.dots(own)
        case row.CHECKS:
            return painted.checks(own)
        case row.PRINT:
            return painted.page(own)
        case row.LEAVES:
            return painted.leaves(own)
        case row.PHOTO if photos is not None:
            return painted.photo(own, photos)
        case _:
            return own.colour(row.ONE)


def _voronoi(own: Painting) -> Tensor:
    """Stones, flakes or scales: cells of their own brightness, with seams of the third colour."""
    cell = own.column(row.CELL)
    bend = own.column(row.WARP) * own.cloud(3)
    first, second, owner = lattice.nearest_cells(own.points / cell[:, None] + bend[:, None], own.seed(0), 0.9)
    pixel = own.footprint / cell
    tone = 0.5 + (2 - 2 * pixel).clamp(0, 1) * own.column(row.CONTRAST) * (lattice.unit(owner) - 0.5)
    inside = painted.mix(own.colour(row.ONE), own.colour(row.TWO), tone.clamp(0, 1))
    seam = sharpened(second - first - own.column(row.JOINT), pixel + 0.05)
    return painted.mix(own.colour(row.THREE), inside, torch.maximum(seam, (2 * pixel - 1).clamp(0, 1)))


def _marble(own: Painting) -> Tensor:
    """Clouds of two colours, and thin veins of the third that noise has bent."""
    cloud = own.cloud(0)
    along = own.along(own.column(row.AXIS)) / own.column(row.CELL) + own.column(row.WARP) * cloud
    vein = (1 - (math.pi * along).sin().abs()) ** 4
    share = 0.5 + own.column(row.CONTRAST) * cloud
    return painted.mix(
        painted.mix(own.colour(row.ONE), own.colour(row.TWO), share.clamp(0, 1)), own.colour(row.THREE), 0.8 * vein
    )


def _wood(own: Painting) -> Tensor:
    """Boards sawn from trunks: rings about an axis far off, bent by noise; fibres along the grain; dark seams."""
    cell, board, axis = own.column(row.CELL), own.column(row.WIDTH), own.column(row.AXIS)
    along, across, depth = (own.along((axis + step) % 3) for step in range(3))
    number, level = (across / board).floor(), (depth / board).floor()
    word = lattice.cell_hash(number.long(), level.long(), torch.zeros_like(number.long()), own.seed(7))
    shift, tone = lattice.unit(word), lattice.unit(lattice.next_hash(word))
    coarse, fine = 4 * cell, 0.25 * cell
    stretched = torch.stack([0.12 * along + 40 * cell * shift, across, depth], dim=-1) / coarse[:, None]
    bend = lattice.layered_noise(stretched, own.seed(0), own.column(row.GAIN), own.footprint / coarse)
    fibres = torch.stack([0.03 * along, across, depth], dim=-1) / fine[:, None]
    fibre = lattice.layered_noise(fibres, own.seed(20), torch.full_like(cell, 0.8), own.footprint / fine)
    trunk = torch.sqrt((across - (number + shift) * board) ** 2 + (depth + cell * (4 + 12 * shift)) ** 2)
    rings = (math.tau * (trunk / cell + own.column(row.WARP) * bend)).sin()
    rings = 0.5 * rings * (2 - 2 * own.footprint / cell).clamp(0, 1)
    share = 0.5 + own.column(row.CONTRAST) * (0.35 * fibre + 0.7 * (tone - 0.5) - 0.7 * rings)
    from_seam = (0.5 - (across / board - number - 0.5).abs()) * board
    seam = sharpened(from_seam - 0.0015, own.footprint)
    colour = painted.mix(own.colour(row.ONE), own.colour(row.TWO), share.clamp(0, 1))
    return colour * (0.45 + 0.55 * seam)[:, None]


def _stripes(own: Painting) -> Tensor:
    """Bands of two colours and a thin line of the third, perhaps wavy."""
    cell, share = own.column(row.CELL), own.column(row.JOINT)
    along = own.along(own.column(row.AXIS)) / cell + own.column(row.WARP) * own.cloud(0)
    within, pixel = along - along.floor(), own.footprint / cell
    first = sharpened(torch.minimum(share - within, within), pixel)
    thin = sharpened(0.06 - (within - 0.5 - 0.5 * share).abs(), pixel)
    sharp = painted.mix(painted.mix(own.colour(row.TWO), own.colour(row.ONE), first), own.colour(row.THREE), thin)
    return painted.mix(painted.mix(own.colour(row.TWO), own.colour(row.ONE), share), sharp, (2 - 2 * pixel).clamp(0, 1))
