"""Views of one scene agree; billboards, floaters and wrong scales do not."""

import math
from dataclasses import replace

import pytest
import torch

from diorama.cameras.pinhole import Cameras, join_cameras
from diorama.cameras.poses import look_at
from diorama.eval.consistency import ConsistencyConfig, reprojection_consistency, scene_consistency
from diorama.types import Rendering
from tests.oracles import exact_rendering, pinhole_rays, ring_cameras


def plane_rendering(cameras):
    """The plane z = 0 in a smooth colour, seen from above; a `RenderFn`."""
    origins, directions, cosine = pinhole_rays(cameras)
    distance = -origins[..., 2] / directions[..., 2]
    x, y, _ = (origins + distance[..., None] * directions).unbind(-1)
    colour = torch.stack([0.5 + 0.2 * x.sin(), 0.5 + 0.2 * y.cos(), 0.5 + 0.1 * (x + y).sin()], 1)
    return Rendering(colour, distance * cosine, torch.ones_like(distance))


def cameras_above(count=4):
    """Tilted cameras that see nothing but the plane."""
    eye = torch.tensor([[0.5, 0, 2], [-0.5, 0.3, 2], [0, -0.6, 1.6], [0.2, 0.5, 2.4]], dtype=torch.float64)[:count]
    up = torch.tensor([0.0, 1, 0], dtype=torch.float64).expand(count, 3)
    pose = look_at(eye, torch.zeros(count, 3, dtype=torch.float64), up)
    focal, centre = torch.full((count, 2), 50.0), torch.tensor([[20.0, 16.0]]).expand(count, 2)
    return Cameras.pinhole(pose, focal.double(), centre.double(), torch.tensor([[40, 32]]).expand(count, 2))


def test_a_plane_is_consistent_exactly():
    result = scene_consistency(plane_rendering, cameras_above())
    assert result.consistent == 1
    assert result.hidden == 0
    assert result.depth_error < 1e-12
    assert result.colour_psnr > 60
    assert result.in_frame == result.confirmed
    assert result.tested == round(result.in_frame * 4 * 3 * 40 * 32)
    assert result.in_frame > 0.4


def test_a_ball_hides_what_is_behind_it_and_agrees_elsewhere():
    result = scene_consistency(exact_rendering, ring_cameras(8, 96, 72, radius=1.5, elevation=2.0))
    assert result.consistent > 0.999
    assert 0.1 < result.hidden < 0.6
    assert result.depth_error < 1e-3
    assert result.colour_psnr > 45
    assert result.confirmed == pytest.approx(result.in_frame * (1 - result.hidden) * result.consistent)


def test_box_and_wall_agree_too():
    from tests.textured import arc_cameras, exact_depth

    cameras = arc_cameras(3)
    grid = torch.stack(torch.meshgrid(torch.arange(160) + 0.5, torch.arange(120) + 0.5, indexing="xy"), -1)
    depth = exact_depth(cameras, cameras.unproject(grid.reshape(1, -1, 2))).reshape(3, 120, 160)
    result = reprojection_consistency(Rendering(torch.zeros(3, 3, 120, 160), depth, torch.ones_like(depth)), cameras)
    assert result.consistent > 0.999
    assert result.hidden > 0.005
    assert result.depth_error < 1e-5


@pytest.mark.parametrize("depth", [0.3, 0.6, 1.2, 2.0])
@pytest.mark.parametrize("arc", [60.0, 360.0])
def test_billboards_before_their_own_cameras_are_confirmed_far_less_than_the_true_scene(depth, arc):
    def billboards(cameras):
        exact = exact_rendering(cameras)
        return replace(exact, depth=torch.full_like(exact.depth, depth), opacity=torch.ones_like(exact.opacity))

    cameras = ring_cameras(6, arc=arc)
    wrong, right = scene_consistency(billboards, cameras), scene_consistency(exact_rendering, cameras)
    assert wrong.confirmed < 0.85 * right.confirmed
    assert not wrong.colour_psnr > right.colour_psnr - 20


