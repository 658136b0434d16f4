"""IB-planes: what a view says of a point, and how views are pooled. Numbers of the spec's tests: GIBR, section 9.2."""

import math
from dataclasses import replace

import pytest
import torch

from diorama.cameras.conditioning import relative_intrinsics, world_to_camera
from diorama.cameras.pinhole import Cameras
from diorama.fields.ib_planes import (
    IBPlaneField,
    IBPlanesConfig,
    KeptPlanes,
    Planes,
    average_poles,
    drop_some,
    harmonics,
    local_places,
    others_of,
    point_code,
    split_maps,
)
from diorama.kernels.view_gather import gather_views
from tests.oracles import ring_cameras

CONFIG = IBPlanesConfig(channels=5, polar_channels=3, hidden=16, octaves=4)


def planes_of(cameras, config=CONFIG, *, side=(8, 8), seed=0):
    """Random maps of unit variance for cameras (scene, view), or (view) for one scene."""
    rng = torch.Generator().manual_seed(seed)
    poses, intrinsics = world_to_camera(cameras), relative_intrinsics(cameras)
    if poses.ndim == 3:
        poses, intrinsics = poses[None], intrinsics[None]
    scenes, views = poses.shape[:2]
    maps = torch.randn(scenes, views, config.channels, *side, generator=rng)
    polar = torch.randn(scenes, views, config.polar_channels, 6, 12, generator=rng) if config.polar_channels else None
    return Planes(maps, polar, poses, intrinsics, torch.ones(scenes, views, dtype=torch.bool))


def field_of(config=CONFIG, seed=0):
    torch.manual_seed(seed)
    field = IBPlaneField(config)
    torch.nn.init.normal_(field.nothing)
    return field


def around(count, rng, reach=2.0):
    """Points of one scene in and around the ring of cameras."""
    return reach * torch.randn(1, count, 3, generator=rng)


def gap(a, b):
    """The largest difference."""
    return float((a - b).detach().abs().amax())


def picked(planes, order):
    """The views of the planes in another order, or some of them."""
    parts = (planes.perspective, planes.polar, planes.world_to_camera, planes.intrinsics, planes.present)
    return Planes(*(part[:, order] for part in parts))


@pytest.mark.parametrize("smaller", [1, 2], ids=["plane = image", "plane = image / 2"])
def test_spec_01_planes_of_pixel_coordinates_return_where_a_point_is_projected_to(smaller, rng):
    width, height = 48, 32
    poses = ring_cameras(3, width, height).camera_to_world
    focal = torch.tensor([[40.0, 44.0], [52.0, 47.0], [61.0, 60.0]])
    centre = torch.tensor([[20.3, 13.9], [30.1, 18.2], [24.0, 5.5]])
    cameras = Cameras.pinhole(poses, focal, centre, torch.tensor([width, height]).expand(3, 2))
    rows, columns = height // smaller, width // smaller
    y, x = torch.meshgrid((torch.arange(rows) + 0.5) * smaller, (torch.arange(columns) + 0.5) * smaller, indexing="ij")
    maps = torch.stack([x, y]).expand(1, 3, 2, rows, columns)
    room = torch.tensor([width - smaller, height - smaller])
    pixels = 0.5 * smaller + torch.rand(3, 200, 2, generator=rng) * room
    local = cameras.unproject(pixels) * (0.2 + 5 * torch.rand(3, 200, 1, generator=rng))
    points = local @ poses[:, :3, :3].mT + poses[:, None, :3, 3]
    for view in range(3):
        found, distance = gather_views(
            points[view][None], world_to_camera(cameras)[None], relative_intrinsics(cameras)[None], maps, None,
            min_depth=1e-2,
        )  # fmt: skip
        assert gap(found[0, view, :, :2], pixels[view]) < 1e-3
        assert bool((found[0, view, :, 2] == 1).all())
        torch.testing.assert_close(distance[0, view], local[view].norm(dim=-1), rtol=1e-4, atol=1e-4)


