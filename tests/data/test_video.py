import struct

import numpy as np
import pytest

from diorama.data import video
from diorama.errors import InputError

WIDTH, HEIGHT, FRAMES = 96, 64, 30


def pattern(index, blurred):
    """A photo that is red at the top left, with fine stripes unless blurred; brightness tells the frame's number."""
    image = np.full((HEIGHT, WIDTH, 3), 60 + 4 * index, dtype=np.uint8)
    if not blurred:
        image[HEIGHT // 2 :, ::4] = 0
    image[: HEIGHT // 4, : WIDTH // 4] = (230, 20, 20)
    return image


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Thirty frames of which every third one is sharp."""
    import av

    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(pattern(index, index % 3 != 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_the_sharpest_frame_of_each_interval_is_taken(film):
    assert video.matches(film)
    views = video.read(film, count=5)
    numbers = [int(name[6:12]) for name in views.names]
    assert len(numbers) == 5
    assert all(number % 3 == 1 for number in numbers)
    assert [number // 6 for number in numbers] == [0, 1, 2, 3, 4]
    assert min(np.diff(numbers)) >= 3
    assert views.cameras is None
    assert views.images.shape == (5, 3, HEIGHT, WIDTH)
    assert "5 of 30" in views.skipped[0]


def test_all_frames_of_a_short_video_are_taken_and_may_shrink(film):
    views = video.read(film, max_side=48)
    assert len(views) == FRAMES
    assert views.images.shape[-2:] == (32, 48)
    red = views.images[0, :, 2, 2]
    assert red[0] > 0.7 > 0.3 > red[1]


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_phone_held_upright_gives_upright_photos(film, tmp_path, quarter):
    # the track header's matrix, as phones write it: quarters of a turn clockwise for display (ISO 14496-12, 6.2.2)
    cosine, sine = ((0, 1), (-1, 0), (0, -1))[quarter - 1]
    content = bytearray(film.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(content)
    views = video.read(turned, count=3)
    upright = np.rot90(np.arange(4).reshape(2, 2), -quarter)  # clockwise
    row, column = np.argwhere(upright == 0)[0]
    assert views.images.shape[-2:] == ((WIDTH, HEIGHT) if quarter % 2 else (HEIGHT, WIDTH))
    corner = views.images[0, :, -3 if row else 2, -3 if column else 2]
    assert corner[0] > 0.7 > 0.3 > corner[1]


def test_blur_lowers_sharpness():
    crisp = pattern(3, False)[..., 1].astype(np.float32)
    soft = (crisp + np.roll(crisp, 1, 1) + np.roll(crisp, 2, 1) + np.roll(crisp, 3, 1)) / 4
    assert video.sharpness(crisp) > 3 * video.sharpness(soft)
    assert video.sharpness(np.zeros((2, 2), dtype=np.float32)) == 0


def test_files_that_are_no_videos_say_so(film, tmp_path):
    broken = tmp_path / "broken.mp4"
    for content in (b"", b"not a video at all", film.read_bytes()[:600]):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.mp4"):
            video.read(broken)
    with pytest.raises(InputError, match="at least one"):
        video.read(film, count=0)


def test_sound_without_pictures_is_said(tmp_path):
    import av

    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match="no picture"):
        video.read(path)
