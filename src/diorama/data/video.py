"""A video file becomes photos: sharp frames, spread evenly over time, turned upright; their cameras are unknown."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float

from diorama.data.images import MAX_PIXELS, stack_photos
from diorama.data.resample import area_average, fit_size
from diorama.data.shots import check_memory
from diorama.data.views import Frame, Views
from diorama.errors import InputError

if TYPE_CHECKING:
    from av import VideoFrame

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".mts", ".3gp")

FRAMES = 60
"""Frames taken from a longer video: enough for structure from motion around an object."""

CHOICE = 0.6
"""Share of each interval, around its middle, in which the sharpest frame is looked for; the rest keeps frames apart."""

SHARPNESS_SIDE = 480
"""Longer side in pixels at which sharpness is judged: motion blur shows, sensor noise does not."""


@dataclass(frozen=True)
class _Best:
    """The sharpest frame so far of one interval."""

    index: int
    sharpness: float
    frame: "VideoFrame"


def matches(path: Path) -> bool:
    """True for a file with the suffix of a video."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read(path: Path, *, max_side: int | None = None, count: int = FRAMES) -> Views:
    """Up to `count` frames without cameras, named `frame-NNNNNN.png` after their number in the video.

    The video is cut into `count` equal intervals; the sharpest frame near the middle of each is taken. Rotation in the
    metadata (phones) is applied. Errors: InputError where the file is no video, is cut before its first frame, or is
    larger than images may be.
    """
    if count < 1:
        raise InputError(f"{count} frames were asked for, at least one is needed.")
    notes: list[str] = []
    with _opened(path) as container:
        total = sum(1 for packet in container.demux(video=0) if packet.size)
    if total == 0:
        raise InputError(f"{path}: no frame in the video. Copy it again.")
    count = min(count, total)
    numbers, photos = [], []
    with _opened(path) as container:
        stream = container.streams.video[0]
        check_memory(count, *fit_size((stream.width, stream.height), max_side))
        for best in _sharpest(_decode(container, notes), total, count):
            numbers.append(best.index)
            photos.append(torch.from_numpy(_upright(best.frame, max_side)))
    if not photos:
        raise InputError(f"{path}: no frame could be decoded. {' '.join(notes)} Copy it again.")
    images, _, padding = stack_photos(photos)
    return Views(
        images=images,
        names=tuple(f"frame-{number:06d}.png" for number in numbers),
        ignore=padding,
        frame=Frame("video"),
        source=path,
        layout="video",
        skipped=(f"{len(photos)} of {total} frames are used, the sharpest of each interval", *notes),
        focal_hints=torch.full((len(photos),), float("nan")),
    )


def sharpness(grey: Float[np.ndarray, "h w"]) -> float:
    """Variance of the Laplacian: high for crisp frames, low for blurred ones of the same scene."""
    if min(grey.shape) < 3:
        return 0.0
    middle = grey[1:-1, 1:-1]
    return float((grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * middle).var())


def _opened(path: Path) -> Any:
    """An open container with one usable video stream."""
    import av

    try:
        container = av.open(str(path))
    except (OSError, ValueError) as error:  # av.FFmpegError is one of these
        raise InputError(
            f"{path}: not readable as a video ({error}). Copy it again, or give a folder of photos."
        ) from error
    if not container.streams.video:
        container.close()
        raise InputError(f"{path}: no picture in it, only {len(container.streams)} other streams.")
    stream = container.streams.video[0]
    if stream.width * stream.height > MAX_PIXELS:
        container.close()
        raise InputError(f"{path}: {stream.width} x {stream.height} pixels, at most {MAX_PIXELS} are read.")
    stream.thread_type = "AUTO"
    return container


def _decode(container: Any, notes: list[str]) -> Iterator["VideoFrame"]:
    """Frames in order of display; a video that breaks off ends early, and a note says so."""
    try:
        yield from container.decode(video=0)
    except (OSError, ValueError) as error:
        notes.append(f"the video breaks off: {error}.")


def _sharpest(frames: Iterator["VideoFrame"], total: int, count: int) -> Iterator[_Best]:
    """The sharpest frame around the middle of each of `count` intervals of `total` frames, one interval at a time."""
    best: _Best | None = None
    current = 0
    for index, frame in enumerate(frames):
        place = (index + 0.5) * count / total
        interval = min(int(place), count - 1)
        if interval != current and best is not None:
            yield best
            best = None
        current = interval
        if abs(place - interval - 0.5) > CHOICE / 2 and total > count:
            continue
        width, height = fit_size((frame.width, frame.height), SHARPNESS_SIDE)
        value = sharpness(frame.to_ndarray(format="gray", width=width, height=height).astype(np.float32))
        if best is None or value > best.sharpness:
            best = _Best(index, value, frame)
    if best is not None:
        yield best


def _upright(frame: "VideoFrame", max_side: int | None) -> np.ndarray:
    """Colour (3 h w) in [0, 1] of a frame, turned as its metadata says."""
    pixels = frame.to_ndarray(format="rgb24")
    width, height = fit_size((pixels.shape[1], pixels.shape[0]), max_side)
    turned = np.rot90(area_average(pixels, width, height) / np.float32(255), round(frame.rotation / 90) % 4)
    return np.ascontiguousarray(turned.transpose(2, 0, 1))