def test_spec_02_a_point_mirrored_through_the_camera_reads_no_pixel(rng):
    cameras = ring_cameras(1)
    planes, pose = planes_of(cameras), cameras.camera_to_world[0]
    before = torch.rand(1, 50, 3, generator=rng) * torch.tensor([0.4, 0.4, 1.0]) + torch.tensor([-0.2, -0.2, 1.0])
    ahead, behind = (side @ pose[:3, :3].T + pose[:3, 3] for side in (before, -before))
    where = (planes.world_to_camera, planes.intrinsics, planes.perspective, planes.polar)
    seen, mirrored = (gather_views(points, *where, min_depth=1e-2)[0] for points in (ahead, behind))
    assert bool((seen[..., 5] == 1).all())
    assert bool((seen[..., :5].abs().amax(-1) > 0).all())
    assert bool((mirrored[..., :6] == 0).all())
    assert bool((mirrored[..., 6:].abs().amax(-1) > 0).all())


def test_spec_02_behind_a_camera_density_follows_the_polar_map_alone(rng):
    cameras, field = ring_cameras(1), field_of()
    pose, planes = cameras.camera_to_world[0], planes_of(cameras)
    behind = (-torch.rand(1, 50, 3, generator=rng) - 0.1) @ pose[:3, :3].T + pose[:3, 3]
    density, colour = field(planes, behind)
    other_flat = field(replace(planes, perspective=torch.randn(planes.perspective.shape, generator=rng)), behind)
    other_polar = field(replace(planes, polar=torch.randn(planes.polar.shape, generator=rng)), behind)
    assert torch.equal(other_flat[0], density)
    assert torch.equal(other_flat[1], colour)
    assert bool((other_polar[0] != density).all())


@pytest.mark.parametrize("code", ["distance", "xyz", "depth"])
def test_spec_02_all_is_finite_beside_in_and_far_from_a_camera(code):
    config = replace(CONFIG, point_code=code)
    field, planes = field_of(config), planes_of(ring_cameras(2), config)
    planes.perspective.requires_grad_()
    planes.polar.requires_grad_()
    pose = ring_cameras(2).camera_to_world[0]
    local = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, -1, 0], [0.3, 0.2, 0], [0, 0, 1e-8], [0, 1, 0], [0, 0, 1e6]])
    density, colour = field(planes, (local @ pose[:3, :3].T + pose[:3, 3])[None])
    assert bool(density.isfinite().all())
    assert bool(colour.isfinite().all())
    (density.sum() + colour.sum()).backward()
    assert all(bool(one.grad.isfinite().all()) for one in (planes.perspective, planes.polar, *field.parameters()))


def test_spec_03_polar_maps_join_at_the_back(rng):
    polar = torch.randn(1, 1, 4, 8, 16, generator=rng)
    height = torch.linspace(-3, 3, 41)
    sides = torch.stack([torch.stack([side + 0 * height, height, height * 0 - 1], -1) for side in (1e-5, -1e-5)])
    pose = torch.eye(3, 4)[None, None]
    read = [
        gather_views(side[None], pose, torch.ones(1, 1, 4), torch.zeros(1, 1, 0, 1, 1), polar, min_depth=0.0)[0]
        for side in sides
    ]
    assert gap(read[0], read[1]) < 1e-2
    assert float(read[0][..., 1:].std()) > 0.1


def test_spec_03_a_polar_map_of_directions_returns_the_six_axes():
    rows, columns = 16, 32
    elevation = ((torch.arange(rows) + 0.5) / rows * 2 - 1) * 0.5 * math.pi
    azimuth = ((torch.arange(columns) + 0.5) / columns * 2 - 1) * math.pi
    e, a = torch.meshgrid(elevation, azimuth, indexing="ij")
    directions = torch.stack([e.cos() * a.sin(), e.sin(), e.cos() * a.cos()])
    polar = average_poles(directions[None, None])
    axes = torch.cat([torch.eye(3), -torch.eye(3)])
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0]
    centre = torch.tensor([0.5, -2.0, 1.0])
    pose = torch.cat([turn.T, -(turn.T @ centre)[:, None]], dim=-1)[None, None]
    points = 3.0 * axes @ turn.T + centre
    read = gather_views(
        points[None], pose, torch.ones(1, 1, 4), torch.zeros(1, 1, 0, 1, 1), polar, min_depth=0.0
    )[0][0, 0, :, 1:]  # fmt: skip
    assert gap(read, axes) < 0.02


