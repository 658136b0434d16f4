"""A scene in memory is rendered and exported by plain functions."""

import pytest

import diorama
from diorama.errors import InputError, OutputError
from tests.oracles import OracleScene, ring_cameras

SCENE = OracleScene(ring_cameras(3, 24, 16))


def test_a_film_or_frames_by_the_name_of_the_output(tmp_path):
    film = diorama.render(SCENE, tmp_path / "tour.mp4", seconds=0.2, fps=20.0)
    assert film.stat().st_size > 0
    folder = diorama.render(SCENE, tmp_path / "frames", cameras=SCENE.cameras, depth=True)
    assert [path.name for path in sorted(folder.glob("*.png"))] == ["00000.png", "00001.png", "00002.png"]
    assert len(list((folder / "depth").glob("*.png"))) == 3


def test_a_mesh_points_or_views_by_the_suffix_or_the_kind(tmp_path):
    assert diorama.export(SCENE, tmp_path / "ball.glb", resolution=24).stat().st_size > 0
    assert diorama.export(SCENE, str(tmp_path / "ball.ply"), kind="points").stat().st_size > 0
    assert (diorama.export(SCENE, tmp_path / "views") / "transforms.json").is_file()


def test_nothing_is_overwritten_without_force(tmp_path):
    target = tmp_path / "ball.ply"
    target.write_text("mine")
    with pytest.raises(OutputError):
        diorama.export(SCENE, target)
    assert target.read_text() == "mine"
    diorama.export(SCENE, target, kind="points", force=True)
    assert target.read_bytes().startswith(b"ply")


@pytest.mark.parametrize("name", ["scene.docx", "scene.gif"])
def test_a_suffix_that_means_nothing_is_answered_with_those_that_do(tmp_path, name):
    with pytest.raises(InputError, match=r"\.glb"):
        diorama.export(SCENE, tmp_path / name)
    with pytest.raises(InputError, match=r"\.mp4"):
        diorama.render(SCENE, tmp_path / name)
