"""Gathering from views: laws of the lookups, twins that agree in values and gradients, and laws of pooling."""

import inspect
import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from diorama.cameras.pinhole import Cameras
from diorama.kernels.twins import use_twin
from diorama.kernels.view_gather import ARCTANGENT, gather_views, gather_views_reference, pool_views

SIZE = (32, 24)
"""Width and height of the images, in pixels."""

both_twins = pytest.mark.parametrize("twin", ["reference", "numba"])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_cameras(scenes: int, views: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """World-to-camera matrices turned anyhow, and lenses whose principal point is off the middle."""
    g = seeded(0)
    turned, _ = torch.linalg.qr(torch.randn(scenes, views, 3, 3, generator=g, dtype=dtype))
    rotation = turned * torch.linalg.det(turned).sign()[..., None, None]
    moved = torch.randn(scenes, views, 3, 1, generator=g, dtype=dtype)
    intrinsics = torch.tensor([0.6, 0.7, 0.42, 0.61], dtype=dtype).expand(scenes, views, 4)
    return torch.cat([rotation, moved], dim=-1), intrinsics


def random_points(scenes: int, count: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(scenes, count, 3, generator=seeded(1), dtype=dtype)


def random_maps(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 2) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=dtype)


def from_camera(local: torch.Tensor, world_to_camera: torch.Tensor) -> torch.Tensor:
    """Points of the axes of one camera (3, 4) in the world."""
    return (local - world_to_camera[:, 3]) @ world_to_camera[:, :3]


def gather_at(local, planes=None, polar=None):
    """Features of points given in the axes of one camera that stands in the world somehow; distance."""
    world_to_camera, intrinsics = random_cameras(1, 1)
    planes = torch.zeros(1, 1, 5, 2, 2) if planes is None else planes
    points = from_camera(local, world_to_camera[0, 0])[None]
    features, distance = gather_views(points, world_to_camera, intrinsics, planes, polar, min_depth=0.1)
    return features[0, 0], distance[0, 0]


def scene_with(scenes=2, views=3, count=50, plane=(5, 7, 9), polar=(3, 4, 6), dtype=torch.float32):
    """Points, cameras, lenses and random maps; a sixth of the points is in view."""
    where = (random_points(scenes, count, dtype), *random_cameras(scenes, views, dtype))
    return (
        *where,
        random_maps(scenes, views, *plane, dtype=dtype),
        random_maps(scenes, views, *polar, dtype=dtype, seed=3),
    )


def some_skipped(scenes: int, views: int, count: int) -> torch.Tensor:
    return torch.rand(scenes, views, count, generator=seeded(4)) < 0.3


def values_and_gradients(scene, skip=None, gather=gather_views):
    *where, planes, polar = scene
    planes, polar = planes.detach().requires_grad_(), polar.detach().requires_grad_()
    features, distance = gather(*where, planes, polar, min_depth=0.1, skip=skip)
    probe = random_maps(*features.shape, dtype=features.dtype, seed=5)
    (features * probe).sum().backward()
    return features.detach(), distance, planes.grad, polar.grad


def assert_twins_agree(scene, skip=None):
    skip = torch.zeros(scene[3].shape[:2] + scene[0].shape[1:2], dtype=torch.bool) if skip is None else skip
    with use_twin("numba"):
        got = values_and_gradients(scene, skip)
    wanted = values_and_gradients(scene, skip, gather_views_reference)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@both_twins
@pytest.mark.parametrize("scale", [1, 2])
def test_spec_01_a_plane_that_holds_its_pixel_centres_returns_where_points_are_projected_to(twin, scale):
    (width, height), g = SIZE, seeded(6)
    columns, rows = width // scale, height // scale
    v, u = torch.meshgrid((torch.arange(rows) + 0.5) * scale, (torch.arange(columns) + 0.5) * scale, indexing="ij")
    world_to_camera, intrinsics = random_cameras(1, 1)
    to_pixels = torch.tensor([width, height, width, height])
    focal, centre = (intrinsics[0, 0] * to_pixels).double().split(2)
    # beyond the centres of a plane's border cells it holds still
    pixels = scale / 2 + torch.rand(500, 2, generator=g) * (torch.tensor(SIZE) - scale)
    depth = 0.2 + 5 * torch.rand(500, 1, generator=g)
    local = torch.cat([(pixels.double() - centre) / focal, torch.ones(500, 1)], dim=-1) * depth
    camera_to_world = torch.linalg.inv(torch.cat([world_to_camera[0, 0], torch.eye(4)[3:]]).double())
    points = from_camera(local, world_to_camera[0, 0].double())
    cameras = Cameras.pinhole(camera_to_world[None], focal[None], centre[None], torch.tensor([SIZE]))
    wanted, _ = cameras.project(points[None])
    with use_twin(twin):
        features, distance = gather_views(
            points.float()[None], world_to_camera, intrinsics, torch.stack([u, v])[None, None], None, min_depth=0.1
        )
    assert (features[0, 0, :, 2] == 1).all()
    assert (features[0, 0, :, :2] - wanted[0]).abs().max() < 1e-3
    torch.testing.assert_close(distance[0, 0].double(), local.norm(dim=-1), rtol=1e-5, atol=1e-5)


@both_twins
def test_spec_02_behind_a_camera_and_outside_its_image_the_plane_is_silent_and_the_polar_map_speaks(twin):
    ahead = torch.tensor([[0.1, -0.05, 1.0], [-0.2, 0.1, 3.0]])
    beside = torch.tensor([[2.0, 0.0, 1.0], [-2.0, 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, -2.0, 1.0], [0.0, 0.0, 0.05]])
    planes, polar = random_maps(1, 1, 5, 6, 8), random_maps(1, 1, 3, 4, 6, seed=3)
    with use_twin(twin):
        for points, in_view in ((ahead, 1), (-ahead, 0), (beside, 0), (-beside, 0)):
            features, _ = gather_at(points, planes, polar)
            other_planes, _ = gather_at(points, planes + 1, polar)
            other_polar, _ = gather_at(points, planes, polar + 1)
            assert (features[:, 5] == in_view).all()
            assert (features[:, :5] != 0).any() == in_view
            assert torch.equal(features, other_planes) == (not in_view)
            torch.testing.assert_close(
                other_polar - features, torch.tensor([0.0] * 6 + [1.0] * 3).expand(len(points), 9)
            )


@both_twins
def test_spec_02_in_the_camera_centre_and_beside_it_all_is_finite(twin):
    local = torch.tensor([[0.0, 0.0, 0.0], [-0.0, 0.0, -0.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [1.0, 2.0, -0.0]])
    world_to_camera, intrinsics = torch.eye(3, 4)[None, None], random_cameras(1, 1)[1]
    scene = (local[None], world_to_camera, intrinsics, random_maps(1, 1, 5, 6, 8), random_maps(1, 1, 3, 4, 6, seed=3))
    with use_twin(twin):
        features, distance, *gradients = values_and_gradients(scene)
        ahead, _ = gather_views(torch.tensor([[[0.0, 0.0, 1.0]]]), *scene[1:], min_depth=0.1)
    assert all(tensor.isfinite().all() for tensor in (features, *gradients))
    assert (features[..., :6] == 0).all()
    torch.testing.assert_close(distance[0, 0], torch.tensor([0.0, 0.0, 1.0, 1.0, math.sqrt(5)]))
    torch.testing.assert_close(features[0, 0, 0, 6:], ahead[0, 0, 0, 6:])


@both_twins
def test_spec_03_the_polar_map_is_continuous_behind_the_camera(twin):
    polar = F.normalize(random_maps(1, 1, 3, 5, 12), dim=2)
    heights = torch.linspace(-3, 3, 9)
    left = torch.stack([torch.full((9,), -1e-4), heights, torch.full((9,), -1.0)], dim=-1)
    right = left * torch.tensor([-1.0, 1.0, 1.0])
    exactly = left * torch.tensor([0.0, 1.0, 1.0])
    with use_twin(twin):
        one, middle, other = (gather_at(points, polar=polar)[0][:, 6:] for points in (left, exactly, right))
    assert (one - other).abs().max() < 1e-2
    torch.testing.assert_close(middle, (one + other) / 2, rtol=0, atol=1e-3)


@both_twins
def test_spec_03_a_polar_map_that_holds_its_angles_returns_those_of_the_six_axes(twin):
    rows, columns = 60, 120
    azimuth = ((torch.arange(columns) + 0.5) / columns * 2 - 1) * math.pi
    elevation = ((torch.arange(rows) + 0.5) / rows * 2 - 1) * math.pi / 2
    elevation, azimuth = torch.meshgrid(elevation, azimuth, indexing="ij")
    polar = torch.stack([azimuth.sin(), azimuth.cos(), elevation])[None, None]
    axes = torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 0, -1], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
    with use_twin(twin):
        sine, cosine, elevation = gather_at(2.5 * axes, polar=polar)[0][:, 6:].T
    torch.testing.assert_close(sine[:4], torch.tensor([0.0, 1.0, 0.0, -1.0]), rtol=0, atol=1e-3)
    torch.testing.assert_close(cosine[:4], torch.tensor([1.0, 0.0, -1.0, 0.0]), rtol=0, atol=1e-3)
    half_a_cell = math.pi / 2 / rows
    wanted = torch.tensor([0.0] * 4 + [math.pi / 2 - half_a_cell, half_a_cell - math.pi / 2])  # y points down
    torch.testing.assert_close(elevation, wanted, rtol=0, atol=1e-3)


@both_twins
def test_between_its_outermost_centres_and_the_border_of_the_image_a_plane_holds_still(twin):
    width, height = 4, 3
    planes = random_maps(1, 1, 2, height, width)
    u, v = torch.tensor([0.0, 0.1, 0.9, 1.0]), torch.tensor([0.0, 0.1, 0.9, 1.0])
    fx, fy, cx, cy = random_cameras(1, 1)[1][0, 0]
    inside = torch.tensor([1e-6, 0.0, 0.0, -1e-6])  # so that rounding puts none outside
    local = torch.stack([(u + inside - cx) / fx, (v + inside - cy) / fy, torch.ones(4)], dim=-1)
    with use_twin(twin):
        features, _ = gather_at(local, planes)
    corner_cells = planes[0, 0, :, [0, 0, -1, -1], [0, 0, -1, -1]].T
    torch.testing.assert_close(features, torch.cat([corner_cells, torch.ones(4, 1)], dim=-1), rtol=1e-4, atol=1e-4)


@both_twins
def test_every_lookup_shares_out_its_gradient_whole(twin):
    points, world_to_camera, intrinsics, planes, polar = scene_with()
    planes.requires_grad_()
    polar.requires_grad_()
    skip = some_skipped(2, 3, 50)
    with use_twin(twin):
        features, _ = gather_views(points, world_to_camera, intrinsics, planes, polar, min_depth=0.1, skip=skip)
        features.sum().backward()
    in_view = features[..., 5].sum(dim=-1)
    assert (in_view > 0).all()
    torch.testing.assert_close(planes.grad.sum(dim=(3, 4)), in_view[..., None].expand(2, 3, 5))
    torch.testing.assert_close(polar.grad.sum(dim=(3, 4)), (~skip).float().sum(-1)[..., None].expand(2, 3, 3))


@both_twins
def test_what_is_skipped_is_zero_and_neither_reads_nor_teaches_its_maps(twin):
    *where, planes, polar = scene_with()
    skip = some_skipped(2, 3, 50)
    skip[:, 1] = True
    with use_twin(twin):
        whole, far = gather_views(*where, planes, polar, min_depth=0.1)
        planes[:, 1], polar[:, 1] = torch.nan, torch.inf
        features, distance, to_planes, to_polar = values_and_gradients((*where, planes, polar), skip)
    assert torch.equal(features, whole.masked_fill(skip[..., None], 0.0))
    assert torch.equal(distance, far.masked_fill(skip, 0.0))
    assert (to_planes[:, 1] == 0).all()
    assert (to_polar[:, 1] == 0).all()
    assert (to_planes[:, 0] != 0).any()


@both_twins
def test_views_in_another_order_give_the_same_in_that_order(twin):
    points, *of_views = scene_with()
    order = torch.tensor([2, 0, 1])
    with use_twin(twin):
        features, distance = gather_views(points, *of_views, min_depth=0.1)
        again, far = gather_views(points, *(tensor[:, order] for tensor in of_views), min_depth=0.1)
    torch.testing.assert_close((again, far), (features[:, order], distance[:, order]), rtol=1e-4, atol=1e-4)


@both_twins
def test_scenes_know_nothing_of_each_other(twin):
    scene = scene_with()
    with use_twin(twin):
        features, distance = gather_views(*scene, min_depth=0.1)
        alone, far = gather_views(*(tensor[1:] for tensor in scene), min_depth=0.1)
    torch.testing.assert_close((alone, far), (features[1:], distance[1:]), rtol=1e-4, atol=1e-4)


@both_twins
def test_moving_points_and_cameras_together_changes_nothing(twin):
    points, world_to_camera, *rest = scene_with()
    turn, shift = random_cameras(1, 1)[0][0, 0].split([3, 1], dim=-1)
    moved = points @ turn.T + shift[:, 0]
    rotation = world_to_camera[..., :3] @ turn.T
    cameras = torch.cat([rotation, world_to_camera[..., 3:] - rotation @ shift], dim=-1)
    with use_twin(twin):
        one = gather_views(points, world_to_camera, *rest, min_depth=0.1)
        other = gather_views(moved, cameras, *rest, min_depth=0.1)
    for before, after in zip(one, other, strict=True):
        torch.testing.assert_close(before, after, rtol=1e-3, atol=1e-4)


@both_twins
def test_without_polar_maps_the_other_channels_are_the_same(twin):
    *scene, polar = scene_with()
    with use_twin(twin):
        features, distance = gather_views(*scene, polar, min_depth=0.1)
        fewer, far = gather_views(*scene, None, min_depth=0.1)
    assert torch.equal(fewer, features[..., :6])
    assert torch.equal(far, distance)


@both_twins
def test_a_point_that_is_nowhere_harms_no_other(twin):
    points, *rest = scene_with()
    lost = points.clone()
    lost[:, 7], lost[:, 9] = torch.nan, torch.inf
    others = [i for i in range(50) if i not in (7, 9)]
    with use_twin(twin):
        features, distance = gather_views(points, *rest, min_depth=0.1)
        got, far, *gradients = values_and_gradients((lost, *rest))
    assert not far[:, :, [7, 9]].isfinite().any()
    assert (got[:, :, [7, 9], :6] == 0).all()
    assert torch.equal(got[:, :, others], features[:, :, others])
    assert torch.equal(far[:, :, others], distance[:, :, others])
    assert all(gradient.isfinite().all() for gradient in gradients)


@both_twins
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_of_half_precision_give_single_precision_and_get_their_own_back(twin, dtype):
    *where, planes, polar = scene_with()
    rounded = (planes.to(dtype), polar.to(dtype))
    with use_twin(twin):
        features, distance, to_planes, to_polar = values_and_gradients((*where, *rounded))
        wanted, far, *gradients = values_and_gradients((*where, *(maps.float() for maps in rounded)))
    assert (features.dtype, distance.dtype) == (torch.float32, torch.float32)
    assert torch.equal(features, wanted)
    assert torch.equal(distance, far)
    assert torch.equal(to_planes, gradients[0].to(dtype))
    assert torch.equal(to_polar, gradients[1].to(dtype))


@both_twins
def test_autocast_changes_nothing(twin):
    scene = scene_with()
    with use_twin(twin):
        wanted = values_and_gradients(scene)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            got = values_and_gradients(scene)
    for one, other in zip(got, wanted, strict=True):
        assert torch.equal(one, other)


def test_points_cameras_and_distance_carry_no_gradient():
    scene = [tensor.clone().requires_grad_() for tensor in scene_with()]
    features, distance = gather_views(*scene, min_depth=0.1)
    assert not distance.requires_grad
    features.sum().backward()
    assert [tensor.grad is None for tensor in scene] == [True, True, True, False, False]


@pytest.mark.parametrize("count", [0, 1, 7, 1001])
@pytest.mark.parametrize(("plane", "polar"), [((24, 6, 9), (8, 4, 6)), ((1, 5, 4), (0, 1, 1)), ((3, 1, 1), (33, 1, 1))])
def test_numba_agrees_with_the_reference(count, plane, polar):
    scene = scene_with(count=count, plane=plane, polar=polar)
    assert_twins_agree(scene)
    assert_twins_agree(scene, some_skipped(2, 3, count))


def test_numba_agrees_on_strided_inputs():
    points, world_to_camera, intrinsics, _, polar = scene_with(count=300)
    points = points.mT.contiguous().mT
    wide = random_maps(2, 3, 9, 7, 9)[:, :, 2:7]
    last = polar.movedim(2, -1).contiguous().movedim(-1, 2)
    skip = some_skipped(2, 300, 3).mT
    assert not any(tensor.is_contiguous() for tensor in (points, wide, last, skip, intrinsics))
    assert_twins_agree((points, world_to_camera, intrinsics, wide, last), skip)


def test_results_are_the_same_bits_again_and_for_any_number_of_threads():
    scene, threads = scene_with(count=20000), torch.get_num_threads()
    results = []
    try:
        for count in (1, 1, 2, 3):
            torch.set_num_threads(count)
            results.append(values_and_gradients(scene))
    finally:
        torch.set_num_threads(threads)
    for again in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(again, results[0], strict=True))


