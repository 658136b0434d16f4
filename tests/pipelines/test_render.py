"""Films, frames and depth show the scene from exactly the cameras that were asked for."""

import errno
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import diorama
from diorama.cameras.camera_file import read_cameras
from diorama.data.transforms import write_transforms
from diorama.data.views import Frame
from diorama.errors import InputError, OutputError
from diorama.pipelines import render as verb
from diorama.pipelines.showing import PATHS, camera_path, image_size
from diorama.scenes.visibility import context_depth, observe
from tests.oracles import OracleScene, exact_rendering, ring_cameras


@pytest.fixture
def scene(monkeypatch):
    """The closed-form world stands in for whatever scene folder a command names."""
    shown = OracleScene()
    monkeypatch.setattr(verb, "open_scene", lambda path, **_: (shown, exact_rendering))
    return shown


def options(tmp_path, output, **more):
    return verb.Options(scene=tmp_path / "scene", output=tmp_path / output, **more)


def pixels(path):
    return torch.from_numpy(np.asarray(Image.open(path)).astype(np.float32) / 255)


@pytest.mark.parametrize("name", PATHS)
def test_every_path_becomes_a_film(scene, tmp_path, capsys, name):
    import av

    assert verb.command(options(tmp_path, "film.mp4", path=name, seconds=0.5, fps=12.0, width=95)) == 0
    with av.open(str(tmp_path / "film.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 6
    assert frames[0].shape == (72, 96, 3)  # 95 x 71, made even
    wanted = exact_rendering(camera_path(scene, name, 6, (96, 72))[2:3]).colour[0].permute(1, 2, 0).numpy()
    assert np.abs(frames[2] / 255 - wanted).mean() < 0.05
    assert "6 frames" in capsys.readouterr().out


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_paths_have_the_length_and_size_that_were_asked_for(name, count):
    path = camera_path(OracleScene(ring_cameras(3)), name, count, (40, 20))
    assert len(path) == count
    assert path.size.tolist() == [[40, 20]] * count
    path.validate()


def test_cameras_of_a_file_are_rendered_exactly_and_named_after_their_files(scene, tmp_path):
    """Same file out as in: sizes differ, names lie in folders, numbers are the user's."""
    first, second = ring_cameras(2, 40, 30), ring_cameras(5, 24, 32)[3:]
    cameras = type(first)(
        **{
            name: torch.cat([getattr(first, name), getattr(second, name)])
            for name in ("camera_to_world", "focal", "centre", "size", "distortion")
        }
    )
    names = ["left/a.jpg", "left/b.JPG", "right/c", "right/d.png"]
    write_transforms(tmp_path / "wanted.json", cameras, names, Frame("mine", "metres"))
    assert verb.command(options(tmp_path, "frames", cameras=tmp_path / "wanted.json")) == 0
    for index, name in enumerate(["a.png", "b.png", "c.png", "d.png"]):
        seen = pixels(tmp_path / "frames" / name)
        wanted = exact_rendering(cameras[index : index + 1]).colour[0].permute(1, 2, 0)
        assert seen.shape == wanted.shape
        assert (seen - wanted).abs().mean() < 0.01
    read, listed = read_cameras(tmp_path / "frames" / "transforms.json")
    assert list(listed) == ["a.png", "b.png", "c.png", "d.png"]
    torch.testing.assert_close(read.camera_to_world.float(), cameras.camera_to_world)
    assert torch.equal(read.size, cameras.size)


def test_depth_comes_with_its_scale_and_is_the_true_depth(scene, tmp_path, capsys):
    assert verb.command(options(tmp_path, "frames", path="orbit", seconds=0.1, fps=30.0, depth=True)) == 0
    note = json.loads((tmp_path / "frames" / "depth.json").read_text())
    assert note["units"] == "metres"
    assert f"{note['scale']:g} * value" in capsys.readouterr().out
    path = camera_path(scene, "orbit", 3, (64, 48))
    for index in range(3):
        values = np.asarray(Image.open(tmp_path / "frames" / "depth" / f"{index:05d}.png")).astype(np.float64)
        truth = exact_rendering(path[index : index + 1])
        wanted = torch.where(truth.opacity[0] > 0.5, truth.depth[0], 0.0).numpy()
        close = wanted <= 65534 * note["scale"]
        # at the horizon the depth of neighbouring pixels grows without bound: those alone may be beyond the scale
        assert close.mean() > 0.95
        np.testing.assert_allclose((values * note["scale"])[close], wanted[close], atol=0.51 * note["scale"] + 1e-5)
        assert (values[wanted == 0] == 0).all()
    transforms = json.loads((tmp_path / "frames" / "transforms.json").read_text())
    assert transforms["depth_unit_scale_factor"] == note["scale"]
    assert transforms["frames"][0]["depth_file_path"] == "depth/00000.png"


def test_observed_maps_say_how_many_photographs_saw_what_and_the_unseen_is_pale(tmp_path, monkeypatch, capsys):
    """From above and behind three photographs on one side: seen, in the shadow of the ball, and out of frame."""
    shown = OracleScene(ring_cameras(3, 96, 72, arc=60.0))
    monkeypatch.setattr(verb, "open_scene", lambda path, **_: (shown, exact_rendering))
    cameras = ring_cameras(4, 64, 48, elevation=3.0)
    write_transforms(tmp_path / "wanted.json", cameras, ["a", "b", "c", "d"], Frame("mine", "metres"))
    asked = {"cameras": tmp_path / "wanted.json", "observed": True, "depth": True}
    assert verb.command(options(tmp_path, "frames", **asked)) == 0
    context = context_depth(shown.cameras, exact_rendering)
    met = set()
    for index, name in enumerate("abcd"):
        exact = exact_rendering(cameras[index : index + 1])
        observed = observe(context, cameras[index : index + 1], exact)
        counts = np.asarray(Image.open(tmp_path / "frames" / "observed" / f"{name}.png"))
        met |= set(np.unique(counts).tolist())
        # cameras come back from the file with rounded numbers, so single pixels at outlines may differ
        wanted = torch.where(observed.surface, observed.count, 255)[0].numpy()
        assert (counts == wanted).mean() > 0.99
        away = (pixels(tmp_path / "frames" / f"{name}.png").permute(2, 0, 1) - exact.colour[0]).abs().amax(0)
        visible, unseen = observed.visible[0], (observed.occluded | observed.outside)[0]
        assert away[visible].mean() < 0.01
        assert away[unseen].mean() > 0.1 if unseen.any() else True
    assert {0, 1, 2, 3} <= met
    assert json.loads((tmp_path / "frames" / "observed.json").read_text())["photographs"] == 3
    assert (tmp_path / "frames" / "depth" / "a.png").exists()
    said = capsys.readouterr().out
    assert "% were seen by a photograph" in said
    assert "observed.json" in said


def test_a_film_can_show_what_nobody_saw(scene, tmp_path, capsys):
    ticks = []
    diorama.render(scene, tmp_path / "plain.mp4", seconds=0.2, fps=20.0, width=64)
    said = []
    arguments = {"seconds": 0.2, "fps": 20.0, "width": 64, "observed": True, "tick": lambda: ticks.append(1)}
    diorama.render(scene, tmp_path / "pale.mp4", say=said.append, **arguments)
    assert len(ticks) == len(scene.cameras) + 4
    assert "% in no photograph's frame" in said[-1]
    assert (tmp_path / "pale.mp4").read_bytes() != (tmp_path / "plain.mp4").read_bytes()


def test_what_cannot_be_is_refused_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "open_scene", lambda path, **_: pytest.fail("loaded"))
    with pytest.raises(InputError, match="does not fit into a film"):
        verb.command(options(tmp_path, "a.mp4", depth=True))
    with pytest.raises(InputError, match=r"\.mp4"):
        verb.command(options(tmp_path, "a.avi"))
    with pytest.raises(InputError, match="no film"):
        verb.command(options(tmp_path, "a.mp4", seconds=0.0))
    with pytest.raises(InputError, match="size its file states"):
        verb.command(options(tmp_path, "a", cameras=tmp_path / "c.json", width=20))
    (tmp_path / "old").mkdir()
    with pytest.raises(OutputError, match="--force"):
        verb.command(options(tmp_path, "old"))
    (tmp_path / "old.mp4").write_text("old")
    with pytest.raises(OutputError, match="--force"):
        verb.command(options(tmp_path, "old.mp4"))


def test_a_scene_in_memory_becomes_a_film_or_frames_by_the_name_of_the_output(tmp_path):
    scene = OracleScene(ring_cameras(3, 24, 16))
    film = diorama.render(scene, tmp_path / "tour.mp4", seconds=0.2, fps=20.0)
    assert film.stat().st_size > 0
    folder = diorama.render(scene, tmp_path / "frames", cameras=scene.cameras, depth=True)
    assert [path.name for path in sorted(folder.glob("*.png"))] == ["00000.png", "00001.png", "00002.png"]
    assert len(list((folder / "depth").glob("*.png"))) == 3
    with pytest.raises(InputError, match=r"\.mp4"):
        diorama.render(scene, tmp_path / "scene.gif")


def test_a_film_of_several_sizes_is_refused(scene, tmp_path):
    cameras = ring_cameras(2)
    cameras.size[1] = 20
    write_transforms(tmp_path / "c.json", cameras, ["a", "b"])
    with pytest.raises(InputError, match="several sizes"):
        verb.command(options(tmp_path, "a.mp4", cameras=tmp_path / "c.json"))


@pytest.mark.parametrize("output", ["film.mp4", "frames"])
def test_the_time_of_a_frame_is_told_with_its_size_and_without_that_of_writing_it(
    scene, tmp_path, monkeypatch, capsys, output
):
    clock = iter(float(second) for second in range(100))
    monkeypatch.setattr(verb, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    for seconds in (0.2, 0.05):  # four frames, and a single picture
        verb.command(options(tmp_path, output, seconds=seconds, fps=20.0, width=32, force=True))
        assert "\n1 s a frame of 32 x 24, without writing it\n" in capsys.readouterr().out
    assert next(clock) == 2 * (4 + 1)


def test_force_replaces_and_a_fault_in_the_middle_leaves_nothing(scene, tmp_path, monkeypatch):
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "old.png").write_text("old")
    calls = []

    def fails_later(cameras):
        calls.append(cameras)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return exact_rendering(cameras)

    monkeypatch.setattr(verb, "open_scene", lambda path, **_: (scene, fails_later))
    for output in ("new", "new.mp4", "frames"):
        calls.clear()
        with pytest.raises(OutputError, match="disk is full"):
            verb.command(options(tmp_path, output, seconds=0.5, fps=10.0, force=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames"]
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["old.png"]
    monkeypatch.setattr(verb, "open_scene", lambda path, **_: (scene, exact_rendering))
    verb.command(options(tmp_path, "frames", seconds=0.2, fps=10.0, force=True))
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == [
        "00000.png",
        "00001.png",
        "transforms.json",
    ]


def test_a_full_disk_while_pictures_are_written_is_said(scene, tmp_path, monkeypatch):
    def full(self, file, **_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match="disk is full"):
        verb.command(options(tmp_path, "frames", seconds=0.1))
    assert list(tmp_path.iterdir()) == []


def test_sizes_keep_the_aspect():
    cameras = ring_cameras(1, 64, 48)
    assert image_size(cameras, None, None) == (64, 48)
    assert image_size(cameras, 32, None) == (32, 24)
    assert image_size(cameras, None, 24) == (32, 24)
    assert image_size(cameras, 33, 11) == (33, 11)
    assert image_size(cameras, 33, 11, even=True) == (34, 12)
    with pytest.raises(InputError, match="not possible"):
        image_size(cameras, 0, None)


@pytest.mark.parametrize("module", ["render", "export", "view"])
def test_options_are_read_without_viewer_video_or_mesh_libraries(module):
    code = (
        f"import sys, diorama.pipelines.{module}\n"
        "print([name for name in ('viser', 'av', 'trimesh', 'skimage', 'numba', 'PIL') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
