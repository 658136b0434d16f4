import numpy as np
import pytest
import torch

from diorama.data import middlebury
from diorama.errors import CameraError, InputError
from tests.data import made_up
from tests.data.epipolar import agreement


def test_world_to_camera_rows_become_poses_and_the_box_becomes_bounds(tmp_path):
    views = middlebury.read(made_up.middlebury(tmp_path))
    assert middlebury.matches(tmp_path)
    torch.testing.assert_close(views.cameras.camera_to_world, torch.tensor(np.stack(made_up.POSES)).float())
    torch.testing.assert_close(views.cameras.centre, torch.tensor([[11.0, 9.0]]).expand(3, 2))
    # the first camera looks along (0, -sin 0.1, cos 0.1): the box reaches 2 sin + 0.5 cos to either side of 5
    reach = 2 * np.sin(0.1) + 0.5 * np.cos(0.1)
    np.testing.assert_allclose(views.bounds[0], [5 - reach, 5 + reach], rtol=1e-5)


def test_without_a_box_there_are_no_bounds(tmp_path):
    folder = made_up.middlebury(tmp_path)
    (folder / "README.txt").write_text("The bounding box is (1 2) and (3 4)")
    assert middlebury.read(folder).bounds is None
    (folder / "README.txt").unlink()
    assert middlebury.read(folder).bounds is None


def test_listed_photos_that_are_missing_are_left_out_and_said(tmp_path):
    folder = made_up.middlebury(tmp_path)
    (folder / "toy0001.png").unlink()
    views = middlebury.read(folder)
    assert views.names == ("toy0000.png", "toy0002.png")
    assert "toy0001.png" in " ".join(views.skipped)


def test_counts_lines_and_numbers_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(InputError, match="announces 4 photos and lists 3"):
        middlebury.read(made_up.middlebury(tmp_path, announced=4))
    table = made_up.middlebury(tmp_path) / "toy_par.txt"
    whole = table.read_text()
    for text, message in (
        ("", "announces 0"),
        ("many\n", "number of photos"),
        (whole.replace("toy0001.png", "toy0001.png 7"), "23 words"),
        (whole.replace("30.000000000000000", "thirty", 1), "'thirty'"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=message):
            middlebury.read(tmp_path)
    table.write_text(whole.replace("30.000000000000000", "nan", 1))
    with pytest.raises(CameraError, match=r"toy0000\.png"):
        middlebury.read(tmp_path)
    table.write_text(whole)
    (tmp_path / "other_par.txt").write_text(whole)
    with pytest.raises(InputError, match="2 files"):
        middlebury.read(tmp_path)


def test_the_real_temple_fits_its_cameras_and_lies_in_its_box(photos):
    folder = photos("middlebury_templeSparseRing")
    views = middlebury.read(folder)
    assert views.images.shape == (16, 3, 480, 640)
    right = agreement(views, [(0, 1), (1, 2), (5, 6)])
    assert right.distance < 1.2
    assert right.in_front > 0.95
    assert right.flipped > 5 * right.distance
    assert (views.bounds[:, 0] > 0.4).all()
    assert (views.bounds[:, 1] < 0.8).all()
    corners = middlebury.read_bounding_box(folder / "README.txt")
    middle = torch.tensor(corners.mean(0)).float()
    local = torch.linalg.inv(views.cameras.camera_to_world) @ torch.cat([middle, torch.ones(1)])
    pixel = local[:, :2] / local[:, 2:3] * views.cameras.focal + views.cameras.centre
    for image, (x, y) in zip(views.images, pixel.round().int().tolist(), strict=True):
        # the middle of the box is on the temple (columns with gaps between them), the background is black
        assert float(image[:, y - 30 : y + 30, x - 30 : x + 30].mean()) > 0.1