def test_the_gradients_of_the_operation_pass_gradcheck():
    *where, planes, polar = scene_with(count=9, plane=(2, 3, 4), polar=(2, 2, 3), dtype=torch.float64)
    planes.requires_grad_()
    polar.requires_grad_()
    skip = some_skipped(2, 3, 9)

    def operation(f, g):
        return gather_views(*where, f, g, min_depth=0.1, skip=skip)[0]

    def reference(f, g):
        return gather_views_reference(*where, f, g, skip=skip, min_depth=0.1)[0]

    assert torch.autograd.gradcheck(operation, (planes, polar))
    assert torch.autograd.gradcheck(reference, (planes, polar))


@both_twins
@pytest.mark.parametrize("views", [1, 3])
def test_torch_finds_nothing_wrong_with_the_operation(twin, views):
    *where, planes, polar = scene_with(views=views, count=11)
    arguments = (*where, planes.requires_grad_(), polar.requires_grad_(), some_skipped(2, views, 11), 0.1, twin)
    torch.library.opcheck(torch.ops.diorama.gather_views.default, arguments)


def test_the_fast_twins_arctangent_is_one():
    t = torch.linspace(0, 1, 10001, dtype=torch.float64)
    series = sum(a * t ** (2 * k + 1) for k, a in enumerate(ARCTANGENT))
    assert (series - t.atan()).abs().max() < 1e-7


