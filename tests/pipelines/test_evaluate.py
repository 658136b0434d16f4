"""`diorama evaluate`: exactly the held-out photos, nothing that leaked, and protocols that can be resumed."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diorama.cameras.poses import Similarity
from diorama.cli.main import main
from diorama.data.images import write_png
from diorama.data.open import open_views
from diorama.data.splits import Split, make_split
from diorama.data.transforms import write_transforms
from diorama.errors import InputError
from diorama.eval.protocols import LLFF
from diorama.fields.hashgrid import GridConfig, HashField, HashFieldConfig
from diorama.pipelines import protocol as protocols
from diorama.pipelines.evaluate import evaluate, on_white, parts_by_sight, whole_numbers
from diorama.pipelines.protocol import FitRequest, Row, averaged, results_text, run_protocol, scene_folders
from diorama.pipelines.workspace import input_hashes
from diorama.rendering.render import SamplingConfig
from diorama.scenes.scene import Scene
from diorama.scenes.storage import save_scene
from tests.eval.test_perceptual import weights_of
from tests.oracles import exact_views, ring_cameras

GRID = GridConfig(levels=2, features=2, log2_table_size=8, base_resolution=4, finest_resolution=8)
FIELD = HashFieldConfig(grid=GRID, hidden=8, geometry=3, colour_hidden=8, proposal=None)


@pytest.fixture
def photos_folder(tmp_path):
    return write_photos(tmp_path / "photos", exact_views(ring_cameras(10, width=40, height=30)))


def write_photos(folder, views):
    folder.mkdir(parents=True)
    for name, image in zip(views.names, views.images, strict=True):
        write_png(folder / name, image)
    write_transforms(folder / "transforms.json", views.cameras, views.names, views.frame)
    return folder


def unfitted_scene(views, split, **provenance):
    """A scene with the right cameras and a field that has seen nothing."""
    train = views[views.index_of(split.train)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        field = HashField(FIELD)
    stored = {
        "method": "baseline", "preset": "few", "preset_asked": "auto", "seed": 0, "steps": 7, "budget": None,
        "split": split.to_dict(), "photos": input_hashes(train), "geometry_from": list(train.names), "poses": "given",
    }  # fmt: skip
    return Scene(
        field=field.eval(),
        sampling=SamplingConfig(coarse=8, fine=8),
        background="none",
        sphere=None,
        similarity=Similarity(1.0, torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)),
        cameras=train.cameras,
        names=train.names,
        frame=views.frame,
        near=1.0,
        far=5.0,
        provenance=stored | provenance,
    )


def saved_scene(tmp_path, photos_folder, mode="every8", **provenance):
    views = open_views(photos_folder)
    scene = unfitted_scene(views, make_split(views, mode), input=str(photos_folder), **provenance)
    save_scene(scene, tmp_path / "scene")
    return tmp_path / "scene"


def test_exactly_the_stored_test_photos_are_measured(tmp_path, photos_folder, capsys):
    place = saved_scene(tmp_path, photos_folder)
    assert main(["evaluate", str(place)]) == 0
    stored = json.loads((place / "metrics.json").read_text())
    split = make_split(open_views(photos_folder), "every8")
    assert [view["name"] for view in stored["views"]] == list(split.test)
    assert stored["facts"]["split hash"] == split.digest == stored["split"]["digest"]
    assert {"seed", "resolution", "LPIPS net", "method"} <= set(stored["facts"])
    assert stored["mean"]["lpips"] is None
    assert stored["mean"]["psnr_mean_colour"] > 5
    page = (place / "report.html").read_text()
    assert all(name in page for name in split.test)
    assert stored["facts"]["visible, occluded, outside"] == "by the scene's own depth, which may err"
    assert {"psnr_visible", "share_visible", "share_occluded", "share_outside"} <= set(stored["mean"])
    assert "unseen is pale" in page
    shown = capsys.readouterr().out
    assert split.digest in shown
    assert "not measured" in shown
    assert main(["evaluate", str(place)]) == 0, "measuring again replaces the figures"


def test_a_scene_in_memory_is_measured_without_writing(photos_folder):
    views = open_views(photos_folder)
    split = make_split(views, "every8")
    result = evaluate(unfitted_scene(views, split), views)
    assert tuple(view.name for view in result.views) == split.test


def test_where_truth_is_known_it_says_what_the_training_photos_saw(photos_folder):
    """The split of the pixels then does not depend on the scene, which has seen nothing and is wrong everywhere."""
    exact, views = exact_views(ring_cameras(10, width=40, height=30)), open_views(photos_folder)
    split = Split("ours", ("photo_00.png", "photo_01.png"), ("photo_02.png", "photo_05.png"))
    sky_filled = torch.where(exact.depth > 0, exact.depth, 500.0)
    scene = unfitted_scene(views, split)
    result = evaluate(scene, replace(views, depth=sky_filled))
    assert result.facts["visible, occluded, outside"] == "by the true depth of training and test photos"
    near, opposite = (view.values for view in result.views)
    assert near["share_visible"] > 0.5 > opposite["share_visible"]
    assert all(
        sum(v[f"share_{part}"] for part in ("visible", "occluded", "outside")) == pytest.approx(1)
        for v in (near, opposite)
    )
    assert opposite["psnr_outside"] is not None
    assert opposite["depth_abs_rel_outside"] is not None
    with_holes = replace(views, depth=exact.depth * (exact.depth < 3))
    assert "own depth" in parts_by_sight(scene, with_holes, with_holes)[1]


def test_lpips_from_a_local_file_names_its_net(tmp_path, photos_folder, capsys):
    place = saved_scene(tmp_path, photos_folder)
    save_file(weights_of("alexnet"), tmp_path / "alexnet.safetensors")
    assert main(["evaluate", str(place), "--lpips", str(tmp_path / "alexnet.safetensors")]) == 0
    stored = json.loads((place / "metrics.json").read_text())
    assert stored["facts"]["LPIPS net"] == "alexnet"
    assert "lpips" not in stored["mean"]
    assert main(["evaluate", str(place), "--lpips", str(tmp_path / "absent.pth")]) == 2
    assert "no LPIPS weights at" in capsys.readouterr().err


def test_nothing_held_out_exits_2_with_advice(tmp_path, photos_folder, capsys):
    place = saved_scene(tmp_path, photos_folder, "none")
    assert main(["evaluate", str(place)]) == 2
    error = capsys.readouterr().err
    assert "--split every8 or --views N" in error
    assert "nothing was held out" in error


def test_moved_photos_are_found_with_photos(tmp_path, photos_folder, capsys):
    place = saved_scene(tmp_path, photos_folder)
    elsewhere = photos_folder.rename(tmp_path / "elsewhere")
    assert main(["evaluate", str(place)]) == 2
    assert "--photos" in capsys.readouterr().err
    assert main(["evaluate", str(place), "--photos", str(elsewhere)]) == 0


def test_a_scene_built_with_its_test_photos_is_refused(tmp_path, photos_folder):
    views = open_views(photos_folder)
    split = make_split(views, "every8")
    for leak in ({"geometry_from": list(views.names)}, {"photos": input_hashes(views)}):
        with pytest.raises(InputError, match="built with 2 of its own 2 test photos"):
            evaluate(unfitted_scene(views, split, **leak), views)
    masked = replace(views, object=torch.ones(len(views), 30, 40))
    with pytest.raises(InputError, match="test photos"):
        evaluate(unfitted_scene(views, split, photos={"a copy": input_hashes(views)[split.test[0]]}), masked)
    copied = dict(zip(split.train, input_hashes(views[views.index_of(split.test)]).values(), strict=False))
    with pytest.raises(InputError, match="test photos"):
        evaluate(unfitted_scene(views, split, photos=copied), views)


def test_a_split_that_was_altered_is_refused(photos_folder):
    views = open_views(photos_folder)
    scene = unfitted_scene(views, make_split(views, "every8"))
    scene.provenance["split"]["test"].pop()
    with pytest.raises(InputError, match="changed after the split was made"):
        evaluate(scene, views)


def test_photos_in_another_frame_are_refused(photos_folder):
    views = open_views(photos_folder)
    scene = unfitted_scene(views, make_split(views, "every8"))
    moved = views.cameras.camera_to_world.clone()
    moved[:, :3, 3] *= 1.1
    with pytest.raises(InputError, match="not those the scene was made with"):
        evaluate(scene, replace(views, cameras=replace(views.cameras, camera_to_world=moved)))
    with pytest.raises(InputError, match="are not there"):
        evaluate(scene, views[[0, 1, 2]])


def test_a_masked_scene_is_compared_with_photos_on_white(photos_folder):
    views = open_views(photos_folder)
    mask = torch.zeros(views.images.shape[0], 30, 40)
    mask[:, 10:20] = 1
    masked = replace(views, object=mask)
    white = on_white(masked)
    assert (white.images[:, :, :10] == 1).all()
    torch.testing.assert_close(white.images[:, :, 10:20], views.images[:, :, 10:20])
    scene = replace(unfitted_scene(masked, make_split(masked, "every8")), background="white")
    assert "composited on white" in evaluate(scene, masked).facts["photos"]


def test_words_that_do_not_fit_together_exit_2(tmp_path, capsys):
    assert main(["evaluate", "llff"]) == 2
    assert "needs --data DIR" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "absent")]) == 2
    assert main(["evaluate", "dtu", "--data", str(tmp_path), "-o", str(tmp_path / "out")]) == 2
    assert "cameras_sphere.npz" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path), "--data", str(tmp_path)]) == 2


@pytest.mark.parametrize("text", ["", "3,,6", "three", "3,3", "-1", "3.5"])
def test_counts_that_are_no_numbers_are_refused(text):
    assert whole_numbers("3,6,9", "views") == (3, 6, 9)
    with pytest.raises(InputError, match="--views"):
        whole_numbers(text, "views")


@pytest.fixture
def llff_scene(tmp_path):
    """A folder in LLFF's layout: columns [down, right, back | t | h, w, f], near and far."""
    views = exact_views(ring_cameras(9, width=64, height=48))
    folder = tmp_path / "data" / "fern"
    (folder / "images").mkdir(parents=True)
    for name, image in zip(views.names, views.images, strict=True):
        write_png(folder / "images" / name, image)
    pose = views.cameras.camera_to_world.double().numpy()
    right, down, forward, centre = (pose[:, :3, column] for column in range(4))
    hwf = np.tile([48.0, 64.0, float(views.cameras.focal[0, 0])], (9, 1))
    columns = np.stack([down, right, -forward, centre, hwf], axis=-1)
    rows = np.concatenate([columns.reshape(9, 15), np.tile([1.0, 6.0], (9, 1))], axis=1)
    np.save(folder / "poses_bounds.npy", rows)
    return folder


