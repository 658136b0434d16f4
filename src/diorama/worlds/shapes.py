"""Where a ray meets a solid: the readable reference, for any device. `shapes_numba` holds the scalar twin.

Everything happens in a solid's own frame, in metres, where it fills the box [-size, size]. Functions take flat lists
of pairs (ray, solid): `o`, `d` origin and unit direction, `size`, `params` the solid's row. Five shapes have a closed
form; the others are marched: their signed distance never overstates how far the surface is.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

BLOCK = 0
"""A box."""
BALL = 1
"""An ellipsoid."""
FRUSTUM = 2
"""A cylinder about z that narrows: params 0 is the radius of its top, relative to its foot; 0 is a cone."""
BEVELLED = 3
"""A box whose edges are cut off at 45 degrees; params 0 is the cut in metres."""
GABLE = 4
"""A roof: a prism along x whose ridge is at the top."""
ROUNDED = 5
"""A box with round edges; params 0 is their radius in metres."""
DRUM = 6
"""A cylinder about z with round edges; params 0 is their radius in metres."""
RING = 7
"""A torus about z; params 0 is the radius of the tube in metres."""
CUSHION = 8
"""A superquadric; params 0 and 1 are the exponents across and along z: 2 is round, 8 is boxy. Source: Barr (1981)."""
LATHE = 9
"""A turned solid about z. params 0..7: radii from foot to top, relative to size x (control points of a quadratic
B-spline); 8: thickness of the wall in metres, 0 if it is solid, else it is open at the top; 9: its steepest slope."""
HEIGHTS = 10
"""Ground under a table of heights; params 0 is the table, 1 its steepest slope."""
TWISTED = 11
"""A rounded box turned about z as it rises; params: half sides, radians per metre, radius of its edges."""
BENT = 12
"""A bar bent about y; params: radius of the bend, half its angle, half its width and height, radius of its edges. Its
middle lies on +z, the centre of the bend at the origin."""
CARVED = 13
"""Two parts joined. params 0: 0 union, 1 difference, 2 intersection; 1, 2: the parts (0 box, 1 ball, 2 cylinder about
z, 3 cylinder about x); 3: width of the seam; 4..6: size of the first; 7..9: where the second stands; 10..12: its size;
13: radius of edges."""
FIRST_MARCHED = ROUNDED

KNOTS = 8
"""Radii of a lathe."""
MARCH_STEPS = 128
"""Most steps of a march."""
STRIDE = 8
"""Steps of all rays of a batch between two looks at which of them have arrived; it does not change the result."""
REFINEMENTS = 10
"""Steps of false position once the surface is between two points."""
LEAST_STEP = (0.004, 0.001)
"""Least step of a march: relative to the smallest side, and to the distance from the ray's origin."""
NUDGE = 1e-5
"""How far within its box a march begins, relative to the longest side: on the box itself, rounding would decide."""
BOLDNESS = 3.0
"""How many times milder than its steepest slope the ground is taken to be."""
PROBE = 0.002
"""Half width of the differences that give a normal, relative to the smallest side."""
TINY = 1e-12


