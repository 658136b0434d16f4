"""Patches of pictures with depth: angular size, averages of disparity, what is refused; Hypersim's layout."""

import math
from dataclasses import replace

import pytest
import torch

from diorama.cameras.patches import PatchWindow
from diorama.data import hypersim
from diorama.data.rgbd_coding import decode_rgbd, to_disparity
from diorama.data.rgbd_patches import (
    CropConfig,
    RgbdPatches,
    ViewsFrames,
    crop_patches,
    fill_unknown,
    open_rgbd,
    shrink,
)
from diorama.errors import InputError
from tests.oracles import exact_views, ring_cameras

WINDOW = PatchWindow(size=16, focal=60.0, width=64, height=48)


def ramp(width=256, height=192, focal=240.0):
    """Colours that are the place in the picture, and a depth that grows to the right."""
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    return torch.stack([x, y, 0.5 * torch.ones_like(x)]), 1.0 + 2.0 * x, torch.full((2,), focal)


def test_a_patch_spans_the_windows_angle(rng):
    colour, depth, focal = ramp()
    patches = crop_patches(colour, depth, focal, WINDOW, CropConfig(flip=False), rng)[0]
    assert patches.shape == (16, 4, 16, 16)
    # a quarter of the resolution: 16 pixels of 64 across, of 48 down
    seen = 0.5 * (patches + 1.0)
    torch.testing.assert_close(seen[:, 0, :, -1] - seen[:, 0, :, 0], torch.full((16, 16), 15 / 64), atol=1e-4, rtol=0)
    torch.testing.assert_close(seen[:, 1, -1] - seen[:, 1, 0], torch.full((16, 16), 15 / 48), atol=1e-4, rtol=0)


def test_colour_and_depth_stay_together(rng):
    colour, depth, focal = ramp()
    patch = crop_patches(colour, depth, focal, WINDOW, CropConfig(), rng)[0]
    found_colour, found_depth = decode_rgbd(patch)
    torch.testing.assert_close(found_depth, 1.0 + 2.0 * found_colour[:, 0], rtol=5e-3, atol=0)


def test_half_of_the_patches_are_mirrored(rng):
    colour, depth, focal = ramp()
    patches = crop_patches(colour, depth, focal, WINDOW, CropConfig(per_picture=200), rng)[0]
    share = float((patches[:, 0, 0, -1] < patches[:, 0, 0, 0]).double().mean())
    assert abs(share - 0.5) < 0.12


def test_disparity_is_averaged_over_known_pixels_alone():
    depth = torch.tensor([[1.0, 3.0, 0.0, 2.0], [1.0, 3.0, 0.0, 0.0]])
    _, disparity, known = shrink(torch.rand(3, 2, 4), depth, torch.tensor([2.0, 2.0]), 1.0)
    assert known.tolist() == [[True, False]]
    assert disparity[0, 0].item() == pytest.approx(float(to_disparity(torch.tensor([[1.0, 3.0]])).mean()))
    assert disparity[0, 1].item() == pytest.approx(0.1)


def test_crops_with_holes_are_left_out(rng):
    colour, depth, focal = ramp()
    depth[:, 128:] = 0.0
    patches = crop_patches(colour, depth, focal, WINDOW, CropConfig(per_picture=100, flip=False), rng)[0]
    assert 0 < len(patches) < 60
    assert (0.5 * (patches[:, 0] + 1.0)).max() <= 0.52


def test_pictures_that_would_have_to_grow_give_nothing(rng):
    colour, depth, focal = ramp(focal=50.0)
    assert len(crop_patches(colour, depth, focal, WINDOW, CropConfig(), rng)[0]) == 0
    small = ramp(width=60, height=60)
    assert len(crop_patches(*small, WINDOW, CropConfig(), rng)[0]) == 0


def test_the_unknown_is_filled_from_its_neighbours():
    values = torch.arange(25.0).reshape(5, 5)
    known = torch.ones(5, 5, dtype=torch.bool)
    known[2, 2] = False
    filled = fill_unknown(values, known)
    assert filled[2, 2].item() == pytest.approx(12.0)
    assert torch.equal(filled[known], values[known])
    assert fill_unknown(values, torch.zeros_like(known)).abs().max() == 0


def views():
    found = exact_views(ring_cameras(3, 256, 192))
    return replace(found, depth=torch.where(found.depth > 0, found.depth, 9.0))


def first(stream, count):
    return torch.stack([patch for patch, _ in zip(stream, range(count), strict=False)])


def test_the_stream_is_decided_by_its_seed_and_goes_on_where_it_stopped():
    frames, crops = ViewsFrames(views()), CropConfig(per_picture=4)
    one = first(RgbdPatches(frames, WINDOW, crops, seed=3), 12)
    assert torch.equal(one, first(RgbdPatches(frames, WINDOW, crops, seed=3), 12))
    assert torch.equal(one[8:], first(RgbdPatches(frames, WINDOW, crops, seed=3, start=2), 4))
    assert not torch.equal(one, first(RgbdPatches(frames, WINDOW, crops, seed=4), 12))


