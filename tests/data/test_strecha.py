import numpy as np
import pytest
import torch

from diorama.data import strecha
from diorama.errors import CameraError, InputError
from tests.data import made_up
from tests.data.epipolar import agreement


def test_cameras_stated_for_larger_photos_are_scaled_to_the_files(tmp_path):
    views = strecha.read(made_up.strecha(tmp_path / "a"))
    assert strecha.matches(tmp_path / "a")
    torch.testing.assert_close(views.cameras.camera_to_world, torch.tensor(np.stack(made_up.POSES)).float())
    torch.testing.assert_close(views.cameras.focal[0], torch.tensor([30.0, 32.0]))
    torch.testing.assert_close(views.cameras.centre[0], torch.tensor([11.0, 9.0]))
    assert views.frame.units == "metres"


def test_photos_and_cameras_without_their_partner_are_left_out_and_said(tmp_path):
    folder = made_up.strecha(tmp_path / "a")
    (folder / "images" / "0000.png").rename(folder / "images" / "extra.png")
    views = strecha.read(folder)
    assert views.names == ("0001.png", "0002.png")
    assert "extra.png" in " ".join(views.skipped)
    assert "0000.png" in " ".join(views.skipped)
    for name in ("extra.png", "0001.png", "0002.png"):
        (folder / "images" / name).unlink()
    with pytest.raises(InputError, match="none share a name"):
        strecha.read(folder)


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (3, "0.1 0 0", "Undistort"),
        (8, "", "24 numbers"),
        (8, "0 32", "cannot be"),
        (7, "1 2 far", "'far'"),
        (7, "1 2 nan", "NaN"),
        (4, "0 0 0", "rotation"),
        (0, "nan 0 11", "matrix K"),
        (0, "-30 0 11", "focal length"),
        (0, "30 9 11", "skew"),
    ],
)
def test_a_camera_file_that_is_none_says_why(tmp_path, line, text, message):
    folder = made_up.strecha(tmp_path / "a")
    file = folder / "gt" / "0001.png.camera"
    lines = file.read_text().splitlines()
    lines[line] = text
    file.write_text("\n".join(lines))
    with pytest.raises((InputError, CameraError), match=message):
        strecha.read(folder)


def test_the_real_fountain_fits_its_laser_scanned_cameras(photos):
    views = strecha.read(photos("strecha_fountain_P11"), max_side=400)
    assert views.images.shape == (11, 3, 267, 400)
    assert views.skipped == ()
    right = agreement(views, [(0, 1), (4, 5)])
    assert right.distance < 0.5
    assert right.in_front > 0.95
    assert right.flipped > 5 * right.distance
