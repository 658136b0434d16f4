import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from diorama.cameras.camera_file import read_cameras
from diorama.cameras.pinhole import Cameras
from diorama.cameras.rotations import quaternion_to_rotation
from diorama.data.colmap import write_colmap_text
from diorama.data.images import write_depth_png, write_png
from diorama.data.open import open_views
from diorama.data.transforms import read, short_names, write_transforms
from diorama.data.views import Frame
from diorama.errors import CameraError, InputError, OutputError, ViewsError
from tests.data.epipolar import agreement
from tests.data.tiny import edit_json, paint, posed_folder, ring


def assert_same_cameras(first, second):
    for part in ("camera_to_world", "focal", "centre", "size", "distortion"):
        assert torch.equal(getattr(first, part), getattr(second, part)), part
    assert first.lens == second.lens


@pytest.mark.parametrize("lens", ["pinhole", "opencv", "fisheye"])
def test_written_cameras_read_back_bit_for_bit(tmp_path, lens):
    cameras = ring(5, lens=lens)
    names = posed_folder(tmp_path, cameras)
    views = read(tmp_path)
    assert_same_cameras(views.cameras, cameras)
    assert views.names == tuple(names)
    listed, paths = read_cameras(tmp_path / "transforms.json")
    assert_same_cameras(listed, cameras)
    assert paths == tuple(f"images/{name}" for name in names)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    quaternion=arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1),
    numbers=arrays(np.float32, 9, elements=st.floats(0.015625, 1e4, width=32)),
)
def test_any_camera_survives_both_files(tmp_path, quaternion, numbers):
    pose = torch.eye(4)
    pose[:3, :3] = quaternion_to_rotation(torch.from_numpy(quaternion)).float()
    pose[:3, 3] = torch.from_numpy(numbers[:3])
    camera = Cameras(
        pose[None],
        torch.from_numpy(numbers[3:5])[None],
        torch.from_numpy(numbers[5:7])[None],
        torch.tensor([[24, 16]]),
        torch.tensor([[float(numbers[7]), -float(numbers[8]), 0, 0, 0.25, -0.125]]),
        "opencv",
    )
    paint(tmp_path / "a.png")
    write_transforms(tmp_path / "transforms.json", camera, ["a.png"])
    assert_same_cameras(read(tmp_path).cameras, camera)
    write_colmap_text(tmp_path, camera, ["a.png"])
    found = open_views(tmp_path, layout="colmap").cameras
    assert torch.allclose(found.camera_to_world[:, :3, :3], camera.camera_to_world[:, :3, :3], atol=1e-6)
    assert torch.allclose(found.origins, camera.origins, rtol=0, atol=3e-7 * float(camera.origins.norm()))
    assert_same_cameras(replace(found, camera_to_world=camera.camera_to_world), camera)


def test_the_frame_is_written_and_read_back(tmp_path):
    cameras = ring(2)
    write_transforms(tmp_path / "transforms.json", cameras, ["a.png", "b.png"], Frame("my lab", "metres"))
    for name in ("a.png", "b.png"):
        paint(tmp_path / name)
    assert read(tmp_path).frame == Frame("my lab", "metres")


def test_matrices_are_opengl_in_the_file_and_opencv_inside(tmp_path):
    cameras = ring(3)
    posed_folder(tmp_path, cameras)
    frame = json.loads((tmp_path / "transforms.json").read_text())["frames"][1]
    stored, pose = np.array(frame["transform_matrix"]), cameras.camera_to_world[1].double().numpy()
    np.testing.assert_array_equal(stored[:, 0], pose[:, 0])
    np.testing.assert_array_equal(stored[:, 1], -pose[:, 1])
    np.testing.assert_array_equal(stored[:, 2], -pose[:, 2])


def test_listed_frames_without_a_file_are_skipped_and_said(tmp_path):
    names = posed_folder(tmp_path, ring(5))
    for name in names[:2]:
        (tmp_path / "images" / name).unlink()
    views = read(tmp_path)
    assert views.names == tuple(names[2:])
    assert [line.split(":")[0] for line in views.skipped] == names[:2]


