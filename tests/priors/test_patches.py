"""Spec of DiffusioNeRF, section 9, tests 5 (photo patches) and 9 (the sampler)."""

from dataclasses import replace

import pytest
import torch

from diorama.cameras.patches import PatchWindow, window_cameras
from diorama.cameras.pinhole import Cameras, pixel_grid
from diorama.data.views import Views
from diorama.errors import ViewsError
from diorama.priors.patches import PatchSampler, PatchSamplingConfig, photo_window, pixel_rays
from diorama.streams import stream

WINDOW = PatchWindow()
DRAWS = 400


def photos(count=2, width=256, height=192, focal=175.0, lens="pinhole"):
    """Photos whose red is the column and whose green is the row of a pixel's centre, as shares of the picture."""
    pose = torch.eye(4).repeat(count, 1, 1)
    pose[:, 0, 3] = torch.arange(count, dtype=torch.float32)
    cameras = Cameras.pinhole(
        pose,
        torch.full((count, 2), focal),
        torch.tensor([width / 2, height / 2]).repeat(count, 1),
        torch.tensor([width, height]).repeat(count, 1),
    )
    if lens == "opencv":
        distortion = torch.tensor([-0.1, 0.02, 0.0, 0.0, 1e-3, -1e-3]).repeat(count, 1)
        cameras = replace(cameras, lens="opencv", distortion=distortion)
    places = pixel_grid(width, height) / torch.tensor([width, height])
    image = torch.cat([places.permute(2, 0, 1), torch.full((1, height, width), 0.5)])
    return Views(image.repeat(count, 1, 1, 1), tuple(f"{i}.png" for i in range(count)), cameras)


def draws(views, config=PatchSamplingConfig(), count=DRAWS, seed=0):
    sampler = PatchSampler(views, WINDOW, config)
    return [sampler.draw(stream(seed, "prior patch", step)) for step in range(count)]


@pytest.fixture(scope="module")
def many():
    return draws(photos())


def test_spec_09_a_quarter_of_the_patches_are_photos(many):
    sampler = PatchSampler(photos(), WINDOW, PatchSamplingConfig())
    taken = [sampler.takes_photo(stream(0, "prior patch", step)) for step in range(10_000)]
    assert abs(sum(taken) / len(taken) - 0.25) < 0.015
    assert [patch.photo is not None for patch in many] == taken[: len(many)]


def test_spec_09_rendered_patches_stand_near_a_photo_and_photo_patches_in_it(many):
    views = photos()
    for patch in many[:300]:
        offset = patch.camera.origins[0] - views.cameras.origins[patch.view]
        if patch.photo is None:
            assert offset.abs().max() <= 0.2 + 1e-6
        else:
            assert torch.equal(patch.camera.camera_to_world[0], views.cameras.camera_to_world[patch.view])


