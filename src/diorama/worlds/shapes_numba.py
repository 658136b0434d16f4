"""The scalar twins of `shapes`, for the ray caster's loops on the CPU.

A solid is a row `s` of one table, so that a loop hands on one array: its half sides start at column SIZE, the
parameters of its shape at SHAPE. Points and unit directions are in its own frame.
"""

import math

from diorama.kernels.jit import numba_kernel
from diorama.worlds.shapes import (
    BOLDNESS,
    FIRST_MARCHED,
    HEIGHTS,
    KNOTS,
    LEAST_STEP,
    MARCH_STEPS,
    NUDGE,
    PROBE,
    REFINEMENTS,
    TINY,
)

KIND, CENTRE, ROTATION, SIZE, SHAPE, MATERIAL, INSTANCE, GLOW = 0, 1, 4, 13, 16, 32, 33, 34
"""Where the columns of a solid start: number of its shape, centre, own axes to world axes by rows, ..."""
COLUMNS = 37
LEAST_SHARE, LEAST_RATE = LEAST_STEP
FAR = math.inf
HALF = math.sqrt(0.5)


@numba_kernel
def first_hit_at(shape, s, ox, oy, oz, dx, dy, dz, solids, heights):
    """See `shapes.first_hit`."""
    a, b, c = solids[s, SIZE], solids[s, SIZE + 1], solids[s, SIZE + 2]
    sx = dx if abs(dx) >= TINY else TINY
    sy = dy if abs(dy) >= TINY else TINY
    sz = dz if abs(dz) >= TINY else TINY
    x0, x1 = (-a - ox) / sx, (a - ox) / sx
    y0, y1 = (-b - oy) / sy, (b - oy) / sy
    z0, z1 = (-c - oz) / sz, (c - oz) / sz
    start = max(max(min(x0, x1), min(y0, y1)), min(z0, z1))
    end = min(min(max(x0, x1), max(y0, y1)), max(z0, z1))
    if start > end or end <= 0.0:
        return FAR
    if shape == 0:
        return start if start > 0.0 else end
    if shape == 1:
        ux, uy, uz, vx, vy, vz = ox / a, oy / b, oz / c, dx / a, dy / b, dz / c
        near, far = _roots(vx * vx + vy * vy + vz * vz, ux * vx + uy * vy + uz * vz, ux * ux + uy * uy + uz * uz - 1.0)
        return near if near > 0.0 else far if far > 0.0 else FAR
    if shape == 2:
        return _frustum(ox / a, oy / b, oz / c, dx / a, dy / b, dz / c, solids[s, SHAPE])
    if shape < FIRST_MARCHED:
        return _clipped(shape, ox, oy, oz, dx, dy, dz, a, b, c, solids[s, SHAPE], start, end)
    return _march(shape, s, ox, oy, oz, dx, dy, dz, solids, heights, start, end)


@numba_kernel
def normal_at(shape, s, x, y, z, solids, heights):
    """See `shapes.normals`."""
    a, b, c = solids[s, SIZE], solids[s, SIZE + 1], solids[s, SIZE + 2]
    nx, ny, nz = 0.0, 0.0, 0.0
    if shape == 0:
        u, v, w = x / a, y / b, z / c
        if abs(u) >= abs(v) and abs(u) >= abs(w):
            nx = 1.0 if u > 0.0 else -1.0
        elif abs(v) >= abs(w):
            ny = 1.0 if v > 0.0 else -1.0
        else:
            nz = 1.0 if w > 0.0 else -1.0
        return nx, ny, nz
    if shape == 1:
        nx, ny, nz = x / (a * a), y / (b * b), z / (c * c)
    elif shape == 2:
        u, v, w = x / a, y / b, z / c
        k = 0.5 * (1.0 - solids[s, SHAPE])
        wide = 0.5 * (1.0 + solids[s, SHAPE]) - k * w
        if abs(abs(w) - 1.0) * c < abs(math.sqrt(u * u + v * v) - wide) * a:
            nz = 1.0 if w > 0.0 else -1.0
        else:
            nx, ny, nz = u / a, v / b, k * wide / c
    elif shape == 3:
        nx, ny, nz = _bevel_normal(x, y, z, a, b, c, solids[s, SHAPE])
    elif shape == 4:
        nx, ny, nz = _gable_normal(x, y, z, a, b, c)
    else:
        h = PROBE * min(a, min(b, c))
        one = signed_distance_at(shape, s, x + h, y - h, z - h, solids, heights)
        two = signed_distance_at(shape, s, x - h, y - h, z + h, solids, heights)
        three = signed_distance_at(shape, s, x - h, y + h, z - h, solids, heights)
        four = signed_distance_at(shape, s, x + h, y + h, z + h, solids, heights)
        nx, ny, nz = one - two - three + four, -one - two + three + four, -one + two - three + four
    length = max(math.sqrt(nx * nx + ny * ny + nz * nz), TINY)
    return nx / length, ny / length, nz / length


