import pytest
import torch

from diorama.data.images import write_png
from diorama.data.open import open_views
from diorama.data.transforms import write_transforms
from diorama.errors import InputError, OutputError
from diorama.pipelines.pose import Options, command, pose
from tests.textured import arc_cameras, textured_views


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    views = textured_views(arc_cameras(4, 9.0, (240, 180)))
    for name, image in zip(views.names, views.images, strict=True):
        write_png(place / name, image)
    return place


@pytest.mark.colmap
def test_photos_become_a_folder_that_opens_with_cameras(folder, tmp_path, capsys):
    assert command(Options(folder, tmp_path / "posed")) == 0
    assert "4 of 4 photos placed" in capsys.readouterr().out
    views = open_views(tmp_path / "posed")
    assert views.cameras is not None
    assert len(views) == 4
    assert views.frame.units == "arbitrary"
    bare = open_views(folder)
    assert torch.allclose(views.images, bare.images, atol=1 / 254)
    with pytest.raises(OutputError, match="--force"):
        pose(folder, tmp_path / "posed")


@pytest.mark.colmap
def test_a_failed_search_leaves_nothing_behind(tmp_path):
    (tmp_path / "photos").mkdir()
    for index in range(2):
        noise = torch.rand(3, 60, 80, generator=torch.Generator().manual_seed(index))
        write_png(tmp_path / "photos" / f"{index}.png", noise)
    with pytest.raises(InputError, match="0 of 2"):
        pose(tmp_path / "photos", tmp_path / "posed")
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_where_all_cameras_are_known_nothing_is_searched(folder, tmp_path):
    views = textured_views(arc_cameras(4, 9.0, (240, 180)), supersample=1)
    known = tmp_path / "known"
    for name, image in zip(views.names, views.images, strict=True):
        (known / "images").mkdir(parents=True, exist_ok=True)
        write_png(known / "images" / name, image)
    write_transforms(known / "transforms.json", views.cameras, views.names, folder="images")
    posed, report = pose(folder, tmp_path / "posed", cameras=known)
    assert len(report.placed) == 4
    assert torch.allclose(posed.cameras.camera_to_world, views.cameras.camera_to_world, atol=1e-5)


def test_cameras_of_other_photos_are_refused(folder, tmp_path):
    write_png(tmp_path / "other.png", torch.rand(3, 20, 30))
    cameras = arc_cameras(1, 9.0, (30, 20))
    write_transforms(tmp_path / "transforms.json", cameras, ["other.png"])
    with pytest.raises(InputError, match="names must agree"):
        pose(folder, cameras=tmp_path)