def test_poles_do_not_depend_on_azimuth_and_the_rest_stays(rng):
    polar = torch.randn(2, 3, 4, 6, 12, generator=rng)
    made = average_poles(polar)
    for row in (0, -1):
        torch.testing.assert_close(made[..., row, :], polar[..., row, :].mean(-1, keepdim=True).expand(2, 3, 4, 12))
    assert torch.equal(made[..., 1:-1, :], polar[..., 1:-1, :])


def test_maps_are_split_into_planes_and_polar_maps_of_half_their_side(rng):
    maps = torch.randn(2, 3, 8, 10, 12, generator=rng)
    perspective, polar = split_maps(maps, replace(CONFIG, pole_average=False))
    assert torch.equal(perspective, maps[:, :, :5])
    blocks = maps[:, :, 5:].reshape(2, 3, 3, 5, 2, 6, 2).mean((-3, -1))
    torch.testing.assert_close(polar, blocks)
    assert split_maps(maps[:, :, :5], replace(CONFIG, polar_channels=0))[1] is None


@pytest.mark.parametrize("pool", ["max", "mean", "softmax"])
def test_spec_04_the_field_does_not_depend_on_the_order_of_the_views(pool, rng):
    field, planes = field_of(replace(CONFIG, pool=pool)), planes_of(ring_cameras(5))
    points, order = around(300, rng), torch.tensor([3, 0, 4, 2, 1])
    keep = torch.rand(1, 5, 300, generator=rng) < 0.7
    one = field(planes, points, keep)
    other = field(picked(planes, order), points, keep[:, order])
    wrong = field(picked(planes, order), points, keep)
    for a, b, c in zip(one, other, wrong, strict=True):
        assert gap(a, b) < 1e-6
        assert gap(a, c) > 1e-3


def test_spec_05_with_max_a_view_that_is_there_twice_changes_nothing(rng):
    planes, points = planes_of(ring_cameras(4)), around(300, rng)
    twice = picked(planes, torch.tensor([0, 1, 2, 3, 1, 1]))
    for pool, agreement, idempotent in (("max", False, True), ("max", True, False), ("mean", False, False)):
        field = field_of(replace(CONFIG, pool=pool, agreement=agreement))
        once, again = field(planes, points), field(twice, points)
        assert torch.equal(once[0], again[0]) == idempotent
        assert torch.equal(once[1], again[1]) == idempotent


@pytest.mark.parametrize("pool", ["max", "mean", "softmax"])
def test_spec_05_views_that_fill_up_a_batch_have_no_say_whatever_they_hold(pool, rng):
    field, planes, points = field_of(replace(CONFIG, pool=pool)), planes_of(ring_cameras(6)), around(300, rng)
    planes.perspective[:, 3:] = math.nan
    planes.polar[:, 3:] = math.inf
    planes = replace(planes, present=torch.arange(6)[None] < 3)
    keep = torch.rand(1, 6, 300, generator=rng) < 0.7
    for chosen in (None, keep):
        padded = field(planes, points, chosen)
        alone = field(planes.of_scene(0), points, None if chosen is None else chosen[:, :3])
        for a, b in zip(padded, alone, strict=True):
            assert gap(a, b) < 1e-5
    assert planes.of_scene(0).present.tolist() == [[True] * 3]


def test_spec_06_a_plane_that_is_left_out_for_a_ray_has_neither_a_say_nor_a_gradient(rng):
    field, planes, points = field_of(), planes_of(ring_cameras(3)), around(200, rng, reach=0.7)
    keep = torch.ones(1, 3, 200, dtype=torch.bool)
    keep[:, 1] = False
    parts = (planes.perspective.requires_grad_(), planes.polar.requires_grad_())
    density, colour = field(planes, points, keep)
    for gradient in torch.autograd.grad(density.sum() + colour.sum(), parts):
        assert float(gradient[:, 1].abs().amax()) == 0.0
        assert float(gradient[:, [0, 2]].abs().amax(dim=(2, 3, 4)).amin()) > 0.0
    huge = planes.perspective.detach().clone()
    huge[:, 1] = 1e30
    again = field(replace(planes, perspective=huge), points, keep)
    assert torch.equal(again[0], density)
    assert torch.equal(again[1], colour)