def test_no_listed_file_at_all_is_an_error_that_names_the_first(tmp_path):
    names = posed_folder(tmp_path, ring(3))
    for name in names:
        (tmp_path / "images" / name).unlink()
    with pytest.raises(ViewsError, match=r"none of the listed photos.*000\.png"):
        read(tmp_path)


def test_one_corrupt_photo_among_many_is_skipped_and_a_lone_one_is_an_error(tmp_path):
    names = posed_folder(tmp_path, ring(3))
    whole = (tmp_path / "images" / names[1]).read_bytes()
    (tmp_path / "images" / names[1]).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "images" / names[2]).write_bytes(b"")
    views = read(tmp_path)
    assert views.names == (names[0],)
    assert len(views.skipped) == 2
    assert len(views.cameras) == len(views.images) == 1
    (tmp_path / "images" / names[0]).write_bytes(b"")
    with pytest.raises(ViewsError, match="none of the listed photos can be used"):
        read(tmp_path)


def test_shrinking_scales_the_lens_by_the_true_ratio(tmp_path):
    cameras = ring(2, 50, 33)
    posed_folder(tmp_path, cameras)
    views = read(tmp_path, max_side=20)
    width, height = views.cameras.size[0].tolist()
    assert (width, height) == (20, 13)
    assert views.images.shape[-2:] == (13, 20)
    ratio = torch.tensor([20 / 50, 13 / 33])
    assert torch.allclose(views.cameras.focal, cameras.focal * ratio)
    assert torch.allclose(views.cameras.centre, cameras.centre * ratio)


def test_a_file_smaller_than_its_camera_says_is_scaled_and_another_shape_is_skipped(tmp_path):
    cameras = ring(3, 48, 32)
    names = posed_folder(tmp_path, cameras)
    paint(tmp_path / "images" / names[0], 24, 16)
    paint(tmp_path / "images" / names[1], 24, 24)
    views = read(tmp_path)
    assert views.names == (names[0], names[2])
    assert torch.allclose(views.cameras.focal[0], cameras.focal[0] / 2)
    assert torch.equal(views.cameras.focal[1], cameras.focal[2])
    assert "24 x 24, but its camera is for 48 x 32" in views.skipped[0]
    assert views.ignore[0, 16:].all()
    assert views.ignore[0, :, 24:].all()
    assert not views.ignore[0, :16, :24].any()


@pytest.mark.parametrize("stated", [(24, 16), (16, 24)])
def test_exif_orientation_is_followed_only_where_the_camera_is_for_the_upright_photo(tmp_path, stated):
    names = posed_folder(tmp_path, ring(2, *stated))
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in names:
        paint(tmp_path / "images" / name, 24, 16, exif=exif)
    views = read(tmp_path)
    assert views.cameras.size[0].tolist() == list(stated)
    assert views.images.shape[-2:] == stated[::-1]


def test_a_file_that_says_pinhole_has_no_distortion_and_a_fisheye_no_tangential_one(tmp_path):
    posed_folder(tmp_path, ring(2))
    edit_json(tmp_path / "transforms.json", lambda c: c.update(k1=0.1, p1=0.2))
    cameras = read(tmp_path).cameras
    assert (cameras.lens, cameras.distortion.abs().max().item()) == ("pinhole", 0.0)
    edit_json(tmp_path / "transforms.json", lambda c: c.update(camera_model="OPENCV_FISHEYE"))
    assert read(tmp_path).cameras.distortion[0].tolist() == pytest.approx([0.1, 0, 0, 0, 0, 0])


def test_one_camera_angle_serves_photos_of_any_size(tmp_path):
    names = posed_folder(tmp_path, ring(2, 40, 30))

    def change(content):
        content["camera_angle_x"] = 0.9
        for frame in content["frames"]:
            for key in ("w", "h", "fl_x", "fl_y", "cx", "cy"):
                del frame[key]
            frame["file_path"] = frame["file_path"].removesuffix(".png")

    edit_json(tmp_path / "transforms.json", change)
    views = read(tmp_path)
    assert views.names == tuple(names)
    assert torch.allclose(views.cameras.focal, torch.tensor(20 / math.tan(0.45)))
    assert torch.allclose(views.cameras.centre, torch.tensor([20.0, 15.0]))


