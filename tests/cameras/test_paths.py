import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diorama.cameras.paths import interpolate, orbit, spiral, tour, walking_order, yaw_pitch_grid, zoom
from diorama.cameras.pinhole import join_cameras
from diorama.cameras.poses import gaze, look_at, mean_up, rotation_angle
from diorama.errors import CameraError
from tests.cameras.made_up import cameras, few, looking, normal, ring, seeds, similarities

ORIGIN = torch.zeros(3, dtype=torch.float64)
LINE = torch.tensor([[-1.0, -3, 0.5], [0.0, -3, 0.5], [1.0, -3, 0.5]], dtype=torch.float64)


def captures():
    """One, two, three, colinear, all around, all in one place, straight ahead, from above, outwards."""
    above = torch.tensor([[0.0, 0, 4], [0.1, 0, 4], [0, 0.1, 4]], dtype=torch.float64)
    return {
        "one": ring(1),
        "two": ring(2, arc=1.0),
        "opposite": ring(2),
        "three": ring(3, arc=1.5),
        "colinear": looking(LINE, ORIGIN),
        "parallel": looking(LINE, LINE + torch.tensor([0.0, 5.0, 0.0])),
        "ring": ring(16),
        "one place": looking(LINE[:1].repeat(4, 1), ORIGIN),
        "above": looking(above, ORIGIN),
        "outwards": looking(ring(6).origins, 3 * ring(6).origins),
    }


def sees_in_the_middle(path, point, tolerance=1e-6):
    pixels, depth = path.project(point.expand(len(path), 1, 3))
    off = (pixels[:, 0] - 0.5 * path.size).abs().amax()
    return bool((depth > 0).all()) and float(off) < tolerance


@pytest.mark.parametrize("name", captures())
@pytest.mark.parametrize("path", [orbit, spiral])
def test_every_camera_of_orbit_and_spiral_looks_at_the_focus_from_a_real_place(name, path):
    made = captures()[name]
    film = path(made, 24).validate()
    assert sees_in_the_middle(film, gaze(made)[0])
    assert film.size.tolist() == [[320, 240]] * 24
    assert film.lens == "pinhole"


@pytest.mark.parametrize("name", captures())
def test_an_orbit_keeps_height_and_distance_and_has_mean_up_upwards(name):
    made = captures()[name]
    focus, up = gaze(made)[0], mean_up(made)
    film = orbit(made, 24)
    offsets = film.origins - focus
    heights = offsets @ up
    assert (heights - ((made.origins - focus) @ up).mean()).abs().max() < 1e-9
    assert (offsets.norm(dim=-1) - offsets[0].norm()).abs().max() < 1e-9
    assert ((-film.camera_to_world[:, :3, 1] @ up) >= -1e-9).all()
    assert (film.camera_to_world[:, :3, 0] @ up).abs().max() < 1e-6


def test_an_orbit_of_a_ring_is_that_ring():
    made = ring(12)
    film = orbit(made, 12)
    torch.testing.assert_close(film.camera_to_world, made.camera_to_world, atol=1e-9, rtol=0)


def azimuths(film):
    return torch.atan2(film.origins[:, 1], film.origins[:, 0])


def test_an_orbit_closes_the_circle_only_where_photos_stand_all_around():
    assert azimuths(orbit(ring(6), 36)).sort().values.diff().max() == pytest.approx(math.radians(10), abs=1e-6)
    half = ring(4, arc=math.radians(80))
    angles = torch.rad2deg(azimuths(orbit(half, 37)))
    assert -1e-6 < float(angles.min()) < 1
    assert 59 < float(angles.max()) < 60 + 1e-6
    level = ring(1, height=0.0)
    alone = torch.rad2deg(azimuths(orbit(level, 36, focus=ORIGIN)))
    assert float(alone.max() - alone.min()) == pytest.approx(20, abs=0.2)
    assert float(alone.max() + alone.min()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["one", "colinear", "ring", "parallel"])
