import numpy as np
import pytest

from diorama.data.resample import area_average, fit_size


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [
        ((640, 480), None, (640, 480)),
        ((640, 480), 640, (640, 480)),
        ((640, 480), 320, (320, 240)),
        ((1000, 1), 100, (100, 1)),
        ((301, 200), 100, (100, 66)),
    ],
)
def test_the_longer_side_fits_and_nothing_grows(size, max_side, expected):
    assert fit_size(size, max_side) == expected


def test_whole_ratios_are_plain_block_means():
    picture = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    blocks = picture.reshape(4, 3, 5, 4, 3).mean((1, 3))
    np.testing.assert_allclose(area_average(picture, 5, 4), blocks, rtol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(7, 5), (19, 11), (1, 1), (20, 11)])
def test_the_mean_is_kept_and_a_ramp_stays_a_ramp_without_shift(width, height):
    picture = np.random.default_rng(1).random((12, 20, 3)).astype(np.float32)
    small = area_average(picture, width, height)
    np.testing.assert_allclose(small.mean((0, 1)), picture.mean((0, 1)), rtol=1e-5)
    ramp = np.broadcast_to((np.arange(20) + 0.5)[None, :, None], (12, 20, 1)).astype(np.float32)
    centres = (np.arange(width) + 0.5) * 20 / width
    if width in (1, 20):
        np.testing.assert_allclose(area_average(ramp, width, height)[0, :, 0], centres, rtol=1e-5)
    else:  # pixels are steps, so a new pixel may differ from the straight line by what one old pixel bends
        assert np.abs(area_average(ramp, width, height)[0, :, 0] - centres).max() <= 0.125 * width / 20 + 1e-4
