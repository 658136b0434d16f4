"""The mesh of a closed-form world is where the world is, in every format."""

import json
import struct

import numpy as np
import pytest
import torch
import trimesh

from diorama.errors import InputError
from diorama.export.glb import srgb_to_linear
from diorama.export.mesh import Mesh, MeshConfig, extract_mesh, fit_level, keep_parts, vertex_normals, write_mesh
from tests.oracles import CENTRE, RADIUS, surface_colour

BOX = torch.tensor([[-0.8, -0.7, -0.2], [0.8, 0.9, 1.2]])


def ball(points):
    return 300.0 * ((points - torch.tensor(CENTRE)).norm(dim=-1) < RADIUS).float()


def soft_ball(points):
    """Density that grows smoothly inwards; the surface of level 50 has the radius of the ball."""
    return 50.0 * torch.exp(30 * (RADIUS - (points - torch.tensor(CENTRE)).norm(dim=-1)))


def rays_to_the_ball(count=500):
    generator = torch.Generator().manual_seed(0)
    outwards = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return torch.tensor(CENTRE) + RADIUS * outwards, -outwards


def ball_mesh(resolution=48):
    mesh, _ = extract_mesh(ball, BOX, MeshConfig(resolution=resolution), surface=rays_to_the_ball())
    return Mesh(mesh.vertices, mesh.faces, mesh.normals, surface_colour(mesh.vertices.float()))


def test_the_mesh_of_a_ball_is_that_ball():
    mesh = ball_mesh()
    offset = mesh.vertices - torch.tensor(CENTRE)
    cell = 1.6 / 48
    assert (offset.norm(dim=-1) - RADIUS).abs().max() < cell / 2**4
    outwards = torch.nn.functional.normalize(offset, dim=-1)
    assert (mesh.normals * outwards).sum(-1).min() > 0.8
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    assert solid.is_watertight
    assert solid.volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.02)  # positive: wound from outside


def test_without_refinement_the_error_stays_below_one_cell():
    mesh, _ = extract_mesh(ball, BOX, MeshConfig(resolution=48, bisections=0))
    error = ((mesh.vertices - torch.tensor(CENTRE)).norm(dim=-1) - RADIUS).abs()
    assert error.max() < 1.6 / 48


def test_chunks_do_not_change_the_mesh():
    whole, _ = extract_mesh(ball, BOX, MeshConfig(resolution=20, level=10.0))
    pieces, _ = extract_mesh(ball, BOX, MeshConfig(resolution=20, level=10.0, chunk=97))
    torch.testing.assert_close(whole.vertices, pieces.vertices)
    assert torch.equal(whole.faces, pieces.faces)


def test_the_level_is_the_density_on_the_rendered_surface():
    mesh, level = extract_mesh(soft_ball, BOX, MeshConfig(resolution=40), surface=rays_to_the_ball())
    assert level == pytest.approx(50.0, rel=0.25)
    radius = (mesh.vertices - torch.tensor(CENTRE)).norm(dim=-1)
    assert (radius - RADIUS).abs().max() < 0.02


@pytest.mark.parametrize("strength", [1e-4, 1.0, 1e6])
def test_a_surface_is_found_at_any_strength_of_the_density(strength):
    mesh, level = extract_mesh(lambda points: strength * ball(points), BOX, MeshConfig(resolution=24))
    assert len(mesh.faces) > 100
    assert 0 < level < 300 * strength


def test_levels_fall_back_where_the_rendered_surface_tells_nothing():
    grid = torch.full((4, 4, 4), 2.0)
    points = torch.zeros(100, 3)
    level = fit_level(lambda x: torch.full_like(x[..., 0], 2.0), grid, 0.1, (points, torch.ones(100, 3)))
    assert 0 < level < 2.0


@pytest.mark.parametrize("value", [0.0, 5.0, float("nan")])
def test_a_box_without_a_surface_is_refused_with_advice(value):
    with pytest.raises(InputError, match="no surface"):
        extract_mesh(lambda points: torch.full_like(points[..., 0], value), BOX, MeshConfig(resolution=8))


def test_an_empty_box_is_refused():
    with pytest.raises(InputError, match="is empty"):
        extract_mesh(ball, torch.zeros(2, 3), MeshConfig(resolution=8))


def test_small_floaters_are_dropped_and_large_parts_kept():
    def three(points):
        near = [
            (points - torch.tensor([x, 0.0, 0.0])).norm(dim=-1) < r for x, r in ((-0.5, 0.3), (0.5, 0.3), (0.0, 0.05))
        ]
        return 100.0 * torch.stack(near).any(0).float()

    box = torch.tensor([[-1.0, -0.5, -0.5], [1.0, 0.5, 0.5]])
    mesh, _ = extract_mesh(three, box, MeshConfig(resolution=60, smallest_part=0.1))
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    assert solid.body_count == 2
    everything, _ = extract_mesh(three, box, MeshConfig(resolution=60, smallest_part=0.0))
    assert len(everything.faces) > len(mesh.faces)


