"""The scalar twin of `trace`: a picture on the CPU, a few rows a task."""

import math

import numpy as np

from diorama.kernels.jit import numba_kernel
from diorama.worlds.boxes_numba import DEPTH, borrowed, nearest_at, to_own, to_world
from diorama.worlds.lighting import (
    BAYER,
    HIGHLIGHT,
    LEAST_REFLECTION,
    LIFT,
    MIRROR_BOUNCE,
    PROBE_FOOTPRINT,
    PROBES,
    SAME_LIGHT,
    WIDE_SUN,
)
from diorama.worlds.lighting_numba import (
    BOUNCE,
    COLOUR,
    FILL,
    FIRST,
    GLOSS,
    HORIZON,
    LOOK,
    MEAN,
    MIRROR,
    SHINE,
    ZENITH,
    sky_at,
    soft_light_at,
    sunlight_at,
    surroundings_at,
)
from diorama.worlds.scene import SUN
from diorama.worlds.shapes_numba import CENTRE, GLOW, INSTANCE, KIND, MATERIAL, normal_at
from diorama.worlds.textures_numba import texture_colour_at

FAR = math.inf
ORDER = np.array(BAYER)
POINTS = np.array(PROBES)


@numba_kernel
def mean_colours(kinds, rows, photos, matter):
    """Fill in the mean colour of every material; see `lighting.mean_colours`."""
    for m in range(len(kinds)):
        for i in range(len(POINTS)):
            x, y, z = POINTS[i]
            colour = texture_colour_at(kinds[m], rows[m], x, y, z, 0.0, 0.0, 1.0, PROBE_FOOTPRINT, photos)
            for c in range(3):
                matter[m, MEAN + c] += colour[c] / len(POINTS)


@numba_kernel
def trace_rows(
    solids, lights, sky, kinds, rows, matter, photos, heights, nodes, order,
    pose, lens, shifts, lit, top, bottom, light, depth, normal, instance,
):  # fmt: skip
    """Trace rows top to bottom of one picture.

    pose: camera to world (3, 4). lens: focal x, y and centre x, y. shifts: sub-pixel places (sample, 2); the first
    `lit` samples look for light. light: (h, w, 15) means over samples: paint times soft light, soft light of the
    samples that met something, highlights, all that needs no smoothing, paint.
    """
    kept, remembered = np.empty((DEPTH, 2)), np.empty(13)
    stack, solids, lights, sky, kinds = (
        borrowed(kept),
        borrowed(solids),
        borrowed(lights),
        borrowed(sky),
        borrowed(kinds),
    )
    rows, matter, photos, heights = borrowed(rows), borrowed(matter), borrowed(photos), borrowed(heights)
    nodes, order, light, memory = borrowed(nodes), borrowed(order), borrowed(light), borrowed(remembered)
    width, count = depth.shape[1], len(shifts)
    spread = 1.0 / (lens[0] * math.sqrt(count))
    for i in range(top, bottom):
        for j in range(width):
            dx, dy, dz, cosine = _ray(pose, lens, j + 0.5, i + 0.5)
            ox, oy, oz = pose[0, 3], pose[1, 3], pose[2, 3]
            t, s = nearest_at(solids, heights, nodes, order, stack, ox, oy, oz, dx, dy, dz, FAR, False)
            depth[i, j] = t * cosine
            instance[i, j] = -1
            if s >= 0:
                instance[i, j] = int(solids[s, INSTANCE])
                nx, ny, nz, _, _, _, _, _, _ = _surface(solids, heights, s, t, ox, oy, oz, dx, dy, dz)
                normal[i, j, 0], normal[i, j, 1], normal[i, j, 2] = nx, ny, nz
            hits = 0
            memory[0] = -1.0
            for k in range(count):
                if shifts[k, 0] != 0.0 or shifts[k, 1] != 0.0:
                    dx, dy, dz, _ = _ray(pose, lens, j + 0.5 + shifts[k, 0], i + 0.5 + shifts[k, 1])
                    t, s = nearest_at(solids, heights, nodes, order, stack, ox, oy, oz, dx, dy, dz, FAR, False)
                index = 16 * k + ORDER[4 * (i & 3) + (j & 3)]
                _sample(
                    solids, lights, sky, kinds, rows, matter, photos, heights, nodes, order, stack,
                    ox, oy, oz, dx, dy, dz, t, s, spread, index, 16 * k, 1.0 / count, k < lit, memory, light, i, j,
                )  # fmt: skip
                hits += s >= 0
            for c in range(3, 6):
                light[i, j, c] *= count / max(hits, 1)
    kept[0, 0], remembered[0] = 0.0, 0.0  # so that they outlive their borrowers


@numba_kernel
def _ray(pose, lens, column, row):
    x, y = (column - lens[2]) / lens[0], (row - lens[3]) / lens[1]
    cosine = 1.0 / math.sqrt(x * x + y * y + 1.0)
    x, y = x * cosine, y * cosine
    return (
        pose[0, 0] * x + pose[0, 1] * y + pose[0, 2] * cosine,
        pose[1, 0] * x + pose[1, 1] * y + pose[1, 2] * cosine,
        pose[2, 0] * x + pose[2, 1] * y + pose[2, 2] * cosine,
        cosine,
    )