SMALL = replace(LLFF, size=(32, 24))


def test_a_protocol_fits_each_scene_once_and_prints_what_it_departs_from(tmp_path, llff_scene, monkeypatch):
    fitted = []

    def fake_reconstruct(views, *, split, count, seed, output, notes, preset, **rest):
        fitted.append((count, seed))
        scene = unfitted_scene(views, make_split(views, split, count), seed=seed, preset_asked=preset, **notes)
        save_scene(scene, output)
        return scene

    monkeypatch.setattr(protocols, "reconstruct", fake_reconstruct)
    lines = []
    arguments = {"counts": (3, 6), "seeds": (0, 1), "request": FitRequest(), "say": lines.append}
    out = tmp_path / "out"
    rows = run_protocol(SMALL, llff_scene.parent, out, **arguments)
    assert fitted == [(3, 0), (3, 1), (6, 0), (6, 1)]
    assert [(row.views, row.seed) for row in rows] == fitted
    assert all(row.resolution == "32x24" for row in rows)
    assert (out / "fern" / "6" / "1" / "scene.json").is_file()
    said = "\n".join(lines)
    assert "area-resized to 32x24 from copies of 64x48" in said
    assert "not comparable" in said
    assert "19.88" in said
    assert "ssim_signed7" in said
    split = make_split(open_views(llff_scene), "every8", 3)
    assert split.digest[:12] in said
    stored = json.loads((out / "results.json").read_text())
    assert len(stored["rows"]) == 4
    assert stored["rows"][0]["digest"] == split.digest
    assert "<table>" in (out / "results.html").read_text()

    again = run_protocol(SMALL, llff_scene, out, **arguments)
    assert len(fitted) == 4, "finished fits are used again"
    assert again == rows
    with pytest.raises(InputError, match="made in another way: budget was None, now '9m'"):
        run_protocol(SMALL, llff_scene, out, **arguments | {"request": FitRequest(budget="9m")})


