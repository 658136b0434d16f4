"""Frames become an H.264 film that every player opens."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.errors import InputError
from diorama.export.ply import to_bytes

BT709 = 1
"""The ITU-T H.273 code of the BT.709 colour matrix, primaries and transfer curve."""


def write_video(path: Path, frames: Iterable[Float[Tensor, "3 h w"]], *, fps: float = 30.0, quality: int = 18) -> int:
    """Encode frames (sRGB in [0, 1], one size) as they come; returns how many there were.

    H.264, 4:2:0, BT.709, index at the front. quality: x264's constant rate factor, 0 lossless to 51; 18 looks like the
    original. Odd sizes are padded by repeating the last row or column, because 4:2:0 needs even ones.
    Raises InputError where there is no frame or the sizes differ.
    """
    import av
    import numpy as np

    count, size = 0, None
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=rate, options={"crf": str(quality), "preset": "medium"})
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = 1  # limited
        for frame in frames:
            if size is None:
                size = frame.shape
                stream.height, stream.width = size[1] + size[1] % 2, size[2] + size[2] % 2
            if frame.shape != size:
                raise InputError(f"frame {count} is {tuple(frame.shape[1:])} after frames of {tuple(size[1:])}.")
            image = np.ascontiguousarray(to_bytes(even_size(frame).permute(1, 2, 0)))
            picture = av.VideoFrame.from_ndarray(image, format="rgb24")
            picture = picture.reformat(format="yuv420p", dst_colorspace="ITU709")
            picture.pts, picture.time_base = count, 1 / rate
            container.mux(stream.encode(picture))
            count += 1
        if count == 0:
            raise InputError("a film needs at least one frame; the camera path is empty.")
        container.mux(stream.encode())
    return count


def even_size(frame: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 even_h even_w"]:
    """The frame with its last row and column repeated where height or width is odd."""
    if frame.shape[1] % 2:
        frame = torch.cat([frame, frame[:, -1:]], dim=1)
    if frame.shape[2] % 2:
        frame = torch.cat([frame, frame[:, :, -1:]], dim=2)
    return frame
