"""Folders of many scenes: every layout gives the cameras it states, and only the photos that are asked for."""

import gzip
import json
import pickle

import numpy as np
import pytest
import torch

from diorama.data import co3d, images, mvimgnet, realestate, scene_sets, shapenet_srn
from diorama.data.open import open_views
from diorama.data.scene_sets import SceneSet, open_scenes
from diorama.errors import CameraError, InputError, ViewsError
from tests.data import made_up
from tests.data.many_scenes import TIMES, mvimgnet_instance, realestate_clip, srn_object
from tests.data.tiny import paint, posed_folder, ring

POSES = torch.tensor(np.stack(made_up.POSES)).float()


@pytest.fixture
def decoded(monkeypatch):
    """Names of the photos whose pixels are read."""
    from diorama.data import shots

    names = []

    def read_photo(path, *rest):
        names.append(path.name)
        return images.read_photo(path, *rest)

    monkeypatch.setattr(shots, "read_photo", read_photo)
    return names


def test_all_sequences_of_a_category_are_scenes_and_its_annotations_are_read_once(tmp_path, decoded, monkeypatch):
    category = made_up.co3d_category(tmp_path, ("12_34_56", "78_90_12"))
    scenes = open_scenes(category)
    assert isinstance(scenes, SceneSet)
    assert scenes.names == ("apple/12_34_56", "apple/78_90_12")
    assert (scenes.layout, len(scenes), scenes.frame_count(1)) == ("co3d", 2, 3)
    torch.testing.assert_close(scenes.cameras(1).camera_to_world, POSES)
    assert decoded == []
    with monkeypatch.context() as patch:
        patch.setattr(co3d, "read_annotations", None)
        views = scenes.read(0, [2, 0], max_side=12)
    assert decoded == ["frame000003.jpg.png", "frame000001.jpg.png"]
    assert views.names == tuple(decoded)
    assert views.images.shape == (2, 3, 8, 12)
    torch.testing.assert_close(views.cameras.camera_to_world, POSES[[2, 0]])
    whole = co3d.read(category / "12_34_56")
    torch.testing.assert_close(scenes.read(0, [1]).images, whole.images[[1]])
    torch.testing.assert_close(scenes.read(0, [1]).depth, whole.depth[[1]])
    torch.testing.assert_close(scenes.read(0, [1]).object, whole.object[[1]])
    assert scenes.read(0, [1], depth=False).depth is None


def test_a_folder_of_categories_holds_the_sequences_of_all(tmp_path):
    made_up.co3d_category(tmp_path, ("12_34_56",))
    (tmp_path / "apple").rename(tmp_path / "pear")
    file = tmp_path / "pear" / "frame_annotations.jgz"
    frames = json.loads(gzip.decompress(file.read_bytes()).replace(b"apple/", b"pear/"))
    file.write_bytes(gzip.compress(json.dumps(frames).encode()))
    made_up.co3d_category(tmp_path, ("78_90_12",))
    scenes = open_scenes(tmp_path)
    assert scenes.names == ("apple/78_90_12", "pear/12_34_56")
    assert len(scenes.read(1)) == 3
    assert scenes.subset([1]).names == ("pear/12_34_56",)
    assert len(pickle.loads(pickle.dumps(scenes)).read(0, [0])) == 1


def test_a_sequence_without_annotations_says_so_when_it_is_asked_for(tmp_path):
    category = made_up.co3d_category(tmp_path)
    (category / "99_99_99" / "images").mkdir(parents=True)
    scenes = open_scenes(category)
    assert len(scenes.read(0)) == 3
    with pytest.raises(InputError, match="no frame of sequence 99_99_99"):
        scenes.frame_count(1)


def test_annotations_without_any_photos_say_what_to_unpack(tmp_path):
    category = made_up.co3d_category(tmp_path)
    (category / "12_34_56" / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="SEQUENCE/images"):
        open_scenes(category)