@pytest.mark.parametrize("path", [orbit, spiral])
def test_loops_have_no_jump_at_their_end(name, path):
    film = path(captures()[name], 60)
    steps = (film.origins - film.origins.roll(1, 0)).norm(dim=-1)
    assert steps[0] <= 1.5 * steps[1:].max()


def test_a_sweep_and_a_focus_may_be_asked_for():
    focus = torch.tensor([0.0, 0.0, 0.5], dtype=torch.float64)
    full = orbit(ring(1, height=0.0), 36, focus=focus, sweep=2 * math.pi)
    assert sees_in_the_middle(full, focus)
    assert full.origins.mean(0)[:2].abs().max() < 1e-9
    assert full.origins[:, 2].abs().max() < 1e-9
    assert sees_in_the_middle(spiral(ring(1), 36, focus=focus), focus)


@given(seeds, st.sampled_from(["two", "opposite", "three", "colinear", "ring"]), st.sampled_from([orbit, spiral, tour]))
@few
def test_paths_go_along_with_the_users_frame(seed, name, path):
    made, move = captures()[name], similarities(seed)
    here = move.apply_cameras(path(made, 8))
    there = path(move.apply_cameras(made), 8)
    torch.testing.assert_close(there.origins, here.origins, rtol=1e-5, atol=1e-5 * move.scale)
    assert rotation_angle(there.camera_to_world[:, :3, :3] @ here.camera_to_world[:, :3, :3].mT).max() < 1e-5


def test_spirals_stay_in_front_and_near():
    made = captures()["colinear"]
    film = spiral(made, 40)
    distance = float(gaze(made)[1])
    assert (film.origins - made.origins.mean(0)).norm(dim=-1).max() < 0.3 * math.sqrt(3) * distance + 1e-9
    assert (film.origins[:, 1] < -1).all()