@numba_kernel
def _surface(solids, heights, s, t, ox, oy, oz, dx, dy, dz):
    """Normal in the world towards the viewer, point and normal in the solid's own frame."""
    px, py, pz = ox + t * dx, oy + t * dy, oz + t * dz
    x, y, z = to_own(solids, s, px - solids[s, CENTRE], py - solids[s, CENTRE + 1], pz - solids[s, CENTRE + 2])
    u, v, w = normal_at(int(solids[s, KIND]), s, x, y, z, solids, heights)
    nx, ny, nz = to_world(solids, s, u, v, w)
    if nx * dx + ny * dy + nz * dz > 0.0:
        nx, ny, nz = -nx, -ny, -nz
    return nx, ny, nz, x, y, z, u, v, w


@numba_kernel
def _sample(
    solids, lights, sky, kinds, rows, matter, photos, heights, nodes, order, stack,
    ox, oy, oz, dx, dy, dz, t, s, spread, index, steady, share, fresh, memory, light, i, j,
):  # fmt: skip
    """Add what one ray of a pixel sees; see `lighting.add_sample`."""
    if s < 0:
        red, green, blue = sky_at(sky, dx, dy, dz, True)
        light[i, j, 9] += share * red
        light[i, j, 10] += share * green
        light[i, j, 11] += share * blue
        return
    m = int(solids[s, MATERIAL])
    nx, ny, nz, x, y, z, u, v, w = _surface(solids, heights, s, t, ox, oy, oz, dx, dy, dz)
    facing = -(nx * dx + ny * dy + nz * dz)
    footprint = t * spread / math.sqrt(max(facing, 0.05))
    paint = texture_colour_at(kinds[m], rows[m], x, y, z, u, v, w, footprint, photos)
    px, py, pz = ox + t * dx + LIFT * nx, oy + t * dy + LIFT * ny, oz + t * dz + LIFT * nz
    fade = math.exp(-((t / sky[LOOK + 2]) ** 2))
    mirror, gloss = matter[m, MIRROR], matter[m, GLOSS]
    mirror = mirror + (1.0 - mirror) * max(mirror, gloss) * (1.0 - facing) ** 5
    body = share * fade * (1.0 - mirror)
    for n in range(len(lights)):
        if lights[n, 0] == SUN and lights[n, FIRST] < WIDE_SUN:
            e, bright = sunlight_at(
                solids, lights, heights, nodes, order, stack, n, px, py, pz, nx, ny, nz, dx, dy, dz,
                matter[m, SHINE], steady,
            )  # fmt: skip
            for c in range(3):
                light[i, j, 9 + c] += body * e * lights[n, COLOUR + c] * (paint[c] + HIGHLIGHT * gloss * bright)
    same = memory[0] == s and memory[1] * nx + memory[2] * ny + memory[3] * nz > SAME_LIGHT
    if fresh or not same:
        one = soft_light_at(
            solids, lights, heights, nodes, order, stack, px, py, pz, nx, ny, nz, dx, dy, dz, matter[m, SHINE], index
        )
        two = surroundings_at(solids, sky, matter, heights, nodes, order, stack, px, py, pz, nx, ny, nz, index)
        memory[0], memory[1], memory[2], memory[3] = s, nx, ny, nz
        memory[4], memory[5], memory[6], bright = one
        memory[7], memory[8], memory[9] = bright * one[0], bright * one[1], bright * one[2]
        memory[10], memory[11], memory[12] = two
        for n in range(len(lights)):
            if lights[n, 0] == SUN and lights[n, FIRST] >= WIDE_SUN:
                e, bright = sunlight_at(
                    solids, lights, heights, nodes, order, stack, n, px, py, pz, nx, ny, nz, dx, dy, dz,
                    matter[m, SHINE], index,
                )  # fmt: skip
                for c in range(3):
                    memory[4 + c] += e * lights[n, COLOUR + c]
                    memory[7 + c] += e * bright * lights[n, COLOUR + c]
    for c in range(3):
        soft = memory[4 + c] + memory[10 + c]
        light[i, j, c] += body * paint[c] * soft
        light[i, j, 3 + c] += share * soft
        light[i, j, 12 + c] += body * paint[c]
        light[i, j, 6 + c] += body * HIGHLIGHT * gloss * memory[7 + c]
        light[i, j, 9 + c] += share * (fade * solids[s, GLOW + c] + (1.0 - fade) * sky[HORIZON + c])
    if mirror > LEAST_REFLECTION:
        rx, ry, rz = dx + 2.0 * facing * nx, dy + 2.0 * facing * ny, dz + 2.0 * facing * nz
        seen = _reflected(
            solids, lights, sky, kinds, rows, photos, heights, nodes, order, stack,
            px, py, pz, rx, ry, rz, t, spread, steady,
        )  # fmt: skip
        for c in range(3):
            light[i, j, 9 + c] += share * fade * mirror * seen[c]


