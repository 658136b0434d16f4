import torch

from diorama.data.triangulation import TriangulationOptions, join_tracks, match_pair, triangulate_tracks
from tests.textured import arc_cameras


def seen_points(count=60, views=4, noise=0.0):
    """Points, what every camera sees of them (pixels, rays), and true matches between all pairs."""
    generator = torch.Generator().manual_seed(3)
    cameras = arc_cameras(views).to(torch.float64)
    points = (torch.rand(count, 3, generator=generator, dtype=torch.float64) - 0.5) + torch.tensor([0.0, 0.0, 2.7])
    pixels, _ = cameras.project(points[None].expand(views, -1, -1))
    pixels = pixels + noise * torch.randn(pixels.shape, generator=generator, dtype=torch.float64)
    rays = cameras.unproject(pixels)
    all_of_them = torch.arange(count)[:, None].expand(-1, 2)
    matches = {(i, j): all_of_them for i in range(views) for j in range(i + 1, views)}
    return cameras, points, list(pixels), list(rays), matches


def test_exact_matches_give_exact_points_and_every_observation():
    cameras, points, pixels, rays, matches = seen_points()
    found = triangulate_tracks(torch.rand(4, 3, 120, 160), cameras, pixels, rays, matches, TriangulationOptions())
    assert len(found) == 60
    assert len(found.observation_view) == 240
    nearest = torch.cdist(found.xyz.double(), points).amin(1)
    assert float(nearest.max()) < 1e-5
    mine, where = found.seen_by(2)
    assert len(mine) == 60
    projected, _ = cameras[[2]].project(found.xyz[mine].double()[None])
    assert torch.allclose(projected[0], where.double(), atol=1e-3)
    assert bool((found.depths(cameras) > 1).all())


def test_wrong_matches_are_thrown_out_and_right_ones_stay():
    cameras, points, pixels, rays, matches = seen_points(noise=0.3)
    wrong = torch.stack([torch.arange(20), torch.arange(20) + 20], -1)
    matches[(0, 1)] = torch.cat([matches[(0, 1)][40:], wrong])
    found = triangulate_tracks(torch.rand(4, 3, 120, 160), cameras, pixels, rays, matches, TriangulationOptions())
    assert float(torch.cdist(found.xyz.double(), points).amin(1).median()) < 0.02
    assert float(found.error.max()) < 2.0
    assert len(found) >= 20


def test_tracks_join_over_views_and_leave_out_what_contradicts_itself():
    pair = torch.tensor([[0, 0]])
    view, feature, track = join_tracks([2, 2, 2], {(0, 1): pair, (1, 2): pair})
    assert view.tolist() == [0, 1, 2]
    assert feature.tolist() == [0, 0, 0]
    assert track.unique().tolist() == [0]
    view, _, _ = join_tracks([2, 2, 2], {(0, 1): pair, (1, 2): pair, (0, 2): torch.tensor([[1, 0]])})
    assert view.tolist() == [1, 2]


def test_matches_keep_to_the_epipolar_line():
    cameras, _, _, rays, _ = seen_points(count=40, views=2)
    generator = torch.Generator().manual_seed(0)
    descriptors = torch.nn.functional.normalize(torch.rand(40, 128, generator=generator), dim=-1)
    options = TriangulationOptions()
    found = match_pair(cameras, rays[0], rays[1], descriptors, descriptors, options)
    assert bool((found[:, 0] == found[:, 1]).all())
    assert len(found) > 30
    shifted = rays[1] + torch.tensor([0.0, 0.2, 0.0], dtype=torch.float64)
    assert len(match_pair(cameras, rays[0], shifted, descriptors, descriptors, options)) < 4
    assert len(match_pair(cameras, rays[0], rays[1][:0], descriptors, descriptors[:0], options)) == 0


def test_no_matches_and_points_at_infinity_give_no_points():
    cameras, _, pixels, rays, _ = seen_points(views=2)
    images = torch.rand(2, 3, 120, 160)
    none = triangulate_tracks(images, cameras, pixels, rays, {}, TriangulationOptions())
    assert len(none) == 0
    far, _ = cameras.project(torch.tensor([[[0.0, 0.0, 1e6], [1e5, 0.0, 1e6]]], dtype=torch.float64).expand(2, -1, -1))
    matches = {(0, 1): torch.arange(2)[:, None].expand(-1, 2)}
    narrow = arc_cameras(2, 0.05).to(torch.float64)
    found = triangulate_tracks(images, narrow, list(far), list(narrow.unproject(far)), matches, TriangulationOptions())
    assert len(found) == 0
