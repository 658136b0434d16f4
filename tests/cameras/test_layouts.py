"""Cameras of scenes that nobody photographed."""

import math
from typing import get_args

import pytest
import torch

from diorama.cameras.layouts import RISE, Layout, layout_cameras
from diorama.cameras.pinhole import in_frustum
from diorama.data.view_choice import viewing_distance
from diorama.errors import CameraError


@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("count", [2, 4, 9])
def test_all_see_the_middle_upright_from_a_unit_or_two_away(layout, count):
    cameras = layout_cameras(layout, count, 16).validate()
    assert bool(in_frustum(cameras, torch.zeros(1, 3)).all())
    assert 0.7 < float(viewing_distance(cameras)) < 2.5
    assert bool((cameras.camera_to_world[:, 2, 1] < 0).all())  # +z of the world is upwards in the picture
    assert float(torch.pdist(cameras.origins).min()) > 0.05


def test_an_orbit_keeps_distance_and_height_and_never_passes_its_start():
    cameras = layout_cameras("orbit", 40, 16)
    torch.testing.assert_close(cameras.origins.norm(dim=-1), torch.ones(40))
    torch.testing.assert_close(cameras.origins[:, 2], torch.full((40,), math.sin(RISE)))
    assert float(torch.pdist(cameras.origins).min()) > 0.1


@pytest.mark.parametrize("layout", get_args(Layout))
def test_a_single_one_stands_in_the_middle_of_them(layout):
    alone, three = layout_cameras(layout, 1, 16), layout_cameras(layout, 3, 16)
    torch.testing.assert_close(alone.origins[0], three.origins.mean(0), atol=0.2, rtol=0)
    with pytest.raises(CameraError, match="at least one"):
        layout_cameras(layout, 0, 16)