def test_spec_09_the_seed_decides_everything():
    one, two, other = (draws(photos(), count=6, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(a.rays.directions, b.rays.directions) for a, b in zip(one, two, strict=True))
    assert not all(torch.equal(a.rays.directions, b.rays.directions) for a, b in zip(one, other, strict=True))


def test_patches_come_from_all_photos(many):
    for known in (True, False):
        assert {patch.view for patch in many if (patch.photo is not None) == known} == {0, 1}


def test_spec_05_photo_patches_never_leave_the_photo(many):
    views = photos()
    for patch in [patch for patch in many if patch.photo is not None][:100]:
        corners = torch.tensor([[0.0, 0.0], [48.0, 48.0]])
        directions = patch.camera.ray_directions(corners[None])[0]
        camera = views.cameras[patch.view]
        pixels, _ = camera.project(camera.origins + directions)
        assert pixels.min() >= -1e-2
        assert (pixels <= camera.size + 1e-2).all()


def test_spec_05_an_aligned_window_at_unit_scale_is_the_photo_itself():
    views = photos(1)
    corner = torch.tensor([31.0, 57.0])
    camera = window_cameras(views.cameras.camera_to_world, (views.cameras.centre - corner), WINDOW)
    seen = photo_window(views.images[0], views.cameras[0], camera)
    torch.testing.assert_close(seen, views.images[0, :, 57 : 57 + 48, 31 : 31 + 48], atol=1e-5, rtol=0)


@pytest.mark.parametrize("focal", [175.0, 350.0, 420.0, 90.0])
@pytest.mark.parametrize("lens", ["pinhole", "opencv"])
def test_spec_05_colour_lies_where_the_ray_meets_the_photo_to_a_tenth_of_a_pixel(focal, lens):
    scale = focal / 175.0
    views = photos(1, round(256 * scale), round(192 * scale), focal, lens)
    camera = window_cameras(views.cameras.camera_to_world, torch.tensor([[40.3, 11.8]]), WINDOW)
    seen = photo_window(views.images[0], views.cameras[0], camera)
    rays = pixel_rays(camera)
    pixels, _ = views.cameras[0].project(rays.origins + rays.directions)
    found = seen[:2].reshape(2, -1).T * views.cameras.size[0]
    assert (found - pixels).abs().max() < 0.1 * max(scale, 1.0)


def test_fine_stripes_average_out_instead_of_aliasing():
    views = photos(1, 1024, 768, 700.0)
    stripes = (torch.arange(1024) % 2).to(torch.float32).expand(3, 768, 1024)
    camera = window_cameras(views.cameras.camera_to_world, torch.tensor([[24.2, 24.4]]), WINDOW)
    seen = photo_window(stripes.contiguous(), views.cameras[0], camera)
    assert (seen - 0.5).abs().max() < 0.1


def test_a_photo_narrower_than_a_patch_gives_none_but_is_looked_around():
    narrow = photos(1, 40, 40, 175.0)
    sampler = PatchSampler(narrow, WINDOW, PatchSamplingConfig(photo_share=1.0))
    assert sampler.photo_share == 0
    assert sampler.draw(stream(0, "prior patch", 0)).photo is None


def test_the_object_comes_with_its_coverage():
    views = replace(photos(1), object=torch.ones(1, 192, 256))
    sampler = PatchSampler(views, WINDOW, PatchSamplingConfig(photo_share=1.0))
    patch = sampler.draw(stream(0, "prior patch", 0))
    torch.testing.assert_close(patch.coverage, torch.ones(48, 48))


PHOTO_PATCHES = PatchSamplingConfig(photo_share=1.0)


@pytest.mark.parametrize("lens", ["pinhole", "opencv"])
def test_patches_are_cut_where_nothing_is_to_be_ignored(lens):
    views = photos(1, 512, 384, 350.0, lens)
    ignore = torch.zeros(1, 384, 512, dtype=torch.bool)
    ignore[:, :, 200:] = True
    views.images[:, :, ignore[0]] = torch.nan
    for patch in draws(replace(views, ignore=ignore), PHOTO_PATCHES, 30):
        assert patch.ignored is None
        assert patch.photo.isfinite().all()


@pytest.mark.parametrize("lens", ["pinhole", "opencv"])
@pytest.mark.parametrize("focal", [175.0, 420.0])
def test_where_that_is_not_possible_exactly_the_pixels_that_show_it_are_marked(lens, focal):
    scale = focal / 175.0
    views = photos(1, round(256 * scale), round(192 * scale), focal, lens)
    ignore = torch.zeros_like(views.images[:, 0], dtype=torch.bool)
    ignore[:, :: round(20 * scale), :: round(20 * scale)] = True
    views.images[:, :, ignore[0]] = torch.nan
    (patch,) = draws(replace(views, ignore=ignore), PHOTO_PATCHES, 1)
    assert patch.photo.permute(1, 2, 0)[~patch.ignored].isfinite().all()
    assert 0 < float(patch.ignored.float().mean()) < 0.25


def test_a_mask_that_ignores_nothing_changes_no_patch(many):
    views = photos()
    masked = draws(replace(views, ignore=torch.zeros(2, 192, 256, dtype=torch.bool)), count=40)
    for one, two in zip(many, masked, strict=False):
        assert torch.equal(one.rays.directions, two.rays.directions)
        assert two.ignored is None


def test_centres_outside_every_frustum_can_be_drawn_again():
    config = PatchSamplingConfig(photo_share=0.0, shift=5.0, only_seen=True)
    views = photos(2)
    from diorama.cameras.pinhole import in_frustum

    inside = 0
    for patch in draws(views, config, 40):
        own = torch.equal(patch.camera.origins[0], views.cameras.origins[patch.view])
        inside += own or bool(in_frustum(views.cameras, patch.camera.origins).any())
    assert inside == 40


def test_rays_go_through_pixel_centres_row_by_row(many):
    patch = many[0]
    points = patch.rays.origins + patch.rays.directions * (2.0 / patch.rays.cosine)[:, None]
    pixels, depth = patch.camera.project(points[None])
    torch.testing.assert_close(pixels[0], pixel_grid(48, 48).reshape(-1, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(depth[0], torch.full((48 * 48,), 2.0), atol=1e-4, rtol=0)


def test_photos_without_cameras_have_no_patches():
    with pytest.raises(ViewsError, match="diorama pose"):
        PatchSampler(replace(photos(1), cameras=None), WINDOW, PatchSamplingConfig())
