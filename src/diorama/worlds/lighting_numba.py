"""The scalar twin of `lighting`: one point of one light, one direction of the hemisphere, the sky."""

import math

import numpy as np

from diorama.kernels.jit import numba_kernel
from diorama.worlds.boxes_numba import nearest_at
from diorama.worlds.lighting import AROUND, PICK, UP
from diorama.worlds.lighting import FIRST as ALONG
from diorama.worlds.lighting import SECOND as ACROSS
from diorama.worlds.noise_numba import layered_noise_at
from diorama.worlds.scene import LAMP, SUN
from diorama.worlds.shapes_numba import MATERIAL

FAR = math.inf
ZENITH, HORIZON, GROUND, FILL, BOUNCE, LOOK = 0, 3, 6, 9, 12, 15
"""Where the numbers of the sky start."""
PLACE, FIRST, SECOND, COLOUR = 1, 4, 7, 10
"""Where the numbers of a light start, after its kind."""
GLOSS, SHINE, MIRROR, MEAN = 0, 1, 2, 3
"""Where the numbers of a material start that are not its texture's."""


@numba_kernel
def _fraction(x):
    return x - math.floor(x)


@numba_kernel
def _lobe(nx, ny, nz, lx, ly, lz, dx, dy, dz, shine):
    """Blinn and Phong's highlight, with the energy of its sharpness."""
    hx, hy, hz = lx - dx, ly - dy, lz - dz
    length = max(math.sqrt(hx * hx + hy * hy + hz * hz), 1e-9)
    cosine = max((nx * hx + ny * hy + nz * hz) / length, 0.0)
    return 0.125 * (shine + 8.0) * cosine**shine


@numba_kernel
def sunlight_at(
    solids, lights, heights, nodes, order, stack, n, px, py, pz, nx, ny, nz, dx, dy, dz, shine, index
):  # fmt: skip
    """Cosine over pi of a point of the sun's disc that is in sight, else 0, and its highlight."""
    x, y, z = lights[n, PLACE], lights[n, PLACE + 1], lights[n, PLACE + 2]
    if nx * x + ny * y + nz * z <= -lights[n, FIRST]:
        return 0.0, 0.0
    ax, ay, az = (0.0, 0.0, 1.0) if abs(z) < 0.9 else (1.0, 0.0, 0.0)
    ux, uy, uz = y * az - z * ay, z * ax - x * az, x * ay - y * ax
    length = math.sqrt(ux * ux + uy * uy + uz * uz)
    ux, uy, uz = ux / length, uy / length, uz / length
    vx, vy, vz = y * uz - z * uy, z * ux - x * uz, x * uy - y * ux
    radius = lights[n, FIRST] * math.sqrt(_fraction(0.5 + index * ALONG))
    angle = 2.0 * math.pi * _fraction(0.5 + index * ACROSS)
    a, b = radius * math.cos(angle), radius * math.sin(angle)
    x, y, z = x + a * ux + b * vx, y + a * uy + b * vy, z + a * uz + b * vz
    length = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / length, y / length, z / length
    cosine = nx * x + ny * y + nz * z
    if cosine <= 0.0:
        return 0.0, 0.0
    _, blocker = nearest_at(solids, heights, nodes, order, stack, px, py, pz, x, y, z, FAR, True)
    if blocker >= 0:
        return 0.0, 0.0
    return cosine / math.pi, _lobe(nx, ny, nz, x, y, z, dx, dy, dz, shine)


@numba_kernel
def _weight(lights, n, px, py, pz, nx, ny, nz):
    """About how much a lamp or a panel lights a point, were nothing in the way."""
    if lights[n, 0] == SUN:
        return 0.0
    x, y, z = lights[n, PLACE] - px, lights[n, PLACE + 1] - py, lights[n, PLACE + 2] - pz
    square = x * x + y * y + z * z + 1e-4
    length = math.sqrt(square)
    power = lights[n, COLOUR] + lights[n, COLOUR + 1] + lights[n, COLOUR + 2]
    power *= max((nx * x + ny * y + nz * z) / length, 0.0) + 0.1
    if lights[n, 0] == LAMP:
        return power / square
    cx, cy, cz, area = _shining(lights, n)
    return power * area * (max(-(cx * x + cy * y + cz * z) / length, 0.0) + 0.05) / (square + 0.25 * area)


@numba_kernel
def _shining(lights, n):
    """Unit direction in which a panel shines, and its area."""
    ux, uy, uz = lights[n, FIRST], lights[n, FIRST + 1], lights[n, FIRST + 2]
    vx, vy, vz = lights[n, SECOND], lights[n, SECOND + 1], lights[n, SECOND + 2]
    cx, cy, cz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
    length = max(math.sqrt(cx * cx + cy * cy + cz * cz), 1e-12)
    return cx / length, cy / length, cz / length, 4.0 * length


