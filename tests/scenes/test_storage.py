import json
from dataclasses import replace

import pytest
import torch

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import Similarity
from diorama.data.views import Frame
from diorama.errors import InputError, OutputError
from diorama.fields.hashgrid import GridConfig, HashField, HashFieldConfig
from diorama.fields.sampled_planes import SampledPlanes
from diorama.rendering.render import SamplingConfig
from diorama.scenes.config import from_json, to_json
from diorama.scenes.field import SceneField
from diorama.scenes.scene import Scene
from diorama.scenes.storage import load_scene, save_scene
from tests.fields.test_ib_planes import field_of, planes_of
from tests.oracles import exact_rendering, ring_cameras, sphere_field

FIELD = HashFieldConfig(
    grid=GridConfig(levels=3, log2_table_size=8, base_resolution=4, finest_resolution=16),
    hidden=8, geometry=3, colour_hidden=8, colour_layers=1, sh_degree=1, density_bias=0.5,
    proposal=GridConfig(levels=2, log2_table_size=6, base_resolution=4, finest_resolution=8),
)  # fmt: skip


def cameras(count=3, width=10, height=8):
    poses = torch.eye(4).repeat(count, 1, 1)
    poses[:, 0, 3] = torch.linspace(-1, 1, count)
    size = torch.tensor([[width, height]]).repeat(count, 1)
    return Cameras.pinhole(poses, torch.full((count, 2), 9.0), size / 2, size)


def made_scene():
    torch.manual_seed(0)
    field = HashField(FIELD)
    torch.nn.init.normal_(field.table, std=1.0)
    rotation = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    similarity = Similarity(0.5, rotation, torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64))
    sampling = SamplingConfig(coarse=16, fine=8, near=0.1, far=100.0)
    return Scene(
        field=field, sampling=sampling, background="none", sphere=None, similarity=similarity, cameras=cameras(),
        names=("a.png", "b.png", "ü.png"), frame=Frame("made up", "millimetres"), near=1.0, far=6.0,
        provenance={"method": "baseline", "split": {"test": ["t.png"]}}, thumbnails=torch.rand(3, 3, 8, 10),
        held_out=cameras(1),
    )  # fmt: skip


@pytest.fixture
def scene():
    return made_scene()


def test_a_scene_comes_back_bit_for_bit(scene, tmp_path):
    scene.save(tmp_path / "scene")
    back = load_scene(tmp_path / "scene")
    one, two = scene.render(cameras()), back.render(cameras())
    assert torch.equal(one.colour, two.colour)
    assert torch.equal(one.depth, two.depth)
    assert back.provenance == scene.provenance
    assert back.frame == scene.frame
    assert back.names == scene.names
    assert torch.equal(back.held_out.camera_to_world, scene.held_out.camera_to_world)
    torch.testing.assert_close(back.thumbnails, scene.thumbnails, atol=1 / 255, rtol=0)


def test_a_sampled_scene_comes_back_bit_for_bit(scene, tmp_path):
    field = SampledPlanes.of(planes_of(cameras()), field_of())
    sampled = replace(scene, field=field)
    folder = sampled.save(tmp_path / "scene")
    back = load_scene(folder)
    one, two = sampled.render(cameras()), back.render(cameras())
    assert torch.equal(one.colour, two.colour)
    assert torch.equal(one.depth, two.depth)
    assert json.loads((folder / "scene.json").read_text())["field_kind"] == "ib-planes"
    assert torch.equal(sampled.density(torch.ones(2, 3)), back.density(torch.ones(2, 3)))


def test_depth_and_density_are_in_the_users_units(scene):
    """Seen from a user frame of another scale, depth scales with it and density inversely; the picture stays."""
    stretched = replace(
        scene,
        similarity=Similarity(scene.similarity.scale / 10, scene.similarity.rotation, scene.similarity.translation),
    )
    view = cameras(1)
    far_view = replace(view, camera_to_world=view.camera_to_world.clone())
    far_view.camera_to_world[:, :3, 3] *= 10
    one, ten = scene.render(view), stretched.render(far_view)
    torch.testing.assert_close(one.colour, ten.colour, atol=1e-4, rtol=0)
    torch.testing.assert_close(one.depth * 10, ten.depth, rtol=1e-3, atol=1e-3)
    points = torch.randn(5, 3)
    torch.testing.assert_close(scene.density(points), stretched.density(points * 10) * 10)


def test_pictures_of_mixed_sizes_are_padded_at_the_right_and_the_bottom(scene):
    view = cameras(2)
    view.size[1] = torch.tensor([4, 6])
    out = scene.render(view)
    assert out.colour.shape == (2, 3, 8, 10)
    assert (out.colour[1, :, :6, :4] > 0).any()
    assert (out.colour[1, :, 6:] == 0).all()
    assert (out.colour[1, :, :, 4:] == 0).all()


def test_chunks_do_not_change_a_picture(scene):
    whole, pieces = scene.render(cameras(1)), scene.render(cameras(1), max_memory=1)
    torch.testing.assert_close(whole.colour, pieces.colour)
    torch.testing.assert_close(whole.depth, pieces.depth)


