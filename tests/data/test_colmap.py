import struct
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from diorama.data import colmap_model
from diorama.data.colmap import camera_to_world, intrinsics_of, read, write_colmap_text
from diorama.data.colmap_model import ColmapCamera, read_cameras, read_images, read_points
from diorama.data.open import open_views
from diorama.errors import CameraError, InputError, OutputError, ViewsError
from tests.data.epipolar import agreement
from tests.data.tiny import paint, ring

POINTS = torch.tensor([[0.1, 0.2, 0.3], [-0.5, 0.25, 0.125], [0.0, 0.0, 0.0], [0.3, -0.2, 0.1]])


def write_binary(folder, text):
    """The model in `text` (written by write_colmap_text) as COLMAP's binary files, with two keypoints a photo."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {name: (number, count) for number, (name, count) in colmap_model.MODELS.items()}
    cameras = read_cameras(text, ".txt")
    packed = struct.pack("<Q", len(cameras))
    for number, camera in cameras.items():
        packed += struct.pack("<iiQQ", number, numbers[camera.model][0], camera.width, camera.height)
        packed += struct.pack(f"<{len(camera.parameters)}d", *camera.parameters)
    (folder / "cameras.bin").write_bytes(packed)
    images = read_images(text, ".txt")
    packed = struct.pack("<Q", len(images))
    for number, image in enumerate(images, 1):
        packed += struct.pack("<I7dI", number, *image.quaternion, *image.translation, image.camera)
        packed += image.name.encode() + b"\0" + struct.pack("<Qddqddq", 2, 1.5, 2.5, 1, 3.5, 4.5, -1)
    (folder / "images.bin").write_bytes(packed)
    points = read_points(text, ".txt")
    packed = struct.pack("<Q", len(points.ids))
    for number, xyz, rgb in zip(points.ids, points.positions, points.colours, strict=True):
        packed += struct.pack("<Q3d3BdQ4I", number, *xyz, *rgb, 0.5, 2, 1, 0, 2, 0)
    (folder / "points3D.bin").write_bytes(packed)


def model(folder, cameras, names=None, binary=False):
    """A folder with photos and a model in sparse/0; returns the names."""
    names = names or [f"{index:03d}.png" for index in range(len(cameras))]
    for index, name in enumerate(names):
        paint(folder / "images" / name, *cameras.size[index].tolist(), seed=index)
    text = folder / ("text" if binary else "sparse/0")
    write_colmap_text(text, cameras, names, POINTS)
    if binary:
        write_binary(folder / "sparse" / "0", text)
    return names


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("lens", ["pinhole", "opencv", "fisheye"])
def test_written_cameras_and_points_read_back(tmp_path, lens, binary):
    cameras = ring(4, lens=lens)
    names = model(tmp_path, cameras, binary=binary)
    views = open_views(tmp_path)
    assert (views.layout, views.names, views.skipped) == ("colmap", tuple(names), ())
    assert torch.allclose(views.cameras.camera_to_world, cameras.camera_to_world, atol=1e-6)
    for part in ("focal", "centre", "size", "distortion"):
        assert torch.equal(getattr(views.cameras, part), getattr(cameras, part)), part
    assert views.cameras.lens == lens
    assert torch.equal(views.points, POINTS)


def test_a_lens_with_k3_is_written_as_full_opencv_and_one_with_k4_is_refused(tmp_path):
    cameras = ring(2, lens="opencv")
    cameras = replace(cameras, distortion=torch.tensor([[0.1, 0.2, 0.3, 0.0, 0.01, 0.02]] * 2))
    model(tmp_path, cameras)
    assert "FULL_OPENCV" in (tmp_path / "sparse/0/cameras.txt").read_text()
    assert torch.equal(read(tmp_path).cameras.distortion, cameras.distortion)
    with pytest.raises(CameraError, match="k4"):
        write_colmap_text(tmp_path, replace(cameras, distortion=cameras.distortion + 0.1), ["a.png", "b.png"])


@pytest.mark.parametrize(
    ("name", "parameters", "focal", "lens", "distortion"),
    [
        ("SIMPLE_PINHOLE", (9, 5, 4), (9, 9), "pinhole", (0,) * 6),
        ("PINHOLE", (9, 8, 5, 4), (9, 8), "pinhole", (0,) * 6),
        ("SIMPLE_RADIAL", (9, 5, 4, 0.1), (9, 9), "opencv", (0.1, 0, 0, 0, 0, 0)),
        ("SIMPLE_RADIAL", (9, 5, 4, 0.0), (9, 9), "pinhole", (0,) * 6),
        ("RADIAL", (9, 5, 4, 0.1, 0.2), (9, 9), "opencv", (0.1, 0.2, 0, 0, 0, 0)),
        ("OPENCV", (9, 8, 5, 4, 0.1, 0.2, 0.3, 0.4), (9, 8), "opencv", (0.1, 0.2, 0, 0, 0.3, 0.4)),
        ("OPENCV_FISHEYE", (9, 8, 5, 4, 0.1, 0.2, 0.3, 0.4), (9, 8), "fisheye", (0.1, 0.2, 0.3, 0.4, 0, 0)),
        ("SIMPLE_RADIAL_FISHEYE", (9, 5, 4, 0.1), (9, 9), "fisheye", (0.1, 0, 0, 0, 0, 0)),
        ("RADIAL_FISHEYE", (9, 5, 4, 0.1, 0.2), (9, 9), "fisheye", (0.1, 0.2, 0, 0, 0, 0)),
        ("FISHEYE", (9, 8, 5, 4), (9, 8), "fisheye", (0,) * 6),
        ("FULL_OPENCV", (9, 8, 5, 4, 1, 2, 3, 4, 5, 0, 0, 0), (9, 8), "opencv", (1, 2, 5, 0, 3, 4)),
    ],
)
def test_camera_models_are_translated(name, parameters, focal, lens, distortion):
    found = intrinsics_of(ColmapCamera(name, 10, 8, tuple(map(float, parameters))), "a.png")
    assert (found.focal, found.centre, found.lens, found.distortion) == (focal, (5, 4), lens, distortion)


@pytest.mark.parametrize("name", ["FULL_OPENCV", "FOV", "THIN_PRISM_FISHEYE", "DIVISION", "EUCM", "EQUIRECTANGULAR"])
def test_camera_models_without_an_equal_are_named_with_advice(name):
    count = dict(colmap_model.MODELS.values())[name]
    with pytest.raises(CameraError, match=rf"a\.png is COLMAP's {name}.*image_undistorter"):
        intrinsics_of(ColmapCamera(name, 10, 8, (1.0,) * count), "a.png")


def test_the_largest_of_several_sub_models_is_taken_and_the_others_are_said(tmp_path):
    cameras = ring(5)
    names = model(tmp_path, cameras)
    (tmp_path / "sparse/0").rename(tmp_path / "sparse/1")
    write_colmap_text(tmp_path / "sparse/0", cameras[:2], names[:2])
    views = open_views(tmp_path)
    assert views.names == tuple(names)
    assert views.skipped == ("sub-model 0: 2 photos, left out; 1 with 5 is used",)


def test_a_model_is_found_from_its_own_folder_and_from_sparse(tmp_path):
    names = model(tmp_path, ring(2))
    for place in (tmp_path, tmp_path / "sparse", tmp_path / "sparse/0"):
        assert open_views(place).names == tuple(names)


def test_photos_in_folders_and_with_spaces_are_found(tmp_path):
    names = ["left/photo one.png", "right/ünï 写真.png"]
    for binary in (False, True):
        model(tmp_path / str(binary), ring(2), names, binary)
        assert open_views(tmp_path / str(binary)).names == tuple(names)


def test_smaller_copies_serve_where_the_originals_are_gone(tmp_path):
    cameras = ring(2)
    names = model(tmp_path, cameras)
    (tmp_path / "images").rename(tmp_path / "originals")
    for name in names:
        paint(tmp_path / "images_4" / name, 6, 4)
    assert torch.allclose(read(tmp_path).cameras.focal, cameras.focal / 4)


def test_absent_photos_are_skipped_and_said_and_none_at_all_is_an_error(tmp_path):
    names = model(tmp_path, ring(3))
    (tmp_path / "images" / names[0]).unlink()
    views = read(tmp_path)
    assert views.names == tuple(names[1:])
    assert views.skipped[0].startswith(names[0])
    for name in names[1:]:
        (tmp_path / "images" / name).unlink()
    with pytest.raises(ViewsError, match="none of the 3 photos of the model"):
        read(tmp_path)


def test_broken_points_do_not_stop_the_cameras(tmp_path):
    model(tmp_path, ring(2), binary=True)
    file = tmp_path / "sparse/0/points3D.bin"
    file.write_bytes(file.read_bytes()[:50])
    views = read(tmp_path)
    assert views.points is None
    assert "without its points" in views.skipped[0]
    file.unlink()
    assert read(tmp_path).skipped == ()


def test_a_binary_cut_at_any_byte_is_an_error_and_asks_for_no_memory(tmp_path):
    model(tmp_path, ring(3), binary=True)
    folder = tmp_path / "sparse/0"
    readers = {"cameras": read_cameras, "images": read_images, "points3D": read_points}
    tracemalloc.start()
    try:
        for stem, reader in readers.items():
            file = folder / f"{stem}.bin"
            whole = file.read_bytes()
            for length in range(len(whole)):
                file.write_bytes(whole[:length])
                with pytest.raises(InputError, match=f"{stem}.bin"):
                    reader(folder, ".bin")
            file.write_bytes(whole)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_damaged_binary_is_an_error_or_a_set_of_views_and_never_more(tmp_path):
    model(tmp_path, ring(3), binary=True)
    folder = tmp_path / "sparse/0"
    random = np.random.default_rng(0)
    refused = 0
    for stem in ("cameras", "images", "points3D"):
        file = folder / f"{stem}.bin"
        whole = file.read_bytes()
        for _ in range(80):
            damaged = bytearray(whole)
            for place in random.integers(0, len(whole), 3):
                damaged[place] = random.integers(0, 256)
            file.write_bytes(bytes(damaged))
            try:
                assert torch.isfinite(read(tmp_path, max_side=8).cameras.focal).all()
            except InputError:
                refused += 1
        file.write_bytes(whole)
    assert 60 < refused < 240


def test_text_cut_or_of_another_program_is_an_error_or_views(tmp_path):
    model(tmp_path, ring(3))
    for stem in ("cameras", "images", "points3D"):
        file = tmp_path / "sparse/0" / f"{stem}.txt"
        whole = file.read_bytes()
        for length in range(0, len(whole), 11):
            file.write_bytes(whole[:length])
            try:
                assert len(read(tmp_path)) <= 3
            except InputError as error:
                assert str(tmp_path) in str(error) or ".png" in str(error)  # noqa: PT017
        file.write_bytes(b"some notes\nof mine\n")
        if stem != "points3D":
            with pytest.raises(InputError, match=f"{stem}.txt"):
                read(tmp_path)
        file.write_bytes(whole)


def test_a_pose_that_is_none_is_named(tmp_path):
    with pytest.raises(CameraError, match=r"a\.png"):
        camera_to_world((0.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0), "a.png")
    with pytest.raises(CameraError, match=r"a\.png"):
        camera_to_world((1.0, 0.0, 0.0, 0.0), (0.0, float("nan"), 0.0), "a.png")


def test_an_image_of_a_camera_that_is_not_there_is_an_error(tmp_path):
    model(tmp_path, ring(2))
    (tmp_path / "sparse/0/cameras.txt").write_text("7 PINHOLE 24 16 20 20 12 8\n")
    with pytest.raises(CameraError, match="do not belong together"):
        read(tmp_path)


def test_mixed_lenses_are_joined_where_they_can_be(tmp_path):
    model(tmp_path, ring(2))
    cameras = tmp_path / "sparse/0/cameras.txt"
    cameras.write_text("1 PINHOLE 24 16 20 20 12 8\n2 OPENCV 24 16 20 20 12 8 0.1 0 0 0\n")
    assert read(tmp_path).cameras.distortion[:, 0].tolist() == pytest.approx([0.0, 0.1])
    cameras.write_text("1 PINHOLE 24 16 20 20 12 8\n2 OPENCV_FISHEYE 24 16 20 20 12 8 0.1 0 0 0\n")
    with pytest.raises(CameraError, match="fisheye and other lenses"):
        read(tmp_path)


def test_writing_needs_names_without_line_breaks_and_a_place(tmp_path):
    with pytest.raises(InputError, match="line break"):
        write_colmap_text(tmp_path, ring(1), ["a\nb.png"])
    with pytest.raises(InputError, match="1 names but 2 cameras"):
        write_colmap_text(tmp_path, ring(2), ["a.png"])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="could not be written"):
        write_colmap_text(tmp_path / "file" / "model", ring(1), ["a.png"])


@pytest.mark.parametrize("suffix", [".bin", ".txt"])
def test_the_points_of_the_banana_project_onto_their_observations(photos, suffix):
    views = open_views(photos("odm_banana"))
    assert (len(views), views.layout, views.cameras.lens, views.skipped) == (15, "colmap", "opencv", ())
    folder = photos("odm_banana") / "sparse/0"
    points = read_points(folder, suffix)
    row = {int(number): index for index, number in enumerate(points.ids)}
    errors = []
    for image in read_images(folder, suffix):
        seen = torch.from_numpy(points.positions[[row[int(number)] for number in image.points]])
        camera = views.cameras[views.names.index(image.name)].to(torch.float64)
        pixels, depth = camera.project(seen)
        assert (depth > 0).all()
        errors.append((pixels - torch.from_numpy(image.pixels)).norm(dim=-1))
    assert torch.cat(errors).median() < 0.12
    assert torch.cat(errors).mean() < 0.15


def test_the_banana_photos_agree_with_their_cameras(photos):
    fit = agreement(open_views(photos("odm_banana")), [(0, 1)])
    assert fit.matches > 50
    assert fit.distance < 0.5
    assert fit.in_front > 0.95


@pytest.mark.colmap
@pytest.mark.parametrize("lens", ["pinhole", "opencv", "fisheye"])
def test_pycolmap_reads_what_we_write_and_we_read_what_it_writes(tmp_path, lens):
    pycolmap = pytest.importorskip("pycolmap")
    cameras = ring(4, lens=lens)
    names = model(tmp_path, cameras)
    reconstruction = pycolmap.Reconstruction(tmp_path / "sparse/0")
    assert reconstruction.num_images() == 4
    assert reconstruction.num_points3D() == len(POINTS)
    for image in reconstruction.images.values():
        camera = cameras[names.index(image.name)].to(torch.float64)
        expected, _ = camera.project(POINTS.double())
        found = np.array([image.project_point(point) for point in POINTS.double().numpy()])
        np.testing.assert_allclose(found, expected.numpy(), atol=2e-5)
    for suffix in ("bin", "txt"):
        other = tmp_path / suffix
        (other / "sparse/0").mkdir(parents=True)
        (other / "images").symlink_to(tmp_path / "images")
        getattr(reconstruction, "write_binary" if suffix == "bin" else "write_text")(other / "sparse/0")
        views = open_views(other)
        assert views.names == tuple(names)
        assert torch.allclose(views.cameras.camera_to_world, cameras.camera_to_world, atol=1e-6)
        assert torch.allclose(views.cameras.distortion, cameras.distortion)
        assert torch.allclose(views.cameras.focal, cameras.focal)
        assert torch.equal(views.points.sort(0).values, POINTS.sort(0).values)