@pytest.mark.parametrize("pool", ["max", "mean", "softmax"])
def test_spec_07_where_no_view_is_kept_the_field_is_the_learned_constant(pool, rng):
    field, planes, points = field_of(replace(CONFIG, pool=pool)), planes_of(ring_cameras(3)), around(40, rng)
    planes.perspective.requires_grad_()
    keep = torch.ones(1, 3, 40, dtype=torch.bool)
    keep[..., :20] = False
    density, colour = field(planes, points, keep)
    h = field.nothing
    for layer in field.decode[:-1]:
        h = torch.nn.functional.silu(layer(h))
    out = field.decode[-1](h)
    expected = torch.nn.functional.softplus(out[0] + CONFIG.density_shift)
    torch.testing.assert_close(density[0, :20], expected.expand(20))
    torch.testing.assert_close(colour[0, :20], torch.sigmoid(out[1:]).expand(20, 3))
    (density[:, :20].sum() + colour[:, :20].sum()).backward()
    assert float(field.nothing.grad.abs().amin()) > 0
    assert all(bool(one.grad.isfinite().all()) for one in field.parameters() if one.grad is not None)
    assert float(planes.perspective.grad.abs().amax()) == 0.0


def test_with_drop_a_view_is_painted_by_all_others_and_with_keep_by_all():
    target = torch.tensor([[0, 2, 5, 1]])
    dropped, kept = others_of(target, 3, "drop"), others_of(target, 3, "keep")
    assert dropped[0].T.tolist() == [[False, True, True], [True, True, False], [True, True, True], [True, False, True]]
    assert bool(kept.all())


def test_with_drop_the_planes_of_all_squares_of_one_photograph_are_left_out():
    target = torch.tensor([[0, 1, 2, 3]])
    poses = torch.eye(4).repeat(1, 4, 1, 1)
    poses[0, :, 0, 3] = torch.tensor([0.0, 1.0, 1e-5, 1.0])  # 0 and 2 are one photograph, 1 and the held-out 3 another
    dropped, kept = (others_of(target, 3, own, poses=poses) for own in ("drop", "keep"))
    assert dropped[0].T.tolist() == [
        [False, True, False],
        [True, False, True],
        [False, True, False],
        [True, False, True],
    ]
    assert bool(kept.all())


def test_other_planes_are_dropped_for_whole_views_as_often_as_asked_but_never_all_of_them(rng):
    scenes, views, rays = 400, 4, 3
    target = torch.arange(views).repeat_interleave(rays).expand(scenes, -1)
    present = torch.ones(scenes, views, dtype=torch.bool)
    keep = others_of(target, views)
    left = drop_some(keep, target, present, 0.3, rng)
    grouped = left.unflatten(2, (views, rays))
    assert bool((grouped == grouped[..., :1]).all())
    assert not bool((left & ~keep).any())
    assert bool(left.any(1).all())
    share = float((keep & ~left).sum() / keep.sum())
    assert abs(share - (0.3 - 0.3**3)) < 0.02  # where all three would be dropped, all three stay
    assert drop_some(keep, target, present, 0.0, rng) is keep
    alone = torch.arange(views)[None] < torch.full((scenes, 1), 2)
    one_left = drop_some(keep, target, alone, 0.9, rng)
    assert bool((one_left & alone[..., None]).any(1).all())