def test_a_frame_may_correct_what_the_file_says_for_all(tmp_path):
    posed_folder(tmp_path, ring(2))

    def change(content):
        content |= {"fl_x": 30.0, "fl_y": 31.0, "w": 24.0, "h": 16.0, "k1": 0.1}
        for key in ("fl_x", "fl_y", "w", "h"):
            del content["frames"][0][key]
        content["frames"][1]["k1"] = 0.2
        del content["camera_model"]

    edit_json(tmp_path / "transforms.json", change)
    views = read(tmp_path)
    assert views.cameras.focal[0].tolist() == [30.0, 31.0]
    assert views.cameras.focal[1, 0].item() == pytest.approx(20.4)
    assert views.cameras.lens == "opencv"
    assert views.cameras.distortion[:, 0].tolist() == pytest.approx([0.1, 0.2])


def test_instant_ngp_fisheyes_and_fields_of_view_are_understood(tmp_path):
    posed_folder(tmp_path, ring(2))

    def change(content):
        del content["camera_model"]
        content |= {"is_fisheye": True, "k1": 0.1, "k4": 0.01, "x_fov": 60.0}
        for frame in content["frames"]:
            del frame["fl_x"], frame["fl_y"]

    edit_json(tmp_path / "transforms.json", change)
    cameras = read(tmp_path).cameras
    assert cameras.lens == "fisheye"
    assert cameras.distortion[0].tolist() == pytest.approx([0.1, 0, 0, 0.01, 0, 0])
    assert cameras.focal[0, 0].item() == pytest.approx(12 / math.tan(math.radians(30)))


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.update(camera_model="EQUIRECTANGULAR"),
        lambda c: c.update(ftheta_p0=1.0),
        lambda c: [f.pop(k) for f in c["frames"] for k in ("fl_x", "fl_y")],
        lambda c: c["frames"][0].update(fl_x="wide"),
        lambda c: c["frames"][0].update(fl_x=-3.0),
        lambda c: c["frames"][0].update(fl_x=10**400),
        lambda c: c["frames"][0]["transform_matrix"][0].__setitem__(3, 10**400),
        lambda c: c["frames"][0].update(w=-24),
        lambda c: c["frames"][0].update(fl_x=float("nan")),
        lambda c: c["frames"][0].pop("transform_matrix"),
        lambda c: c["frames"][0].update(transform_matrix=[[1, 2], [3]]),
        lambda c: c["frames"][0].update(transform_matrix="identity"),
        lambda c: c["frames"][0]["transform_matrix"][0].__setitem__(3, float("nan")),
        lambda c: c["frames"][0].update(transform_matrix=np.zeros((4, 4)).tolist()),
        lambda c: c["frames"][0].update(transform_matrix=np.diag([1, 1, -1, 1]).tolist()),
        lambda c: c["frames"][0].update(transform_matrix=np.diag([2, 2, 2, 1]).tolist()),
        lambda c: c["frames"][0].update(transform_matrix=np.array(c["frames"][0]["transform_matrix"]).T.tolist()),
    ],
)
def test_a_broken_camera_is_an_error_that_says_so(tmp_path, change):
    posed_folder(tmp_path, ring(2))
    edit_json(tmp_path / "transforms.json", change)
    with pytest.raises(CameraError):
        read(tmp_path)


def test_a_broken_pose_is_named_and_a_missing_file_with_a_broken_pose_is_only_missing(tmp_path):
    posed_folder(tmp_path, ring(3))
    edit_json(
        tmp_path / "transforms.json",
        lambda c: c["frames"][1].update(transform_matrix=np.full((4, 4), np.nan).tolist()),
    )
    with pytest.raises(CameraError, match=r"001\.png holds NaN"):
        read(tmp_path)
    (tmp_path / "images" / "001.png").unlink()
    assert len(read(tmp_path)) == 2


