"""Smaller pictures by exact area averages: no phase error, whatever the ratio."""

import numpy as np
from jaxtyping import Float, Shaped

BLOCK = 8
"""Output rows per matrix product; bounds the memory and the waste of the banded weights."""


def fit_size(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """(width, height) whose longer side is at most max_side; never larger than the original, never below 1."""
    if max_side is None or max(size) <= max_side:
        return size
    ratio = max_side / max(size)
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def area_average(
    pixels: Shaped[np.ndarray, "h w c"], width: int, height: int
) -> Float[np.ndarray, "height width channel"]:
    """The picture at width x height, each new pixel the mean of exactly the area it covers (float32, same range).

    Pillow's box filter counts every old pixel wholly or not at all, which moves edges by up to half an old pixel;
    here old pixels count by their share. Only for shrinking: width and height are at most those of the picture.
    """
    rows = _average_rows(pixels, height)
    return np.ascontiguousarray(_average_rows(rows.transpose(1, 0, 2), width).transpose(1, 0, 2))


def _average_rows(pixels: Shaped[np.ndarray, "n m c"], count: int) -> Float[np.ndarray, "count m c"]:
    """Means over `count` equal spans of the first axis."""
    length, across, channels = pixels.shape
    if count == length:
        return pixels.astype(np.float32)
    result = np.empty((count, across, channels), np.float32)
    edges = np.arange(count + 1) * (length / count)
    for start in range(0, count, BLOCK):
        stop = min(count, start + BLOCK)
        low, high = edges[start:stop, None], edges[start + 1 : stop + 1, None]
        first, last = int(low[0, 0]), min(length, int(np.ceil(high[-1, 0])))
        old = np.arange(first, last)[None]
        weights = np.clip(np.minimum(high, old + 1) - np.maximum(low, old), 0.0, None) * (count / length)
        block = pixels[first:last].reshape(last - first, -1).astype(np.float32)
        result[start:stop] = (weights.astype(np.float32) @ block).reshape(stop - start, across, channels)
    return result
