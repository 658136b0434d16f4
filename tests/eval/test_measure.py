"""From a RenderFn and photographs to columns: what is left out, what is masked, what is not measured."""

from dataclasses import replace

import pytest
import torch

from diorama.errors import InputError, MissingExtraError
from diorama.eval import measure
from diorama.eval.measure import Columns, SceneResult, ViewResult, held_out, measured_views
from diorama.eval.perceptual import Lpips
from diorama.types import Rendering
from tests.oracles import exact_rendering, exact_views, ring_cameras, sphere_field

PLAIN = Columns(flip=False)


def measured(views, columns=PLAIN, render=exact_rendering, surface=None):
    return [result for _, _, result in measured_views(render, held_out(views, surface), columns)]


def noisy(cameras):
    exact = exact_rendering(cameras)
    noise = 0.1 * torch.randn(exact.colour.shape, generator=torch.Generator().manual_seed(0))
    return replace(exact, colour=(exact.colour + noise).clamp(0, 1))


def test_an_exact_render_is_measured_as_exact():
    for result in measured(exact_views(ring_cameras(2))):
        assert result.size == (64, 48)
        assert result.values["psnr"] == pytest.approx(100)
        assert result.values["ssim_uniform7"] == pytest.approx(1)
        assert result.values["depth_abs_rel"] == pytest.approx(0, abs=1e-6)
        assert result.values["depth_inliers"] == 1
        assert result.values["near_mass"] == 0


def test_what_cannot_be_measured_is_none_and_never_a_number():
    values = measured(exact_views(ring_cameras(1)))[0].values
    assert values["ms_ssim"] is None, "48 pixels are too few for five scales"
    assert values["flip"] is None
    assert values["lpips"] is None
    assert not any(name.startswith("average") for name in values)


def test_missing_columns_come_with_a_reason_and_a_cure(monkeypatch):
    def absent(render, photo):
        raise MissingExtraError("FLIP needs flip-evaluator: pip install 'diorama[metrics]'")

    monkeypatch.setattr(measure, "flip_error", absent)
    columns, missing = measure.columns_with_reasons(Columns())
    assert not columns.flip
    assert "pip install" in missing["flip"]
    assert "--lpips" in missing["lpips"]


def test_average_is_there_exactly_where_lpips_is():
    net = Lpips("alexnet")
    for head in net.heads:
        torch.nn.init.constant_(head.weight, 0.1)
    values = measured(exact_views(ring_cameras(1)), replace(PLAIN, lpips=(net,)), noisy)[0].values
    assert values["lpips_alexnet"] > 0
    mse = 10 ** (-values["psnr"] / 10)
    expected = (mse * (1 - values["ssim_uniform7"]) ** 0.5 * values["lpips_alexnet"]) ** (1 / 3)
    assert values["average_alexnet"] == pytest.approx(expected, rel=1e-6)
    assert "lpips" not in values


def test_ignored_pixels_and_padding_do_not_count():
    views = exact_views(ring_cameras(2))
    ignore = torch.zeros(2, 48, 64, dtype=torch.bool)
    ignore[:, 10:20, 10:30] = True
    spoiled = views.images.clone()
    spoiled[:, :, 10:20, 10:30] = 0.9
    for result in measured(replace(views, images=spoiled, ignore=ignore)):
        assert result.values["psnr"] == pytest.approx(100)
        assert result.values["ssim_uniform7"] == pytest.approx(1)
    padded = torch.nn.functional.pad(views.images, (0, 7, 0, 5), value=0.3)
    deep = torch.nn.functional.pad(views.depth, (0, 7, 0, 5))
    assert [r.values["psnr"] for r in measured(replace(views, images=padded, depth=deep))] == [pytest.approx(100)] * 2


def test_masked_columns_see_the_object_alone_and_equal_full_ones_under_a_full_mask():
    views = exact_views(ring_cameras(1))
    full = measured(replace(views, object=torch.ones(1, 48, 64)), render=noisy)[0].values
    assert full["psnr_masked"] == pytest.approx(full["psnr"], rel=1e-6)
    assert full["ssim_uniform7_masked"] == pytest.approx(full["ssim_uniform7"], rel=1e-6)
    half = torch.zeros(1, 48, 64)
    half[..., :32] = 1

    def wrong_outside(cameras):
        exact = exact_rendering(cameras)
        return replace(exact, colour=exact.colour * half[:, None] + 0.5 * (1 - half[:, None]))

    values = measured(replace(views, object=half), render=wrong_outside)[0].values
    assert values["psnr_masked"] == pytest.approx(100)
    assert values["ssim_uniform7_masked"] == pytest.approx(1)
    assert values["psnr"] < 30
    assert measured(replace(views, object=torch.zeros(1, 48, 64)))[0].values["psnr_masked"] is None