def test_a_depth_of_the_wrong_scale_is_off_by_that_scale():
    cameras = cameras_above(2)
    exact = plane_rendering(cameras)
    depth = exact.depth.clone()
    depth[0] = 0.9 * depth[0]
    nearer = reprojection_consistency(replace(exact, depth=depth), cameras, pairs=[(0, 1)])
    assert nearer.consistent == 0
    assert math.isnan(nearer.colour_psnr)
    assert nearer.depth_error == pytest.approx(0.1, abs=0.02)
    lenient = ConsistencyConfig(tolerance=0.2)
    assert reprojection_consistency(replace(exact, depth=depth), cameras, lenient).consistent == 1
    behind = reprojection_consistency(replace(exact, depth=depth), cameras, pairs=[(1, 0)])
    assert behind.hidden > 0.9


def test_a_floater_is_hidden_from_one_side_and_contradicted_from_the_other():
    cameras = cameras_above(2)
    exact = plane_rendering(cameras)
    depth = exact.depth.clone()
    depth[0, 10:20, 10:20] = 1.2
    spoiled = replace(exact, depth=depth)
    onto = reprojection_consistency(spoiled, cameras, pairs=[(1, 0)])
    assert onto.hidden > 0
    assert onto.consistent == 1
    assert reprojection_consistency(spoiled, cameras, pairs=[(0, 1)]).consistent < 1


def test_colour_is_compared_where_depth_agrees():
    cameras = cameras_above(2)
    exact = plane_rendering(cameras)
    tinted = exact.colour.clone()
    tinted[1] += 0.1
    result = reprojection_consistency(replace(exact, colour=tinted), cameras)
    assert result.consistent == 1
    assert result.colour_psnr == pytest.approx(20, abs=0.1)


def test_empty_pixels_are_not_asked_and_contradict_who_looks_for_a_surface_there():
    cameras = cameras_above(2)
    exact = plane_rendering(cameras)
    opacity = exact.opacity.clone()
    opacity[1] = 0.2
    empty = replace(exact, opacity=opacity)
    assert reprojection_consistency(empty, cameras, pairs=[(1, 0)]).tested == 0
    asked = reprojection_consistency(empty, cameras, pairs=[(0, 1)])
    assert asked.consistent == 0
    assert asked.depth_error == pytest.approx(1)


def test_the_order_and_the_size_of_the_cameras_do_not_matter():
    cameras = cameras_above(3)
    whole = scene_consistency(plane_rendering, cameras)
    turned = scene_consistency(plane_rendering, cameras[[2, 0, 1]])
    assert turned.tested == whole.tested
    assert turned.colour_psnr == pytest.approx(whole.colour_psnr)
    mixed = join_cameras([cameras[:2], cameras[2:].resize(20, 16)])
    parts = [plane_rendering(mixed[:2]), plane_rendering(mixed[2:])]
    padded = Rendering(
        *(
            torch.cat([big, torch.nn.functional.pad(small, (0, 20, 0, 16))])
            for big, small in ((getattr(parts[0], k), getattr(parts[1], k)) for k in ("colour", "depth", "opacity"))
        )
    )
    assert reprojection_consistency(padded, mixed).consistent == 1


def test_one_view_or_views_that_share_nothing_have_no_answer():
    cameras = cameras_above(2)
    assert math.isnan(scene_consistency(plane_rendering, cameras[:1]).consistent)
    pose = cameras.camera_to_world.clone()
    pose[1, 0, 3] += 100
    apart = replace(cameras, camera_to_world=pose)
    result = scene_consistency(plane_rendering, apart)
    assert result.tested == 0
    assert math.isnan(result.consistent)
    assert math.isnan(result.depth_error)
    assert math.isnan(result.hidden)