def test_two_ranks_share_the_stream():
    frames, crops = ViewsFrames(views()), CropConfig(per_picture=4)
    whole = first(RgbdPatches(frames, WINDOW, crops), 16).reshape(4, 4, 4, 16, 16)
    for rank in (0, 1):
        own = first(RgbdPatches(frames, WINDOW, crops, rank=rank, ranks=2), 8).reshape(2, 4, 4, 16, 16)
        assert torch.equal(own, whole[rank::2])


def test_a_source_without_a_single_patch_says_so():
    empty = replace(views(), depth=torch.zeros(3, 192, 256))
    with pytest.raises(InputError, match="gave no patch"):
        next(iter(RgbdPatches(ViewsFrames(empty), WINDOW)))


def test_a_real_rgbd_folder_gives_patches_and_says_where_depth_is_known(photos):
    frames = open_rgbd(photos("rgbd_7scenes_redkitchen"))
    generator = torch.Generator().manual_seed(0)
    patches, known = crop_patches(*frames.read(0), PatchWindow(), CropConfig(most_unknown=0.2), generator)
    assert len(patches) > 0
    assert 0.8 <= known.float().mean() < 1.0
    depth = decode_rgbd(patches)[1]
    assert 0.5 < float(depth.min()) < float(depth.max()) < 5.0


def write_hypersim(folder, colour, distance):
    h5py = pytest.importorskip("h5py", reason="the extra `data` is not installed")
    for part, name, values in (("final", "color", colour), ("geometry", "depth_meters", distance)):
        place = folder / "ai_001_001" / "images" / f"scene_cam_00_{part}_hdf5"
        place.mkdir(parents=True)
        with h5py.File(place / f"frame.0000.{name}.hdf5", "w") as file:
            file["dataset"] = values.half().numpy()
    return place / "frame.0000.depth_meters.hdf5"


def wall(width=128, height=96, depth=3.0):
    """Distances to a wall across the optical axis: what Hypersim stores for a constant planar depth."""
    focal = 0.5 * width / math.tan(math.pi / 6)
    y, x = torch.meshgrid(torch.arange(height) + 0.5 - height / 2, torch.arange(width) + 0.5 - width / 2, indexing="ij")
    return depth * torch.sqrt(1 + (x / focal).square() + (y / focal).square())


def test_hypersims_distances_become_planar_depth(tmp_path):
    distance = wall()
    distance[0, 0] = torch.nan
    write_hypersim(tmp_path, 0.3 + torch.zeros(96, 128, 3), distance)
    frames = open_rgbd(tmp_path)
    assert isinstance(frames, hypersim.HypersimFrames)
    assert len(frames) == 1
    colour, depth, focal = frames.read(0)
    assert depth[0, 0] == 0
    torch.testing.assert_close(depth.flatten()[1:], torch.full((96 * 128 - 1,), 3.0), rtol=2e-3, atol=0)
    assert math.degrees(2 * math.atan(64 / float(focal[0]))) == pytest.approx(60.0)
    # a flat picture is all 90th percentile, which is shown at 0.8
    torch.testing.assert_close(colour, torch.full((3, 96, 128), 0.8), atol=2e-3, rtol=0)


def test_hypersim_gives_patches(tmp_path):
    write_hypersim(tmp_path, torch.rand(96, 128, 3), wall())
    window = PatchWindow(size=16, focal=40.0, width=64, height=48)
    patch = first(RgbdPatches(open_rgbd(tmp_path), window), 2)
    torch.testing.assert_close(decode_rgbd(patch)[1], torch.full((2, 16, 16), 3.0), rtol=5e-3, atol=0)


def test_a_cut_hdf5_file_is_refused(tmp_path):
    file = write_hypersim(tmp_path, torch.rand(96, 128, 3), wall())
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(InputError, match="not a whole HDF5 file"):
        open_rgbd(tmp_path).read(0)


def test_an_hdf5_file_that_points_elsewhere_is_refused(tmp_path):
    file = write_hypersim(tmp_path, torch.rand(96, 128, 3), wall())
    import h5py

    with h5py.File(file, "w") as made:
        made["dataset"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(InputError, match="of its own"):
        open_rgbd(tmp_path).read(0)


def test_depth_without_its_colour_is_no_frame(tmp_path):
    file = write_hypersim(tmp_path, torch.rand(96, 128, 3), wall())
    next(file.parents[1].glob("*final*/*")).unlink()
    with pytest.raises(InputError, match="none with its colour"):
        open_rgbd(tmp_path)


def test_photos_without_depth_are_refused(photos):
    with pytest.raises(InputError, match="without depth"):
        open_rgbd(photos("llff_fern"))
