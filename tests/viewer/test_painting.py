"""Pictures grow from coarse to fine and cover the window."""

import itertools
import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.scenes.visibility import context_depth, observe
from diorama.types import Rendering
from diorama.viewer.exhibit import Exhibit, window, world_of
from diorama.viewer.layers import image_of
from diorama.viewer.painting import PaintConfig, Speed, fitting, ladder, observed_coarsely, paint, strips
from tests.oracles import exact_rendering, ring_cameras

SIDES = st.integers(1, 3000)
SPEEDS = st.floats(1e2, 1e9)


@given(SPEEDS, SIDES, SIDES)
def test_pictures_grow_up_to_the_window_or_the_largest_size(speed, width, height):
    config = PaintConfig()
    sizes = ladder(speed, width, height, config)
    pixels = [w * h for w, h in sizes]
    assert pixels == sorted(pixels)
    assert sizes[-1] == fitting(min(config.largest, width * height), width, height)
    assert all(w <= width and h <= height for w, h in sizes)
    assert len(sizes) < 12


def test_the_first_picture_takes_the_time_it_may():
    config = PaintConfig(first_seconds=0.1)
    for speed in (30_000.0, 1_000_000.0):
        width, height = ladder(speed, 1600, 900, config)[0]
        assert width * height <= 1.05 * max(config.smallest, speed * config.first_seconds)


@given(SIDES, SIDES, SPEEDS, st.floats(0.01, 1.0))
def test_strips_cover_every_row_once(width, height, speed, seconds):
    rows = strips(width, height, speed, seconds)
    assert rows[0][0] == 0
    assert rows[-1][1] == height
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(rows))
    assert all(start < end for start, end in rows)


def test_strips_make_the_same_picture_as_one_stroke():
    cameras = ring_cameras(3)
    world = world_of(Exhibit("oracle", exact_rendering, cameras))
    pose = cameras.camera_to_world[1].double()

    def camera(width, height, rows):
        return window(
            world,
            world.to_viewer(pose[:3, 3]),
            pose[:3, :3],
            fov=0.8,
            aspect=1.5,
            width=width,
            height=height,
            rows=rows,
        )

    speed = Speed(2000.0)
    drawn = list(paint(exact_rendering, camera, [(24, 16), (60, 40)], speed, PaintConfig(piece_seconds=0.05)))
    assert isinstance(drawn[0], Rendering)  # the first picture is never given up
    assert drawn[0].colour.shape == (1, 3, 16, 24)
    assert drawn.count(None) >= 1
    whole = exact_rendering(camera(60, 40, (0, 40)))
    torch.testing.assert_close(drawn[-1].colour, whole.colour)
    torch.testing.assert_close(drawn[-1].depth, whole.depth)


def test_speed_follows_what_is_measured():
    speed = Speed(1e4)
    for _ in range(20):
        speed.record(10_000, 0.01)
    assert math.isclose(speed.pixels_per_second, 1e6, rel_tol=0.01)
    speed.record(10_000, 0.0)
    assert math.isfinite(speed.pixels_per_second)


def test_what_was_seen_is_found_out_at_some_pixels_and_shown_at_all():
    photographs = ring_cameras(3, 96, 72, arc=60.0)
    context = context_depth(photographs, exact_rendering)
    world = world_of(Exhibit("oracle", exact_rendering, photographs))
    pose = ring_cameras(4, elevation=2.5).camera_to_world[2].double()
    place = world.to_viewer(pose[:3, 3])

    def camera(width, height, rows):
        return window(world, place, pose[:3, :3], fov=0.8, aspect=1.5, width=width, height=height, rows=rows)

    asked = []

    def observed(cameras, picture):
        asked.append(picture.depth.shape)
        return observe(context, cameras, picture)

    picture = exact_rendering(camera(180, 120, (0, 120)))
    fine = observed_coarsely(observed, camera, picture, PaintConfig())
    coarse = observed_coarsely(observed, camera, picture, PaintConfig(observed=1350))
    assert asked == [(1, 120, 180), (1, 30, 45)]
    assert torch.equal(fine.count, observe(context, camera(180, 120, (0, 120)), picture).count)
    assert coarse.count.shape == fine.count.shape
    assert (coarse.count == fine.count).float().mean() > 0.9

    plain, pale = image_of(picture, "colour", 1.0, 6.0), image_of(picture, "colour", 1.0, 6.0, observed=fine)
    counted = image_of(picture, "observed", 1.0, 6.0, observed=fine, photographs=3)
    changed = ((plain - pale).abs().amax(0) > 0.02)[fine.surface[0]]
    assert (changed == (fine.count[0] == 0)[fine.surface[0]]).float().mean() > 0.97
    assert (counted[:, ~fine.surface[0]] == 0).all()
    once, thrice = (counted[:, (fine.count == number)[0]].mean(1) for number in (1, 3))
    assert once[0] > once[2]
    assert thrice[2] > thrice[0]
    assert torch.equal(image_of(picture, "observed", 1.0, 6.0), plain), "a scene without photographs to ask"
