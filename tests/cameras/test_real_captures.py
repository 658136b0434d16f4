"""Cameras of real photographs: the shape of the capture, and films that stay where the photographer stood."""

import pytest
import torch

from diorama.cameras.paths import orbit, tour
from diorama.cameras.poses import capture_shape, gaze, normalising_similarity
from diorama.cameras.undistortion import undistort_images
from diorama.data.open import open_views

SHAPES = {
    "llff_fern": "forward-facing",
    "fox": "inward",
    "middlebury_templeSparseRing": "inward",
    "co3d_apple": "inward",
    "strecha_fountain_P11": "inward",
    "rgbd_7scenes_redkitchen": "inside-out",
}


@pytest.mark.parametrize("name", SHAPES)
def test_real_captures_have_the_shape_that_a_person_would_name(photos, name):
    cameras = open_views(photos(name), max_side=64).cameras
    assert capture_shape(cameras) == SHAPES[name]
    change = normalising_similarity(cameras)
    back = change.inverse().apply_cameras(change.apply_cameras(cameras))
    scale = cameras.origins.abs().amax()
    assert (back.camera_to_world - cameras.camera_to_world).abs().amax() < 1e-5 * (1 + scale)
    film = tour(cameras, 30).validate()
    focus, distance = gaze(cameras)
    spread = (cameras.origins - cameras.origins.mean(0)).norm(dim=-1).amax()
    off = (film.origins - cameras.origins.mean(0)).norm(dim=-1).amax()
    assert float(off) < 3 * max(float(spread), float(distance))
    pixels, depth = orbit(cameras, 30).project(focus.expand(30, 1, 3))
    assert (depth > 0).all()
    assert (pixels[:, 0] - 0.5 * film.size).abs().amax() < 0.1


def test_undistorting_a_phone_photo_changes_it_a_little_and_keeps_nearly_all(photos):
    views = open_views(photos("fox"), max_side=320)[[0]]
    images, straight, valid = undistort_images(views.images, views.cameras)
    assert valid.double().mean() > 0.98
    ratio = straight.focal / views.cameras.focal
    assert float(ratio.min()) > 0.95
    assert float(ratio.max()) < 1.05
    assert torch.allclose(images.mean(), views.images.mean(), atol=0.03)
