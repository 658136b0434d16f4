"""Squares of photos: the camera that goes with a square sees what the square shows."""

from dataclasses import replace

import pytest
import torch

from diorama.cameras.pinhole import pixel_grid
from diorama.cameras.undistortion import undistorted_cameras
from diorama.data.square import (
    crop_cameras,
    on_background,
    square_crop,
    square_tiles,
    squares_anywhere,
    tile_cameras,
    tile_windows,
)
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError
from tests.data.tiny import ring


def painted(cameras, lens_of=None):
    """Views whose colour is the direction of light in the camera (x / z, y / z, 0), moved into [0, 1]."""
    width, height = cameras.size.amax(0).tolist()
    ideal = cameras.unproject(pixel_grid(width, height).reshape(-1, 2))[..., :2]
    colour = torch.cat([0.5 + 0.3 * ideal, torch.zeros_like(ideal[..., :1])], dim=-1)
    images = colour.mT.reshape(len(cameras), 3, height, width).clamp(0, 1)
    return Views(images, tuple(f"{index}.png" for index in range(len(cameras))), cameras)


@pytest.mark.parametrize(("width", "height", "size"), [(24, 16, 16), (16, 24, 8), (31, 17, 5), (40, 40, 16), (9, 8, 8)])
def test_a_point_projects_to_the_pixel_that_shows_it(width, height, size):
    views = painted(ring(3, width, height))
    square, _ = square_crop(views, size)
    assert square.images.shape == (3, 3, size, size)
    assert square.cameras.size.tolist() == [[size, size]] * 3
    # a ramp of square pixels is a ramp again if sizes divide, and else never off by more than an eighth of a pixel
    off = 1e-5 if min(width, height) % size == 0 else 0.3 / 20 / 8
    torch.testing.assert_close(square.images, painted(square.cameras).images, atol=off, rtol=0)


@pytest.mark.parametrize("size", [24, 16, 10])
def test_crop_and_resize_move_projections_by_one_affine_map(size, rng):
    cameras = ring(3, 31, 20)
    square = square_crop(painted(cameras), size)[0].cameras
    points = 0.3 * torch.randn(3, 50, 3, generator=rng)
    before, depth = cameras.project(points)
    after, depth_after = square.project(points)
    torch.testing.assert_close(after, (before - torch.tensor([5.0, 0.0])) * size / 20, atol=1e-4, rtol=1e-5)
    assert torch.equal(depth, depth_after)


def test_enlarged_pictures_still_fit_their_cameras():
    square, words = square_crop(painted(ring(2, 24, 16)), 48)
    again = painted(square.cameras)
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(square.images[inner], again.images[inner], atol=1e-5, rtol=0)
    assert "enlarged to 48x48" in words


@pytest.mark.parametrize("lens", ["opencv", "fisheye"])
def test_lenses_are_straightened_first(lens):
    views = painted(ring(2, 48, 32, lens=lens))
    square, words = square_crop(views, 32)
    assert square.cameras.lens == "pinhole"
    assert square.cameras.focal[0, 0] == pytest.approx(float(undistorted_cameras(views.cameras).focal[0, 0]))
    held = torch.ones(2, 32, 32, dtype=torch.bool) if square.ignore is None else ~square.ignore
    difference = (square.images - painted(square.cameras).images).abs().amax(1)
    assert float(difference[held].max()) < 5e-3
    assert float(held.float().mean()) > 0.9
    assert f"{lens} lenses straightened" in words


def test_photos_of_different_sizes_become_one_and_padding_is_gone():
    cameras = ring(2, 24, 16)
    cameras.size[1] = torch.tensor([12, 8])
    views = painted(cameras)
    images = views.images.clone()
    images[1, :, 8:] = images[1, :, :, 12:] = 1.0  # padding that must not be seen
    ignore = torch.zeros(2, 16, 24, dtype=torch.bool)
    ignore[1, 8:] = ignore[1, :, 12:] = True
    square, words = square_crop(replace(views, images=images, ignore=ignore), 8)
    torch.testing.assert_close(square.images, painted(square.cameras).images, atol=1e-5, rtol=0)
    assert square.ignore is None
    assert "and other sizes" in words


@pytest.mark.parametrize("side", [8, 8000])
def test_the_smallest_and_the_largest_photos_become_squares(side):
    ramp = ((torch.arange(side) + 0.5) / side).expand(1, 1, side, side)
    square, _ = square_crop(Views(ramp, ("a.png",)), 8)
    torch.testing.assert_close(square.images[0, 0], ((torch.arange(8) + 0.5) / 8).expand(8, 8), atol=1e-6, rtol=0)


def test_a_mean_is_kept_when_a_photo_shrinks(rng):
    images = torch.rand(2, 3, 30, 30, generator=rng)
    square, words = square_crop(Views(images, ("a", "b")), 7)
    torch.testing.assert_close(square.images.mean((2, 3)), images.mean((2, 3)), atol=1e-5, rtol=0)
    assert words == "2 photos of 30x30: all of each, shrunk to 7x7"


def test_depth_never_mixes_and_a_pixel_is_ignored_if_any_part_of_it_was(rng):
    depth = torch.randint(1, 9, (1, 16, 24), generator=rng).float()
    ignore = torch.zeros(1, 16, 24, dtype=torch.bool)
    ignore[0, 3, 9] = True
    views = replace(painted(ring(1)), depth=depth, ignore=ignore, object=torch.ones(1, 16, 24))
    square, _ = square_crop(views, 5)
    assert set(square.depth.unique().tolist()) <= set(depth.unique().tolist())
    assert square.depth[0, 2, 2] == depth[0, 8, 4 + 8]
    assert square.ignore.nonzero().tolist() == [[0, 0, 1], [0, 1, 1]]
    assert torch.allclose(square.object, torch.ones(1, 5, 5))