def test_near_mass_takes_density_where_there_is_one():
    views = exact_views(ring_cameras(1))

    def foggy(points):
        return torch.full(points.shape[:-1], 0.5)

    def clean(points):
        return sphere_field(points, points)[0]

    assert measured(views, replace(PLAIN, density=clean))[0].values["near_mass"] == pytest.approx(0, abs=1e-6)
    assert measured(views, replace(PLAIN, density=foggy))[0].values["near_mass"] > 0.2
    unknown = replace(views, depth=None)
    assert measured(unknown)[0].values["near_mass"] is None
    assert measured(unknown, surface=torch.tensor([1.5]))[0].values["near_mass"] == 0
    assert measured(unknown, surface=torch.tensor([float("nan")]))[0].values["near_mass"] is None


def test_metres_and_baseline_are_columns_when_asked_for():
    views = exact_views(ring_cameras(1))
    columns = replace(PLAIN, metres_per_unit=0.5, baseline=views.images.mean((0, 2, 3)))

    def farther(cameras):
        exact = exact_rendering(cameras)
        return replace(exact, depth=1.1 * exact.depth)

    values = measured(views, columns, farther)[0].values
    assert values["depth_median_abs_m"] == pytest.approx(0.5 * values["depth_median_abs"])
    assert values["depth_abs_rel"] == pytest.approx(0.1, rel=1e-4)
    assert 5 < values["psnr_mean_colour"] < 30


def test_a_render_of_another_size_or_with_nan_is_our_fault():
    views = exact_views(ring_cameras(1))

    def small(cameras):
        return Rendering(torch.zeros(1, 3, 4, 4), torch.zeros(1, 4, 4), torch.zeros(1, 4, 4))

    def broken(cameras):
        exact = exact_rendering(cameras)
        return replace(exact, colour=exact.colour * torch.nan)

    for render in (small, broken):
        with pytest.raises(RuntimeError, match="needed finite colours"):
            measured(views, render=render)
    with pytest.raises(InputError, match="no cameras"):
        measured(replace(views, cameras=None))


def test_a_scene_is_the_mean_of_its_views_that_were_measured():
    views = (ViewResult("a", (4, 3), {"psnr": 20.0, "flip": None}), ViewResult("b", (8, 3), {"psnr": 24.0, "x": 1.0}))
    result = SceneResult("scene", views)
    assert result.mean == {"psnr": 22.0, "flip": None, "x": 1.0}
    assert result.resolution == "4x3 to 8x3"


def test_parts_of_a_photograph_are_measured_apart():
    """Noise on the left half alone; what is ignored counts nowhere, and what is tiny has no figures."""
    views = exact_views(ring_cameras(1))
    left, crumb = torch.zeros(48, 64, dtype=torch.bool), torch.zeros(48, 64, dtype=torch.bool)
    left[:, :32], crumb[0, :5] = True, True

    def spoiled(cameras):
        exact = exact_rendering(cameras)
        colour = torch.where(left, exact.colour * 0.5, exact.colour)
        return replace(exact, colour=colour, depth=torch.where(left, 1.2 * exact.depth, exact.depth))

    def parts(held, rendering):
        return {"visible": ~left, "occluded": left, "outside": crumb}

    values = measured(views, replace(PLAIN, parts=parts), spoiled)[0].values
    assert values["psnr_visible"] == pytest.approx(100)
    assert values["psnr_occluded"] < values["psnr"] < 30
    assert values["psnr_outside"] is None
    assert values["depth_abs_rel_visible"] == pytest.approx(0, abs=1e-6)
    assert values["depth_abs_rel_occluded"] == pytest.approx(0.2, rel=1e-4)
    assert values["depth_abs_rel_outside"] is None
    assert values["share_visible"] == values["share_occluded"] == 0.5
    ignored = replace(views, ignore=left[None], depth=None)
    values = measured(ignored, replace(PLAIN, parts=parts), spoiled)[0].values
    assert values["share_occluded"] == 0
    assert values["psnr_occluded"] is None
    assert not any(name.startswith("depth") for name in values)
