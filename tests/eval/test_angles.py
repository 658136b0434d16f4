"""Angles between cameras on a circle, and means per bin."""

import pytest
import torch

from diorama.errors import InputError
from diorama.eval.angles import AngleConfig, by_angle, nearest_input_angle
from tests.oracles import ring_cameras


def test_cameras_on_a_circle_are_as_far_apart_as_the_circle_says():
    ring = ring_cameras(36, elevation=0.5)
    angles = nearest_input_angle(ring, ring[[0, 12, 24]])
    expected = [min(10 * abs(i - j) for j in (0, 12, 24, 36)) for i in range(36)]
    torch.testing.assert_close(angles, torch.tensor(expected).double(), atol=1e-3, rtol=0)


def test_an_input_is_no_angle_from_itself_and_distance_does_not_count():
    ring = ring_cameras(8)
    focus = torch.tensor([0.0, 0.0, 0.5])
    assert nearest_input_angle(ring, ring, focus).max() < 1e-4
    pose = ring.camera_to_world.clone()
    pose[:, :3, 3] = focus + 3 * (pose[:, :3, 3] - focus)
    far = type(ring)(pose, ring.focal, ring.centre, ring.size, ring.distortion)
    assert nearest_input_angle(far, ring, focus).max() < 1e-4
    opposite = nearest_input_angle(ring[4:5], ring[:1], torch.tensor([0.0, 0.0, 1.2]))
    assert float(opposite) == pytest.approx(180, abs=1e-3)


def test_more_inputs_never_make_the_nearest_farther():
    ring = ring_cameras(20)
    few, more = (nearest_input_angle(ring, ring[[*chosen]], ring.origins.mean(0)) for chosen in ((0, 9), (0, 4, 9)))
    assert (more <= few + 1e-9).all()
    with pytest.raises(InputError, match="no input cameras"):
        nearest_input_angle(ring, ring[:0])


def test_bins_hold_their_lower_edge_and_leave_out_what_was_not_measured():
    config = AngleConfig(edges=(0.0, 10.0, 30.0, 180.0))
    angles = torch.tensor([0.0, 9.99, 10.0, 29.0, 30.0, 180.0], dtype=torch.float64)
    bins = by_angle([30.0, 20.0, 18.0, None, 12.0, 10.0], angles, config)
    assert [(one.count, one.mean) for one in bins] == [(2, 25.0), (1, 18.0), (2, 11.0)]
    assert [(one.low, one.high) for one in bins] == [(0.0, 10.0), (10.0, 30.0), (30.0, 180.0)]
    assert by_angle([1.0], angles[:1], config)[2].mean is None
