"""Photos for a multi-view model: spread over the capture, never twins."""

import pytest
import torch

from diorama.cameras.pinhole import Cameras
from diorama.data.view_choice import choose_views, viewing_distance
from diorama.errors import ViewsError
from tests.data.tiny import ring


def at(places):
    """Cameras at these places that all look along +z."""
    pose = torch.eye(4).repeat(len(places), 1, 1)
    pose[:, :3, 3] = torch.tensor(places)
    count = len(places)
    return Cameras.pinhole(pose, torch.full((count, 2), 20.0), torch.full((count, 2), 8.0), torch.full((count, 2), 16))


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_every_part_of_a_capture_gives_one_view_and_which_is_random(count, rng):
    cameras = ring(37)
    seen = set()
    for _ in range(60):
        chosen = choose_views(cameras, count, rng)
        assert [
            part
            for part in range(count)
            if sum(part * 37 // count <= c < (part + 1) * 37 // count for c in chosen) != 1
        ] == []
        assert chosen == sorted(chosen)
        seen |= set(chosen)
    assert len(seen) > 20


def test_no_two_views_are_closer_than_the_baseline(rng):
    cameras = ring(60)
    distance = viewing_distance(cameras)
    apart = torch.cdist(cameras.origins, cameras.origins)
    for _ in range(20):
        chosen = choose_views(cameras, 8, rng, 0.5)
        assert float(apart[chosen][:, chosen].fill_diagonal_(9).min()) >= 0.5 * distance - 1e-6


def test_twins_are_refused_wherever_they_are_in_the_order(rng):
    # two rounds of the same ring: photo k and photo k + 10 are twins
    once = ring(10)
    cameras = once[torch.cat([torch.arange(10), torch.arange(10)])]
    for _ in range(20):
        chosen = choose_views(cameras, 6, rng)
        assert len({place % 10 for place in chosen}) == 6


def test_the_whole_capture_is_searched_where_its_parts_stand_still(rng):
    # nine photos at one place, then three that move on: parts of four photos hold no three that are apart
    cameras = at([[0.0, 0, 0]] * 9 + [[1.0, 0, 0], [2.0, 0, 0], [3.0, 0, 0]])
    chosen = choose_views(cameras, 4, rng, 0.1)
    assert chosen[1:] == [9, 10, 11]


def test_the_distance_does_not_depend_on_the_unit(rng):
    cameras = ring(20)
    large = Cameras.pinhole(cameras.camera_to_world.clone(), cameras.focal, cameras.centre, cameras.size)
    large.camera_to_world[:, :3, 3] *= 1000
    assert viewing_distance(large) == pytest.approx(1000 * viewing_distance(cameras), rel=1e-5)
    first = choose_views(cameras, 5, torch.Generator().manual_seed(3), 0.4)
    assert first == choose_views(large, 5, torch.Generator().manual_seed(3), 0.4)


def test_cameras_on_a_ring_look_at_its_middle():
    assert viewing_distance(ring(9)) == pytest.approx((4 + 0.49) ** 0.5, rel=1e-4)


def test_one_place_leaves_the_distance_open(rng):
    assert viewing_distance(at([[3.0, 4.0, 5.0]])) is None
    turning = ring(4)
    turning.camera_to_world[:, :3, 3] = torch.tensor([300.0, 1.0, 2.0])
    assert viewing_distance(turning) is None
    assert len(choose_views(turning, 3, rng, 0.0)) == 3
    with pytest.raises(ViewsError, match=r"4 photos, of which 1 .* 3 are needed"):
        choose_views(turning, 3, rng)


def test_too_few_views_say_how_many_there_are(rng):
    with pytest.raises(ViewsError, match="1 to 4"):
        choose_views(ring(4), 5, rng)
    with pytest.raises(ViewsError, match="1 to 4"):
        choose_views(ring(4), 0, rng)
    with pytest.raises(ViewsError, match="smaller baseline"):
        choose_views(ring(8), 6, rng, 1.2)
