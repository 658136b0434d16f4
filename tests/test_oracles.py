"""The judges are judged: closed forms agree with each other."""

import torch

from tests import oracles


def test_depth_and_pixels_lead_back_to_the_surface():
    cameras = oracles.ring_cameras(3, 32, 24)
    seen = oracles.exact_rendering(cameras)
    origins, directions, cosine = oracles.pinhole_rays(cameras)
    points = origins + directions * (seen.depth / cosine)[..., None]
    from_ball = ((points - torch.tensor(oracles.CENTRE)).norm(dim=-1) - oracles.RADIUS).abs()
    from_plane = points[..., 2].abs()
    hit = seen.opacity > 0
    assert hit.any()
    assert not hit.all()
    assert torch.minimum(from_ball, from_plane)[hit].max() < 1e-4


def test_the_field_is_empty_in_front_of_every_surface_and_solid_behind_it():
    cameras = oracles.ring_cameras(2, 24, 16)
    origins, directions, _ = oracles.pinhole_rays(cameras)
    distance, hit = oracles.hit_distance(origins, directions)
    before = (origins + directions * (distance - 1e-2)[..., None])[hit]
    behind = (origins + directions * (distance + 1e-3)[..., None])[hit]
    assert oracles.sphere_field(before, before)[0].max() == 0
    assert (oracles.sphere_field(behind, behind)[0] > 0).float().mean() > 0.97  # rays may graze the ball


def test_the_ring_looks_at_the_ball():
    cameras = oracles.ring_cameras(5, 33, 25)
    seen = oracles.exact_rendering(cameras)
    expected = (cameras.origins - torch.tensor(oracles.CENTRE)).norm(dim=-1) - oracles.RADIUS
    assert torch.allclose(seen.depth[:, 12, 16], expected, atol=1e-4)
