"""The observed map says who saw what: in closed form where that is known, by ray casting where it is furnished."""

from dataclasses import replace

import pytest
import torch

from diorama.cameras.pinhole import in_frustum, join_cameras, pixel_grid
from diorama.cameras.poses import Similarity
from diorama.cameras.rays import camera_rays
from diorama.data.views import Frame
from diorama.fields.hashgrid import GridConfig, HashField, HashFieldConfig
from diorama.rendering.render import SamplingConfig
from diorama.scenes.scene import Scene
from diorama.scenes.visibility import (
    VisibilityConfig,
    context_depth,
    known_depth,
    observe,
    observed_map,
    observed_points,
    sightings,
)
from diorama.types import Rendering
from diorama.worlds.cameras import sample_cameras
from diorama.worlds.dataset import Worlds, WorldsConfig
from diorama.worlds.trace import first_hits
from tests.oracles import exact_rendering, hit_distance, ring_cameras
from tests.scenes.flat_world import HEIGHT, PLATE, flat_world, floor_points, from_above


def test_a_floor_under_two_cameras_is_seen_twice_once_and_never():
    """Half of the view at height 2 is 2 wide: one camera covers x from -3 to 1, the other from -1 to 3."""
    cameras, points = from_above((-1.0, 0.0), (1.0, 0.0)), floor_points()
    covers = [((points[:, :2] - torch.tensor([x, 0.0])).abs() <= 2).all(-1) for x in (-1.0, 1.0)]
    expected = covers[0].long() + covers[1].long()
    assert expected.unique().tolist() == [0, 1, 2]
    context = context_depth(cameras, flat_world(plate=False))
    assert torch.equal(observed_points(context, points), expected)
    assert torch.equal(sightings(context, points)[1], expected)


def test_a_plate_throws_the_shadow_that_it_should():
    """From (x, 0, 2) the plate at half height hides a square twice its side, shifted by -x."""
    cameras, points = from_above((0.0, 0.0), (1.0, 0.0)), floor_points()
    context = context_depth(cameras, flat_world(plate=True))
    seen = torch.zeros(len(points), dtype=torch.long)
    sure = torch.ones(len(points), dtype=torch.bool)
    for x in (0.0, 1.0):
        beside = (points[:, :2] - torch.tensor([-x, 0.0])).abs().amax(-1) - 2 * PLATE
        covers = ((points[:, :2] - torch.tensor([x, 0.0])).abs() <= 2).all(-1)
        seen += covers & (beside > 0)
        sure &= beside.abs() > 2.0 / 32  # a pixel of the context picture on the floor
    count, framed = sightings(context, points)
    assert ((framed > count) & sure).sum() > 100
    assert torch.equal(count[sure], seen[sure])
    plate = torch.tensor([[0.0, 0.0, HEIGHT], [0.2, -0.2, HEIGHT]])
    assert observed_points(context, plate).tolist() == [2, 2]


@pytest.mark.parametrize("lens", ["pinhole", "opencv", "fisheye"])
def test_through_every_lens_a_bare_floor_is_seen_where_it_is_in_the_image(lens):
    bent = (-0.15, 0.02, 0.0, 0.0, 0.002, -0.003) if lens != "pinhole" else (0.0,) * 6
    cameras, points = from_above((-0.5, 0.2), (0.7, 0.0), lens=lens, distortion=bent), floor_points(reach=6.0)
    inside = in_frustum(cameras.to(torch.float64), points.double()).sum(0)
    assert inside.unique().tolist() == [0, 1, 2]
    assert torch.equal(observed_points(context_depth(cameras, flat_world(plate=False)), points), inside)


def test_what_lies_in_the_shadow_of_a_ball_was_not_seen():
    """Against the exact line of sight from every camera, away from the ball's outline."""
    cameras, view = ring_cameras(3, 128, 96, arc=120.0), ring_cameras(5, 64, 48, elevation=2.5)
    context = context_depth(cameras, exact_rendering)
    seen = exact_rendering(view)
    observed = observe(context, view, seen)
    rays = camera_rays(view, pixel_grid(64, 48).reshape(1, -1, 2))
    points = rays.at(seen.depth.reshape(5, -1) / rays.cosine).double()
    truth = torch.zeros_like(observed.count).reshape(5, -1)
    for index in range(3):
        way = points - cameras.origins[index].double()
        length = way.norm(dim=-1)
        met, _ = hit_distance(cameras.origins[index].double().expand_as(way), way / length[..., None])
        truth += in_frustum(cameras[index].to(torch.float64), points) & (met > 0.99 * length)
    near = (observed.surface & (seen.depth < 6)).reshape(5, -1)
    assert set(truth[near].unique().tolist()) == {0, 1, 2, 3}
    count = observed.count.reshape(5, -1)
    assert (truth == count)[near].float().mean() > 0.95
    assert ((truth > 0) == (count > 0))[near].float().mean() > 0.98