def test_the_code_of_a_point_is_bounded_and_its_waves_double_in_frequency():
    values = torch.tensor([[0.25]])
    quarter = 0.125 * math.pi
    expected = [0.25, *(math.sin(quarter * n) for n in (1, 2, 4)), *(math.cos(quarter * n) for n in (1, 2, 4))]
    torch.testing.assert_close(harmonics(values, 3)[0].sort().values, torch.tensor(expected).sort().values)
    far = torch.tensor([[[1e8, 0.0, 0.0]]])
    pose = torch.eye(3, 4)[None, None]
    for code in ("distance", "xyz", "depth"):
        config = replace(CONFIG, point_code=code, octaves=2)
        numbers = point_code(config, far.norm(dim=-1)[:, None], local_places(far, pose))
        assert numbers.shape[-1] == config.code
        assert float(numbers.abs().amax()) < 20


@pytest.mark.parametrize("code", ["distance", "xyz", "depth"])
def test_places_are_not_rounded_under_autocast(code, rng):
    config, points = replace(CONFIG, point_code=code), around(50, rng)
    planes = planes_of(ring_cameras(2), config)
    distance = (points[:, None] - ring_cameras(2).origins[None, :, None]).norm(dim=-1)
    exact = point_code(config, distance, local_places(points, planes.world_to_camera))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = point_code(config, distance, local_places(points, planes.world_to_camera))
    assert torch.equal(rounded, exact)


def test_the_renderer_gets_the_rays_of_several_scenes_in_a_row(rng):
    cameras = [ring_cameras(3, radius=radius) for radius in (2.0, 3.0)]
    one, two = (planes_of(ring, seed=seed) for seed, ring in enumerate(cameras))
    both = Planes(
        *(torch.cat([getattr(one, name), getattr(two, name)]) for name in ("perspective", "polar", "world_to_camera")),
        torch.cat([one.intrinsics, two.intrinsics]), torch.cat([one.present, two.present]),
    )  # fmt: skip
    field, positions = field_of(), torch.randn(8, 5, 3, generator=rng)
    keep = torch.rand(2, 3, 4, generator=rng) < 0.6
    density, colour = KeptPlanes(field, both, keep).geometry(positions)
    for scene, planes in enumerate((one, two)):
        rays = slice(4 * scene, 4 * scene + 4)
        alone = KeptPlanes(field, planes, keep[scene][None]).geometry(positions[rays])
        torch.testing.assert_close(density[rays], alone[0])
        torch.testing.assert_close(colour[rays], alone[1])


@pytest.mark.parametrize("pool", ["max", "mean", "softmax"])
def test_a_fresh_field_sees_what_planes_hold(pool, rng):
    config = replace(IBPlanesConfig(), pool=pool)
    torch.manual_seed(0)
    field, points = IBPlaneField(config), around(500, rng, reach=0.5)
    one, other = (field(planes_of(ring_cameras(4), config, seed=seed), points) for seed in (0, 1))
    assert float((one[1] - other[1]).detach().std()) > 0.02
    assert float((one[0] - other[0]).detach().std()) > 0.02


@pytest.mark.parametrize("agreement", [True, False])
def test_views_that_are_asked_first_speak_alone_about_what_they_have_in_frame(agreement, rng):
    config = replace(CONFIG, agreement=agreement)
    planes, field = planes_of(ring_cameras(4), config), field_of(config)
    first = torch.tensor([[True, True, False, False]])
    where = around(400, rng)
    framed = gather_views(
        where, planes.world_to_camera, planes.intrinsics, planes.perspective, planes.polar, min_depth=config.least_depth
    )[0][0, :2, :, config.channels].any(0)  # fmt: skip
    assert 0.2 < float(framed.float().mean()) < 0.9
    every, alone = field(planes, where), field(replace(planes, present=first), where)
    density, colour = field(replace(planes, first=first), where)
    torch.testing.assert_close(density, torch.where(framed, alone[0], every[0]))
    torch.testing.assert_close(colour, torch.where(framed[..., None], alone[1], every[1]))


def test_a_view_that_may_not_be_asked_is_not_asked_first(rng):
    planes, field, where = planes_of(ring_cameras(4)), field_of(), around(200, rng)
    keep = torch.tensor([False, False, True, True])[None, :, None].expand(1, 4, 200)
    first = replace(planes, first=torch.tensor([[True, True, False, False]]))
    assert torch.equal(field(first, where, keep)[0], field(planes, where, keep)[0])
