import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from diorama.data import images
from diorama.data.images import (
    image_size,
    list_images,
    read_array,
    read_depth,
    read_image,
    read_mask,
    read_photo,
    stack_photos,
    write_depth_png,
    write_png,
)
from diorama.errors import InputError, OutputError
from tests.data.tiny import paint, pixels


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tif"])
def test_lossless_formats_read_back_exactly(tmp_path, suffix):
    path = paint(tmp_path / f"a{suffix}", **({"lossless": True} if suffix == ".webp" else {}))
    colour, alpha = read_image(path)
    assert alpha is None
    assert torch.equal((colour * 255).round().to(torch.uint8), torch.from_numpy(pixels()).permute(2, 0, 1))


def test_jpeg_is_read_in_colour(tmp_path):
    Image.new("RGB", (24, 16), (200, 40, 90)).save(tmp_path / "a.jpg", quality=95)
    colour = read_image(tmp_path / "a.jpg")[0]
    assert (colour.mean((1, 2)) * 255 - torch.tensor([200.0, 40, 90])).abs().max() < 3


def test_written_pictures_read_back_to_the_nearest_eighth_bit(tmp_path):
    picture = torch.rand(4, 9, 7, generator=torch.Generator().manual_seed(0))
    write_png(tmp_path / "a.png", picture)
    colour, alpha = read_image(tmp_path / "a.png")
    assert (torch.cat([colour, alpha[None]]) - picture).abs().max() <= 0.5 / 255 + 1e-6
    write_png(tmp_path / "grey.png", picture[0])
    assert torch.equal(read_image(tmp_path / "grey.png")[0], colour[:1].expand(3, -1, -1))