@numba_kernel
def signed_distance_at(shape, s, x, y, z, solids, heights):
    """See `shapes.signed_distance`."""
    a, b, c = solids[s, SIZE], solids[s, SIZE + 1], solids[s, SIZE + 2]
    if shape == 5:
        return _box(x, y, z, a, b, c, solids[s, SHAPE])
    if shape == 6:
        return _drum(x, y, z, a, c, solids[s, SHAPE])
    if shape == 7:
        across = math.sqrt(x * x + y * y) - (a - solids[s, SHAPE])
        return math.sqrt(across * across + z * z) - solids[s, SHAPE]
    if shape == 8:
        return _cushion(x / a, y / b, z / c, a, b, c, solids[s, SHAPE], solids[s, SHAPE + 1])
    if shape == 9:
        return _lathe(s, x, y, z, a, c, solids)
    if shape == 10:
        return _ground(s, x, y, z, a, b, c, solids, heights)
    if shape == 11:
        turn = solids[s, SHAPE + 2]
        cosine, sine = math.cos(turn * z), math.sin(turn * z)
        half, depth = solids[s, SHAPE], solids[s, SHAPE + 1]
        apart = _box(cosine * x + sine * y, cosine * y - sine * x, z, half, depth, c, solids[s, SHAPE + 3])
        return apart / math.sqrt(1.0 + turn * turn * (half * half + depth * depth))
    if shape == 12:
        bend, half = solids[s, SHAPE], solids[s, SHAPE + 1]
        out = math.sqrt(x * x + z * z)
        along = (abs(math.atan2(x, z)) - half) * min(out, bend) + half * bend
        return (
            _box(out - bend, y, along, solids[s, SHAPE + 2], solids[s, SHAPE + 3], half * bend, solids[s, SHAPE + 4])
            * 0.9
        )
    return _carved(s, x, y, z, solids)


@numba_kernel
def _roots(a, b, c):
    under = b * b - a * c
    if under < 0.0:
        return FAR, -1.0
    root = math.sqrt(under)
    safe = a if abs(a) >= TINY else TINY
    one, two = (-b - root) / safe, (-b + root) / safe
    return min(one, two), max(one, two)


@numba_kernel
def _frustum(ux, uy, uz, vx, vy, vz, taper):
    m, k = 0.5 * (1.0 + taper), 0.5 * (1.0 - taper)
    wide = m - k * uz
    near, far = _roots(
        vx * vx + vy * vy - (k * vz) * (k * vz), ux * vx + uy * vy + k * vz * wide, ux * ux + uy * uy - wide * wide
    )
    first = FAR
    if near > 0.0 and abs(uz + near * vz) <= 1.0:
        first = near
    elif far > 0.0 and abs(uz + far * vz) <= 1.0:
        first = far
    slope = vz if abs(vz) >= TINY else TINY
    top, foot = (1.0 - uz) / slope, (-1.0 - uz) / slope
    if 0.0 < top < first:
        x, y = ux + top * vx, uy + top * vy
        if x * x + y * y <= taper * taper:
            first = top
    if 0.0 < foot < first:
        x, y = ux + foot * vx, uy + foot * vy
        if x * x + y * y <= 1.0:
            first = foot
    return first


@numba_kernel
def _clip(height, speed, start, end):
    """Narrow a span to the half space that a ray is `height` away from and nears with `speed`."""
    if abs(speed) < TINY:
        return start, end if height >= 0.0 else -FAR
    t = height / speed
    if speed < 0.0:
        return max(start, t), end
    return start, min(end, t)


@numba_kernel
def _clip_pair(height, one, two, speed_one, speed_two, start, end):
    """The four half spaces |one +- two| <= height, without the factor of their normals."""
    start, end = _clip(height - one - two, speed_one + speed_two, start, end)
    start, end = _clip(height + one + two, -speed_one - speed_two, start, end)
    start, end = _clip(height - one + two, speed_one - speed_two, start, end)
    return _clip(height + one - two, speed_two - speed_one, start, end)


