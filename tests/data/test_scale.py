from dataclasses import replace

import pytest
import torch

from diorama.data.scale import METRES, camera_bounds, scene_scale
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError
from tests.textured import arc_cameras


def bare(**parts):
    cameras = arc_cameras(3, 10.0, (32, 24))
    return Views(torch.zeros(3, 3, 24, 32), ("a", "b", "c"), cameras, **parts)


def cloud(count=400, depth=2.7):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, generator=generator) * 0.2 + torch.tensor([0.0, 0.0, depth])


def test_the_best_evidence_is_taken_and_named():
    bounds = torch.tensor([[1.0, 5.0]]).expand(3, 2)
    depth = torch.full((3, 24, 32), 2.0)
    parts = {"bounds": bounds, "points": cloud(), "depth": depth}
    named = ["near and far in the data", "points in the data", "depth maps", "SIFT points", "camera geometry"]
    for source in named[:4]:
        assert source in scene_scale(bare(**parts), triangulated=cloud()).source
        if parts:
            parts.pop(next(iter(parts)))
    assert named[4] in scene_scale(bare()).source
    assert named[4] in scene_scale(bare(), triangulated=cloud(3)).source


def test_one_wild_point_in_a_hundred_changes_nothing():
    views = bare()
    clean = scene_scale(views, triangulated=cloud())
    wild = torch.cat([cloud(), torch.tensor([[0.0, 0.0, 1e6], [0.0, 0.0, 5e5], [0.0, 0.0, 0.3]])])
    dirty = scene_scale(views, triangulated=wild)
    assert torch.allclose(clean.near, dirty.near, rtol=0.05)
    assert torch.allclose(clean.far, dirty.far, rtol=0.1)


def test_metric_like_scale_puts_the_median_depth_at_three_metres_and_yields_to_the_user():
    found = scene_scale(bare(depth=torch.full((3, 24, 32), 600.0)))
    assert found.scale * found.median_depth == pytest.approx(METRES)
    given = scene_scale(bare(depth=torch.full((3, 24, 32), 600.0)), scale=0.001)
    assert given.scale == 0.001
    assert "given" in given.source
    with pytest.raises(InputError, match="positive"):
        scene_scale(bare(), scale=-1.0)


def test_near_far_and_median_grow_with_the_users_units():
    small = scene_scale(bare(points=cloud()))
    cameras = bare().cameras
    poses = cameras.camera_to_world.clone()
    poses[:, :3, 3] *= 1000
    large = scene_scale(replace(bare(points=cloud() * 1000), cameras=replace(cameras, camera_to_world=poses)))
    assert torch.allclose(large.near, small.near * 1000, rtol=1e-3)
    assert large.median_depth == pytest.approx(small.median_depth * 1000, rel=1e-3)


def test_an_arc_looks_from_a_fifth_to_four_times_its_focus():
    near, far = camera_bounds(arc_cameras(5))
    assert torch.allclose(near, torch.full((5,), 0.2 * 2.7), rtol=0.1)
    assert torch.allclose(far, 20 * near)


def test_one_camera_equal_cameras_and_parallel_cameras_have_bounds_all_the_same():
    cameras = arc_cameras(3)
    for few in (cameras[[0]], cameras[[1, 1, 1]]):
        near, far = camera_bounds(few)
        assert bool((near > 0).all() and (far > near).all() and torch.isfinite(far).all())
    poses = torch.eye(4).repeat(3, 1, 1)
    poses[:, 0, 3] = torch.tensor([0.0, 0.5, 1.0])
    near, far = camera_bounds(replace(cameras, camera_to_world=poses))
    assert torch.allclose(far, torch.full((3,), 10.0))


def test_a_view_that_sees_no_points_takes_the_bounds_of_all():
    cameras = arc_cameras(3)
    poses = cameras.camera_to_world.clone()
    poses[2, :3, :3] = poses[2, :3, :3] @ torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    views = replace(bare(points=cloud()), cameras=replace(bare().cameras, camera_to_world=poses))
    found = scene_scale(views)
    assert bool((found.near > 0).all())
    assert float(found.near[2]) >= float(found.near[:2].min()) - 1e-4


def test_views_without_cameras_are_refused_with_advice():
    with pytest.raises(ViewsError, match="diorama pose"):
        scene_scale(Views(torch.zeros(1, 3, 4, 4), ("a",)))
