import numpy as np
import pytest
import torch

from diorama.data.open import open_views
from diorama.errors import CameraError, InputError, ViewsError
from tests.data.epipolar import agreement
from tests.data.tiny import paint, ring


def rows_for(cameras, focal=20.0):
    """poses_bounds rows: [down, right, back | centre | h w f], near, far."""
    pose = cameras.camera_to_world.double().numpy()[:, :3]
    size = cameras.size.numpy()
    hwf = np.stack([size[:, 1], size[:, 0], np.full(len(size), focal)], axis=1)
    matrix = np.stack([pose[..., 1], pose[..., 0], -pose[..., 2], pose[..., 3], hwf], axis=2)
    bounds = np.tile([1.5, 9.0], (len(size), 1))
    return np.concatenate([matrix.reshape(len(size), 15), bounds], axis=1)


@pytest.fixture
def capture(tmp_path):
    cameras = ring(3)
    for index in range(3):
        paint(tmp_path / "images" / f"IMG_{index}.JPG", seed=index)
    np.save(tmp_path / "poses_bounds.npy", rows_for(cameras))
    return tmp_path


def test_rows_follow_the_sorted_names_and_carry_bounds(capture):
    views = open_views(capture)
    assert views.layout == "llff"
    assert views.names == ("IMG_0.JPG", "IMG_1.JPG", "IMG_2.JPG")
    assert torch.allclose(views.cameras.camera_to_world, ring(3).camera_to_world, atol=1e-7)
    assert torch.equal(views.cameras.focal, torch.full((3, 2), 20.0))
    assert torch.equal(views.cameras.centre[0], torch.tensor([12.0, 8.0]))
    assert torch.equal(views.bounds, torch.tensor([[1.5, 9.0]] * 3))


def test_the_smaller_copies_serve_where_the_originals_are_gone(capture):
    (capture / "images").rename(capture / "images_kept_elsewhere")
    for scale, names in ((8, "abc"), (4, "abc"), (2, "ab")):
        for name in names:
            paint(capture / f"images_{scale}" / f"{name}.png", 24 // scale * 2, 16 // scale * 2)
    views = open_views(capture)
    assert views.cameras.size[0].tolist() == [12, 8]
    assert torch.equal(views.cameras.focal, torch.full((3, 2), 10.0))


def test_a_corrupt_photo_is_skipped_and_an_absent_one_breaks_the_order(capture):
    (capture / "images" / "IMG_1.JPG").write_bytes(b"gone")
    assert open_views(capture).names == ("IMG_0.JPG", "IMG_2.JPG")
    assert len(open_views(capture).bounds) == 2
    (capture / "images" / "IMG_1.JPG").unlink()
    with pytest.raises(ViewsError, match=r"3 poses.*2 in images/"):
        open_views(capture)


@pytest.mark.parametrize("rows", [np.zeros((3, 15)), np.zeros(17), np.array(["a"] * 17)])
def test_an_array_of_another_kind_is_refused(capture, rows):
    np.save(capture / "poses_bounds.npy", rows)
    with pytest.raises(InputError, match="17 numbers per photo"):
        open_views(capture)


def test_an_array_cut_anywhere_is_refused(capture):
    file = capture / "poses_bounds.npy"
    whole = file.read_bytes()
    for length in range(0, len(whole), 13):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match="poses_bounds"):
            open_views(capture)


@pytest.mark.parametrize(
    ("row", "column", "value"), [(1, 3, np.nan), (1, 14, 0.0), (1, 4, np.inf), (1, 15, -1.0), (1, 0, 7.0)]
)
def test_a_row_that_is_no_camera_is_named(capture, row, column, value):
    rows = rows_for(ring(3))
    rows[row, column] = value
    np.save(capture / "poses_bounds.npy", rows)
    with pytest.raises(CameraError, match=r"IMG_1\.JPG"):
        open_views(capture)


def test_the_fern_agrees_with_its_cameras(photos):
    views = open_views(photos("llff_fern"))
    assert (len(views), views.layout, views.skipped) == (20, "llff", ())
    assert (views.bounds[:, 0] < views.bounds[:, 1]).all()
    fit = agreement(views, [(0, 1), (10, 12)])
    assert fit.matches > 100
    assert fit.distance < 0.7
    assert fit.in_front > 0.95
