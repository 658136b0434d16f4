"""Does a set of pictures look like another set? The Frechet distance between Gaussians fitted to their features.

With the features of Inception it is the published FID (arXiv 1706.08500). Without a download there is `RANDOM_CONV`,
a random convolutional network that is the same on every machine. Numbers of different features, picture sizes or
counts do not compare, so a result names its features and its counts.
"""

import hashlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from diorama.errors import InputError

WIDTH = 16
"""Filters of each scale of the random network."""
CHANGE_GAINS = (8.0, 2.0, 2.0, 2.0)
"""Scales, each half as fine as the one before: how much the filters that see change are amplified, so that over
photographs of 64 pixels a side they vary about as much as those that see colour."""


@dataclass(frozen=True)
class Features:
    """A named function from pictures in [0, 1] (n 3 h w) to numbers (n feature)."""

    name: str
    of: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FrechetDistance:
    """value: squared distance in the features' units, 0 for equal sets. The fewer pictures, the more it overstates."""

    value: float
    features: str
    counts: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.features}, {self.counts[0]} against {self.counts[1]} pictures)"


@torch.no_grad()
def frechet_distance(
    first: Float[Tensor, "n 3 h w"], second: Float[Tensor, "m 3 height width"], features: Features, chunk: int = 64
) -> FrechetDistance:
    """The distance between two sets of two pictures or more, all of one size; `chunk` go through at a time."""
    if first.shape[-2:] != second.shape[-2:] or min(len(first), len(second)) < 2:
        found = " against ".join(f"{len(x)} pictures of {x.shape[-1]}x{x.shape[-2]}" for x in (first, second))
        raise InputError(f"{found}; needed are two or more in each set, of one size. Resize or crop them alike first.")
    described = [torch.cat([features.of(part).double() for part in x.split(chunk)]) for x in (first, second)]
    return FrechetDistance(gaussian_distance(*described), features.name, (len(first), len(second)))


def gaussian_distance(first: Float[Tensor, "n feature"], second: Float[Tensor, "m feature"]) -> float:
    """Squared Frechet (Wasserstein-2) distance of Gaussians with these samples' means and covariances, in float64.

    |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^(1/2). With C = R^T R the last trace is the sum of the singular values
    of R1 R2^T: no root of a matrix is taken, and fewer samples than features do no harm."""
    means, roots = [], []
    for sample in (first.double(), second.double()):
        means.append(sample.mean(0))
        roots.append(torch.linalg.qr((sample - means[-1]) / (len(sample) - 1) ** 0.5, mode="r").R)
    spread = sum(float(root.square().sum()) for root in roots)
    shared = float(torch.linalg.svdvals(roots[0] @ roots[1].T).sum())
    return max(0.0, float((means[0] - means[1]).square().sum()) + spread - 2 * shared)


def random_convolutions(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n feature=128"]:
    """Mean and deviation over the picture of every filter of four random layers, each at half the scale of the last.

    3x3 filters, borders repeated, ReLU, 2x2 means in between; half of the filters are blind to even colour. Any size,
    the same for all that is to be compared; below 16 pixels a side the coarse scales have little to say."""
    layer, described = 2 * pictures.float() - 1, []
    for stage in range(len(CHANGE_GAINS)):
        padded = functional.pad(layer, (1, 1, 1, 1), mode="replicate")
        active = functional.conv2d(padded, random_filters(stage).to(layer)).relu()
        described += [active.mean((-2, -1)), active.std((-2, -1), correction=0)]
        layer = functional.avg_pool2d(active, 2, ceil_mode=True)
    return torch.cat(described, 1)


@cache
def random_filters(stage: int) -> Float[Tensor, "out inside 3 3"]:
    """Filters of one layer: uniform numbers from a SHAKE-256 stream, so that no random generator has a say in them.

    Variance 2 / inputs (arXiv 1502.01852), so that ReLU keeps the scale. Filters of even number have mean 0 in each
    channel: they see change alone, amplified by `CHANGE_GAINS`."""
    inside = 3 if stage == 0 else WIDTH
    count = WIDTH * inside * 9
    stream = hashlib.shake_256(f"random-conv-v1/{stage}".encode()).digest(2 * count)
    numbers = torch.frombuffer(bytearray(stream), dtype=torch.uint8).to(torch.float64).reshape(count, 2)
    uniform = (numbers[:, 0] + 256 * numbers[:, 1] + 0.5) / 32768 - 1
    filters = uniform.reshape(WIDTH, inside, 3, 3) * (3 * 2 / (9 * inside)) ** 0.5
    filters[::2] = CHANGE_GAINS[stage] * (filters[::2] - filters[::2].mean((-2, -1), keepdim=True))
    return filters


RANDOM_CONV = Features("random-conv-v1", random_convolutions)
"""The features that need no file. Their distance is no FID and compares with itself alone."""


def inception_features(path: Path | str) -> Features:
    """Features of a TorchScript network in a local file, such as the Inception that published FIDs use.

    The network takes pictures as uint8 (n 3 h w), 0 to 255, and gives n rows of numbers; `return_features=True` is
    passed where it knows that word. Nothing is downloaded. TorchScript is a program: load files of people you trust.
    The name holds the file's name and the first digits of its SHA-256."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no network at {path}. Give a TorchScript file, or use the built-in {RANDOM_CONV.name}.")
    try:
        with warnings.catch_warnings():  # torch calls the format dated; the published networks exist in no other
            warnings.filterwarnings("ignore", message="`torch.jit.load`", category=DeprecationWarning)
            script = torch.jit.load(path, map_location="cpu").eval()
    except RuntimeError as error:
        raise InputError(
            f"{path} is no TorchScript file ({str(error).splitlines()[0]}). See torch.jit.save."
        ) from error
    knows = any(argument.name == "return_features" for argument in script.forward.schema.arguments)
    extra = {"return_features": True} if knows else {}

    def of(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n feature"]:
        return script((255 * pictures).round().clamp(0, 255).to(torch.uint8), **extra).flatten(1)

    return Features(f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}", of)