@pytest.mark.parametrize("classes", ["", "7/"])
def test_instances_of_mvimgnet_are_scenes(tmp_path, decoded, classes):
    cameras = mvimgnet_instance(tmp_path / f"{classes}0a01", masks=True)
    mvimgnet_instance(tmp_path / f"{classes}0b02", count=3)
    (tmp_path / f"{classes}0c03" / "images").mkdir(parents=True)  # one that COLMAP gave up on
    scenes = open_scenes(tmp_path)
    assert (scenes.layout, scenes.names) == ("mvimgnet", (f"{classes}0a01", f"{classes}0b02"))
    assert [scenes.frame_count(index) for index in (0, 1)] == [4, 3]
    assert torch.allclose(scenes.cameras(0).camera_to_world, cameras.camera_to_world, atol=1e-6)
    views = scenes.read(0, [3])
    assert decoded == ["004.jpg"]
    assert torch.equal(views.cameras.focal, cameras.focal[3:])
    torch.testing.assert_close(views.object, torch.full_like(views.object, 0.4))
    assert views.points is None
    assert scenes.read(1, [0]).object is None
    assert "0c03" in scenes.describe()


def test_a_folder_with_a_transforms_file_is_none_of_mvimgnet(tmp_path):
    mvimgnet_instance(tmp_path)
    assert mvimgnet.matches(tmp_path)
    (tmp_path / "transforms.json").write_text("{}")
    assert not mvimgnet.matches(tmp_path)


@pytest.mark.parametrize("deep", ["", "chairs_2.0_train/"])
def test_objects_of_shapenet_srn_are_scenes(tmp_path, decoded, deep):
    for name in ("1a", "2b"):
        srn_object(tmp_path / f"{deep}{name}")
    scenes = open_scenes(tmp_path)
    assert (scenes.layout, scenes.names) == ("shapenet_srn", (f"{deep}1a", f"{deep}2b"))
    torch.testing.assert_close(scenes.cameras(0).camera_to_world, POSES)
    views = scenes.read(0, [1])
    assert decoded == ["000001.png"]
    assert views.cameras.focal.tolist() == [[20, 20]]
    assert views.cameras.centre.tolist() == [[12, 8]]
    assert views.cameras.size.tolist() == [[24, 16]]