def test_rounded_rotations_are_projected_onto_rotations(tmp_path):
    cameras = ring(3)
    posed_folder(tmp_path, cameras)

    def change(content):
        for frame in content["frames"]:
            frame["transform_matrix"] = np.array(frame["transform_matrix"]).round(4).tolist()

    edit_json(tmp_path / "transforms.json", change)
    rotation = read(tmp_path).cameras.camera_to_world[:, :3, :3].double()
    assert (rotation.mT @ rotation - torch.eye(3)).abs().max() < 1e-6
    assert (rotation - cameras.camera_to_world[:, :3, :3]).abs().max() < 2e-4


def test_map_coordinates_that_single_precision_would_blur_are_refused_with_an_offset(tmp_path):
    posed_folder(tmp_path, ring(3))

    def change(content):
        for frame in content["frames"]:
            frame["transform_matrix"][0][3] += 691_000.0
            frame["transform_matrix"][1][3] += 5_334_000.0

    edit_json(tmp_path / "transforms.json", change)
    with pytest.raises(CameraError, match=r"Subtract a common offset first, such as \[69100\d\.0, 533400\d\.0"):
        read(tmp_path)


def test_cameras_that_are_all_the_same_are_refused(tmp_path):
    cameras = ring(3)
    posed_folder(tmp_path, replace(cameras, camera_to_world=cameras.camera_to_world[:1].expand(3, 4, 4)))
    with pytest.raises(CameraError, match="all 3 cameras stand at one place"):
        read(tmp_path)


def test_one_photo_is_enough(tmp_path):
    posed_folder(tmp_path, ring(1))
    assert len(read(tmp_path)) == 1


def test_masks_are_ignored_where_black_and_depth_is_in_millimetres(tmp_path):
    names = posed_folder(tmp_path, ring(2))
    mask = torch.ones(16, 24)
    mask[:4] = 0
    depth = torch.full((16, 24), 1.5)
    depth[:, :3] = 0
    (tmp_path / "more").mkdir()
    write_png(tmp_path / "more" / "mask.png", mask)
    write_depth_png(tmp_path / "more" / "depth.png", depth)
    edit_json(
        tmp_path / "transforms.json",
        lambda c: c["frames"][0].update(mask_path="more/mask.png", depth_file_path="more/depth.png"),
    )
    views = read(tmp_path)
    assert torch.equal(views.ignore[0], mask == 0)
    assert not views.ignore[1].any()
    assert torch.allclose(views.depth[0], depth)
    assert not views.depth[1].any()
    edit_json(tmp_path / "transforms.json", lambda c: c["frames"][1].update(mask_path="absent.png"))
    assert names[1] in read(tmp_path).skipped[0]


def test_dynamic_masks_of_instant_ngp_are_ignored_where_white(tmp_path):
    names = posed_folder(tmp_path, ring(2))
    mask = torch.zeros(16, 24)
    mask[2:5, 3:9] = 1
    write_png(tmp_path / "images" / f"dynamic_mask_{names[1]}", mask)
    views = read(tmp_path)
    assert torch.equal(views.ignore[1], mask == 1)
    assert views.names == tuple(names)


def test_transparent_photos_give_object_coverage(tmp_path):
    names = posed_folder(tmp_path, ring(2))
    rgba = np.full((16, 24, 4), 255, np.uint8)
    rgba[:, 12:, 3] = 0
    Image.fromarray(rgba).save(tmp_path / "images" / names[0])
    views = read(tmp_path)
    assert views.object[0].mean() == 0.5
    assert views.object[1].min() == 1


def test_the_split_a_file_states_is_kept_for_photos_that_exist(tmp_path):
    names = posed_folder(tmp_path, ring(4))

    def change(content):
        paths = [frame["file_path"] for frame in content["frames"]]
        content |= {"train_filenames": paths[:3], "test_filenames": paths[3:]}

    edit_json(tmp_path / "transforms.json", change)
    (tmp_path / "images" / names[1]).unlink()
    assert read(tmp_path).splits == {"train": (names[0], names[2]), "test": (names[3],)}


def test_a_photo_listed_twice_is_taken_once(tmp_path):
    names = posed_folder(tmp_path, ring(3))
    edit_json(tmp_path / "transforms.json", lambda c: c["frames"].append(c["frames"][0]))
    views = read(tmp_path)
    assert views.names == tuple(names)
    assert "listed twice" in views.skipped[0]