@pytest.mark.parametrize("index", [0, 1, 2, 4])
def test_shapes_that_do_not_fit_say_what_was_needed(index):
    scene = list(scene_with())
    scene[index] = scene[index][:1]
    with pytest.raises(ValueError, match=r"planes of \(2, 3, 5, 7, 9\) need"):
        inspect.unwrap(gather_views)(*scene, min_depth=0.1)


def test_a_pool_of_other_points_is_refused():
    features, keep = pooling_case()
    with pytest.raises(ValueError, match="need one per point"):
        inspect.unwrap(pool_views)(features, keep[:, :3], "max")


def test_a_map_without_cells_and_a_depth_behind_the_camera_are_refused():
    *where, planes, polar = scene_with()
    with pytest.raises(ValueError, match="one cell at least"):
        gather_views(*where, planes[..., :0], polar, min_depth=0.1)
    with pytest.raises(ValueError, match="0 at least"):
        gather_views(*where, planes, polar, min_depth=-0.1)


@pytest.fixture(params=[("max", "reference"), ("max", "numba"), ("mean", None), ("softmax", None)], ids=str)
def how(request):
    name, twin = request.param
    with use_twin(twin):
        yield name


def pooling_case(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of 2 scenes, 4 views and 30 points, and what is kept; of point 0 nothing, of point 1 one view."""
    keep = torch.rand(2, 4, 30, generator=seeded(7)) < 0.6
    keep[:, :, :2] = False
    keep[:, 2, 1] = True
    return random_maps(2, 4, 30, 5, dtype=dtype), keep


def test_pools_are_what_their_names_say():
    features, keep = torch.tensor([[[[1.0]], [[3.0]], [[9.0]]]]), torch.tensor([[[True], [True], [False]]])
    share = math.exp(3) / (math.exp(1) + math.exp(3))
    wanted = {"max": 3.0, "mean": 2.0, "softmax": (1 - share) * 1 + share * 3}
    for how, value in wanted.items():
        pooled, some = pool_views(features, keep, how)
        torch.testing.assert_close(pooled, torch.tensor([[[value]]]))
        assert some.all()


def test_one_view_is_pooled_to_itself_and_none_to_zero(how):
    features, keep = pooling_case()
    pooled, some = pool_views(features, keep, how)
    assert torch.equal(some, keep.any(dim=1))
    assert (pooled[:, 0] == 0).all()
    torch.testing.assert_close(pooled[:, 1], features[:, 2, 1])


def test_the_order_of_the_views_does_not_matter(how):
    features, keep = pooling_case()
    order = torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(pool_views(features[:, order], keep[:, order], how), pool_views(features, keep, how))


def test_a_view_that_is_there_twice_does_not_change_the_maximum():
    features, keep = pooling_case()
    twice = pool_views(features[:, [0, 1, 1, 2, 3]], keep[:, [0, 1, 1, 2, 3]], "max")
    assert all(torch.equal(one, other) for one, other in zip(twice, pool_views(features, keep, "max"), strict=True))


def test_softmax_lies_between_mean_and_maximum():
    features, keep = pooling_case()
    mean, soft, most = (pool_views(features, keep, how)[0] for how in ("mean", "softmax", "max"))
    assert (mean <= soft + 1e-6).all()
    assert (soft <= most + 1e-6).all()


def test_what_is_not_kept_reaches_neither_value_nor_gradient(how):
    features, keep = pooling_case()
    wanted, _ = pool_views(features, keep, how)
    lost = torch.where(keep[..., None], features, torch.tensor([torch.nan, torch.inf, -torch.inf, 1e30, -1e30]))
    lost.requires_grad_()
    pooled, _ = pool_views(lost, keep, how)
    F.silu(pooled).square().sum().backward()
    assert torch.equal(pooled, wanted)
    assert lost.grad.isfinite().all()
    assert (lost.grad[~keep] == 0).all()


def test_the_gradient_of_a_pool_is_shared_out_whole_even_between_equal_views(how):
    features, keep = pooling_case()
    features = features.round().requires_grad_()  # many of a kind
    pooled, some = pool_views(features, keep, how)
    pooled.sum().backward()
    torch.testing.assert_close(features.grad.sum(dim=1), some[..., None].expand(2, 30, 5).float())


@pytest.mark.parametrize("name", ["max", "mean", "softmax"])
def test_pools_pass_gradcheck(name):
    features, keep = pooling_case(torch.float64)
    assert torch.autograd.gradcheck(lambda x: pool_views(x, keep, name)[0], (features.requires_grad_(),))


@pytest.mark.parametrize("name", ["max", "mean", "softmax"])
def test_pools_keep_half_precision(name):
    features, keep = pooling_case()
    pooled, _ = pool_views(features.bfloat16(), keep, name)
    assert pooled.dtype == torch.bfloat16
    torch.testing.assert_close(pooled.float(), pool_views(features, keep, name)[0], rtol=2e-2, atol=2e-2)


def test_a_kept_nan_stays_one(how):
    features, keep = pooling_case()
    features[0, 1, 5, 2], keep[0, :, 5] = torch.nan, True
    pooled, _ = pool_views(features, keep, how)
    assert pooled[0, 5, 2].isnan()
    assert pooled.isnan().sum() == 1


@pytest.mark.parametrize(("views", "count", "channels"), [(1, 3, 1), (4, 0, 5), (5, 20000, 48)])
def test_numba_finds_the_maximum_the_reference_finds(views, count, channels):
    features = random_maps(2, views, count, channels).requires_grad_()
    keep = torch.rand(2, views, count, generator=seeded(8)) < 0.7
    results = []
    for twin in ("reference", "numba"):
        with use_twin(twin):
            pooled, some = pool_views(features, keep, "max")
        results.append((pooled, some, torch.autograd.grad((pooled * random_maps(*pooled.shape)).sum(), features)[0]))
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@both_twins
def test_torch_finds_nothing_wrong_with_the_maximum(twin):
    features, keep = pooling_case()
    torch.library.opcheck(torch.ops.diorama.pool_max.default, (features.requires_grad_(), keep, twin))
