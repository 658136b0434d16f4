"""A tree of boxes about the solids, so that a ray on the CPU tries only those near its way."""

import inspect
import math
from typing import Any

import numpy as np
from numba.core.types import MemInfoPointer, pyobject, voidptr
from numba.extending import intrinsic

from diorama.kernels.jit import numba_kernel
from diorama.worlds.shapes import TINY
from diorama.worlds.shapes_numba import CENTRE, KIND, ROTATION, SIZE, first_hit_at

LEAF = 1
"""Most solids in a leaf."""
DEPTH = 64
"""Places on the stack of a walk through the tree."""
FAR = math.inf


def _borrowed(typing: Any, array: Any) -> Any:
    """The same array, but nobody counts who holds it: a call that hands on a counted array costs locked instructions,
    for which two threads pay dearly. The caller keeps the original alive."""
    del typing

    def copy_without_owner(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        copy = context.make_array(signature.args[0])(context, builder, arguments[0])
        copy.meminfo = context.get_constant_null(MemInfoPointer(voidptr))
        copy.parent = context.get_constant_null(pyobject)
        return copy._getvalue()

    return array(array), copy_without_owner


borrowed = intrinsic(inspect.unwrap(_borrowed))


@numba_kernel
def build_tree(solids):
    """Nodes (lower corner, upper corner, first child or first place, number of solids; 0 in a branch), and the order.

    Branches are cut where the sum of surface times number of solids is least: the cost of a random ray. The second
    child follows the first. Source: MacDonald and Booth, "Heuristics for ray tracing using space subdivision" (1990).
    """
    count = len(solids)
    order = np.arange(count)
    nodes = np.zeros((max(2 * count, 1), 8))
    boxes, scratch = _boxes(solids), np.empty((2, count))
    waiting = np.zeros((DEPTH, 3), np.int64)
    waiting[0, 2] = count
    left, used = 1, 1
    while left > 0:
        left -= 1
        node, start, end = waiting[left, 0], waiting[left, 1], waiting[left, 2]
        for i in range(3):
            nodes[node, i], nodes[node, 3 + i] = FAR, -FAR
        for place in range(start, end):
            _grow(nodes[node], boxes[order[place]])
        if end - start <= LEAF:
            nodes[node, 6], nodes[node, 7] = start, end - start
            continue
        best, axis, middle = FAR, 0, (start + end) // 2
        for i in range(3):
            _sort(order, boxes, i, start, end)
            cost, cut = _best_cut(order, boxes, start, end, scratch)
            if cost < best:
                best, axis, middle = cost, i, cut
        _sort(order, boxes, axis, start, end)
        nodes[node, 6] = used
        waiting[left, 0], waiting[left, 1], waiting[left, 2] = used, start, middle
        waiting[left + 1, 0], waiting[left + 1, 1], waiting[left + 1, 2] = used + 1, middle, end
        left, used = left + 2, used + 2
    return nodes[:used], order


@numba_kernel
def _boxes(solids):
    """Lower and upper corners of the solids in the world."""
    boxes = np.empty((len(solids), 6))
    for s in range(len(solids)):
        for i in range(3):
            half = 0.0
            for j in range(3):
                half += abs(solids[s, ROTATION + 3 * i + j]) * solids[s, SIZE + j]
            boxes[s, i], boxes[s, 3 + i] = solids[s, CENTRE + i] - half, solids[s, CENTRE + i] + half
    return boxes


@numba_kernel
def _grow(box, more):
    for i in range(3):
        box[i], box[3 + i] = min(box[i], more[i]), max(box[3 + i], more[3 + i])


@numba_kernel
def _sort(order, boxes, axis, start, end):
    """Sort a stretch of the order by the middles of the boxes."""
    for place in range(start + 1, end):
        s = order[place]
        key = boxes[s, axis] + boxes[s, 3 + axis]
        while place > start and boxes[order[place - 1], axis] + boxes[order[place - 1], 3 + axis] > key:
            order[place] = order[place - 1]
            place -= 1
        order[place] = s


@numba_kernel
def _best_cut(order, boxes, start, end, scratch):
    """Cost and place of the best cut of a sorted stretch."""
    box = np.empty(6)
    for side in range(2):
        box[:3], box[3:] = FAR, -FAR
        for k in range(end - start):
            place = start + k if side == 0 else end - 1 - k
            _grow(box, boxes[order[place]])
            a, b, c = box[3] - box[0], box[4] - box[1], box[5] - box[2]
            scratch[side, place] = (a * b + b * c + c * a) * (k + 1)
    best, cut = FAR, start + 1
    for place in range(start + 1, end):
        cost = scratch[0, place - 1] + scratch[1, place]
        if cost < best:
            best, cut = cost, place
    return best, cut


@numba_kernel
def nearest_at(solids, heights, nodes, order, stack, ox, oy, oz, dx, dy, dz, limit, any_will_do):
    """Distance and row of the first solid before `limit`, or (inf, -1); of any solid there if that is enough."""
    ix = 1.0 / (dx if abs(dx) >= TINY else TINY)
    iy = 1.0 / (dy if abs(dy) >= TINY else TINY)
    iz = 1.0 / (dz if abs(dz) >= TINY else TINY)
    best, found = limit, -1
    stack[0, 0], stack[0, 1] = 0.0, 0.0
    left = 1 if len(solids) > 0 else 0
    while left > 0:
        left -= 1
        if stack[left, 1] >= best:
            continue
        node = int(stack[left, 0])
        first = int(nodes[node, 6])
        count = int(nodes[node, 7])
        if count == 0:
            one = _entry(nodes, first, ox, oy, oz, ix, iy, iz)
            two = _entry(nodes, first + 1, ox, oy, oz, ix, iy, iz)
            nearer = 0 if one <= two else 1
            if max(one, two) < best:
                stack[left, 0], stack[left, 1] = first + 1 - nearer, max(one, two)
                left += 1
            if min(one, two) < best:
                stack[left, 0], stack[left, 1] = first + nearer, min(one, two)
                left += 1
            continue
        for place in range(first, first + count):
            s = order[place]
            t = distance_at(solids, heights, s, ox, oy, oz, dx, dy, dz)
            if t < best or (t == best and found >= 0 and s < found):
                best, found = t, s
                if any_will_do:
                    return best, found
    return (best if found >= 0 else FAR), found


@numba_kernel
def distance_at(solids, heights, s, ox, oy, oz, dx, dy, dz):
    """Distance along a ray of the world to solid s."""
    x, y, z = to_own(solids, s, ox - solids[s, CENTRE], oy - solids[s, CENTRE + 1], oz - solids[s, CENTRE + 2])
    u, v, w = to_own(solids, s, dx, dy, dz)
    return first_hit_at(int(solids[s, KIND]), s, x, y, z, u, v, w, solids, heights)


@numba_kernel
def to_own(solids, s, x, y, z):
    """A vector of the world in the axes of solid s."""
    r = ROTATION
    return (
        solids[s, r] * x + solids[s, r + 3] * y + solids[s, r + 6] * z,
        solids[s, r + 1] * x + solids[s, r + 4] * y + solids[s, r + 7] * z,
        solids[s, r + 2] * x + solids[s, r + 5] * y + solids[s, r + 8] * z,
    )


@numba_kernel
def to_world(solids, s, x, y, z):
    """A vector in the axes of solid s in those of the world."""
    r = ROTATION
    return (
        solids[s, r] * x + solids[s, r + 1] * y + solids[s, r + 2] * z,
        solids[s, r + 3] * x + solids[s, r + 4] * y + solids[s, r + 5] * z,
        solids[s, r + 6] * x + solids[s, r + 7] * y + solids[s, r + 8] * z,
    )


@numba_kernel
def _entry(nodes, node, ox, oy, oz, ix, iy, iz):
    """Distance at which a ray enters a box, at least 0; inf if it misses."""
    x0, x1 = (nodes[node, 0] - ox) * ix, (nodes[node, 3] - ox) * ix
    y0, y1 = (nodes[node, 1] - oy) * iy, (nodes[node, 4] - oy) * iy
    z0, z1 = (nodes[node, 2] - oz) * iz, (nodes[node, 5] - oz) * iz
    start = max(max(min(x0, x1), min(y0, y1)), max(min(z0, z1), 0.0))
    end = min(min(max(x0, x1), max(y0, y1)), max(z0, z1))
    return start if start <= end * 1.0000001 else FAR