@numba_kernel
def _clipped(shape, ox, oy, oz, dx, dy, dz, a, b, c, cut, start, end):
    if shape == 3:
        start, end = _clip_pair(a + b - cut, ox, oy, dx, dy, start, end)
        start, end = _clip_pair(a + c - cut, ox, oz, dx, dz, start, end)
        start, end = _clip_pair(b + c - cut, oy, oz, dy, dz, start, end)
    else:
        start, end = _clip(b * c - 2.0 * c * oy - b * oz, 2.0 * c * dy + b * dz, start, end)
        start, end = _clip(b * c + 2.0 * c * oy - b * oz, -2.0 * c * dy + b * dz, start, end)
    if start > end or end <= 0.0:
        return FAR
    return start if start > 0.0 else end


@numba_kernel
def _sign(x):
    return 1.0 if x > 0.0 else -1.0


@numba_kernel
def _bevel_normal(x, y, z, a, b, c, cut):
    best, nx, ny, nz = abs(x) - a, _sign(x), 0.0, 0.0
    if abs(y) - b > best:
        best, nx, ny = abs(y) - b, 0.0, _sign(y)
    if abs(z) - c > best:
        best, nx, ny, nz = abs(z) - c, 0.0, 0.0, _sign(z)
    excess = HALF * (abs(x) + abs(y) - a - b + cut)
    if excess > best:
        best, nx, ny, nz = excess, _sign(x), _sign(y), 0.0
    excess = HALF * (abs(x) + abs(z) - a - c + cut)
    if excess > best:
        best, nx, ny, nz = excess, _sign(x), 0.0, _sign(z)
    excess = HALF * (abs(y) + abs(z) - b - c + cut)
    if excess > best:
        nx, ny, nz = 0.0, _sign(y), _sign(z)
    return nx, ny, nz


@numba_kernel
def _gable_normal(x, y, z, a, b, c):
    best, nx, ny, nz = abs(x) - a, _sign(x), 0.0, 0.0
    if -z - c > best:
        best, nx, nz = -z - c, 0.0, -1.0
    length = math.sqrt(4.0 * c * c + b * b)
    if (2.0 * c * abs(y) + b * z - b * c) / length > best:
        nx, ny, nz = 0.0, 2.0 * c * _sign(y), b
    return nx, ny, nz


@numba_kernel
def _march(shape, s, ox, oy, oz, dx, dy, dz, solids, heights, start, end):
    slack = LEAST_SHARE * min(solids[s, SIZE], min(solids[s, SIZE + 1], solids[s, SIZE + 2]))
    t = max(start, 0.0) + NUDGE * max(solids[s, SIZE], max(solids[s, SIZE + 1], solids[s, SIZE + 2]))
    value = signed_distance_at(shape, s, ox + t * dx, oy + t * dy, oz + t * dz, solids, heights)
    if value <= 0.0:
        return start if start > 0.0 else FAR
    pace = 1.0
    if shape == HEIGHTS:
        steep = solids[s, SHAPE + 1]
        aside = steep * math.sqrt(dx * dx + dy * dy)
        pace = max(aside / BOLDNESS - dz, (aside - dz) / BOLDNESS) / math.sqrt(1.0 + steep * steep)
        if pace <= 0.0:
            return FAR
    for _ in range(MARCH_STEPS):
        ahead = min(t + max(value / pace, slack + LEAST_RATE * t), end)
        found = signed_distance_at(shape, s, ox + ahead * dx, oy + ahead * dy, oz + ahead * dz, solids, heights)
        if found <= 0.0:
            low, high, above, below, side = t, ahead, value, found, 0
            for _ in range(REFINEMENTS):
                middle = low + (high - low) * above / max(above - below, 1e-30)
                value = signed_distance_at(
                    shape, s, ox + middle * dx, oy + middle * dy, oz + middle * dz, solids, heights
                )
                if value > 0.0:
                    if side > 0:
                        below *= 0.5
                    low, above, side = middle, value, 1
                else:
                    if side < 0:
                        above *= 0.5
                    high, below, side = middle, value, -1
            return low + (high - low) * above / max(above - below, 1e-30)
        if ahead >= end:
            return FAR
        t, value = ahead, found
    return t if value < 4.0 * (slack + LEAST_RATE * t) else FAR


@numba_kernel
def _box(x, y, z, a, b, c, radius):
    u, v, w = abs(x) - a + radius, abs(y) - b + radius, abs(z) - c + radius
    inside = min(max(u, max(v, w)), 0.0)
    u, v, w = max(u, 0.0), max(v, 0.0), max(w, 0.0)
    return math.sqrt(u * u + v * v + w * w) + inside - radius


@numba_kernel
def _drum(x, y, z, radius, half, edge):
    across, along = math.sqrt(x * x + y * y) - radius + edge, abs(z) - half + edge
    inside = min(max(across, along), 0.0)
    across, along = max(across, 0.0), max(along, 0.0)
    return math.sqrt(across * across + along * along) + inside - edge