def test_an_existing_place_is_refused_and_replaced_only_by_force(scene, tmp_path):
    save_scene(scene, tmp_path / "scene")
    with pytest.raises(OutputError, match="--force"):
        save_scene(scene, tmp_path / "scene")
    save_scene(scene, tmp_path / "scene", force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene"]


def test_force_does_not_delete_a_folder_that_is_no_scene(scene, tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.txt").write_text("precious")
    with pytest.raises(OutputError, match="not a scene"):
        save_scene(scene, tmp_path / "holiday", force=True)
    assert (tmp_path / "holiday" / "photo.txt").read_text() == "precious"


def test_a_full_disk_leaves_nothing_half_and_the_old_scene_whole(scene, tmp_path, monkeypatch):
    save_scene(scene, tmp_path / "scene")
    before = (tmp_path / "scene" / "scene.json").read_bytes()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diorama.scenes.storage.write_transforms", full)
    with pytest.raises(OutputError, match="disk is full"):
        save_scene(scene, tmp_path / "scene", force=True)
    assert (tmp_path / "scene" / "scene.json").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene"]


def test_a_newer_version_is_refused_with_advice(scene, tmp_path):
    folder = save_scene(scene, tmp_path / "scene")
    card = json.loads((folder / "scene.json").read_text())
    (folder / "scene.json").write_text(json.dumps(card | {"format": 99}))
    with pytest.raises(InputError, match=r"format 99.*pip install -U"):
        load_scene(folder)


def test_scenes_say_what_kind_of_field_they_hold_and_those_that_do_not_hold_a_hash_grid(scene, tmp_path):
    folder = save_scene(scene, tmp_path / "scene")
    card = json.loads((folder / "scene.json").read_text())
    assert card.pop("field_kind") == "hash-grid"
    (folder / "scene.json").write_text(json.dumps(card))
    assert torch.equal(load_scene(folder).render(cameras(1)).colour, scene.render(cameras(1)).colour)
    (folder / "scene.json").write_text(json.dumps(card | {"field_kind": "fog bank"}))
    with pytest.raises(InputError, match=r"'fog bank'.*pip install -U"):
        load_scene(folder)


class Ball(torch.nn.Module):
    """The closed-form ball on a plane, as a field of another kind."""

    kind, config, proposal, bytes_per_sample = "ball", FIELD, None, 64
    device = torch.device("cpu")

    def geometry(self, positions):
        density, colour = sphere_field(positions, positions)
        return density, colour

    def harmonics(self, directions):
        return directions[..., :0]

    def colour(self, geometry, harmonics):
        return geometry

    def density(self, positions):
        return self.geometry(positions)[0]

    def forward(self, positions, directions):
        return self.geometry(positions)


def test_a_scene_draws_any_field(scene):
    """A ball and a plane that know nothing of hash grids look as they do in closed form."""
    from dataclasses import replace

    assert isinstance(Ball(), SceneField)
    view = ring_cameras(2)
    identity = Similarity(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))
    sampling = SamplingConfig(coarse=256, fine=64, near=0.5, far=20.0, spacing="linear", last_opaque=False)
    shown = replace(scene, field=Ball(), similarity=identity, sampling=sampling, cameras=view, held_out=None)
    seen, exact = shown.render(view), exact_rendering(view)
    solid = (exact.depth > 0) & (exact.depth < 15)
    assert solid.float().mean() > 0.7
    assert ((seen.depth - exact.depth).abs() < 0.05 * exact.depth)[solid].float().mean() > 0.95
    assert ((seen.colour - exact.colour).abs().amax(1) < 0.1)[solid].float().mean() > 0.9
    assert shown.density(torch.tensor([[0.0, 0.0, 0.5]])) > 100
    small, large = shown.chunk(1 << 20), shown.chunk(1 << 30)
    assert 64 <= small < large


@pytest.mark.parametrize("damage", ["no card", "not json", "missing key", "cut weights", "wrong type", "unknown key"])
def test_damaged_scenes_are_refused_in_words(scene, tmp_path, damage):
    folder = save_scene(scene, tmp_path / "scene")
    file = folder / "scene.json"
    card = json.loads(file.read_text())
    match damage:
        case "no card":
            file.unlink()
        case "not json":
            file.write_text("{")
        case "missing key":
            del card["sampling"]
            file.write_text(json.dumps(card))
        case "cut weights":
            weights = folder / "field.safetensors"
            weights.write_bytes(weights.read_bytes()[:1000])
        case "wrong type":
            card["field"]["hidden"] = "many"
            file.write_text(json.dumps(card))
        case "unknown key":
            card["field"]["surprise"] = 1
            file.write_text(json.dumps(card))
    with pytest.raises(InputError):
        load_scene(folder)


def test_thumbnails_cannot_point_outside_the_scene(scene, tmp_path):
    folder = save_scene(scene, tmp_path / "scene")
    card = json.loads((folder / "scene.json").read_text())
    (folder / "scene.json").write_text(json.dumps(card | {"thumbnails": ["../secret.png"] * 3}))
    with pytest.raises(InputError, match="outside"):
        load_scene(folder)


def test_configs_go_to_json_and_back():
    for config in (FIELD, SamplingConfig(spacing="inverse"), Frame("x", "metres")):
        assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


def test_the_box_of_a_scene_holds_what_its_cameras_saw(scene):
    low, high = scene.bounds()
    view = scene.cameras
    centre = view[1].unproject(view.centre[1][None])[0] * 3.0 + view.origins[1]
    assert (centre >= low).all()
    assert (centre <= high).all()
