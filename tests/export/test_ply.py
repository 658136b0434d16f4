"""PLY files hold the points they were given."""

import numpy as np
import pytest
import torch
import trimesh

from diorama.export.ply import needs_doubles, write_ply


def test_points_colours_and_normals_come_back(tmp_path):
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(50, 3, generator=generator) * 1000
    colours = torch.rand(50, 3, generator=generator)
    normals = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator), dim=-1)
    write_ply(tmp_path / "a.ply", points, colours=colours, normals=normals, comments=("frame: world\nunits: mm",))
    cloud = trimesh.load(tmp_path / "a.ply")
    assert isinstance(cloud, trimesh.PointCloud)
    np.testing.assert_array_equal(cloud.vertices, points.numpy())
    np.testing.assert_allclose(cloud.colors[:, :3] / 255, colours.numpy(), atol=0.51 / 255)
    head = (tmp_path / "a.ply").read_bytes().split(b"end_header")[0].decode()
    assert "comment frame: world" in head
    assert "comment units: mm" in head
    assert "property float nx" in head


@pytest.mark.parametrize("count", [0, 1])
def test_few_points_are_a_valid_file(tmp_path, count):
    write_ply(tmp_path / "a.ply", torch.ones(count, 3), colours=torch.ones(count, 3))
    head = (tmp_path / "a.ply").read_bytes().decode("latin1")
    assert f"element vertex {count}\n" in head


def test_points_far_from_the_origin_keep_their_detail(tmp_path):
    points = torch.rand(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    far = points + torch.tensor([500_000.0, 5_400_000.0, 300.0], dtype=torch.float64)
    assert needs_doubles(far)
    assert not needs_doubles(points)
    write_ply(tmp_path / "map.ply", far)
    np.testing.assert_array_equal(trimesh.load(tmp_path / "map.ply").vertices, far.numpy())


def test_how_many_photographs_saw_a_point_is_a_property(tmp_path):
    write_ply(tmp_path / "a.ply", torch.rand(4, 3), observed=torch.tensor([0, 3, 70_000, 1]))
    data = (tmp_path / "a.ply").read_bytes()
    assert b"property ushort observed" in data
    rows = np.frombuffer(data.split(b"end_header\n")[1], dtype=[("xyz", "<f4", 3), ("observed", "<u2")])
    assert rows["observed"].tolist() == [0, 3, 65535, 1]
