"""`diorama view` puts scenes on show."""

import socket
from pathlib import Path

import pytest
import torch

from diorama.data.tensors import save_tensors
from diorama.errors import InputError
from diorama.pipelines import view as verb
from diorama.scenes.denoising import FILE
from diorama.scenes.storage import camera_tensors
from diorama.scenes.visibility import context_depth, observed_map
from diorama.viewer.server import Viewer
from tests.oracles import OracleScene, exact_rendering, ring_cameras


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_verb_serves_all_scenes_on_this_machine_and_says_where(tmp_path, monkeypatch, capsys):
    served, asked = [], []

    def open_scene(path, **_):
        return OracleScene(), exact_rendering

    def wait(viewer):
        served.append(([exhibit.name for exhibit in viewer.exhibits], viewer.url))
        viewer.stop()

    monkeypatch.setattr(verb, "open_scene", open_scene)
    monkeypatch.setattr(Viewer, "wait", wait)
    monkeypatch.setattr(verb.webbrowser, "open", asked.append)
    paths = (tmp_path / "a" / "scene", tmp_path / "b" / "scene")
    assert verb.command(verb.Options(scenes=paths, port=free_port(), open=True)) == 0
    ((names, url),) = served
    assert names == ["a/scene", "b/scene"]
    assert url.startswith("http://127.0.0.1:")
    assert asked == [url]
    assert url in capsys.readouterr().out


def test_steps_that_were_kept_with_a_scene_are_offered(tmp_path, monkeypatch):
    served = []

    def wait(viewer):
        served.extend(viewer.exhibits)
        viewer.stop()

    monkeypatch.setattr(verb, "open_scene", lambda path, **_: (OracleScene(), exact_rendering))
    monkeypatch.setattr(Viewer, "wait", wait)
    pictures = torch.randint(0, 256, (3, 2, 3, 4, 4), dtype=torch.uint8)
    for name in "ab":
        (tmp_path / name).mkdir()
    tensors = camera_tensors(ring_cameras(2, 4, 4)) | {"pictures": pictures}
    save_tensors(tmp_path / "b" / FILE, tensors, {"lens": "pinhole"})
    assert verb.command(verb.Options(scenes=(tmp_path / "a", tmp_path / "b"), port=free_port())) == 0
    assert served[0].denoising is None
    assert torch.equal(served[1].denoising.pictures, pictures)


def test_an_exhibit_has_the_scenes_photographs_and_paths():
    exhibit = verb.exhibit_of(OracleScene(), exact_rendering, "oracle")
    assert set(exhibit.paths) == {"tour", "orbit", "spiral", "interpolate", "grid", "zoom"}
    assert (exhibit.near, exhibit.far) == (0.5, 8.0)
    assert len(exhibit.cameras) == 6


def test_an_exhibit_tells_what_its_photographs_saw_and_draws_them_when_first_asked():
    drawn = []

    def render(cameras):
        drawn.append(len(cameras))
        return exact_rendering(cameras)

    exhibit = verb.exhibit_of(OracleScene(), render, "oracle")
    assert drawn == []
    view = ring_cameras(1, elevation=2.0)
    seen = exhibit.observed(view, exact_rendering(view))
    assert torch.equal(
        seen.count, observed_map(context_depth(OracleScene().cameras, exact_rendering), view, exact_rendering(view))
    )
    exhibit.observed(view, exact_rendering(view))
    assert drawn == [1] * 6


def test_names_are_as_short_as_they_can_be():
    assert verb.unique_names([Path("/x/fox"), Path("/y/fern")]) == ["fox", "fern"]
    assert verb.unique_names([Path("/x/fox/1"), Path("/x/fern/1")]) == ["fox/1", "fern/1"]
    with pytest.raises(InputError, match="given twice"):
        verb.unique_names([Path("/x/fox"), Path("/x/../x/fox")])


def test_no_scene_is_refused_with_the_usage():
    with pytest.raises(InputError, match="diorama view SCENE"):
        verb.command(verb.Options(scenes=()))
