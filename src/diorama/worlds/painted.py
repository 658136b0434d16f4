"""Patterns that are painted on faces: bricks, dots, checks, printed pages, dead leaves, photographs. See `textures`."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.worlds import patterns as row
from diorama.worlds.noise import SLIP, cell_hash, layered_noise, next_hash, scramble, unit


@dataclass(frozen=True)
class Painting:
    """Points that share a kind of texture, each with its own row of numbers; see `textures.texture_colour`."""

    params: Float[Tensor, "n column"]
    points: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    footprint: Float[Tensor, "n"]

    def column(self, index: int) -> Float[Tensor, "n"]:
        """One number of every row."""
        return self.params[:, index]

    def colour(self, index: int) -> Float[Tensor, "n 3"]:
        """One of the three colours of every row."""
        return self.params[:, index : index + 3]

    def seed(self, more: int) -> Int[Tensor, "n"]:
        """Seeds of unrelated streams."""
        return self.params[:, row.SEED].long() + more

    def along(self, axis: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
        """The coordinate along an axis that each row chooses, metres."""
        return self.points.gather(1, axis.long()[:, None])[:, 0]

    def cloud(self, more: int) -> Float[Tensor, "n"]:
        """Noise of the row's own cells and gain; deviation about 0.5."""
        cell = self.column(row.CELL)
        return layered_noise(self.points / cell[:, None], self.seed(more), self.column(row.GAIN), self.footprint / cell)

    def face(self) -> Float[Tensor, "n 2"]:
        """Metres along that face of a box which the normal is closest to, turned: (x, y) on top, (x or y, z) aside."""
        size = self.normals.abs()
        top = (size[:, 2] >= size[:, 0]) & (size[:, 2] >= size[:, 1])
        aside = ~top & (size[:, 0] > size[:, 1])
        x, y, z = self.points.unbind(-1)
        u, v = torch.where(aside, y, x), torch.where(top, y, z)
        cosine, sine = self.column(row.COSINE), self.column(row.SINE)
        return torch.stack([cosine * u - sine * v, sine * u + cosine * v], dim=-1)


def mix(one: Float[Tensor, "n 3"], two: Float[Tensor, "n 3"], share: Float[Tensor, "n"]) -> Float[Tensor, "n 3"]:
    """`one` where share is 0, `two` where it is 1."""
    return one + (two - one) * share[:, None]


def ramp(own: Painting, share: Float[Tensor, "n"]) -> Float[Tensor, "n 3"]:
    """The first colour where share is at most 0, the second at one half, the third from 1 on."""
    low = mix(own.colour(row.ONE), own.colour(row.TWO), (2 * share).clamp(0, 1))
    return mix(low, own.colour(row.THREE), (2 * share - 1).clamp(0, 1))