@numba_kernel
def soft_light_at(solids, lights, heights, nodes, order, stack, px, py, pz, nx, ny, nz, dx, dy, dz, shine, index):
    """Light of one point of one lamp or panel, chosen by how much it may matter; radiance of white, and highlight."""
    total = 0.0
    for n in range(len(lights)):
        total += _weight(lights, n, px, py, pz, nx, ny, nz)
    if total <= 0.0:
        return 0.0, 0.0, 0.0, 0.0
    left = total * _fraction(0.5 + index * PICK)
    chosen, chance = -1, 0.0
    for n in range(len(lights)):
        weight = _weight(lights, n, px, py, pz, nx, ny, nz)
        if weight > 0.0:
            chosen, chance = n, weight / total
            left -= weight
            if left < 0.0:
                break
    first, second = _fraction(0.5 + index * ALONG), _fraction(0.5 + index * ACROSS)
    x, y, z = lights[chosen, PLACE] - px, lights[chosen, PLACE + 1] - py, lights[chosen, PLACE + 2] - pz
    lamp = lights[chosen, 0] == LAMP
    if lamp:
        radius = lights[chosen, FIRST]
        limit = math.sqrt(x * x + y * y + z * z) - 1.05 * radius
        up, angle = 1.0 - 2.0 * first, 2.0 * math.pi * second
        ring = radius * math.sqrt(max(1.0 - up * up, 0.0))
        x, y, z = x + ring * math.cos(angle), y + ring * math.sin(angle), z + radius * up
    else:
        a, b = 2.0 * first - 1.0, 2.0 * second - 1.0
        x += a * lights[chosen, FIRST] + b * lights[chosen, SECOND]
        y += a * lights[chosen, FIRST + 1] + b * lights[chosen, SECOND + 1]
        z += a * lights[chosen, FIRST + 2] + b * lights[chosen, SECOND + 2]
        limit = 0.99 * math.sqrt(x * x + y * y + z * z)
    square = max(x * x + y * y + z * z, 1e-4)
    length = math.sqrt(square)
    x, y, z = x / length, y / length, z / length
    strength = max(nx * x + ny * y + nz * z, 0.0) / (math.pi * square * chance)
    if not lamp:
        cx, cy, cz, area = _shining(lights, chosen)
        strength *= area * max(-(cx * x + cy * y + cz * z), 0.0)
    if strength <= 0.0:
        return 0.0, 0.0, 0.0, 0.0
    _, blocker = nearest_at(solids, heights, nodes, order, stack, px, py, pz, x, y, z, limit, True)
    if blocker >= 0:
        return 0.0, 0.0, 0.0, 0.0
    return (
        strength * lights[chosen, COLOUR],
        strength * lights[chosen, COLOUR + 1],
        strength * lights[chosen, COLOUR + 2],
        _lobe(nx, ny, nz, x, y, z, dx, dy, dz, shine),
    )


@numba_kernel
def surroundings_at(solids, sky, matter, heights, nodes, order, stack, px, py, pz, nx, ny, nz, index):
    """Radiance from one cosine-weighted direction: open sky, or what other surfaces hand on."""
    up = 2.0 * _fraction(0.5 + index * UP) - 1.0
    angle = 2.0 * math.pi * _fraction(0.5 + index * AROUND)
    ring = math.sqrt(max(1.0 - up * up, 0.0)) * 0.999
    x, y, z = nx + ring * math.cos(angle), ny + ring * math.sin(angle), nz + 0.999 * up
    length = math.sqrt(x * x + y * y + z * z)
    x, y, z = x / length, y / length, z / length
    t, s = nearest_at(solids, heights, nodes, order, stack, px, py, pz, x, y, z, FAR, False)
    if s < 0:
        red, green, blue = sky_at(sky, x, y, z, False)
        return red * sky[FILL], green * sky[FILL + 1], blue * sky[FILL + 2]
    m = int(solids[s, MATERIAL])
    open_air = t / (t + sky[LOOK + 3])
    return (
        open_air * matter[m, MEAN] * sky[BOUNCE],
        open_air * matter[m, MEAN + 1] * sky[BOUNCE + 1],
        open_air * matter[m, MEAN + 2] * sky[BOUNCE + 2],
    )


@numba_kernel
def sky_at(sky, dx, dy, dz, clouds):
    """See `lighting.sky_colour`."""
    h = HORIZON
    if dz <= 0.0:
        near = math.exp(12.0 * dz)
        return (
            sky[GROUND] + near * (sky[h] - sky[GROUND]),
            sky[GROUND + 1] + near * (sky[h + 1] - sky[GROUND + 1]),
            sky[GROUND + 2] + near * (sky[h + 2] - sky[GROUND + 2]),
        )
    rise = math.sqrt(dz)
    red = sky[h] + rise * (sky[ZENITH] - sky[h])
    green = sky[h + 1] + rise * (sky[ZENITH + 1] - sky[h + 1])
    blue = sky[h + 2] + rise * (sky[ZENITH + 2] - sky[h + 2])
    if clouds and sky[LOOK] > 0.0:
        far = 1.5 / (dz + 0.15)
        cover = layered_noise_at(dx * far, dy * far, 0.3, np.int64(sky[LOOK + 1]), 0.6, 0.02)
        cover = sky[LOOK] * min(max(1.6 * cover + 0.3, 0.0), 1.0) * min(6.0 * dz, 1.0)
        white = 1.2 * max(sky[h], max(sky[h + 1], sky[h + 2]))
        red, green, blue = red + cover * (white - red), green + cover * (white - green), blue + cover * (white - blue)
    return red, green, blue