def in_room(world):
    """A `RenderFn` of the exact depth of a procedural world."""

    def render(cameras):
        width, height = cameras.size[0].tolist()
        rays = camera_rays(cameras, pixel_grid(width, height).to(cameras.focal).reshape(1, -1, 2))
        distance, _ = first_hits(world, rays.origins.reshape(-1, 3), rays.directions.reshape(-1, 3))
        depth = (distance * rays.cosine.reshape(-1)).reshape(len(cameras), height, width)
        solid = torch.isfinite(depth)
        colour = torch.full((len(cameras), 3, height, width), 0.5)
        return Rendering(colour, torch.where(solid, depth, 0.0).float(), solid.float())

    return render


@pytest.mark.parametrize("number", [0, 1, 2])
def test_in_a_furnished_room_it_is_what_ray_casting_says_up_to_a_few_percent(number):
    shot = Worlds(WorldsConfig(kinds=("room",), seed=5)).shot(number)
    cameras = sample_cameras(shot.world, 6, shot.generator, width=160, height=120, focal=110.0)
    render = in_room(shot.world)
    context, view = context_depth(cameras[:4], render), cameras[4:]
    seen = render(view)
    observed = observe(context, view, seen)
    rays = camera_rays(view, pixel_grid(160, 120).reshape(1, -1, 2))
    points = rays.at(seen.depth.reshape(2, -1) / rays.cosine)
    truth = torch.zeros(2, 160 * 120, dtype=torch.long)
    for index in range(4):
        way = points - cameras.origins[index]
        length = way.norm(dim=-1)
        met, _ = first_hits(
            shot.world, cameras.origins[index].expand_as(way).reshape(-1, 3), (way / length[..., None]).reshape(-1, 3)
        )
        truth += in_frustum(cameras[index], points) & (met.reshape(length.shape) > 0.995 * length)
    surface, count = observed.surface.reshape(2, -1), observed.count.reshape(2, -1)
    assert ((truth > 0) != (count > 0))[surface].float().mean() < 0.03
    assert (truth != count)[surface].float().mean() < 0.08


def test_the_frame_of_the_user_does_not_matter():
    """Millimetres, another north and another origin give the same map."""
    cameras, view = ring_cameras(3, arc=90.0), ring_cameras(2, elevation=2.0)
    before = observe(context_depth(cameras, exact_rendering), view, exact_rendering(view))
    scale, shift = 1000.0, torch.tensor([4e5, -2e5, 30.0], dtype=torch.float64)
    turn = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)

    def moved(these):
        pose = these.camera_to_world.double().clone()
        pose[:, :3, :3] = turn @ pose[:, :3, :3]
        pose[:, :3, 3] = scale * pose[:, :3, 3] @ turn.T + shift
        return replace(these, camera_to_world=pose)

    def render(these):
        pose = these.camera_to_world.clone()
        pose[:, :3, :3] = turn.T @ pose[:, :3, :3]
        pose[:, :3, 3] = (pose[:, :3, 3] - shift) @ turn / scale
        seen = exact_rendering(replace(these, camera_to_world=pose.float()))
        return replace(seen, depth=scale * seen.depth)

    after = observe(context_depth(moved(cameras), render), moved(view), render(moved(view)))
    assert (after.count == before.count).float().mean() > 0.998
    assert (after.framed == before.framed).float().mean() > 0.998


def test_the_count_is_the_sum_over_photographs():
    cameras, view = ring_cameras(4, arc=200.0), ring_cameras(2, elevation=2.0)
    seen = exact_rendering(view)
    config = VisibilityConfig(far_tolerance=0.0)
    alone = [observed_map(context_depth(cameras[[i]], exact_rendering, config), view, seen) for i in range(4)]
    assert torch.equal(observed_map(context_depth(cameras, exact_rendering, config), view, seen), sum(alone))
    assert all(part.max() == 1 for part in alone)


def test_every_pixel_with_a_surface_is_visible_occluded_or_outside():
    cameras, view = ring_cameras(2, arc=40.0), ring_cameras(5, elevation=2.0)
    seen = exact_rendering(view)
    observed = observe(context_depth(cameras, exact_rendering), view, seen)
    parts = observed.parts()
    assert list(parts) == ["visible", "occluded", "outside"]
    assert torch.equal(sum(part.long() for part in parts.values()), observed.surface.long())
    assert all(part.any() for part in parts.values())
    assert torch.equal(observed.surface, seen.depth > 0)
    assert (observed.count[~observed.surface] == 0).all()
    assert (observed.count <= observed.framed).all()


def test_what_a_photograph_shows_was_seen_by_it():
    cameras = ring_cameras(3, 160, 120)
    seen = exact_rendering(cameras)
    for index in range(3):
        context = context_depth(cameras[[index]], exact_rendering)
        own = observe(context, cameras[[index]], replace_view(seen, index))
        assert (own.count[own.surface] == 1).float().mean() > 0.99


def replace_view(rendering, index):
    return Rendering(*(getattr(rendering, name)[[index]] for name in ("colour", "depth", "opacity")))