def sharpened(distance: Float[Tensor, "n"], pixel: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """0 outside, 1 inside, with a ramp as wide as a pixel about distance 0 (both in one unit)."""
    return (distance / pixel.clamp_min(1e-6) + 0.5).clamp(0, 1)


def brick(own: Painting) -> Tensor:
    """Bricks or tiles, each with its own tone, in a joint of the third colour; every other row is shifted."""
    height = own.column(row.CELL)
    width = height * own.column(row.ASPECT)
    u, v = own.face().unbind(-1)
    level = (v / height).floor()
    across = u / width + own.column(row.WARP) * (level - 2 * (level * 0.5).floor())
    number = across.floor()
    word = cell_hash(number.long(), level.long(), torch.zeros_like(number.long()), own.seed(0))
    near = (2 - 2 * own.footprint / height).clamp(0, 1)
    tone = 0.5 + near * own.column(row.CONTRAST) * (unit(word) - 0.5)
    body = mix(own.colour(row.ONE), own.colour(row.TWO), tone.clamp(0, 1))
    upright = (0.5 - (v / height - level - 0.5).abs()) * height
    sideways = (0.5 - (across - number - 0.5).abs()) * width
    joint = own.column(row.JOINT)
    inside = sharpened(torch.minimum(upright, sideways) - 0.5 * joint * height, own.footprint)
    return mix(own.colour(row.THREE), body, (1 - joint) * (1 - near) + inside * near)


def dots(own: Painting) -> Tensor:
    """Discs of the second and third colour on the first, in a grid that may be shaken."""
    cell = own.column(row.CELL)
    place, pixel = own.face() / cell[:, None], own.footprint / cell
    corner = place.floor()
    x, y = corner.long().unbind(-1)
    word = cell_hash(x, y, torch.zeros_like(x), own.seed(0))
    second = next_hash(word)
    radius = 0.5 * own.column(row.JOINT)
    room = own.column(row.WARP) * (1 - 2 * radius)
    shift = torch.stack([unit(word), unit(second)], dim=-1) - 0.5
    distance = (place - corner - 0.5 - shift * room[:, None]).square().sum(-1).sqrt()
    disc = sharpened(radius - distance, pixel) * (2 - 2 * pixel).clamp(0, 1)
    other = (unit(next_hash(second)) < own.column(row.CONTRAST)).to(disc)
    return mix(own.colour(row.ONE), mix(own.colour(row.TWO), own.colour(row.THREE), other), disc)


def checks(own: Painting) -> Tensor:
    """A chessboard, or the crossing bands of gingham."""
    cell = own.column(row.CELL)
    place, pixel = own.face() / cell[:, None], own.footprint / cell
    across, up = _bands(place[:, 0], pixel), _bands(place[:, 1], pixel)
    share = torch.where(own.column(row.WIDTH) < 0.5, 0.5 - 0.5 * across * up, 0.5 - 0.25 * (across + up))
    return mix(own.colour(row.ONE), own.colour(row.TWO), share)


def _bands(place: Tensor, pixel: Tensor) -> Tensor:
    """-1 and 1 in turn over every step, with borders as wide as a pixel; 0 where pixels cover more than a step."""
    within = place - 2 * (place * 0.5).floor()
    from_border = 0.5 - (within - torch.where(within < 1, 0.5, 1.5)).abs()
    side = torch.where(within < 1, 1.0, -1.0)
    return side * (2 * from_border / pixel.clamp_min(1e-6)).clamp(0, 1) * (2 - 2 * pixel).clamp(0, 1)


def page(own: Painting) -> Tensor:
    """Print: pages cut into blocks at random, which hold lines of letters, a disc, a gradient or one colour."""
    height, aspect = own.column(row.CELL), own.column(row.ASPECT)
    place = own.face() / torch.stack([height * aspect, height], dim=-1)
    corner = place.floor()
    inside = place - corner
    x, y = corner.long().unbind(-1)
    word = cell_hash(x, y, torch.zeros_like(x), own.seed(0))
    low, high = torch.zeros_like(inside), torch.ones_like(inside)
    open_ = torch.ones_like(height, dtype=torch.bool)
    for _ in range(row.PAGE_CUTS):
        second = next_hash(word)
        open_ = open_ & (unit(word) >= row.PAGE_WHOLE)
        wide = ((high - low)[:, 0] * aspect) > (high - low)[:, 1]
        axis = torch.where(wide, 0, 1)[:, None]
        start, end = low.gather(1, axis)[:, 0], high.gather(1, axis)[:, 0]
        cut = start + (0.25 + 0.5 * unit(second)) * (end - start)
        above = inside.gather(1, axis)[:, 0] >= cut
        low = torch.where(open_[:, None], low.scatter(1, axis, torch.where(above, cut, start)[:, None]), low)
        high = torch.where(open_[:, None], high.scatter(1, axis, torch.where(above, end, cut)[:, None]), high)
        word = torch.where(open_, next_hash(second + above.long()), word)
    size = (high - low) * torch.stack([height * aspect, height], dim=-1)
    return _block(own, (inside - low) / (high - low), size, next_hash(word))


def _block(own: Painting, inside: Tensor, size: Tensor, word: Tensor) -> Tensor:
    """One block of a page: `inside` in [0, 1]^2, `size` in metres, `word` its hash."""
    second = next_hash(word)
    third = next_hash(second)
    style, pick, number = unit(word), unit(second), unit(third)
    one, two, three = own.colour(row.ONE), own.colour(row.TWO), own.colour(row.THREE)
    first, last = (pick < 0.5)[:, None], (pick >= 0.8)[:, None]
    ground = torch.where(first, one, torch.where(last, three, two))
    ink = torch.where(first, torch.where((number < 0.5)[:, None], two, three), one)
    lines = 1 + (6 * number).floor()
    letter = 0.6 * size[:, 1] / lines
    line = (inside[:, 1] * lines).floor()
    column = (inside[:, 0] * size[:, 0] / letter).floor()
    mark = cell_hash(column.long(), line.long(), third & 0xFFFF, own.seed(9))
    across = inside[:, 0] * size[:, 0] / letter - column
    up = inside[:, 1] * lines - line
    stroke = (up > 0.2) & (up < 0.75) & (across > 0.12) & (across < 0.88) & (unit(mark) > 0.25)
    holed = (up - 0.475).abs() < 0.12
    stroke = stroke & ~(holed & (across > 0.35) & (across < 0.65) & (unit(next_hash(mark)) < 0.6))
    margin = (inside[:, 0] > 0.05) & (inside[:, 0] < 0.95)
    near = (2 - 2 * own.footprint / letter).clamp(0, 1)
    text = torch.where(margin, stroke.to(near) * near + 0.3 * (1 - near), 0.0)
    centred = (inside - 0.5) * size
    radius = 0.42 * size.amin(-1)
    disc = sharpened(radius - centred.square().sum(-1).sqrt(), own.footprint)
    share = torch.where(
        style < 0.4,
        text,
        torch.where(style < 0.55, disc, torch.where(style < 0.7, inside[:, 1], torch.zeros_like(disc))),
    )
    return mix(ground, ink, share)


def leaves(own: Painting) -> Tensor:
    """Dead leaves: ellipses and boxes of four sizes, the topmost wins. Occlusion gives the spectrum of photographs.

    Source: Lee, Mumford and Huang, "Occlusion models for natural images" (2001).
    """
    cell, aspect = own.column(row.CELL), own.column(row.ASPECT)
    place, seed = own.face() / cell[:, None], own.seed(0)
    top = torch.full_like(cell, -1.0)
    owner = torch.zeros_like(seed)
    for level in range(row.LEAF_LEVELS):
        size = 0.5**level
        spot = place / size + SLIP * level
        base = spot.floor()
        x, y = base.long().unbind(-1)
        for index in range(9):
            i, j = index % 3 - 1, index // 3 - 1
            word = cell_hash(x + i, y + j, torch.full_like(x, level), seed)
            second = next_hash(word)
            third = next_hash(second)
            dx = spot[:, 0] - base[:, 0] - i - unit(word)
            dy = spot[:, 1] - base[:, 1] - j - unit(second)
            radius = 0.25 + 0.5 * (third & 1023).to(cell) / 1023.0
            height = ((third >> 10) & 1023).to(cell) / 1023.0
            cosine = ((third >> 20) & 1023).to(cell) / 511.5 - 1.0
            sine = (1 - cosine * cosine).clamp_min(0).sqrt()
            a, b = (cosine * dx + sine * dy).abs(), (cosine * dy - sine * dx).abs() * aspect
            boxed = (word & 1023).to(cell) / 1023.0 < own.column(row.JOINT)
            reach = torch.where(boxed, torch.maximum(a, b) * 1.4, (a * a + b * b).sqrt())
            here = (reach < radius) & (height > top) & (own.footprint < 1.5 * size * cell)
            top = torch.where(here, height, top)
            owner = torch.where(here, third, owner)
    word = next_hash(owner)
    light = torch.exp(own.column(row.CONTRAST) * (2 * unit(next_hash(word)) - 1))
    colour = ramp(own, unit(word)) * light[:, None]
    return torch.where((top < 0)[:, None], own.colour(row.ONE), colour)


def photo(own: Painting, photos: Float[Tensor, "k h w 3"]) -> Tensor:
    """Crops of photographs, as on a shelf: each tile is one of three, perhaps mirrored, times the first colour.

    They are read from the level of detail that fits.
    """
    side = photos.shape[1]
    place = own.face() / own.column(row.CELL)[:, None] + unit(scramble(own.seed(0)))[:, None]
    corner = place.floor()
    x, y = corner.long().unbind(-1)
    word = cell_hash(x, y, torch.zeros_like(x), own.seed(0))
    place = place - corner
    mirrored = (word & 1).bool()
    place = torch.stack([torch.where(mirrored, 1 - place[:, 0], place[:, 0]), place[:, 1]], dim=-1)
    texels = own.footprint / own.column(row.CELL) * side
    most = max(0, int(side).bit_length() - 3)
    level = (texels.clamp_min(1.0).log2() + 0.5).floor().clamp(0, most).long()
    sides = torch.full_like(level, side) >> level
    left = torch.where(level > 0, side, 0)
    above = torch.where(level > 0, side - (torch.full_like(level, side) >> (level - 1).clamp_min(0)), 0)
    spot = (place * sides[:, None] - 0.5).clamp_min(0)
    spot = torch.minimum(spot, (sides[:, None] - 1).to(spot))
    corner = spot.floor().long()
    share = spot - corner
    index = (own.column(row.PICTURE).long() + (word >> 8) % 3) % len(photos)
    colour = torch.zeros_like(own.colour(row.ONE))
    for step in range(4):
        i, j = step & 1, step >> 1
        u, v = (torch.minimum(corner[:, axis] + (i, j)[axis], sides - 1) for axis in range(2))
        weight = (share[:, 0] if i else 1 - share[:, 0]) * (share[:, 1] if j else 1 - share[:, 1])
        colour = colour + weight[:, None] * photos[index, above + sides - 1 - v, left + u]
    return colour * own.colour(row.ONE)