def test_a_principal_point_outside_the_crop_stays_valid_and_is_said():
    cameras = ring(1, 48, 16)
    cameras.centre[0, 0] = 4.0
    square, words = square_crop(painted(cameras), 8)
    square.cameras.validate()
    assert float(square.cameras.centre[0, 0]) == -6.0
    assert "1 principal points lie outside" in words


def test_photos_without_cameras_keep_their_focal_hints():
    views = Views(torch.rand(1, 3, 16, 24), ("a.png",), focal_hints=torch.tensor([20.0]))
    square, words = square_crop(views, 8)
    assert square.cameras is None
    assert float(square.focal_hints) == 10.0
    assert words == "1 photos of 24x16: the middle square of each (67 % of it), shrunk to 8x8"


def test_nothing_cannot_become_a_square():
    views = painted(ring(2))
    with pytest.raises(InputError, match="0 x 0"):
        square_crop(views, 0)
    with pytest.raises(InputError, match="0 photos"):
        square_crop(views[[]], 8)


def test_a_background_is_seen_where_the_object_is_not():
    views = painted(ring(1))
    mask = torch.zeros(1, 16, 24)
    mask[:, :8], mask[:, 8] = 1.0, 0.5
    shown = on_background(replace(views, object=mask, depth=torch.ones(1, 16, 24)), 1.0)
    assert torch.equal(shown.images[..., :8, :], views.images[..., :8, :])
    assert torch.equal(shown.images[..., 9:, :], torch.ones(1, 3, 7, 24))
    torch.testing.assert_close(shown.images[..., 8, :], 0.5 + 0.5 * views.images[..., 8, :])
    assert shown.depth.sum() == 8 * 24
    with pytest.raises(ViewsError, match="no object masks"):
        on_background(views, 1.0)


@pytest.mark.parametrize("size", [(24, 24), (24, 20), (25, 20), (20, 36), (64, 20), (61, 20), (40, 20), (41, 20)])
def test_the_squares_of_a_photo_show_all_of_it_or_are_one(size):
    windows, side = tile_windows(size), min(size)
    assert all(window[2] == side for window in windows)
    shown = torch.zeros(size[1], size[0])
    for left, top, _ in windows:
        shown[top : top + side, left : left + side] += 1
        assert left + side <= size[0]
        assert top + side <= size[1]
    if max(size) <= 1.2 * side:
        assert len(windows) == 1
    else:
        assert len(windows) == -(-max(size) // side)
        assert float(shown.min()) >= 1


def test_squares_and_their_cameras_see_the_same(rng):
    views = painted(ring(3, 20, 44))
    tiles, words = square_tiles(views, 10)
    assert tiles.names == tuple(f"{name} ({part} of 3)" for name in views.names for part in (1, 2, 3))
    torch.testing.assert_close(tiles.images, painted(tiles.cameras).images, atol=1e-5, rtol=0)
    assert "3 squares of each, which show all of each" in words
    apart = tile_cameras(views.cameras, 10)
    points = 0.3 * torch.randn(9, 50, 3, generator=rng)
    torch.testing.assert_close(apart.project(points), tiles.cameras.project(points))
    middle = square_crop(views, 10)[0].cameras
    torch.testing.assert_close(crop_cameras(views.cameras, 10).project(points[:3]), middle.project(points[:3]))


def test_photos_of_several_shapes_become_as_many_squares_as_each_needs():
    cameras = ring(2, 24, 16)
    cameras.size[1] = torch.tensor([12, 12])
    views = replace(painted(cameras), depth=torch.ones(2, 16, 24), object=torch.ones(2, 16, 24))
    tiles, words = square_tiles(views, 8)
    assert tiles.names == ("0.png (1 of 2)", "0.png (2 of 2)", "1.png")
    assert len(tiles.depth) == len(tiles.object) == len(tiles.cameras) == 3
    assert "1 to 2 squares of each, which show all of each" in words


def test_squares_anywhere_fit_their_cameras_and_lie_all_over_the_photo(rng):
    views = painted(ring(64, 36, 24))
    squares = squares_anywhere(views, 16, rng, 1.0)
    torch.testing.assert_close(squares.images, painted(squares.cameras).images, atol=2e-3, rtol=0)
    left, top = (views.cameras.centre - squares.cameras.centre * (24 / 16)).unbind(-1)
    assert (left.round().min(), left.round().max()) == (0, 12)
    assert left.round().unique().numel() > 8
    torch.testing.assert_close(top, torch.zeros(64), atol=1e-5, rtol=0)  # as high as the photo


def test_squares_anywhere_of_one_call_have_one_size_between_its_bounds():
    views = painted(ring(3, 36, 24))
    sides = []
    for seed in range(40):
        squares = squares_anywhere(views, 16, torch.Generator().manual_seed(seed), 2 / 3)
        scales = squares.cameras.focal / views.cameras.focal
        scale = scales.mean()
        torch.testing.assert_close(scales, scale.expand_as(scales))
        sides.append(16 / float(scale))
        corner = views.cameras.centre - squares.cameras.centre / scale
        assert bool(((corner > -1e-4) & (corner + sides[-1] < views.cameras.size + 1e-4)).all())
    assert 16 - 1e-4 <= min(sides) < 17 < 23 < max(sides) <= 24 + 1e-4
