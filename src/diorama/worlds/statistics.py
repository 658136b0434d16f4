"""What pictures have in common: how steep they are, how rough, how colourful, how often depth jumps.

Photographs of very different things agree in these figures; pictures of a world should too. All work on display
values at the resolution of the patch prior (a focal length of about 175 pixels), where a pixel spans a third of a
degree.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GREY = (0.299, 0.587, 0.114)
"""Luma of display red, green and blue (Rec. 601)."""
STEEPNESS = (1 / 255, 1.0, 24)
"""Bins of the gradients of brightness: from, to, how many; logarithmic. Below: no change."""
SLANT = (1e-4, 3.0, 30)
"""Bins of the gradients of the logarithm of depth."""
JUMP = 0.05
"""A depth edge: neighbours whose depths differ by so much of the smaller one."""


@dataclass(frozen=True)
class Picture:
    """A photograph, perhaps with depth.

    colour: display values in [0, 1]. depth: planar, metres; 0 where unknown, infinite for sky.
    """

    colour: Float[Tensor, "3 h w"]
    depth: Float[Tensor, "h w"] | None = None


@dataclass(frozen=True)
class Summary:
    """Figures of a set of pictures. Histograms are shares of neighbouring pixels; see `STEEPNESS` and `SLANT`."""

    pictures: int
    brightness: float
    """Mean luma."""
    contrast: float
    """Mean over pictures of the standard deviation of luma."""
    red_blue: float
    """Mean of red minus blue: how warm."""
    chroma: float
    """Mean of the largest minus the smallest of red, green and blue."""
    chroma_high: float
    """The 95th percentile of the same: the vivid ones."""
    slope: float
    """Power falls as frequency to the minus this; photographs lie near 2."""
    flat: float
    """Share of neighbours that differ by less than 1.5 of 255."""
    steep: float
    """Share of neighbours that differ by more than 0.1."""
    kurtosis: float
    """Of signed differences of neighbours: 3 for a Gaussian, 10 and more for photographs."""
    gradients: tuple[float, ...]
    nearest: float = float("nan")
    """The 5th percentile of depth in metres, over pixels that are not sky."""
    middle: float = float("nan")
    farthest: float = float("nan")
    """The 95th percentile."""
    sky: float = float("nan")
    edges: float = float("nan")
    """Share of neighbours that are a depth edge."""
    aligned: float = float("nan")
    """Mean luma step on depth edges over that elsewhere: how well colour tells where depth jumps."""
    slants: tuple[float, ...] = ()


def summarise(pictures: Sequence[Picture]) -> Summary:
    """All figures of some pictures, each pixel (each picture, for the slope and the contrast) counted once."""
    luma = [grey(one.colour) for one in pictures]
    steps = torch.cat([torch.cat([part.reshape(-1) for part in neighbours(one)]) for one in luma])
    spread = torch.cat([(one.colour.amax(0) - one.colour.amin(0)).reshape(-1) for one in pictures])
    means = torch.stack([one.colour.mean((1, 2)) for one in pictures]).mean(0)
    depths = [(one.depth, value) for one, value in zip(pictures, luma, strict=True) if one.depth is not None]
    return Summary(
        pictures=len(pictures),
        brightness=float(torch.stack([one.mean() for one in luma]).mean()),
        contrast=float(torch.stack([one.std() for one in luma]).mean()),
        red_blue=float(means[0] - means[2]),
        chroma=float(spread.mean()),
        chroma_high=quantile(spread, 0.95),
        slope=float(torch.tensor([spectrum_slope(one) for one in luma]).mean()),
        flat=float((steps.abs() < 1.5 / 255).float().mean()),
        steep=float((steps.abs() > 0.1).float().mean()),
        kurtosis=float((steps**4).mean() / (steps**2).mean().clamp_min(1e-12) ** 2),
        gradients=histogram(steps.abs(), STEEPNESS),
        **_of_depth(depths),
    )


def _of_depth(pictures: Sequence[tuple[Tensor, Tensor]]) -> dict:
    if not pictures:
        return {}
    everywhere = torch.cat([depth.reshape(-1) for depth, _ in pictures])
    solid = everywhere[(everywhere > 0) & torch.isfinite(everywhere)]
    jumps, slants, steps = [], [], []
    for depth, luma in pictures:
        for (jump, slant, known), step in zip(depth_steps(depth), neighbours(luma), strict=True):
            jumps.append(jump[known])
            slants.append(slant[known & ~jump | (known & torch.isfinite(slant))])
            steps.append(step.abs()[known])
    jump, step = torch.cat(jumps), torch.cat(steps)
    quiet = step[~jump].mean().clamp_min(1e-6)
    return {
        "nearest": quantile(solid, 0.05),
        "middle": quantile(solid, 0.5),
        "farthest": quantile(solid, 0.95),
        "sky": float(torch.isinf(everywhere).float().mean()),
        "edges": float(jump.float().mean()),
        "aligned": float(step[jump].mean() / quiet) if bool(jump.any()) else float("nan"),
        "slants": histogram(torch.cat(slants), SLANT),
    }


def grey(colour: Float[Tensor, "3 h w"]) -> Float[Tensor, "h w"]:
    """Luma."""
    return (colour * colour.new_tensor(GREY)[:, None, None]).sum(0)


def neighbours(values: Float[Tensor, "h w"]) -> tuple[Float[Tensor, "h w-1"], Float[Tensor, "h-1 w"]]:
    """Differences of neighbours, across and down."""
    return values.diff(dim=1), values.diff(dim=0)


def depth_steps(
    depth: Float[Tensor, "h w"],
) -> list[tuple[Bool[Tensor, "a b"], Float[Tensor, "a b"], Bool[Tensor, "a b"]]]:
    """For neighbours across, then down: whether depth jumps, |difference of log depth|, whether both are known.

    From a surface to the sky is a jump; from sky to sky is not.
    """
    steps = []
    for one, two in ((depth[:, 1:], depth[:, :-1]), (depth[1:], depth[:-1])):
        known = (one > 0) & (two > 0)
        sky = torch.isinf(one) & torch.isinf(two)
        slant = torch.where(sky, 0.0, (one.clamp_min(1e-6).log() - two.clamp_min(1e-6).log()).abs())
        steps.append((slant.expm1() > JUMP, slant, known))
    return steps


def spectrum_slope(values: Float[Tensor, "h w"]) -> float:
    """The a of power ~ 1 / frequency^a, by least squares over rings from 4 cycles a side to 0.35 cycles a pixel.

    A square from the middle, under a Hann window, its mean removed. Source: Field, "Relations between the statistics
    of natural images and the response properties of cortical cells" (1987).
    """
    side = min(values.shape)
    top, left = ((length - side) // 2 for length in values.shape)
    piece = values[top : top + side, left : left + side].double()
    window = torch.hann_window(side, periodic=False, dtype=torch.float64)
    window = window[:, None] * window
    mean = (piece * window).sum() / window.sum()
    power = torch.fft.fft2((piece - mean) * window).abs().square()
    lines = torch.fft.fftfreq(side, dtype=torch.float64)
    radius = (lines[:, None].square() + lines.square()).sqrt()
    edges = torch.logspace(torch.log10(torch.tensor(4.0 / side)), torch.log10(torch.tensor(0.35)), 13).double()
    logs = []
    for low, high in pairwise(edges):
        ring = (radius >= low) & (radius < high)
        if bool(ring.any()):
            logs.append((float((low * high).sqrt().log()), float(power[ring].mean().clamp_min(1e-12).log())))
    x, y = torch.tensor(logs, dtype=torch.float64).unbind(-1)
    return float(-((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def histogram(values: Float[Tensor, "n"], bins: tuple[float, float, int]) -> tuple[float, ...]:
    """Shares of values in logarithmic bins; what lies below the first or beyond the last counts there."""
    low, high, count = bins
    place = (values.clamp_min(1e-12) / low).log() / torch.tensor(high / low).log() * count
    index = place.floor().clamp(0, count - 1).long()
    return tuple((torch.bincount(index, minlength=count).double() / max(1, len(values))).tolist())


def distance(one: Sequence[float], two: Sequence[float], bins: tuple[float, float, int]) -> float:
    """How far the mass of one histogram must be moved to give the other, in factors of ten (earth mover's)."""
    low, high, count = bins
    width = float(torch.log10(torch.tensor(high / low))) / count
    return float((torch.tensor(one).cumsum(0) - torch.tensor(two).cumsum(0)).abs().sum()) * width


def quantile(values: Float[Tensor, "n"], share: float) -> float:
    """The value that this share of values lies below; NaN of none."""
    if not len(values):
        return float("nan")
    return float(values.sort().values[min(len(values) - 1, int(share * len(values)))])
