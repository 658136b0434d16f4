"""How far a measured view is from what was given, and how numbers fall with that distance.

A neighbour's billboard passes for 3D; views far from every input tell. Angles are seen from the point the cameras look
at: 0 is an input's own direction, 180 the far side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.pinhole import Cameras, join_cameras
from diorama.cameras.poses import gaze
from diorama.errors import InputError


@dataclass(frozen=True)
class AngleConfig:
    """Where bins of angle begin and end."""

    edges: tuple[float, ...] = (0.0, 10.0, 20.0, 40.0, 80.0, 180.0)
    """Degrees, increasing; a bin holds its lower edge, the last also its upper one."""


@dataclass(frozen=True)
class AngleBin:
    """Views between two angles in degrees; mean is None where there is none."""

    low: float
    high: float
    count: int
    mean: float | None


def nearest_input_angle(
    targets: Cameras, inputs: Cameras, focus: Float[Tensor, "xyz=3"] | None = None
) -> Float[Tensor, "target"]:
    """Degrees between each target camera and the nearest input camera, as seen from `focus`; float64.

    focus: by default what targets and inputs together look at (`cameras.poses.gaze`)."""
    if not len(inputs):
        raise InputError("no input cameras: without one there is no angle to the nearest.")
    middle = (gaze(join_cameras([inputs, targets]))[0] if focus is None else focus).double()
    seen, given = (torch.nn.functional.normalize(c.origins.double() - middle, dim=-1) for c in (targets, inputs))
    # the half-angle form: exact near 0, where an arc cosine is not
    apart, together = (seen[:, None] - given).norm(dim=-1), (seen[:, None] + given).norm(dim=-1)
    return torch.rad2deg(2 * torch.atan2(apart, together)).amin(-1)


def by_angle(
    values: Sequence[float | None], angles: Float[Tensor, "view"], config: AngleConfig = AngleConfig()
) -> tuple[AngleBin, ...]:
    """Mean of a number per view (PSNR in dB, say) in each bin; views where it was not measured do not count."""
    bins = []
    for low, high in pairwise(config.edges):
        last = high == config.edges[-1]
        inside = [
            value
            for value, angle in zip(values, angles.tolist(), strict=True)
            if value is not None and (low <= angle < high or (last and angle == high))
        ]
        bins.append(AngleBin(low, high, len(inside), sum(inside) / len(inside) if inside else None))
    return tuple(bins)