def test_srn_cameras_look_along_plus_z_with_y_downwards(tmp_path):
    # SRN: camera-to-world, pixel = (f x / z + cx, f y / z + cy)
    views = open_views(srn_object(tmp_path / "object"))
    assert views.layout == "shapenet_srn"
    point = np.array([0.3, -0.2, 0.4])
    local = np.linalg.inv(made_up.POSES[1]) @ np.append(point, 1)
    pixel, depth = views.cameras[[1]].project(torch.tensor(point)[None].float())
    expected = torch.tensor(20 * local[:2] / local[2] + [12, 8]).float()
    torch.testing.assert_close(pixel[0, 0], expected, rtol=1e-5, atol=1e-4)
    assert float(depth) > 0


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("20 12 8 0.\n0 0 0\n1\n16 24\n", False),  # as published
        ("20 12 8\n0 0 0\n0.1\n1\n16 24\n", False),  # with a near plane, as DeepVoxels documents it
        ("20. 12. 8. 0.\n0. 0. 0.\n1.\n16. 24.\n0\n", False),
        ("20 12 8 0\n\n0 0 0\n1\n16 24\n1\n", True),
    ],
)
def test_every_form_of_srn_intrinsics_is_read(tmp_path, text, flag):
    poses = [np.linalg.inv(matrix) for matrix in made_up.POSES] if flag else made_up.POSES
    folder = srn_object(tmp_path / "object", text, poses)
    found = shapenet_srn.read_intrinsics(folder / "intrinsics.txt")
    assert found.matrix.tolist() == [[20, 0, 12], [0, 20, 8], [0, 0, 1]]
    assert (found.size, found.world_to_camera) == ((24.0, 16.0), flag)
    torch.testing.assert_close(shapenet_srn.read(folder).cameras.camera_to_world, POSES, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("text", ["", "20\n16 24\n", "20 12 8 0\n0 0 0\n1\n", "nan 12 8\n16 24\n", "20 12 8\n0 24\n"])
def test_srn_intrinsics_that_are_cut_are_refused(tmp_path, text):
    with pytest.raises(InputError, match=r"intrinsics\.txt"):
        shapenet_srn.read(srn_object(tmp_path / "object", text))


def test_srn_pictures_without_a_pose_are_left_out_and_said(tmp_path):
    folder = srn_object(tmp_path / "object")
    (folder / "pose" / "000002.txt").unlink()
    views = shapenet_srn.read(folder)
    assert views.names == ("000000.png", "000001.png")
    assert "1 pictures or poses" in views.skipped[0]
    (folder / "pose" / "000001.txt").write_text("1 0 0")
    with pytest.raises(InputError, match="16 are needed"):
        shapenet_srn.read(folder)
    (folder / "pose" / "000001.txt").write_text(" ".join(["0"] * 15) + " 1")
    with pytest.raises(CameraError, match="no rotation"):
        shapenet_srn.read(folder)


@pytest.mark.parametrize("place", realestate.FRAMES)
@pytest.mark.parametrize("unit", [1, 1000])
def test_clips_of_realestate_are_scenes_wherever_their_frames_lie(tmp_path, decoded, place, unit):
    folder = tmp_path / "RealEstate10K" / "train"
    for clip in ("0a0b", "1c2d"):
        realestate_clip(folder / f"{clip}.txt", folder / place.format(clip=clip, split="train"), unit=unit)
    (folder / "2e3f.txt").write_text("https://none\n")
    scenes = open_scenes(folder)
    assert (scenes.layout, scenes.names, scenes.frame_count(0)) == ("realestate10k", ("0a0b", "1c2d"), 3)
    cameras = scenes.cameras(1)
    torch.testing.assert_close(cameras.camera_to_world, POSES, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(cameras.focal, torch.tensor([[30.0, 32.0]]).expand(3, 2))
    torch.testing.assert_close(cameras.centre, torch.tensor([[11.0, 9.0]]).expand(3, 2))
    assert scenes.read(1, [1], max_side=12).images.shape == (1, 3, 8, 12)
    assert decoded == [f"{TIMES[1] // unit}.png"]


def test_camera_files_of_realestate_may_lie_in_a_folder_of_their_own(tmp_path):
    realestate_clip(tmp_path / "cameras" / "0a.txt", tmp_path / "frames" / "0a", suffix=".jpg")
    assert open_scenes(tmp_path).names == ("0a",)


def test_a_frame_that_cannot_be_read_does_not_cost_the_others(tmp_path):
    realestate_clip(tmp_path / "0a.txt", tmp_path / "0a")
    (tmp_path / "0a" / f"{TIMES[0]}.png").write_bytes(b"cut")
    scenes = open_scenes(tmp_path)
    assert scenes.frame_count(0) == 3
    views = scenes.read(0)
    assert len(views) == 2
    assert str(TIMES[0]) in views.skipped[0]


def test_a_frame_that_is_not_there_leaves_its_camera_out(tmp_path):
    realestate_clip(tmp_path / "0a.txt", tmp_path / "0a")
    (tmp_path / "0a" / f"{TIMES[0]}.png").unlink()
    scenes = open_scenes(tmp_path)
    assert scenes.frame_count(0) == 2
    torch.testing.assert_close(scenes.cameras(0).camera_to_world, POSES[1:], atol=1e-5, rtol=1e-5)
    assert "1 of 3 cameras" in scenes.read(0).skipped[0]
    for time in TIMES[1:]:
        (tmp_path / "0a" / f"{time}.png").unlink()
    with pytest.raises(InputError, match=rf"{TIMES[0]}\.png"):
        open_scenes(tmp_path).frame_count(0)


def test_camera_files_without_frames_say_where_they_are_looked_for(tmp_path):
    text = realestate_clip(tmp_path / "0a.txt", tmp_path / "0a")
    (tmp_path / "0a").rename(tmp_path / "film")
    with pytest.raises(InputError, match="frames/CLIP"):
        open_scenes(tmp_path)
    assert not realestate.matches(tmp_path / "film")
    assert realestate.matches(text)


@pytest.mark.parametrize("change", ["cut", "word", "nan", "distorted", "flat"])
def test_a_broken_camera_file_is_refused(tmp_path, change):
    text = realestate_clip(tmp_path / "0a.txt", tmp_path / "0a")
    lines = text.read_text().splitlines()
    row = lines[2].split()
    match change:
        case "cut":
            row = row[:-2]
        case "word":
            row[9] = "x"
        case "nan":
            row[9] = "nan"
        case "distorted":
            row[5] = "0.1"
        case "flat":
            row[1] = "0"
    lines[2] = " ".join(row)
    text.write_text("\n".join(lines))
    scenes = open_scenes(tmp_path)
    with pytest.raises(InputError, match=r"0a\.txt"):
        scenes.frame_count(0)


def test_any_folder_of_scene_folders_is_a_set_and_bare_photos_are_left_out(tmp_path, decoded):
    posed_folder(tmp_path / "a", ring(3))
    posed_folder(tmp_path / "b", ring(5, lens="opencv"))
    made_up.dtu(tmp_path / "c")
    paint(tmp_path / "d" / "photo.png")
    scenes = open_scenes(tmp_path)
    assert (scenes.layout, scenes.names) == ("several", ("a", "b", "c"))
    assert [scenes.frame_count(index) for index in range(3)] == [3, 5, 3]
    assert scenes.read(1, [4]).cameras.lens == "opencv"
    assert scenes.read(2, [1, 0]).names == ("000001.png", "000000.png")
    assert decoded == ["004.png", "000001.png", "000000.png"]
    assert "1 folders without cameras: d" in scenes.describe()
    assert scenes.read(0).names == open_views(tmp_path / "a").names


@pytest.mark.parametrize("make", ["dtu", "middlebury", "strecha", "rgbd", "co3d_archive"])
def test_one_scene_is_a_set_of_one_and_parts_of_it_equal_the_whole(tmp_path, make):
    folder = getattr(made_up, make)(tmp_path / "scene")
    scenes, whole = open_scenes(folder), open_views(folder)
    assert scenes.names == ("scene",)
    part = scenes.read(0, [2, 1])
    for name in ("images", "object", "depth", "ignore", "bounds"):
        expected = getattr(whole[[2, 1]], name)
        assert (getattr(part, name) is None) == (expected is None), name
        if expected is not None:
            assert torch.equal(getattr(part, name), expected), name
    assert torch.equal(part.cameras.camera_to_world, whole.cameras.camera_to_world[[2, 1]])
    assert torch.equal(scenes.cameras(0).camera_to_world, whole.cameras.camera_to_world)


def test_depth_in_a_camera_of_its_own_is_resampled_for_the_asked_frames_alone(tmp_path):
    made_up.rgbd(tmp_path / "scene", colour_intrinsics=np.array([[33.0, 0, 12], [0, 33.0, 8], [0, 0, 1]]))
    scenes, whole = open_scenes(tmp_path), open_views(tmp_path / "scene")
    assert torch.equal(scenes.read(0, [1]).depth, whole.depth[[1]])
    assert scenes.read(0, [1], depth=False).depth is None


def test_two_layouts_in_one_scene_ask_which_and_the_answer_counts(tmp_path):
    posed_folder(tmp_path / "a", ring(2))
    np.save(tmp_path / "a" / "poses_bounds.npy", np.zeros((2, 17)))
    with pytest.raises(ViewsError, match="transforms, llff"):
        open_scenes(tmp_path)
    assert open_scenes(tmp_path, layout="transforms").frame_count(0) == 2
    with pytest.raises(InputError, match="need cameras"):
        open_scenes(tmp_path, layout="video")


def test_a_folder_of_other_things_says_what_is_known(tmp_path):
    paint(tmp_path / "photos" / "a.png")
    for place in (tmp_path, tmp_path / "photos"):
        with pytest.raises(InputError, match=r"holds .*CO3Dv2.*MVImgNet.*ShapeNet-SRN.*RealEstate10K.*diorama pose"):
            open_scenes(place)
    with pytest.raises(InputError, match="no such folder"):
        open_scenes(tmp_path / "absent")


def test_what_is_not_in_the_list_cannot_be_asked_for(tmp_path):
    posed_folder(tmp_path / "a", ring(3))
    scenes = open_scenes(tmp_path)
    with pytest.raises(InputError, match="holds 1"):
        scenes.read(1, [0])
    with pytest.raises(InputError, match="0 to 2"):
        scenes.read(0, [0, 3])


def test_few_lists_are_kept_at_a_time(tmp_path, monkeypatch):
    for name in "abc":
        posed_folder(tmp_path / name, ring(2))
    monkeypatch.setattr(scene_sets, "RECENT", 2)
    scenes = open_scenes(tmp_path)
    for index in (0, 1, 0, 2):
        scenes.frame_count(index)
    assert list(scenes.recent) == ["a", "c"]


def test_real_captures_are_a_set_and_one_of_them_a_set_of_one(photos):
    apple = open_scenes(photos("co3d_apple"))
    assert (apple.layout, apple.names, apple.frame_count(0)) == ("co3d", ("co3d_apple",), 20)
    views = apple.read(0, [3, 17], max_side=160)
    assert views.images.shape == (2, 3, 160, 90)
    several = open_scenes(photos("co3d_apple").parent)
    assert {"co3d_apple", "fox", "dtu_scan24", "llff_fern", "odm_banana"} <= set(several.names)
    assert "unposed_room" not in several.names
    index = several.names.index("co3d_apple")
    assert torch.equal(several.cameras(index).camera_to_world, apple.cameras(0).camera_to_world)
