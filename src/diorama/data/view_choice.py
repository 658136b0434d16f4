"""Which photos of a capture are shown to a multi-view model: spread over it, and no two of them twins."""

from itertools import pairwise

import torch
from jaxtyping import Bool
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import gaze
from diorama.errors import ViewsError

LEAST_BASELINE = 0.05
"""Of the viewing distance: closer views are near duplicates, whose billboards pass as geometry [ours]."""

ONE_PLACE = 1e-6
"""Spread of the cameras, as a share of their distance from the origin, below which float32 cannot tell them apart."""

TRIES = 32
"""How often photos are drawn before it is said that there are not enough."""


def viewing_distance(cameras: Cameras) -> float | None:
    """Median distance from the camera centres to the point that they look at (`poses.gaze`), user units.

    None where one camera, or several in one place, leave it open.
    """
    cameras = cameras.to("cpu", torch.float64)
    origins = cameras.origins
    spread = float((origins - origins.mean(0)).norm(dim=-1).amax())
    if spread <= ONE_PLACE * float(origins.norm(dim=-1).amax()):
        return None
    return float((origins - gaze(cameras)[0]).norm(dim=-1).median())


def choose_views(
    cameras: Cameras, count: int, generator: torch.Generator, least_baseline: float = LEAST_BASELINE
) -> list[int]:
    """Places of `count` different photos, ascending: one from each of `count` equal parts of the capture, at random.

    least_baseline: no two camera centres are closer than this share of the viewing distance; 0 allows any. Where parts
    cannot keep that distance, the whole capture is searched. Errors: ViewsError where that does not help either.
    """
    total = len(cameras)
    if not 1 <= count <= total:
        raise ViewsError(f"{count} views of a scene that has {total}. Ask for 1 to {total}.")
    distance = viewing_distance(cameras)
    origins = cameras.origins.to("cpu", torch.float64)
    apart = torch.cdist(origins, origins) >= least_baseline * (1.0 if distance is None else distance)
    edges = [part * total // count for part in range(count + 1)]
    best: list[int] = []
    for _ in range(TRIES):
        parts = [
            (start + torch.randperm(stop - start, generator=generator)).tolist() for start, stop in pairwise(edges)
        ]
        chosen = _keep_apart(apart, parts)
        if len(chosen) == count:
            return chosen
    orders = [torch.arange(total), *(torch.randperm(total, generator=generator) for _ in range(TRIES))]
    for order in orders:
        chosen = _keep_apart(apart, [[place] for place in order.tolist()])
        best = max(best, chosen, key=len)
    if len(best) < count:
        raise ViewsError(
            f"{total} photos, of which {len(best)} were found to stand at least {least_baseline:g} of the viewing "
            f"distance apart; {count} are needed. Ask for fewer views, or allow a smaller baseline."
        )
    kept = torch.randperm(len(best), generator=generator)[:count].tolist()
    return sorted(best[place] for place in kept)


def _keep_apart(apart: Bool[Tensor, "n n"], parts: list[list[int]]) -> list[int]:
    """From each part in turn the first place that is apart from all that are kept, if there is one."""
    kept: list[int] = []
    allowed = torch.ones(len(apart), dtype=torch.bool)
    for part in parts:
        place = next((place for place in part if bool(allowed[place])), None)
        if place is not None:
            kept.append(place)
            allowed &= apart[place]
    return kept
