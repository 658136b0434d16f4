"""From coarse to fine: pictures of a resting camera, each finer than the last, given up when the camera moves."""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.nn.functional import interpolate

from diorama.cameras.pinhole import Cameras
from diorama.scenes.visibility import Observed
from diorama.types import RenderFn, Rendering
from diorama.viewer.exhibit import ObservedFn


@dataclass(frozen=True)
class PaintConfig:
    """How long a picture may take, and how fine it may get."""

    first_seconds: float = 0.07
    """The first picture after a move is as large as this time allows."""
    piece_seconds: float = 0.15
    """Finer pictures are drawn in strips of about this time; between strips a moved camera is noticed."""
    growth: float = 4.0
    """Each picture has about this many times the pixels of the one before."""
    smallest: int = 24 * 32
    """Pixels of the smallest picture."""
    largest: int = 1280 * 720
    """Pixels of the finest picture; never more than the window has."""
    observed: int = 1 << 16
    """At so many pixels of a picture it is found out what the photographs saw."""
    live_seconds: float = 0.4
    """While a fit runs: the time one picture may take."""
    live_pause: float = 1.0
    """While a fit runs: seconds between pictures of a resting camera."""
    live_share: float = 0.15
    """While a fit runs: the share of all time that pictures may take."""


class Speed:
    """Pixels rendered per second, learnt as pictures are drawn."""

    def __init__(self, guess: float = 30_000.0) -> None:
        self.pixels_per_second = guess

    def record(self, pixels: int, seconds: float) -> None:
        """Move halfway towards what was measured."""
        measured = pixels / max(seconds, 1e-6)
        self.pixels_per_second = math.sqrt(self.pixels_per_second * measured)


def ladder(speed: float, width: int, height: int, config: PaintConfig) -> list[tuple[int, int]]:
    """Sizes (width, height) of the pictures for a window, coarse to fine, all of about the window's aspect."""
    most = min(config.largest, width * height)
    pixels = max(config.smallest, speed * config.first_seconds)
    sizes = []
    while pixels * math.sqrt(config.growth) < most:
        sizes.append(fitting(pixels, width, height))
        pixels *= config.growth
    return [*sizes, fitting(most, width, height)]


def fitting(pixels: float | int, width: int, height: int) -> tuple[int, int]:
    """The size with about so many pixels and the aspect of width and height, never larger than those."""
    share = min(1.0, math.sqrt(pixels / (width * height)))
    return max(1, round(width * share)), max(1, round(height * share))


def strips(width: int, height: int, speed: float, seconds: float) -> list[tuple[int, int]]:
    """Row ranges (first, end) that cover a picture; each takes about `seconds`."""
    rows = max(1, min(height, round(speed * seconds / width)))
    count = math.ceil(height / rows)
    edges = [round(height * index / count) for index in range(count + 1)]
    return list(itertools.pairwise(edges))


def paint(
    render: RenderFn,
    camera: Callable[[int, int, tuple[int, int]], Cameras],
    sizes: list[tuple[int, int]],
    speed: Speed,
    config: PaintConfig,
) -> Iterator[Rendering | None]:
    """Draw pictures of the given sizes, in turn.

    Yields None between strips (a chance to stop) and a picture after its last; the first picture is one strip.
    `camera` gives the camera for (width, height, rows).
    """
    for index, (width, height) in enumerate(sizes):
        pieces = []
        whole = [(0, height)] if index == 0 else strips(width, height, speed.pixels_per_second, config.piece_seconds)
        for rows in whole:
            start = time.perf_counter()
            with torch.no_grad():
                pieces.append(render(camera(width, height, rows)))
            speed.record(width * (rows[1] - rows[0]), time.perf_counter() - start)
            if len(pieces) < len(whole):
                yield None
        yield Rendering(
            torch.cat([piece.colour for piece in pieces], dim=-2),
            torch.cat([piece.depth for piece in pieces], dim=-2),
            torch.cat([piece.opacity for piece in pieces], dim=-2),
        )


def observed_coarsely(
    observed: ObservedFn,
    camera: Callable[[int, int, tuple[int, int]], Cameras],
    picture: Rendering,
    config: PaintConfig,
) -> Observed:
    """What the photographs saw of a picture by `camera` (as in `paint`), found out at some of its pixels."""
    height, width = picture.depth.shape[-2:]
    across, down = fitting(config.observed, width, height)
    small = Rendering(*(resampled(p, across, down) for p in (picture.colour, picture.depth, picture.opacity)))
    seen = observed(camera(across, down, (0, down)), small)
    return Observed(*(resampled(p, width, height) for p in (seen.count, seen.framed, seen.surface)))


def resampled(planes: Shaped[Tensor, "*view h w"], width: int, height: int) -> Shaped[Tensor, "*view height width"]:
    """Pictures of another size, by nearest pixel."""
    flat = planes.reshape(1, -1, *planes.shape[-2:]).float()
    return (
        interpolate(flat, (height, width), mode="nearest-exact")
        .to(planes.dtype)
        .reshape(*planes.shape[:-2], height, width)
    )