@given(seeds, st.integers(2, 7), st.integers(1, 6), st.booleans())
@few
def test_interpolation_passes_through_the_given_poses(seed, known, steps, loop):
    made = cameras(seed, known)
    count = known * steps if loop else (known - 1) * steps + 1
    film = interpolate(made, count, loop=loop).validate()
    hit = film[::steps]
    torch.testing.assert_close(hit.camera_to_world, made.camera_to_world, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(hit.focal, made.focal)
    torch.testing.assert_close(hit.centre, made.centre)


@given(seeds, st.booleans())
@few
def test_interpolation_is_smooth_in_place_and_turn(seed, loop):
    film = interpolate(cameras(seed, 5), 2000, loop=loop)
    places = film.origins.diff(dim=0)
    assert (places.diff(dim=0).norm(dim=-1).max() / places.norm(dim=-1).max()) < 0.05
    rotation = film.camera_to_world[:, :3, :3]
    turns = rotation_angle(rotation[1:] @ rotation[:-1].mT)
    assert turns.diff().abs().max() < 0.05 * turns.max() + 1e-6


def test_interpolation_of_one_pose_stays_there():
    made = cameras(1, 1)
    assert torch.equal(interpolate(made, 3).camera_to_world, made.camera_to_world.repeat(3, 1, 1))
    assert torch.equal(interpolate(made, 3, loop=True).camera_to_world, made.camera_to_world.repeat(3, 1, 1))


def test_the_grid_holds_the_camera_itself_and_turns_as_said():
    camera = ring(1)[0]
    yaws, pitches = torch.tensor([-0.2, 0.0, 0.3]).double(), torch.tensor([0.0, 0.1]).double()
    grid = yaw_pitch_grid(camera, yaws, pitches, focus=ORIGIN)
    assert grid.shape == (2, 3)
    torch.testing.assert_close(grid.camera_to_world[0, 1], camera.camera_to_world)
    right, up = camera.camera_to_world[:3, 0], -camera.camera_to_world[:3, 1]
    assert (grid.origins[0, 2] - camera.origins) @ right > 0
    assert (grid.origins[0, 0] - camera.origins) @ right < 0
    assert (grid.origins[1, 1] - camera.origins) @ up > 0
    torch.testing.assert_close(grid.origins.norm(dim=-1), camera.origins.norm().expand(2, 3))
    flat = grid[0].validate()
    assert sees_in_the_middle(flat, ORIGIN)
    assert float(rotation_angle(flat.camera_to_world[2, :3, :3] @ camera.camera_to_world[:3, :3].T)) == pytest.approx(
        0.3
    )
    with pytest.raises(CameraError, match="one camera"):
        yaw_pitch_grid(ring(2), yaws, pitches, focus=ORIGIN)


def test_a_zoom_grows_the_focal_length_and_a_dolly_zoom_holds_its_plane():
    camera = ring(1)[0]
    film = zoom(camera, 5, 4.0)
    torch.testing.assert_close(film.focal[[0, 2, 4], 0], camera.focal[0] * torch.tensor([1.0, 2.0, 4.0]).double())
    assert torch.equal(film.camera_to_world[4], camera.camera_to_world)
    held = zoom(camera, 5, 4.0, hold=2.0)
    plane = camera.origins + 2.0 * camera.axes + normal(3, 4, 2) @ camera.camera_to_world[:3, :2].T
    pixels, _ = held.project(plane.expand(5, 4, 3))
    torch.testing.assert_close(pixels, pixels[:1].expand(5, 4, 2))
    with pytest.raises(CameraError, match="factor"):
        zoom(camera, 5, 0.0)


def test_the_tour_suits_the_capture():
    around = ring(12)
    assert torch.equal(tour(around, 8).origins, orbit(around, 8).origins)
    ahead = captures()["colinear"]
    assert torch.equal(tour(ahead, 8).origins, spiral(ahead, 8).origins)
    outwards = captures()["outwards"]
    torch.testing.assert_close(tour(outwards, 6).origins[0], outwards.origins[0])


def test_the_walking_order_follows_a_shuffled_line():
    line = torch.stack([torch.arange(9.0), torch.zeros(9), torch.zeros(9)], dim=-1).double()
    shuffled = torch.tensor([0, 7, 3, 1, 8, 5, 2, 6, 4])
    made = looking(line[shuffled], line[shuffled] + torch.tensor([0.0, 1, 0]))
    assert shuffled[walking_order(made)].tolist() == list(range(9))


def test_another_size_never_sees_more_than_the_photos_did():
    made = ring(3)
    for size in ((640, 480), (100, 400), (400, 100)):
        film = orbit(made, 2, size=size)
        assert film.size.tolist() == [list(size)] * 2
        assert (film.size / film.focal <= made.size[:2] / made.focal[:2] + 1e-9).all()
        assert (film.focal[:, 0] == film.focal[:, 1]).all()


def test_mixed_photos_give_films_of_their_commonest_size():
    tall = replace(ring(2), size=torch.tensor([[240, 320]] * 2))
    film = interpolate(join_cameras([tall, ring(3)]), 7)
    assert film.size.tolist() == [[320, 240]] * 7


def test_paths_without_cameras_or_frames_are_refused():
    for path in (orbit, spiral, interpolate):
        with pytest.raises(CameraError, match="at least one"):
            path(ring(3)[:0], 5)
        with pytest.raises(CameraError, match="at least one"):
            path(ring(3), 0)


def test_looking_straight_down_still_orbits():
    down = look_at(torch.tensor([0.0, 0.0, 3.0]), torch.zeros(3), torch.tensor([0.0, 1.0, 0.0]))
    made = replace(ring(1).to(torch.float32), camera_to_world=down[None])
    film = orbit(made, 12).validate()
    assert film.camera_to_world.dtype == torch.float32
    assert sees_in_the_middle(film, gaze(made)[0], 1e-2)
