"""A film holds the frames it was given."""

import av
import numpy as np
import pytest
import torch

from diorama.errors import InputError
from diorama.export.video import even_size, write_video


def smooth_frames(count, height, width):
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    return [torch.stack([x, y, torch.full_like(x, index / count)]) for index in range(count)]


def test_colours_survive_the_film(tmp_path):
    frames = smooth_frames(6, 48, 64)
    assert write_video(tmp_path / "a.mp4", iter(frames), fps=12.5) == 6
    with av.open(str(tmp_path / "a.mp4")) as film:
        stream = film.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert float(stream.average_rate) == pytest.approx(12.5)
        read = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
    assert len(read) == 6
    for frame, image in zip(frames, read, strict=True):
        error = np.abs(image / 255 - frame.permute(1, 2, 0).numpy())
        assert error.mean() < 0.02


def test_films_name_their_colour_space(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_frames(2, 32, 32))
    with av.open(str(tmp_path / "a.mp4")) as film:
        context = film.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries, context.color_trc) == (1, 1, 1)


def test_odd_sizes_are_padded(tmp_path):
    write_video(tmp_path / "a.mp4", smooth_frames(2, 33, 47))
    with av.open(str(tmp_path / "a.mp4")) as film:
        assert (film.streams.video[0].width, film.streams.video[0].height) == (48, 34)
    frame = torch.rand(3, 5, 7)
    padded = even_size(frame)
    assert torch.equal(padded[:, :5, :7], frame)
    assert torch.equal(padded[:, 5], padded[:, 4])
    assert torch.equal(padded[:, :, 7], padded[:, :, 6])


def test_no_frames_and_mixed_sizes_are_refused(tmp_path):
    with pytest.raises(InputError, match="at least one frame"):
        write_video(tmp_path / "a.mp4", [])
    with pytest.raises(InputError, match="after frames of"):
        write_video(tmp_path / "a.mp4", [torch.zeros(3, 16, 16), torch.zeros(3, 16, 18)])