def test_a_picture_of_two_channels_is_our_own_mistake(tmp_path):
    with pytest.raises(ValueError, match="1, 3 or 4 channels"):
        write_png(tmp_path / "a.png", torch.zeros(2, 4, 4))


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "RGBA", "I;16", "YCbCr"])
def test_every_mode_becomes_three_channels_in_the_unit_range(tmp_path, mode):
    suffix = {"CMYK": ".jpg", "YCbCr": ".jpg"}.get(mode, ".png")
    if mode == "I;16":
        picture = Image.fromarray(pixels()[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(pixels()).convert(mode)
    picture.save(tmp_path / f"a{suffix}")
    colour, alpha = read_image(tmp_path / f"a{suffix}")
    assert colour.shape == (3, 16, 24)
    assert 0 <= colour.min() < 0.2
    assert 0.8 < colour.max() <= 1
    assert (alpha is not None) == (mode in ("LA", "RGBA"))


def test_sixteen_bit_grey_keeps_its_precision(tmp_path):
    values = np.arange(600, dtype=np.uint16).reshape(20, 30) + 30000
    Image.fromarray(values).save(tmp_path / "a.png")
    assert torch.allclose(read_image(tmp_path / "a.png")[0][0], torch.from_numpy(values / 65535).float(), atol=1e-7)


def test_a_grey_picture_with_a_transparent_shade_has_alpha(tmp_path):
    Image.fromarray(pixels()).quantize(16).save(tmp_path / "a.png", transparency=0)
    alpha = read_image(tmp_path / "a.png")[1]
    assert set(alpha.unique().tolist()) == {0.0, 1.0}


def test_transparent_pixels_do_not_bleed_when_shrunk(tmp_path):
    picture = np.zeros((8, 8, 4), np.uint8)
    picture[:, :3] = (255, 128, 0, 255)  # opaque orange beside transparent black; the edge falls inside a new pixel
    Image.fromarray(picture).save(tmp_path / "a.png")
    colour, alpha = read_image(tmp_path / "a.png", max_side=4)
    assert torch.allclose(alpha[0], torch.tensor([1.0, 0.5, 0.0, 0.0]))
    assert torch.allclose(colour[:, 0, 1], torch.tensor([1.0, 128 / 255, 0.0]), atol=1e-5)
    assert torch.equal(colour[:, 0, 3], torch.zeros(3))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_stands_upright(tmp_path, orientation):
    upright = pixels()
    stored = Image.fromarray(upright)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert image_size(tmp_path / "a.png") == (24, 16)
    colour = read_image(tmp_path / "a.png")[0]
    assert torch.equal((colour * 255).round().to(torch.uint8), torch.from_numpy(upright).permute(2, 0, 1))
    raw = read_photo(tmp_path / "a.png", upright=False)
    assert raw.size == stored.size == image_size(tmp_path / "a.png", upright=False)


def test_the_focal_length_comes_from_the_35_mm_equivalent_by_diagonals(tmp_path):
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 28
    paint(tmp_path / "a.jpg", 400, 300, exif=exif)
    expected = 28 / (36**2 + 24**2) ** 0.5 * 500
    assert read_photo(tmp_path / "a.jpg").focal_hint == pytest.approx(expected)
    assert read_photo(tmp_path / "a.jpg", max_side=200).focal_hint == pytest.approx(expected / 2)


def test_the_focal_length_comes_from_the_sensor_where_nothing_else_is_said(tmp_path):
    exif = Image.Exif()
    tags = exif.get_ifd(0x8769)
    tags[0x920A], tags[0xA20E], tags[0xA210], tags[0xA002] = 50.0, 2540.0, 2, 4000  # 50 mm, 100 px/mm, full width 4000
    paint(tmp_path / "a.jpg", 400, 300, exif=exif)
    assert read_photo(tmp_path / "a.jpg").focal_hint == pytest.approx(500.0)


def test_nonsense_exif_costs_nothing_but_the_hint(tmp_path):
    paint(tmp_path / "a.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    photo = read_photo(tmp_path / "a.jpg")
    assert photo.focal_hint is None
    assert photo.size == (24, 16)


def test_an_animation_gives_its_first_frame_and_says_so(tmp_path):
    frames = [Image.fromarray(pixels(seed=seed)) for seed in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    photo = read_photo(tmp_path / "a.webp")
    assert torch.equal((photo.colour * 255).round().to(torch.uint8), torch.from_numpy(pixels()).permute(2, 0, 1))
    assert "3 frames; the first is used" in photo.note


def test_a_one_pixel_picture_is_a_picture(tmp_path):
    assert read_image(paint(tmp_path / "a.png", 1, 1), max_side=1)[0].shape == (3, 1, 1)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_is_an_error_with_its_name(tmp_path, content):
    (tmp_path / "photo.png").write_bytes(content)
    with pytest.raises(InputError, match=r"photo\.png.*(Copy the photo again|remove it)"):
        read_image(tmp_path / "photo.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".gif"])
def test_a_cut_picture_is_an_error_or_a_picture_at_every_byte(tmp_path, suffix):
    whole = paint(tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    failed = 0
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:length])
        try:
            assert read_image(path)[0].shape == (3, 16, 24)
        except InputError as error:
            failed += f"cut{suffix}" in str(error)
    assert failed > 40


def test_a_hundred_megapixels_in_a_header_are_refused_before_anything_is_decoded(tmp_path, monkeypatch):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def never(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "load", never)
    for side in (10_000, 60_000):  # the second is beyond Pillow's own limit too
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
        with pytest.raises(InputError, match=r"huge\.png.*megapixels.*Make it smaller"):
            read_image(tmp_path / "huge.png")


def test_an_absent_file_and_a_folder_are_no_photos(tmp_path):
    for path in (tmp_path / "absent.png", tmp_path, tmp_path / ("long" * 200)):
        with pytest.raises(InputError):
            read_image(path)


def test_names_of_any_script_and_length_can_be_read(tmp_path):
    for name in ("ünï çödé 写真.png", "a" * 240 + ".png", "weird'\"%$.png"):
        assert read_image(paint(tmp_path / name))[0].shape == (3, 16, 24)


def test_only_image_files_are_listed_in_order_and_hidden_ones_are_not(tmp_path):
    for name in ("b.PNG", "a.jpg", ".hidden.png", "notes.txt", "c.heic"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.jpg", "b.PNG", "c.heic"]
    with pytest.raises(InputError, match="not a folder"):
        list_images(tmp_path / "absent")


def test_masks_are_read_from_grey_or_from_alpha_at_any_size(tmp_path):
    grey = np.zeros((8, 8), np.uint8)
    grey[:, 4:] = 255
    Image.fromarray(grey).save(tmp_path / "grey.png")
    assert torch.equal(read_mask(tmp_path / "grey.png", (2, 2)), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))
    assert torch.equal(read_mask(tmp_path / "grey.png", (16, 16))[0], torch.tensor([0.0] * 8 + [1.0] * 8))
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[..., 3] = grey
    Image.fromarray(rgba).save(tmp_path / "alpha.png")
    assert torch.equal(read_mask(tmp_path / "alpha.png"), torch.from_numpy(grey / 255).float())


def test_depth_in_millimetres_reads_back_and_unknown_stays_zero(tmp_path):
    depth = torch.tensor([[1.234, 0.0, 65.534], [65.6, float("nan"), float("inf")]])
    write_depth_png(tmp_path / "depth.png", depth)
    known = torch.tensor([[1.234, 0.0, 65.534], [0.0, 0.0, 0.0]])
    assert torch.allclose(read_depth(tmp_path / "depth.png"), known, atol=1e-5)
    assert torch.allclose(read_depth(tmp_path / "depth.png", size=(6, 4))[:2, :2], torch.tensor(1.234))
    np.save(tmp_path / "depth.npy", depth.numpy())
    assert torch.equal(read_depth(tmp_path / "depth.npy", unit=1.0)[0], depth[0])


def test_depth_of_eight_bits_is_refused(tmp_path):
    Image.fromarray(pixels()[..., 0]).save(tmp_path / "depth.png")
    with pytest.raises(InputError, match=r"8 bits a pixel.*16"):
        read_depth(tmp_path / "depth.png")


def test_arrays_with_pickles_or_cut_short_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "cut.npy", np.zeros(1000))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:500])
    for name in ("objects.npy", "cut.npy", "absent.npy"):
        with pytest.raises(InputError, match=name):
            read_array(tmp_path / name)


def test_photos_of_mixed_sizes_are_padded_at_the_right_and_the_bottom():
    stacked, sizes, padding = stack_photos([torch.ones(3, 4, 6), torch.ones(3, 5, 2)])
    assert stacked.shape == (2, 3, 5, 6)
    assert sizes.tolist() == [[6, 4], [2, 5]]
    assert torch.equal(stacked[:, 0] == 0, padding)
    assert padding[0].sum() == 6
    assert stack_photos([torch.ones(3, 4, 6)] * 2)[2] is None


def test_a_picture_that_cannot_be_written_is_an_output_error(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match="could not be written"):
        write_png(tmp_path / "absent" / "a.png", torch.zeros(3, 4, 4))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_png(tmp_path / "a.png", torch.zeros(3, 4, 4))


@pytest.mark.photos
def test_heic_photos_are_read_upright(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    picture = Image.new("RGB", (64, 48), (200, 40, 90))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 28
    pillow_heif.from_pillow(picture).save(tmp_path / "a.HEIC", exif=exif.tobytes(), quality=90)
    photo = read_photo(tmp_path / "a.HEIC")
    assert photo.colour.shape[1:] == (photo.size[1], photo.size[0])
    assert image_size(tmp_path / "a.HEIC") == photo.size
    assert (photo.colour.mean((1, 2)) * 255 - torch.tensor([200.0, 40, 90])).abs().max() < 6
    assert photo.focal_hint == pytest.approx(28 / (36**2 + 24**2) ** 0.5 * 80)
    (tmp_path / "cut.heic").write_bytes((tmp_path / "a.HEIC").read_bytes()[:200])
    with pytest.raises(InputError, match=r"cut\.heic"):
        read_image(tmp_path / "cut.heic")


def test_without_the_extra_heic_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "a.heic").write_bytes(b"x")
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(images.MissingExtraError, match=r"diorama\[photos\]"):
        read_image(tmp_path / "a.heic")