def test_names_lose_only_what_all_of_them_share():
    assert short_names(["./images/a.jpg", "images/b.jpg"]) == ["a.jpg", "b.jpg"]
    assert short_names(["images/left/a.jpg", "images/right/a.jpg"]) == ["left/a.jpg", "right/a.jpg"]
    assert short_names(["a.jpg"]) == ["a.jpg"]
    assert short_names(["..\\photos\\a.jpg"]) == ["a.jpg"]
    assert short_names(["/abs/a.jpg", "rel/b.jpg"]) == ["abs/a.jpg", "rel/b.jpg"]
    assert short_names(["../../a.jpg", "b/c.jpg"]) == ["a.jpg", "b/c.jpg"]


def test_names_of_any_script_and_length_survive_the_round_trip(tmp_path):
    names = ["ünï çödé 写真.png", "b" * 240 + ".png", "c 'd' \"e\".png"]
    posed_folder(tmp_path, ring(3), names)
    assert read(tmp_path).names == tuple(names)


def test_a_name_no_file_can_have_is_a_missing_file(tmp_path):
    names = posed_folder(tmp_path, ring(2))
    edit_json(tmp_path / "transforms.json", lambda c: c["frames"][0].update(file_path="images/" + "x" * 5000))
    assert read(tmp_path).names == (names[1],)
    edit_json(tmp_path / "transforms.json", lambda c: c["frames"][0].update(file_path="images/\0.png"))
    assert read(tmp_path).names == (names[1],)


def test_json_cut_anywhere_is_an_error(tmp_path):
    posed_folder(tmp_path, ring(2))
    file = tmp_path / "transforms.json"
    whole = file.read_bytes()
    for length in range(0, len(whole) - 1, 37):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"transforms\.json"):
            open_views(tmp_path)


@pytest.mark.parametrize(
    "text",
    ['{"cameras": [], "shots": []}', "[1, 2, 3]", '{"frames": []}', '{"frames": {}}', '{"frames": [1]}', "null", "3",
     '{"frames": [{"path": "a"}]}', "[" * 100_000, "\udcff\udcfe"],
)  # fmt: skip
def test_json_of_another_program_is_an_error_that_says_what_is_needed(tmp_path, text):
    (tmp_path / "transforms.json").write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(InputError, match=r"transforms\.json"):
        open_views(tmp_path)


def test_any_json_file_can_be_opened_by_itself(tmp_path):
    names = posed_folder(tmp_path, ring(2))
    (tmp_path / "transforms.json").rename(tmp_path / "mine.json")
    assert open_views(tmp_path / "mine.json").names == tuple(names)


def test_writing_needs_a_name_for_every_camera_and_a_place(tmp_path):
    with pytest.raises(InputError, match="1 names but 2 cameras"):
        write_transforms(tmp_path / "t.json", ring(2), ["a.png"])
    with pytest.raises(OutputError, match="could not be written"):
        write_transforms(tmp_path / "absent" / "t.json", ring(1), ["a.png"])


def test_cameras_alone_need_their_size_in_the_file(tmp_path):
    write_transforms(tmp_path / "t.json", ring(1), ["a.png"])
    edit_json(tmp_path / "t.json", lambda c: c["frames"][0].pop("w"))
    with pytest.raises(InputError, match=r"frame 0 is no camera.*Needed: transform_matrix 4x4, w, h"):
        read_cameras(tmp_path / "t.json")


def test_the_fox_has_fifty_photos_of_sixty_seven_and_its_cameras_agree_with_them(photos):
    views = open_views(photos("fox"))
    assert (len(views), len(views.skipped), views.layout, views.cameras.lens) == (50, 17, "transforms", "opencv")
    assert views.images.shape == (50, 3, 640, 360)
    assert views.names[0] == "0001.jpg"
    fit = agreement(views, [(3, 5), (20, 22)])
    assert fit.matches > 100
    assert fit.distance < 0.6
    assert fit.in_front > 0.95
    assert fit.flipped > 4 * fit.distance