def box_span(
    o: Float[Tensor, "*n 3"], d: Float[Tensor, "*n 3"], size: Float[Tensor, "*#n 3"]
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """Where rays enter and leave the box [-size, size]; they miss it if they leave before they enter."""
    slope = torch.where(d.abs() < TINY, TINY, d)
    low, high = (-size - o) / slope, (size - o) / slope
    return torch.minimum(low, high).amax(-1), torch.maximum(low, high).amin(-1)


def first_hit(
    shape: int,
    o: Float[Tensor, "n 3"],
    d: Float[Tensor, "n 3"],
    size: Float[Tensor, "n 3"],
    params: Float[Tensor, "n 16"],
    heights: Float[Tensor, "field h w"],
) -> Float[Tensor, "n"]:
    """Distance to the first surface in front of each origin, inf where there is none. From inside a closed form the way
    out counts, from inside a marched shape nothing does."""
    start, end = box_span(o, d, size)
    missed = (start > end) | (end <= 0)
    if shape >= FIRST_MARCHED:
        distance = _march(shape, o, d, size, params, heights, start, torch.where(missed, -1.0, end))
    else:
        distance = _closed_form(shape, o, d, size, params, start, end)
    return torch.where(missed, math.inf, distance)


def normals(
    shape: int,
    q: Float[Tensor, "n 3"],
    size: Float[Tensor, "n 3"],
    params: Float[Tensor, "n 16"],
    heights: Float[Tensor, "field h w"],
) -> Float[Tensor, "n 3"]:
    """Outward unit normals at points of the surface."""
    match shape:
        case 0:
            u = q / size
            axis = u.abs().argmax(-1)
            normal = torch.nn.functional.one_hot(axis, 3).to(q) * torch.sign(u)
        case 1:
            normal = q / size**2
        case 2:
            normal = _frustum_normal(q, size, params[:, 0])
        case 3 | 4:
            planes, offsets = _planes(shape, size, params)
            excess = (planes * q[:, None]).sum(-1) - offsets
            normal = planes[torch.arange(len(q), device=q.device), excess.argmax(-1)]
        case _:
            h = PROBE * size.amin(-1)
            normal = torch.zeros_like(q)
            for corner in ((1.0, -1.0, -1.0), (-1.0, -1.0, 1.0), (-1.0, 1.0, -1.0), (1.0, 1.0, 1.0)):
                step = q.new_tensor(corner)
                normal = normal + step * signed_distance(shape, q + step * h[:, None], size, params, heights)[:, None]
    return torch.nn.functional.normalize(normal, dim=-1)


def signed_distance(
    shape: int,
    q: Float[Tensor, "n 3"],
    size: Float[Tensor, "n 3"],
    params: Float[Tensor, "n 16"],
    heights: Float[Tensor, "field h w"],
) -> Float[Tensor, "n"]:
    """At most the distance to the surface of a marched shape, negative inside."""
    p = params.unbind(-1)
    match shape:
        case 5:
            return _box(q, size, p[0])
        case 6:
            return _drum(q[:, 0], q[:, 1], q[:, 2], size[:, 0], size[:, 2], p[0])
        case 7:
            return torch.hypot(torch.hypot(q[:, 0], q[:, 1]) - (size[:, 0] - p[0]), q[:, 2]) - p[0]
        case 8:
            return _cushion(q / size, size, p[0], p[1])
        case 9:
            return _lathe(q, size, params)
        case 10:
            return _ground(q, size, p[0].long(), p[1], heights)
        case 11:
            return _twisted(q, size, params)
        case 12:
            return _bent(q, params)
        case _:
            return _carved(q, params)


def _closed_form(shape: int, o: Tensor, d: Tensor, size: Tensor, params: Tensor, start: Tensor, end: Tensor) -> Tensor:
    match shape:
        case 0:
            return _in_front(start, end)
        case 1:
            u, v = o / size, d / size
            return _in_front(*_roots((v * v).sum(-1), (u * v).sum(-1), (u * u).sum(-1) - 1))
        case 2:
            return _frustum(o / size, d / size, params[:, 0])
        case _:
            return _in_front(*_clipped(o, d, *_planes(shape, size, params), start, end))


def _in_front(near: Tensor, far: Tensor) -> Tensor:
    """The first of a span's ends in front of the origin; inf if it is empty or behind."""
    first = torch.where(near > 0, near, far)
    return torch.where((near <= far) & (far > 0), first, math.inf)


def _roots(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Both solutions of a t^2 + 2 b t + c = 0, the smaller first; an empty span where there is none."""
    under = b * b - a * c
    root = under.clamp(min=0).sqrt()
    safe = torch.where(a.abs() < TINY, TINY, a)
    one, two = (-b - root) / safe, (-b + root) / safe
    exists = under >= 0
    return torch.where(exists, torch.minimum(one, two), math.inf), torch.where(exists, torch.maximum(one, two), -1.0)


def _frustum(u: Tensor, v: Tensor, taper: Tensor) -> Tensor:
    """x^2 + y^2 <= (m - k z)^2 and |z| <= 1, with m = (1 + taper) / 2 and k = (1 - taper) / 2."""
    m, k = 0.5 * (1 + taper), 0.5 * (1 - taper)
    wide = m - k * u[:, 2]
    near, far = _roots(
        v[:, 0] ** 2 + v[:, 1] ** 2 - (k * v[:, 2]) ** 2,
        u[:, 0] * v[:, 0] + u[:, 1] * v[:, 1] + k * v[:, 2] * wide,
        u[:, 0] ** 2 + u[:, 1] ** 2 - wide**2,
    )
    first = torch.full_like(near, math.inf)
    for t in (near, far):
        z = u[:, 2] + torch.where(torch.isfinite(t), t, 0.0) * v[:, 2]
        first = torch.where((t > 0) & (t < first) & (z.abs() <= 1), t, first)
    slope = torch.where(v[:, 2].abs() < TINY, TINY, v[:, 2])
    for end, radius in ((1.0, taper), (-1.0, torch.ones_like(taper))):
        t = (end - u[:, 2]) / slope
        square = (u[:, 0] + t * v[:, 0]) ** 2 + (u[:, 1] + t * v[:, 1]) ** 2
        first = torch.where((t > 0) & (t < first) & (square <= radius * radius), t, first)
    return first


def _frustum_normal(q: Tensor, size: Tensor, taper: Tensor) -> Tensor:
    u = q / size
    k = 0.5 * (1 - taper)
    wide = 0.5 * (1 + taper) - k * u[:, 2]
    from_wall = (torch.hypot(u[:, 0], u[:, 1]) - wide).abs() * size[:, 0]
    on_end = (u[:, 2].abs() - 1).abs() * size[:, 2] < from_wall
    wall = torch.stack([u[:, 0], u[:, 1], k * wide], dim=-1) / size
    end = torch.stack([torch.zeros_like(k), torch.zeros_like(k), torch.sign(u[:, 2])], dim=-1)
    return torch.where(on_end[:, None], end, wall)


def _planes(shape: int, size: Tensor, params: Tensor) -> tuple[Float[Tensor, "n plane 3"], Float[Tensor, "n plane"]]:
    """Half spaces n q <= offset whose common part is the solid."""
    a, b, c = size.unbind(-1)
    if shape == GABLE:
        zero = torch.zeros_like(a)
        sides = [[zero - 1, zero, zero], [zero + 1, zero, zero], [zero, zero, zero - 1]]
        slopes = [[zero, 2 * c, b], [zero, -2 * c, b]]
        planes = torch.stack([torch.stack(row, -1) for row in sides + slopes], 1)
        length = torch.hypot(2 * c, b)
        planes = planes / planes.norm(dim=-1, keepdim=True)
        return planes, torch.stack([a, a, c, b * c / length, b * c / length], -1)
    rows, offsets = [], []
    for axis in range(3):
        for sign in (-1.0, 1.0):
            rows.append([sign if each == axis else 0.0 for each in range(3)])
            offsets.append(size[:, axis])
    half = math.sqrt(0.5)
    for one, two in ((0, 1), (0, 2), (1, 2)):
        for first in (-half, half):
            for second in (-half, half):
                rows.append([first if each == one else second if each == two else 0.0 for each in range(3)])
                offsets.append(half * (size[:, one] + size[:, two] - params[:, 0]))
    return size.new_tensor(rows).expand(len(size), -1, -1), torch.stack(offsets, -1)


def _clipped(
    o: Tensor, d: Tensor, planes: Tensor, offsets: Tensor, start: Tensor, end: Tensor
) -> tuple[Tensor, Tensor]:
    """The span of rays within half spaces."""
    height, speed = offsets - (planes * o[:, None]).sum(-1), (planes * d[:, None]).sum(-1)
    t = height / torch.where(speed.abs() < TINY, TINY, speed)
    enter = torch.where(speed < 0, t, -math.inf).amax(-1)
    leave = torch.where(speed > 0, t, math.inf).amin(-1)
    aside = ((speed.abs() < TINY) & (height < 0)).any(-1)
    return torch.maximum(start, enter), torch.where(aside, -math.inf, torch.minimum(end, leave))


def _march(
    shape: int, o: Tensor, d: Tensor, size: Tensor, params: Tensor, heights: Tensor, start: Tensor, end: Tensor
) -> Tensor:
    """Step by the signed distance until the surface lies between two points, then close in."""
    result = torch.full_like(start, math.inf)
    slack = LEAST_STEP[0] * size.amin(-1)

    def field(which: Tensor, t: Tensor) -> Tensor:
        return signed_distance(shape, o[which] + t[:, None] * d[which], size[which], params[which], heights)

    alive = (end > 0).nonzero()[:, 0]
    t = start[alive].clamp(min=0) + NUDGE * size[alive].amax(-1)
    value = field(alive, t)
    at_door = (value <= 0) & (start[alive] > 0)
    result[alive[at_door]] = start[alive[at_door]]
    pace = approach(shape, d, params)
    value = torch.where(pace[alive] > 0, value, -1.0)
    low, high, above, below = (torch.full_like(start, math.inf) for _ in range(4))
    going = value > 0
    for _ in range(MARCH_STEPS // STRIDE):
        alive, t, value = alive[going], t[going], value[going]
        if len(alive) == 0:
            break
        going, far, found = torch.ones_like(alive, dtype=torch.bool), high[alive], below[alive]
        for _ in range(STRIDE):
            ahead = torch.minimum(t + torch.maximum(value / pace[alive], slack[alive] + LEAST_STEP[1] * t), end[alive])
            there = field(alive, ahead)
            crossed = going & (there <= 0)
            far, found = torch.where(crossed, ahead, far), torch.where(crossed, there, found)
            going = going & (there > 0) & (ahead < end[alive])
            t, value = torch.where(going, ahead, t), torch.where(going, there, value)
        low[alive], above[alive], high[alive], below[alive] = t, value, far, found
    else:
        near = going & (value < 4 * (slack[alive] + LEAST_STEP[1] * t))
        result[alive[near]] = t[near]
    met = torch.isfinite(high).nonzero()[:, 0]
    result[met] = _close_in(lambda x: field(met, x), low[met], high[met], above[met], below[met])
    return result


def approach(shape: int, d: Float[Tensor, "n 3"], params: Float[Tensor, "n 16"]) -> Float[Tensor, "n"]:
    """How fast a ray nears a marched shape, as a share of its way; 0 and below: never.

    A ray that climbs more steeply than any slope leaves the ground for good; others are taken to meet slopes milder
    than the steepest (a step too far is noticed, except across the very edge of a crest).
    """
    if shape != HEIGHTS:
        return torch.ones_like(d[:, 0])
    steep = params[:, 1]
    aside, down = steep * torch.hypot(d[:, 0], d[:, 1]), -d[:, 2]
    return torch.maximum(aside / BOLDNESS + down, (aside + down) / BOLDNESS) / torch.sqrt(1 + steep * steep)


def _close_in(field: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """False position with the Illinois rule; the root lies between low and high."""
    side = torch.zeros_like(low)
    for _ in range(REFINEMENTS):
        middle = low + (high - low) * above / (above - below).clamp(min=1e-30)
        value = field(middle)
        up = value > 0
        below = torch.where(up & (side > 0), 0.5 * below, below)
        above = torch.where(~up & (side < 0), 0.5 * above, above)
        low, above = torch.where(up, middle, low), torch.where(up, value, above)
        high, below = torch.where(up, high, middle), torch.where(up, below, value)
        side = torch.where(up, 1.0, -1.0)
    return low + (high - low) * above / (above - below).clamp(min=1e-30)


def _box(q: Tensor, size: Tensor, radius: Tensor) -> Tensor:
    out = q.abs() - (size - radius[:, None])
    return out.clamp(min=0).norm(dim=-1) + out.amax(-1).clamp(max=0) - radius


def _drum(x: Tensor, y: Tensor, z: Tensor, radius: Tensor, half: Tensor, edge: Tensor) -> Tensor:
    across, along = torch.hypot(x, y) - (radius - edge), z.abs() - (half - edge)
    return torch.hypot(across.clamp(min=0), along.clamp(min=0)) + torch.maximum(across, along).clamp(max=0) - edge


def _cushion(u: Tensor, size: Tensor, across: Tensor, along: Tensor) -> Tensor:
    """(F - 1) / |grad F| of the norm F whose unit ball is the cushion; F is convex: this understates the distance."""
    x, y, z = u.abs().clamp(min=1e-9).unbind(-1)
    g = (x**across + y**across) ** (1 / across)
    f = (g**along + z**along) ** (1 / along)
    steep = (g / f) ** (along - 1)
    slope = torch.stack([steep * (x / g) ** (across - 1), steep * (y / g) ** (across - 1), (z / f) ** (along - 1)], -1)
    return (f - 1) / (slope / size).norm(dim=-1)


def _spline(u: Tensor, last: int) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Middle control point and the three weights of a quadratic B-spline; last: the last control point."""
    middle = (u + 0.5).floor().clamp(1, last - 1)
    f = (u - middle).clamp(-0.5, 0.5)
    return middle.long(), (0.5 * (0.5 - f) ** 2, 0.75 - f * f, 0.5 * (0.5 + f) ** 2)


def _lathe(q: Tensor, size: Tensor, params: Tensor) -> Tensor:
    z = (q[:, 2] / size[:, 2]).clamp(-1, 1)
    middle, weights = _spline((0.5 * z + 0.5) * (KNOTS - 2) + 0.5, KNOTS - 1)
    knots = torch.stack([params.gather(1, (middle + each)[:, None])[:, 0] for each in (-1, 0, 1)])
    radius = size[:, 0] * (torch.stack(weights) * knots).sum(0)
    thickness, steep = params[:, 8], torch.sqrt(1 + params[:, 9] ** 2)
    from_axis = torch.hypot(q[:, 0], q[:, 1])
    outer = torch.maximum((from_axis - radius) / steep, q[:, 2].abs() - size[:, 2])
    inner = torch.maximum((from_axis - radius) / steep + thickness, thickness - q[:, 2] - size[:, 2])
    return torch.where(thickness > 0, torch.maximum(outer, -inner), outer)


def _ground(q: Tensor, size: Tensor, table: Tensor, steep: Tensor, heights: Tensor) -> Tensor:
    count = heights.shape[-1]
    i, along = _spline((0.5 * (q[:, 0] / size[:, 0]).clamp(-1, 1) + 0.5) * (count - 2) + 0.5, count - 1)
    j, across = _spline((0.5 * (q[:, 1] / size[:, 1]).clamp(-1, 1) + 0.5) * (count - 2) + 0.5, count - 1)
    height = torch.zeros_like(steep)
    for one in range(3):
        for two in range(3):
            height = height + along[one] * across[two] * heights[table, i + one - 1, j + two - 1]
    above = q[:, 2] - size[:, 2] * (2 * height - 1)
    side = torch.maximum((q[:, :2].abs() - size[:, :2]).amax(-1), -q[:, 2] - size[:, 2])
    return torch.maximum(above / torch.sqrt(1 + steep * steep), side)


def _twisted(q: Tensor, size: Tensor, params: Tensor) -> Tensor:
    a, b, turn, radius = params[:, :4].unbind(-1)
    angle = turn * q[:, 2]
    cosine, sine = torch.cos(angle), torch.sin(angle)
    back = torch.stack([cosine * q[:, 0] + sine * q[:, 1], cosine * q[:, 1] - sine * q[:, 0], q[:, 2]], -1)
    return _box(back, torch.stack([a, b, size[:, 2]], -1), radius) / torch.sqrt(1 + turn**2 * (a * a + b * b))


def _bent(q: Tensor, params: Tensor) -> Tensor:
    bend, half, width, height, radius = params[:, :5].unbind(-1)
    out = torch.hypot(q[:, 0], q[:, 2])
    angle = torch.atan2(q[:, 0], q[:, 2]).abs()
    reach = torch.minimum(out, bend)
    straight = torch.stack([out - bend, q[:, 1], (angle - half) * reach + half * bend], -1)
    return _box(straight, torch.stack([width, height, half * bend], -1), radius) * 0.9


def _part(kind: Tensor, q: Tensor, size: Tensor, edge: Tensor) -> Tensor:
    box = _box(q, size, edge)
    ball = q.norm(dim=-1) - size[:, 0]
    upright = _drum(q[:, 0], q[:, 1], q[:, 2], size[:, 0], size[:, 2], edge)
    lying = _drum(q[:, 1], q[:, 2], q[:, 0], size[:, 1], size[:, 0], edge)
    return torch.where(kind < 0.5, box, torch.where(kind < 1.5, ball, torch.where(kind < 2.5, upright, lying)))


def _carved(q: Tensor, params: Tensor) -> Tensor:
    way, one, two, seam = params[:, :4].unbind(-1)
    first = _part(one, q, params[:, 4:7], params[:, 13])
    second = _part(two, q - params[:, 7:10], params[:, 10:13], params[:, 13])
    second = torch.where((way > 0.5) & (way < 1.5), -second, second)
    blend = (1 - (first - second).abs() / seam.clamp(min=1e-9)).clamp(min=0) ** 2 * (0.25 * seam)
    return torch.where(way < 0.5, torch.minimum(first, second) - blend, torch.maximum(first, second) + blend)
