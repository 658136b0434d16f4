"""What is exported lies where the world lies: the same numbers in every format, in the user's frame."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
import trimesh

import diorama
from diorama.cameras.pinhole import Cameras
from diorama.data.open import open_views
from diorama.data.views import Frame
from diorama.errors import InputError, OutputError
from diorama.export.mesh import MeshConfig
from diorama.export.paint import count_views, region_of_interest, seen_directions
from diorama.export.points import PointConfig, surface_points
from diorama.pipelines import export as verb
from tests.oracles import CENTRE, RADIUS, OracleScene, exact_rendering, look_from, ring_cameras, surface_colour


@dataclass(frozen=True)
class MovedScene(OracleScene):
    """The closed-form world in the frame of another user: x_user = scale * R x + t."""

    scale: float = 1.0
    rotation: torch.Tensor = field(default_factory=lambda: torch.eye(3))
    shift: torch.Tensor = field(default_factory=lambda: torch.zeros(3))

    def back(self, points):
        rotation, shift = self.rotation.to(points), self.shift.to(points)
        return ((points - shift) @ rotation) / self.scale

    def render(self, cameras, **_):
        pose = cameras.camera_to_world.double().clone()
        pose[..., :3, :3] = self.rotation.double().T @ pose[..., :3, :3]
        pose[..., :3, 3] = self.back(pose[..., :3, 3])
        seen = exact_rendering(replace(cameras, camera_to_world=pose.float()))
        return replace(seen, depth=seen.depth * self.scale)

    def density(self, points, **_):
        return super().density(self.back(points)) / self.scale

    def colour(self, points, directions, **_):
        return surface_colour(self.back(points))

    def bounds(self):
        corners = torch.cartesian_prod(*super().bounds().T) @ self.rotation.T * self.scale + self.shift
        return torch.stack([corners.amin(0), corners.amax(0)])


def moved_scene(scale=1.0, shift=(0.0, 0.0, 0.0), turn=((1, 0, 0), (0, 1, 0), (0, 0, 1)), units="metres", count=8):
    rotation, shift = torch.tensor(turn, dtype=torch.float32), torch.tensor(shift)
    ring = ring_cameras(count, 160, 120)
    pose = ring.camera_to_world.clone()
    pose[:, :3, :3] = rotation @ pose[:, :3, :3]
    pose[:, :3, 3] = scale * pose[:, :3, 3] @ rotation.T + shift
    cameras = replace(ring, camera_to_world=pose)
    return MovedScene(
        cameras, Frame("oracle", units), 0.5 * scale, 8.0 * scale, scale=scale, rotation=rotation, shift=shift
    )


USERS = {
    "metres": {},
    "millimetres, y down": {
        "scale": 1000.0,
        "shift": (-640.0, 20.0, 900.0),
        "turn": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
        "units": "millimetres",
    },
    "tiny": {"scale": 1e-3, "shift": (2e-3, 0.0, 1e-3), "units": "arbitrary"},
}


@pytest.fixture(params=list(USERS))
def scene(request, monkeypatch):
    shown = moved_scene(**USERS[request.param])
    monkeypatch.setattr(verb, "open_scene", lambda path, **_: (shown, shown.render))
    return shown


@pytest.fixture
def plain(monkeypatch):
    shown = moved_scene()
    monkeypatch.setattr(verb, "open_scene", lambda path, **_: (shown, shown.render))
    return shown


def options(tmp_path, output, **more):
    return verb.Options(scene=tmp_path / "scene", output=tmp_path / output, **more)


def surface_error(scene, points):
    """Distance to the ball or the plane, in metres of the closed-form world."""
    points = scene.back(torch.as_tensor(points).double())
    ball = ((points - torch.tensor(CENTRE)).norm(dim=-1) - RADIUS).abs()
    return torch.minimum(ball, points[..., 2].abs())


def test_all_formats_hold_the_world_in_the_users_numbers(scene, tmp_path, capsys):
    meshes = {}
    for suffix in ("glb", "obj", "ply"):
        assert verb.command(options(tmp_path, f"mesh.{suffix}", resolution=48)) == 0
        meshes[suffix] = trimesh.load(tmp_path / f"mesh.{suffix}", process=False, force="mesh", maintain_order=True)
        error = surface_error(scene, meshes[suffix].vertices)
        assert error.max() < 2.0 / 48
        assert error.median() < 0.003
        # the highest point of the ball, known in the user's numbers
        top = (scene.scale * scene.rotation @ torch.tensor([0.0, 0.0, 1.0]) + scene.shift).numpy()
        distances = np.linalg.norm(np.asarray(meshes[suffix].vertices) - top, axis=-1)
        assert distances.min() < 0.05 * scene.scale
    corners = {name: np.asarray(mesh.vertices)[mesh.faces] for name, mesh in meshes.items()}
    for name in ("glb", "obj"):
        np.testing.assert_allclose(corners[name], corners["ply"], rtol=1e-6, atol=2e-6 * scene.scale)
    verb.command(options(tmp_path, "points.ply", kind="points"))
    cloud = trimesh.load(tmp_path / "points.ply")
    assert len(cloud.vertices) > 10_000
    assert surface_error(scene, cloud.vertices).max() < 0.01
    words = capsys.readouterr().out
    assert "the frame of oracle" in words
    assert ("arbitrary scale" if scene.frame.units == "arbitrary" else scene.frame.units) in words


def test_the_mesh_is_coloured_as_the_world_is(plain, tmp_path):
    verb.command(options(tmp_path, "mesh.ply", resolution=64))
    mesh = trimesh.load(tmp_path / "mesh.ply", process=False)
    wanted = surface_colour(torch.from_numpy(np.asarray(mesh.vertices)).float())
    error = np.abs(np.asarray(mesh.visual.vertex_colors)[:, :3] / 255 - wanted.numpy())
    assert np.median(error) < 0.01


def test_points_have_the_colours_and_normals_of_the_surface(plain):
    cameras = plain.cameras[:2]
    cloud = surface_points(exact_rendering(cameras), cameras, PointConfig())
    ball = (cloud.points - torch.tensor(CENTRE)).norm(dim=-1) < RADIUS * 1.01
    floor = (cloud.points[:, 2].abs() < 1e-3) & (cloud.points[:, :2].norm(dim=-1) > 0.3)
    assert ball.sum() > 500
    assert floor.sum() > 2000
    outwards = torch.nn.functional.normalize(cloud.points - torch.tensor(CENTRE), dim=-1)
    assert ((cloud.normals * outwards).sum(-1)[ball & ~floor] > 0.8).float().mean() > 0.97
    assert (cloud.normals[floor, 2] > 0.99).float().mean() > 0.97
    assert ((cloud.normals * cloud.directions).sum(-1) <= 0).all()


def test_nothing_floats_between_the_ball_and_the_floor(plain):
    seen = exact_rendering(plain.cameras)
    blurred = replace(seen, depth=torch.nn.functional.avg_pool2d(seen.depth[:, None], 3, 1, 1)[:, 0])
    cloud = surface_points(blurred, plain.cameras, PointConfig())
    everything = surface_points(blurred, plain.cameras, PointConfig(jump=1e9))

    def floating(points):
        near = points[points.norm(dim=-1) < 3]
        return float((surface_error(plain, near) > 0.05).float().mean())

    assert floating(everything.points) > 0.01
    assert floating(cloud.points) < 0.2 * floating(everything.points)


def test_rendered_views_are_a_data_set_that_our_own_reader_opens(scene, tmp_path):
    verb.command(options(tmp_path, "views", depth=True))
    views = open_views(tmp_path / "views")
    assert views.cameras is not None
    torch.testing.assert_close(views.cameras.camera_to_world.float(), scene.cameras.camera_to_world)
    torch.testing.assert_close(views.cameras.focal.float(), scene.cameras.focal)
    assert views.frame.units == scene.frame.units
    truth = scene.render(scene.cameras)
    assert (views.images - truth.colour).abs().max() < 0.51 / 255
    assert views.depth is not None
    known = (views.depth > 0) & (truth.depth < 50 * scene.scale)
    assert known.float().mean() > 0.7
    assert ((views.depth - truth.depth).abs()[known] < 1.01e-3 * scene.scale).all()


def ply_points(path):
    """The points of one of our PLY files as a table."""
    head, body = path.read_bytes().split(b"end_header\n", 1)
    lines = [line.split() for line in head.decode().splitlines()]
    count = next(int(line[2]) for line in lines if line[:2] == ["element", "vertex"])
    kinds = {"float": "<f4", "uchar": "u1", "ushort": "<u2"}
    columns = [(line[2], kinds[line[1]]) for line in lines if line[0] == "property" and line[1] != "list"]
    return np.frombuffer(body, dtype=columns, count=count)


@pytest.mark.parametrize("suffix", ["glb", "ply"])
def test_vertices_say_how_many_photographs_saw_them(tmp_path, monkeypatch, suffix):
    """Three photographs from one side: the back of the ball is there, its vertices say 0, and they fade or go."""
    ring = ring_cameras(8, 160, 120)
    shown = moved_scene()
    shown = replace(shown, cameras=ring[[0, 1, 7]])
    monkeypatch.setattr(verb, "open_scene", lambda path, **_: (shown, shown.render))
    meshes, counts = {}, {}
    for unseen in ("keep", "fade", "drop"):
        file = tmp_path / f"{unseen}.{suffix}"
        verb.command(options(tmp_path, file.name, resolution=40, unseen=unseen, box=(-0.6, -0.6, 0.05, 0.6, 0.6, 1.1)))
        meshes[unseen] = trimesh.load(file, process=False, force="mesh")
        attributes = meshes[unseen].vertex_attributes
        counts[unseen] = attributes["_OBSERVED"].reshape(-1) if suffix == "glb" else ply_points(file)["observed"]
    places = np.asarray(meshes["keep"].vertices)
    assert set(np.unique(counts["keep"])) == {0, 1, 2, 3}
    front, back = places[:, 0] > 0.35, places[:, 0] < -0.42
    assert (counts["keep"][front] > 0).mean() > 0.98
    assert (counts["keep"][back] == 0).mean() > 0.98
    np.testing.assert_array_equal(counts["fade"], counts["keep"])
    if suffix == "ply":  # trimesh gives up the colours of a GLB that has a material too
        colours = {name: np.asarray(mesh.visual.vertex_colors)[:, :3].astype(int) for name, mesh in meshes.items()}
        changed = np.abs(colours["fade"] - colours["keep"]).max(-1) > 8
        assert not changed[counts["keep"] > 0].any()
        assert changed[counts["keep"] == 0].mean() > 0.95
    assert len(meshes["drop"].faces) < 0.8 * len(meshes["keep"].faces)
    assert np.asarray(meshes["drop"].vertices)[:, 0].min() > -0.42
    kept = counts["drop"][np.asarray(meshes["drop"].faces)]
    assert (kept > 0).any(-1).all()


def test_points_say_how_many_photographs_saw_them_and_all_were_seen(plain, tmp_path):
    verb.command(options(tmp_path, "points.ply", kind="points", unseen="drop"))
    observed = ply_points(tmp_path / "points.ply")["observed"]
    assert observed.min() >= 1
    assert 1 < observed.mean() < 8


def test_rendered_views_have_nothing_unseen_to_drop(tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "open_scene", lambda path, **_: pytest.fail("loaded"))
    with pytest.raises(InputError, match="diorama render --observed"):
        verb.command(options(tmp_path, "views", unseen="drop"))


def test_y_up_turns_the_glb_alone(plain, tmp_path):
    verb.command(options(tmp_path, "a.glb", resolution=24))
    verb.command(options(tmp_path, "b.glb", resolution=24, y_up=True))
    plain_mesh = trimesh.load(tmp_path / "a.glb", process=False, force="mesh")
    turned = trimesh.load(tmp_path / "b.glb", process=False, force="mesh")
    assert np.asarray(turned.vertices)[:, 1].max() == pytest.approx(np.asarray(plain_mesh.vertices)[:, 2].max())
    assert np.linalg.det(np.linalg.lstsq(plain_mesh.vertices, turned.vertices, rcond=None)[0]) == pytest.approx(1.0)
    with pytest.raises(InputError, match="GLB alone"):
        verb.command(options(tmp_path, "c.obj", y_up=True))


def test_kinds_follow_the_suffix(tmp_path):
    assert verb.kind_of(tmp_path / "a.glb") == "mesh"
    assert verb.kind_of(tmp_path / "a.ply") == "mesh"
    assert verb.kind_of(tmp_path / "a.PLY", "points") == "points"
    assert verb.kind_of(tmp_path / "views") == "views"
    with pytest.raises(InputError, match=r"\.stl"):
        verb.kind_of(tmp_path / "a.stl")


def test_what_cannot_be_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "open_scene", lambda path, **_: pytest.fail("loaded"))
    with pytest.raises(InputError, match="a mesh is written as"):
        verb.command(options(tmp_path, "folder", kind="mesh"))
    with pytest.raises(InputError, match="points are written as"):
        verb.command(options(tmp_path, "points.glb", kind="points"))
    with pytest.raises(InputError, match="resolution"):
        verb.command(options(tmp_path, "a.glb", resolution=100_000))
    (tmp_path / "old.glb").write_text("old")
    with pytest.raises(OutputError, match="--force"):
        verb.command(options(tmp_path, "old.glb"))
    assert (tmp_path / "old.glb").read_text() == "old"


def test_a_scene_in_memory_is_exported_by_the_suffix_or_the_kind(tmp_path):
    scene = OracleScene(ring_cameras(3, 24, 16))
    said = []
    assert diorama.export(scene, tmp_path / "ball.glb", resolution=24, say=said.append).stat().st_size > 0
    assert diorama.export(scene, str(tmp_path / "ball.ply"), kind="points").stat().st_size > 0
    assert (diorama.export(scene, tmp_path / "views") / "transforms.json").is_file()
    assert "triangles" in said[0]
    with pytest.raises(InputError, match=r"\.glb"):
        diorama.export(scene, tmp_path / "scene.docx")


def test_nothing_is_overwritten_without_force(tmp_path):
    scene, target = OracleScene(ring_cameras(3, 24, 16)), tmp_path / "ball.ply"
    target.write_text("mine")
    with pytest.raises(OutputError):
        diorama.export(scene, target)
    assert target.read_text() == "mine"
    diorama.export(scene, target, kind="points", force=True)
    assert target.read_bytes().startswith(b"ply")


def test_read_only_places_are_said_in_words(plain, tmp_path, monkeypatch):
    import pathlib

    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    for output, more in (("a.glb", {}), ("a.ply", {}), ("p.ply", {"kind": "points"})):
        with pytest.raises(OutputError, match="no permission"):
            verb.command(options(tmp_path, output, resolution=16, **more))
    assert list(tmp_path.iterdir()) == []


def test_a_box_of_ones_own_is_respected(plain, tmp_path, capsys):
    box = (-0.6, -0.6, 0.05, 0.6, 0.6, 1.1)
    verb.command(options(tmp_path, "ball.ply", resolution=48, box=box))
    mesh = trimesh.load(tmp_path / "ball.ply", process=False)
    assert np.asarray(mesh.vertices)[:, 2].min() > 0.04
    assert "box (-0.6, -0.6, 0.05) to (0.6, 0.6, 1.1)" in capsys.readouterr().out


def test_an_empty_scene_says_so(tmp_path, monkeypatch):
    shown = moved_scene()

    def nothing(cameras):
        seen = exact_rendering(cameras)
        return replace(seen, opacity=torch.zeros_like(seen.opacity))

    monkeypatch.setattr(verb, "open_scene", lambda path, **_: (shown, nothing))
    with pytest.raises(InputError, match="no opaque surface"):
        verb.command(options(tmp_path, "a.glb"))
    with pytest.raises(InputError, match="no photograph shows"):
        verb.command(options(tmp_path, "a.ply", kind="points"))
    assert list(tmp_path.iterdir()) == []


def test_the_number_of_points_is_bounded():
    shown = moved_scene(count=4)
    assert len(verb.scene_points(shown, shown.render, most=2000)) <= 2100
    assert len(verb.scene_points(shown, shown.render)) > 20_000


def test_points_count_the_cameras_that_have_them_in_their_image():
    cameras = ring_cameras(6)
    points = torch.tensor([CENTRE, (0.0, 0.0, 50.0)])
    assert count_views(points, cameras).tolist() == [6, 0]
    assert count_views(torch.zeros(0, 3), cameras).shape == (0,)


def test_the_region_of_interest_leaves_out_what_single_photographs_show():
    cameras = ring_cameras(12)
    generator = torch.Generator().manual_seed(0)
    near = torch.tensor(CENTRE) + 0.5 * (torch.rand(2000, 3, generator=generator) - 0.5)
    far = torch.tensor([-40.0, 0.0, 0.0]) + torch.rand(1500, 3, generator=generator)
    assert count_views(far, cameras).max() < 6
    box = region_of_interest(torch.cat([near, far]), cameras)
    assert box[0].min() > -1
    assert box[1].max() < 1.5


def test_surfaces_are_seen_from_the_camera_that_faces_them():
    eyes = torch.tensor([[2.0, 0, 0], [0, 2.0, 0]])
    ring = ring_cameras(2)
    cameras = Cameras.pinhole(look_from(eyes, torch.zeros(2, 3)), ring.focal, ring.centre, ring.size)
    points = torch.tensor([[0.1, 0, 0], [0, 0.1, 0], [0, 0, -0.1]])
    seen = seen_directions(points, points / 0.1, cameras)
    torch.testing.assert_close(seen[:2].float(), torch.tensor([[-1.0, 0, 0], [0, -1.0, 0]]))
    torch.testing.assert_close(seen.norm(dim=-1), torch.ones(3, dtype=torch.float64))


def test_the_level_may_be_given(plain, tmp_path):
    mesh, level, _ = verb.scene_mesh(plain, plain.render, MeshConfig(resolution=24, level=17.0))
    assert level == 17.0
    assert len(mesh.faces) > 0


def test_the_glb_names_frame_and_units(scene, tmp_path):
    verb.command(options(tmp_path, "a.glb", resolution=16))
    data = (tmp_path / "a.glb").read_bytes()
    size = int.from_bytes(data[12:16], "little")
    assert json.loads(data[20 : 20 + size])["asset"]["extras"] == {
        "frame": "oracle",
        "units": scene.frame.units,
        "made by": "diorama",
    }


def test_vertices_of_a_soft_field_have_the_colour_that_cameras_see():
    """Behind x = 0 the field is red fog; the colour just in front of it, which stops no light, does not matter."""
    from diorama.export.paint import short_ray_colour

    def density(positions):
        return 3.0 * (positions[:, 0] > 0)

    def colour(points, directions):
        return torch.where(points[:, :1] > 0, torch.tensor([[0.9, 0.1, 0.1]]), torch.zeros(1, 3)).to(points)

    points = torch.zeros(5, 3, dtype=torch.float64)
    forwards = torch.tensor([[1.0, 0, 0]], dtype=torch.float64).expand(5, 3)
    seen = short_ray_colour(points, forwards, density, colour, torch.linspace(-0.1, 0.5, 12, dtype=torch.float64))
    torch.testing.assert_close(seen, torch.tensor([[0.9, 0.1, 0.1]]).double().expand(5, 3), atol=1e-3, rtol=0)