def test_photographs_of_several_sizes_and_views_of_several_sizes_agree_with_those_of_one():
    cameras, view = ring_cameras(2, 64, 48, arc=60.0), ring_cameras(2, 40, 30, elevation=2.0)
    alone = [context_depth(cameras[[0]], exact_rendering), context_depth(cameras[[1]].resize(30, 44), exact_rendering)]
    mixed = join_cameras([cameras[[0]], cameras[[1]].resize(30, 44)])
    context = context_depth(mixed, exact_rendering)
    assert context.inverse.shape == (2, 48, 64)
    views = join_cameras([view[[0]], view[[1]].resize(20, 36)])
    small = exact_rendering(view[[1]].resize(20, 36))
    padded = Rendering(torch.zeros(2, 3, 36, 40), torch.zeros(2, 36, 40), torch.zeros(2, 36, 40))
    padded.depth[0, :30], padded.opacity[0, :30] = exact_rendering(view[[0]]).depth, 1.0
    padded.depth[1, :, :20], padded.opacity[1, :, :20] = small.depth, 1.0
    count = observe(context, views, padded).count
    apart = [observed_map(one, views[[1]], small) for one in alone]
    assert (count[1, :, :20] == apart[0][0] + apart[1][0]).float().mean() > 0.99
    assert (count[1, :, 20:] == 0).all()
    assert (count[0, 30:] == 0).all()


def test_context_pictures_are_small_and_never_enlarged():
    drawn = []

    def render(cameras):
        drawn.append(cameras.size[0].tolist())
        return exact_rendering(cameras)

    ticks = []
    context_depth(ring_cameras(2, 1000, 500), render, tick=lambda: ticks.append(1))
    context_depth(ring_cameras(1, 20, 30), render)
    assert drawn == [[128, 64], [128, 64], [20, 30]]
    assert len(ticks) == 2


def test_no_photograph_saw_where_depth_is_unknown_and_nothing_stops_sight_into_the_void():
    cameras, points = from_above((0.0, 0.0)), torch.tensor([[0.3, 0.3, 0.0], [-0.3, 0.3, 0.0], [9.0, 0.0, 0.0]])
    for depth, expected in ((0.0, [0, 0, 0]), (torch.inf, [1, 1, 0]), (1.0, [0, 0, 0]), (2.0, [1, 1, 0])):
        context = known_depth(cameras, torch.full((1, 64, 64), depth))
        assert observed_points(context, points).tolist() == expected
        assert sightings(context, points)[1].tolist() == [1, 1, 0]
    half = torch.full((1, 64, 64), 2.0)
    half[..., :32] = 0.0
    assert observed_points(known_depth(cameras, half), points).tolist() == [1, 0, 0]


def test_without_photographs_nothing_was_seen():
    view = ring_cameras(1)
    context = context_depth(ring_cameras(2)[:0], exact_rendering)
    assert observe(context, view, exact_rendering(view)).outside.any()
    assert observed_points(context, torch.zeros(0, 3)).shape == (0,)


def test_what_is_far_away_is_seen_by_all_though_its_depth_is_vague():
    cameras = from_above((0.0, 0.0))
    depth = torch.full((1, 64, 64), 3.0)
    depth[..., 40:] = 400.0
    context = known_depth(cameras, depth)
    pixels = torch.tensor([[50.0, 30.0], [10.0, 30.0]])
    ways = cameras[0].unproject(pixels) @ cameras.camera_to_world[0, :3, :3].T

    def seen_at(distance):
        return observed_points(context, ways * distance + cameras.origins[0]).tolist()

    assert seen_at(3.05) == [1, 1]
    assert seen_at(3.3) == [1, 0]
    assert seen_at(3000.0) == [1, 0]


def test_the_context_of_a_scene_is_drawn_once_and_from_its_photographs(monkeypatch):
    cameras = ring_cameras(3, 10, 8)
    grid = GridConfig(levels=2, features=2, log2_table_size=8, base_resolution=4, finest_resolution=8)
    scene = Scene(
        field=HashField(HashFieldConfig(grid=grid, hidden=8, geometry=3, colour_hidden=8, proposal=None)).eval(),
        sampling=SamplingConfig(coarse=8, fine=8),
        background="none",
        sphere=None,
        similarity=Similarity(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)),
        cameras=cameras,
        names=("a", "b", "c"),
        frame=Frame(),
        near=1.0,
        far=5.0,
        provenance={},
    )
    calls, render = [], Scene.render
    monkeypatch.setattr(Scene, "render", lambda self, view, **more: calls.append(view) or render(self, view, **more))
    seen = scene.render(cameras[:1])
    assert observed_map(scene, cameras[:1], seen).shape == (1, 8, 10)
    assert len(calls) == 1 + 3
    assert observed_points(scene, torch.zeros(4, 3)).shape == (4,)
    assert len(calls) == 1 + 3
    assert len(scene.context) == 3