@numba_kernel
def _cushion(x, y, z, a, b, c, across, along):
    x, y, z = max(abs(x), 1e-9), max(abs(y), 1e-9), max(abs(z), 1e-9)
    g = (x**across + y**across) ** (1.0 / across)
    f = (g**along + z**along) ** (1.0 / along)
    steep = (g / f) ** (along - 1.0)
    u = steep * (x / g) ** (across - 1.0) / a
    v = steep * (y / g) ** (across - 1.0) / b
    w = (z / f) ** (along - 1.0) / c
    return (f - 1.0) / math.sqrt(u * u + v * v + w * w)


@numba_kernel
def _lathe(s, x, y, z, a, c, solids):
    u = (0.5 * min(max(z / c, -1.0), 1.0) + 0.5) * (KNOTS - 2) + 0.5
    middle = min(max(int(u + 0.5), 1), KNOTS - 2)
    f = min(max(u - middle, -0.5), 0.5)
    radius = 0.5 * (0.5 - f) * (0.5 - f) * solids[s, SHAPE + middle - 1]
    radius += (0.75 - f * f) * solids[s, SHAPE + middle] + 0.5 * (0.5 + f) * (0.5 + f) * solids[s, SHAPE + middle + 1]
    thickness, steep = solids[s, SHAPE + 8], math.sqrt(1.0 + solids[s, SHAPE + 9] * solids[s, SHAPE + 9])
    wall = (math.sqrt(x * x + y * y) - a * radius) / steep
    outer = max(wall, abs(z) - c)
    if thickness <= 0.0:
        return outer
    return max(outer, -max(wall + thickness, thickness - z - c))


@numba_kernel
def _ground(s, x, y, z, a, b, c, solids, heights):
    count = heights.shape[-1]
    table = int(solids[s, SHAPE])
    u = (0.5 * min(max(x / a, -1.0), 1.0) + 0.5) * (count - 2) + 0.5
    v = (0.5 * min(max(y / b, -1.0), 1.0) + 0.5) * (count - 2) + 0.5
    i = min(max(int(u + 0.5), 1), count - 2)
    j = min(max(int(v + 0.5), 1), count - 2)
    f, g = min(max(u - i, -0.5), 0.5), min(max(v - j, -0.5), 0.5)
    g0, g1, g2 = 0.5 * (0.5 - g) * (0.5 - g), 0.75 - g * g, 0.5 * (0.5 + g) * (0.5 + g)
    low = g0 * heights[table, i - 1, j - 1] + g1 * heights[table, i - 1, j] + g2 * heights[table, i - 1, j + 1]
    middle = g0 * heights[table, i, j - 1] + g1 * heights[table, i, j] + g2 * heights[table, i, j + 1]
    high = g0 * heights[table, i + 1, j - 1] + g1 * heights[table, i + 1, j] + g2 * heights[table, i + 1, j + 1]
    height = 0.5 * (0.5 - f) * (0.5 - f) * low + (0.75 - f * f) * middle + 0.5 * (0.5 + f) * (0.5 + f) * high
    above = (z - c * (2.0 * height - 1.0)) / math.sqrt(1.0 + solids[s, SHAPE + 1] * solids[s, SHAPE + 1])
    return max(above, max(max(abs(x) - a, abs(y) - b), -z - c))


@numba_kernel
def _part(kind, x, y, z, a, b, c, edge):
    if kind < 0.5:
        return _box(x, y, z, a, b, c, edge)
    if kind < 1.5:
        return math.sqrt(x * x + y * y + z * z) - a
    if kind < 2.5:
        return _drum(x, y, z, a, c, edge)
    return _drum(y, z, x, b, a, edge)


@numba_kernel
def _carved(s, x, y, z, solids):
    way, seam, edge = solids[s, SHAPE], solids[s, SHAPE + 3], solids[s, SHAPE + 13]
    first = _part(solids[s, SHAPE + 1], x, y, z, solids[s, SHAPE + 4], solids[s, SHAPE + 5], solids[s, SHAPE + 6], edge)
    x, y, z = x - solids[s, SHAPE + 7], y - solids[s, SHAPE + 8], z - solids[s, SHAPE + 9]
    second = _part(
        solids[s, SHAPE + 2], x, y, z, solids[s, SHAPE + 10], solids[s, SHAPE + 11], solids[s, SHAPE + 12], edge
    )
    if 0.5 < way < 1.5:
        second = -second
    blend = max(1.0 - abs(first - second) / max(seam, 1e-9), 0.0)
    blend = blend * blend * 0.25 * seam
    return min(first, second) - blend if way < 0.5 else max(first, second) + blend