def test_masks_measure_and_do_not_fit(tmp_path, llff_scene, monkeypatch):
    def fake_reconstruct(views, *, split, count, seed, output, notes, preset, **rest):
        assert views.object is None
        scene = unfitted_scene(views, make_split(views, split, count), seed=seed, preset_asked=preset, **notes)
        save_scene(scene, output)
        return scene

    def masked_views(protocol, folder):
        views = open_views(folder, max_side=32)
        return replace(views, object=torch.ones(len(views), 24, 32))

    monkeypatch.setattr(protocols, "reconstruct", fake_reconstruct)
    monkeypatch.setattr(protocols, "protocol_views", masked_views)
    arguments = {"counts": (3,), "seeds": (0,), "request": FitRequest(), "say": print}
    (row,) = run_protocol(SMALL, llff_scene, tmp_path / "out", **arguments)
    assert row.mean["psnr_masked"] == pytest.approx(row.mean["psnr"], rel=1e-6)
    assert run_protocol(SMALL, llff_scene, tmp_path / "out", **arguments) == [row]


def test_scenes_are_found_in_a_folder_or_are_the_folder(llff_scene):
    assert scene_folders(SMALL, llff_scene) == [llff_scene]
    (llff_scene.parent / "notes").mkdir()
    assert scene_folders(SMALL, llff_scene.parent) == [llff_scene]
    with pytest.raises(InputError, match="poses_bounds"):
        scene_folders(SMALL, llff_scene.parent / "notes")


def test_means_are_over_seeds_first_and_then_over_scenes():
    def row(scene, seed, psnr, lpips=None):
        return Row(scene, 3, seed, "d" * 64, "4x3", {"psnr": psnr, "lpips": lpips})

    rows = [row("a", 0, 10.0), row("a", 1, 20.0), row("b", 0, 30.0, 0.5)]
    assert averaged(rows) == {3: {"psnr": 22.5, "lpips": 0.5}}
    text = results_text(LLFF, rows, ["a note"], FitRequest())
    assert "not measured" in text
    assert "note: a note" in text
    assert "published means over all 8 scenes" in text
