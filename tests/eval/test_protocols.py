"""Protocols: their splits, their sizes and what is said when a scene departs from them."""

from dataclasses import replace

import pytest
import torch

from diorama.data.splits import make_split
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.eval.protocols import CO3D, DTU, LLFF, PROTOCOLS, at_protocol_size, departures, find_protocol
from tests.oracles import exact_views, ring_cameras


def photos(count):
    return Views(torch.zeros(count, 3, 2, 2), tuple(f"{index:03d}.jpg" for index in range(count)), layout="llff")


@pytest.mark.parametrize(
    ("total", "views", "expected"),
    [
        (20, 3, [1, 10, 19]),
        (34, 3, [1, 17, 33]),
        (42, 3, [1, 21, 41]),
        (62, 3, [1, 30, 61]),
        (26, 3, [1, 12, 25]),
        (25, 3, [1, 12, 23]),
        (41, 3, [1, 20, 39]),
        (55, 3, [1, 28, 54]),
    ],
)
def test_llff_trains_on_the_published_photos(total, views, expected):
    split = make_split(photos(total), LLFF.split, views)
    assert [int(name[:3]) for name in split.train] == expected
    assert [int(name[:3]) for name in split.test] == list(range(0, total, 8))


def test_names_find_protocols_and_nothing_else_does():
    assert [find_protocol(protocol.name) for protocol in PROTOCOLS] == list(PROTOCOLS)
    assert find_protocol("out/fox") is None


def test_published_figures_are_those_of_the_spec():
    figures = {row.method: row.figures for row in (*LLFF.published, *DTU.published)}
    assert [row.figures[3][0] for row in LLFF.published] == [19.08, 19.88, 19.79]
    assert [row.figures[9][0] for row in DTU.published] == [24.93, 22.01, 25.18]
    assert all(set(row) == {3, 6, 9} for row in figures.values())


def test_departures_are_named():
    lines = "\n".join(departures(DTU, "dtu_scan24", (640, 480)))
    assert "scan24 is not among the protocol's 15 scenes" in lines
    assert "area-resized to 400x300 from copies of 640x480, not from the authors' 1600x1200" in lines
    assert "not comparable" in lines
    for line in (*departures(DTU, "scan114", (400, 300)), *departures(LLFF, "llff_fern", (4032, 3024))):
        assert line.startswith("one scene is not comparable")
    assert departures(CO3D, "apple", (360, 640)) == []


def test_photos_and_cameras_shrink_together():
    views = exact_views(ring_cameras(2, width=640, height=480))
    views = replace(views, object=torch.ones(2, 480, 640), ignore=torch.zeros(2, 480, 640, dtype=torch.bool))
    small = at_protocol_size(views, DTU)
    assert small.images.shape == (2, 3, 300, 400)
    assert small.cameras.size.tolist() == [[400, 300]] * 2
    assert small.object.shape == small.depth.shape == small.ignore.shape == (2, 300, 400)
    assert not small.ignore.any()
    torch.testing.assert_close(small.cameras.focal, views.cameras.focal * 0.625)
    torch.testing.assert_close(small.images.mean((2, 3)), views.images.mean((2, 3)), atol=1e-3, rtol=0)
    assert at_protocol_size(small, DTU) is small
    assert at_protocol_size(views, CO3D) is views


def test_photos_of_another_shape_or_too_small_are_refused():
    for width, height in ((640, 360), (320, 240)):
        with pytest.raises(InputError, match="measures at 400x300"):
            at_protocol_size(exact_views(ring_cameras(1, width=width, height=height)), DTU)