def test_keeping_parts_renumbers_faces():
    vertices = torch.arange(21.0).reshape(7, 3)
    faces = torch.tensor([[4, 5, 6], [3, 4, 5], [0, 1, 2]])
    kept, renumbered = keep_parts(vertices, faces, 0.9)
    torch.testing.assert_close(kept[renumbered], vertices[faces[:2]])
    assert len(kept) == 4


def test_the_normal_of_a_plane_is_its_normal():
    vertices = torch.tensor([[0.0, 0, 0], [2, 0, 0], [2, 3, 0], [0, 3, 0]])
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    torch.testing.assert_close(normals, torch.tensor([0.0, 0.0, 1.0]).expand(4, 3))


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1000.0, -640.0), (1e-3, 0.0)])
def test_every_format_holds_the_same_numbers(tmp_path, suffix, scale, shift):
    mesh = ball_mesh(24)
    mesh = Mesh(mesh.vertices * scale + shift, mesh.faces, mesh.normals, mesh.colours)
    path = tmp_path / f"ball{suffix}"
    write_mesh(path, mesh, suffix=suffix, notes={"frame": "oracle world", "units": "metres"})
    read = trimesh.load(path, process=False, force="mesh", maintain_order=True)
    read_vertices = np.asarray(read.vertices)
    wanted = mesh.vertices.numpy()
    assert len(read.faces) == len(mesh.faces)
    # OBJ readers may split or reorder vertices: compare the corners of the triangles
    np.testing.assert_allclose(
        read_vertices[read.faces], wanted[mesh.faces.numpy()], atol=2e-6 * scale * 2 + 1e-6 * abs(shift)
    )
    colours = mesh.colours if suffix != ".glb" else srgb_to_linear(mesh.colours)
    if suffix == ".glb":
        seen = next(iter(trimesh.load(path, process=False).geometry.values())).visual.vertex_attributes["color"]
    else:
        seen = read.visual.vertex_colors
    seen = np.asarray(seen)[read.faces][..., :3] / (65535 if suffix == ".glb" else 255)
    np.testing.assert_allclose(seen, colours.clamp(0, 1).numpy()[mesh.faces.numpy()], atol=1.01 / 255)
    np.testing.assert_allclose(stored_normals(path, len(wanted)), mesh.normals.numpy(), atol=1e-5)
    assert "oracle world" in path.read_bytes().decode("latin1")


def stored_normals(path, count):
    """The normals as the file's bytes hold them (trimesh computes its own)."""
    data = path.read_bytes()
    match path.suffix:
        case ".ply":
            row = np.dtype([("xyz", "<f4", 3), ("normal", "<f4", 3), ("rgb", "u1", 3)])
            return np.frombuffer(data[data.index(b"end_header\n") + 11 :], row, count)["normal"]
        case ".obj":
            return np.array([line.split()[1:] for line in data.decode().splitlines() if line.startswith("vn ")], float)
    tree, binary = chunks(path)
    view = tree["bufferViews"][tree["accessors"][2]["bufferView"]]
    return np.frombuffer(binary[8:], "<f4", count * 3, view["byteOffset"]).reshape(-1, 3)


def test_y_up_adds_a_root_matrix_to_the_glb_and_nothing_else(tmp_path):
    mesh = ball_mesh(16)
    root = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    write_mesh(tmp_path / "plain.glb", mesh, suffix=".glb")
    write_mesh(tmp_path / "up.glb", mesh, suffix=".glb", root=root)
    plain = trimesh.load(tmp_path / "plain.glb", process=False, force="mesh")
    turned = trimesh.load(tmp_path / "up.glb", process=False, force="mesh")
    np.testing.assert_allclose(turned.vertices, plain.vertices @ root[:3, :3].numpy().T, atol=1e-6)
    assert chunks(tmp_path / "plain.glb")[1] == chunks(tmp_path / "up.glb")[1]


def chunks(path):
    """The JSON tree and the binary chunk of a GLB."""
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    size, kind = struct.unpack_from("<I4s", data, 12)
    assert kind == b"JSON"
    assert size % 4 == 0
    return json.loads(data[20 : 20 + size]), data[20 + size :]


def test_a_glb_is_unlit_and_its_arrays_fit_its_buffer(tmp_path):
    write_mesh(tmp_path / "a.glb", ball_mesh(16), suffix=".glb")
    tree, binary = chunks(tmp_path / "a.glb")
    assert "KHR_materials_unlit" in tree["materials"][0]["extensions"]
    assert struct.unpack_from("<I", binary)[0] == tree["buffers"][0]["byteLength"] == len(binary) - 8
    for view in tree["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= tree["buffers"][0]["byteLength"]


def test_an_unknown_mesh_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.stl"):
        write_mesh(tmp_path / "a.stl", ball_mesh(8), suffix=".stl")
