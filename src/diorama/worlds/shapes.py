"""Where a ray meets a solid. Every shape fills the box [-1, 1]^3 in its own frame; a placement puts it in the world.

The world is z-up, in metres. Rays in a shape's own frame have directions that are not unit vectors: distances along the
ray are then the same in both frames, and nothing needs to be scaled back.
"""

import math
from dataclasses import dataclass
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

NOTHING = math.inf
"""The distance to a surface that the ray never meets."""


@dataclass(frozen=True)
class Ball:
    """x^2 + y^2 + z^2 <= 1."""


@dataclass(frozen=True)
class Block:
    """max(|x|, |y|, |z|) <= 1."""


@dataclass(frozen=True)
class Cylinder:
    """x^2 + y^2 <= 1 and |z| <= 1, with flat ends."""


@dataclass(frozen=True)
class Cone:
    """x^2 + y^2 <= ((1 - z) / 2)^2 and |z| <= 1: the tip is at z = 1, the round foot at z = -1."""


Shape = Ball | Block | Cylinder | Cone


@dataclass(frozen=True)
class Placement:
    """Where a solid stands."""

    position: tuple[float, float, float]
    """Its centre, in metres."""
    size: tuple[float, float, float]
    """Half of its extent along its own axes, in metres."""
    turn: float = 0.0
    """Degrees about the vertical, anticlockwise from above; applied last."""
    tilt: float = 0.0
    """Degrees about its own x axis; applied first."""

    def rotation(self, like: Tensor) -> Float[Tensor, "3 3"]:
        """Own axes to world axes."""
        t, a = math.radians(self.turn), math.radians(self.tilt)
        turn = [[math.cos(t), -math.sin(t), 0.0], [math.sin(t), math.cos(t), 0.0], [0.0, 0.0, 1.0]]
        tilt = [[1.0, 0.0, 0.0], [0.0, math.cos(a), -math.sin(a)], [0.0, math.sin(a), math.cos(a)]]
        return torch.tensor(turn).to(like) @ torch.tensor(tilt).to(like)

    def to_own(self, points: Float[Tensor, "ray 3"]) -> Float[Tensor, "ray 3"]:
        """World points in the solid's own axes, still in metres."""
        return (points - torch.tensor(self.position).to(points)) @ self.rotation(points)


def intersect(
    shape: Shape, placement: Placement, origins: Float[Tensor, "ray 3"], directions: Float[Tensor, "ray 3"]
) -> tuple[Float[Tensor, "ray"], Float[Tensor, "ray 3"]]:
    """Distance to the first surface in front of each origin (inf if none) and its outward unit normal, in the world."""
    rotation = placement.rotation(origins)
    size = torch.tensor(placement.size).to(origins)
    o = placement.to_own(origins) / size
    d = directions @ rotation / size
    match shape:
        case Ball():
            distance, normal = _ball(o, d)
        case Block():
            distance, normal = _block(o, d)
        case Cylinder():
            distance, normal = _cylinder(o, d)
        case Cone():
            distance, normal = _cone(o, d)
        case _:
            assert_never(shape)
    return distance, torch.nn.functional.normalize((normal / size) @ rotation.T, dim=-1)


def _roots(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """Both solutions of a t^2 + 2 b t + c = 0, the smaller first; inf where there is none."""
    under = b * b - a * c
    root = under.clamp(min=0).sqrt()
    safe = torch.where(a.abs() < 1e-12, 1e-12, a)
    one, two = (-b - root) / safe, (-b + root) / safe
    exists = under >= 0
    return (
        torch.where(exists, torch.minimum(one, two), NOTHING),
        torch.where(exists, torch.maximum(one, two), NOTHING),
    )


def _nearest(*candidates: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """The first candidate (distance, normal, is it on the shape) that lies in front of the ray's origin."""
    distance = torch.full_like(candidates[0][0], NOTHING)
    normal = torch.zeros_like(candidates[0][1])
    for t, n, valid in candidates:
        closer = valid & (t > 0) & (t < distance)
        distance = torch.where(closer, t, distance)
        normal = torch.where(closer[..., None], n, normal)
    return distance, normal


def _at(o: Tensor, d: Tensor, t: Tensor) -> Tensor:
    return o + d * torch.where(torch.isfinite(t), t, 0.0)[..., None]


def _ball(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    near, far = _roots((d * d).sum(-1), (o * d).sum(-1), (o * o).sum(-1) - 1)
    first = torch.where(near > 0, near, torch.where(far > 0, far, NOTHING))
    return first, _at(o, d, first)


def _block(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    slope = torch.where(d.abs() < 1e-12, 1e-12, d)
    low, high = (-1 - o) / slope, (1 - o) / slope
    enter, leave = torch.minimum(low, high), torch.maximum(low, high)
    t_in, axis_in = enter.max(-1)
    t_out, axis_out = leave.min(-1)
    inside = t_in <= 0
    first = torch.where(inside, t_out, t_in)
    first = torch.where((t_in < t_out) & (t_out > 0), first, NOTHING)
    axis = torch.where(inside, axis_out, axis_in)
    facing = torch.nn.functional.one_hot(axis, 3).to(o)
    return first, facing * torch.where(inside[..., None], 1.0, -1.0) * torch.sign(slope)


def _disc(o: Tensor, d: Tensor, z: float) -> tuple[Tensor, Tensor, Tensor]:
    down = torch.where(d[..., 2].abs() < 1e-12, 1e-12, d[..., 2])
    t = (z - o[..., 2]) / down
    on = _at(o, d, t)
    return t, torch.tensor([0.0, 0.0, z]).to(o).expand_as(o), (on[..., :2] ** 2).sum(-1) <= 1


def _cylinder(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    flat = torch.tensor([1.0, 1.0, 0.0]).to(o)
    roots = _roots((d * d * flat).sum(-1), (o * d * flat).sum(-1), (o * o * flat).sum(-1) - 1)
    walls = [(t, _at(o, d, t) * flat, _at(o, d, t)[..., 2].abs() <= 1) for t in roots]
    return _nearest(*walls, _disc(o, d, 1.0), _disc(o, d, -1.0))


def _cone(o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    tip = o - torch.tensor([0.0, 0.0, 1.0]).to(o)
    slope = torch.tensor([1.0, 1.0, -0.25]).to(o)
    roots = _roots((d * d * slope).sum(-1), (tip * d * slope).sum(-1), (tip * tip * slope).sum(-1))
    walls = []
    for t in roots:
        on = _at(o, d, t)
        walls.append((t, (on - torch.tensor([0.0, 0.0, 1.0]).to(o)) * slope, on[..., 2].abs() <= 1))
    return _nearest(*walls, _disc(o, d, -1.0))
