"""Pictures grow from coarse to fine and cover the window."""

import itertools
import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.types import Rendering
from diorama.viewer.painting import PaintConfig, Speed, fitting, ladder, paint, strips
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
    from diorama.viewer.exhibit import Exhibit, window, world_of

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