@numba_kernel
def _reflected(
    solids, lights, sky, kinds, rows, photos, heights, nodes, order, stack,
    ox, oy, oz, dx, dy, dz, before, spread, steady,
):  # fmt: skip
    """What a mirror shows: matt surfaces under direct light, without occlusion of the bounced light."""
    t, s = nearest_at(solids, heights, nodes, order, stack, ox, oy, oz, dx, dy, dz, FAR, False)
    if s < 0:
        return sky_at(sky, dx, dy, dz, True)
    m = int(solids[s, MATERIAL])
    nx, ny, nz, x, y, z, u, v, w = _surface(solids, heights, s, t, ox, oy, oz, dx, dy, dz)
    facing = -(nx * dx + ny * dy + nz * dz)
    footprint = (before + t) * spread / math.sqrt(max(facing, 0.05))
    paint = texture_colour_at(kinds[m], rows[m], x, y, z, u, v, w, footprint, photos)
    px, py, pz = ox + t * dx + LIFT * nx, oy + t * dy + LIFT * ny, oz + t * dz + LIFT * nz
    one = soft_light_at(solids, lights, heights, nodes, order, stack, px, py, pz, nx, ny, nz, dx, dy, dz, 1.0, steady)
    red, green, blue = one[0], one[1], one[2]
    for n in range(len(lights)):
        if lights[n, 0] == SUN:
            e, _ = sunlight_at(
                solids, lights, heights, nodes, order, stack, n, px, py, pz, nx, ny, nz, dx, dy, dz, 1.0, steady
            )
            red += e * lights[n, COLOUR]
            green += e * lights[n, COLOUR + 1]
            blue += e * lights[n, COLOUR + 2]
    up = 0.5 + 0.5 * nz
    return (
        paint[0] * (red + MIRROR_BOUNCE * sky[BOUNCE] + up * sky[FILL] * sky[ZENITH]) + solids[s, GLOW],
        paint[1] * (green + MIRROR_BOUNCE * sky[BOUNCE + 1] + up * sky[FILL + 1] * sky[ZENITH + 1])
        + solids[s, GLOW + 1],
        paint[2] * (blue + MIRROR_BOUNCE * sky[BOUNCE + 2] + up * sky[FILL + 2] * sky[ZENITH + 2])
        + solids[s, GLOW + 2],
    )


@numba_kernel
def smooth_rows(light, depth, normal, pose, lens, top, bottom, out):
    """See `trace.smoothed`: the soft light of rows top to bottom, averaged over neighbours on the same surface."""
    height, width = depth.shape
    for i in range(top, bottom):
        for j in range(width):
            z = depth[i, j]
            if not z < FAR:
                for c in range(3):
                    out[c, i, j] = light[i, j, c] + light[i, j, 6 + c] + light[i, j, 9 + c]
                continue
            u, v = (j + 0.5 - lens[2]) / lens[0], (i + 0.5 - lens[3]) / lens[1]
            nx, ny, nz = normal[i, j, 0], normal[i, j, 1], normal[i, j, 2]
            a = pose[0, 0] * nx + pose[1, 0] * ny + pose[2, 0] * nz
            b = pose[0, 1] * nx + pose[1, 1] * ny + pose[2, 1] * nz
            c = pose[0, 2] * nx + pose[1, 2] * ny + pose[2, 2] * nz
            plane = (a * u + b * v + c) * z
            total = 0.0
            s0, s1, s2, h0, h1, h2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for p in range(max(i - 2, 0), min(i + 3, height)):
                for q in range(max(j - 2, 0), min(j + 3, width)):
                    if nx * normal[p, q, 0] + ny * normal[p, q, 1] + nz * normal[p, q, 2] < 0.9:
                        continue
                    x, y = (q + 0.5 - lens[2]) / lens[0], (p + 0.5 - lens[3]) / lens[1]
                    if not abs((a * x + b * y + c) * depth[p, q] - plane) < 0.01 * z:
                        continue
                    weight = (0.5 if abs(p - i) == 2 else 1.0) * (0.5 if abs(q - j) == 2 else 1.0)
                    total += weight
                    s0 += weight * light[p, q, 3]
                    s1 += weight * light[p, q, 4]
                    s2 += weight * light[p, q, 5]
                    h0 += weight * light[p, q, 6]
                    h1 += weight * light[p, q, 7]
                    h2 += weight * light[p, q, 8]
            total = max(total, 1e-9)
            out[0, i, j] = _joined(
                light[i, j, 0], light[i, j, 12], light[i, j, 3], s0 / total, h0 / total, light[i, j, 9]
            )
            out[1, i, j] = _joined(
                light[i, j, 1], light[i, j, 13], light[i, j, 4], s1 / total, h1 / total, light[i, j, 10]
            )
            out[2, i, j] = _joined(
                light[i, j, 2], light[i, j, 14], light[i, j, 5], s2 / total, h2 / total, light[i, j, 11]
            )


@numba_kernel
def _joined(lit, paint, raw, smooth, highlight, rest):
    """The mean of paint times light is the product of the means (here the light is smooth) and their covariance."""
    return max(paint * smooth + lit - paint * raw, 0.0) + highlight + rest
