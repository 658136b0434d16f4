"""Image metrics against scikit-image and torchmetrics; depth and fog against closed forms."""

import math

import numpy as np
import pytest
import torch

from diorama.cameras.pinhole import Cameras
from diorama.eval import metrics


def pair(height=176, width=181, noise=0.1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0, 1, width).expand(3, height, width)
    photo = (ramp * 0.6 + 0.4 * torch.rand(3, height, width, generator=generator)).clamp(0, 1)
    render = (photo + noise * torch.randn(3, height, width, generator=generator)).clamp(0, 1)
    return render, photo


def test_psnr_of_a_known_error_is_its_decibels():
    photo = torch.full((3, 8, 8), 0.5)
    assert math.isclose(float(metrics.psnr(photo + 0.1, photo)), 20.0, rel_tol=1e-6)


def test_a_perfect_copy_gets_the_ceiling_and_similarity_one():
    photo = pair()[1]
    assert float(metrics.psnr(photo, photo)) == pytest.approx(metrics.PSNR_CEILING)
    for similarity in (metrics.ssim_uniform7, metrics.ssim_signed7, metrics.ssim_gaussian11, metrics.ms_ssim):
        assert float(similarity(photo, photo)) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim_uniform7, metrics.ssim_gaussian11, metrics.ms_ssim])
def test_a_metric_falls_as_noise_grows_and_does_not_care_which_image_came_first(metric):
    values = [float(metric(*pair(noise=noise))) for noise in (0.02, 0.1, 0.3)]
    assert values[0] > values[1] > values[2]
    render, photo = pair()
    assert float(metric(render, photo)) == pytest.approx(float(metric(photo, render)), rel=1e-9)


def test_uniform_ssim_is_that_of_scikit_image():
    from skimage.metrics import structural_similarity

    for height, width in ((7, 7), (31, 50)):
        render, photo = pair(height, width)
        first, second = (x.permute(1, 2, 0).double().numpy() for x in (render, photo))
        expected = structural_similarity(first, second, win_size=7, data_range=1.0, channel_axis=-1)
        assert float(metrics.ssim_uniform7(render, photo)) == pytest.approx(expected, abs=1e-9)
        signed = structural_similarity(2 * first - 1, 2 * second - 1, win_size=7, data_range=2.0, channel_axis=-1)
        assert float(metrics.ssim_signed7(render, photo)) == pytest.approx(signed, abs=1e-9)


def test_gaussian_and_multi_scale_ssim_are_those_of_torchmetrics():
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure,
        structural_similarity_index_measure,
    )

    render, photo = (x[None].double() for x in pair())
    expected = structural_similarity_index_measure(render, photo, data_range=1.0)
    assert float(metrics.ssim_gaussian11(render, photo)) == pytest.approx(float(expected), abs=1e-7)
    multi = multiscale_structural_similarity_index_measure(render, photo, data_range=1.0, normalize="relu")
    assert float(metrics.ms_ssim(render, photo)) == pytest.approx(float(multi), abs=1e-6)


def test_a_batch_gives_what_its_images_give_alone():
    singles = [pair(seed=seed) for seed in range(2)]
    batch = [torch.stack(images) for images in zip(*singles, strict=True)]
    for metric in (metrics.psnr, metrics.ssim_uniform7, metrics.ssim_gaussian11, metrics.ms_ssim):
        alone = torch.stack([metric(render, photo) for render, photo in singles])
        torch.testing.assert_close(metric(*batch), alone)


def test_masked_psnr_is_full_psnr_under_a_full_mask_and_sees_only_its_pixels():
    render, photo = pair(20, 20)
    torch.testing.assert_close(metrics.psnr(render, photo, torch.ones(20, 20)), metrics.psnr(render, photo))
    mask = torch.zeros(20, 20)
    mask[:10] = 1
    spoiled = render.clone()
    spoiled[:, 10:] = 1 - spoiled[:, 10:]
    assert float(metrics.psnr(spoiled, photo, mask)) == pytest.approx(
        float(metrics.psnr(render[:, :10], photo[:, :10]))
    )
    assert metrics.psnr(render, photo, torch.zeros(20, 20)).isnan()


def test_average_of_the_three_errors_is_their_geometric_mean():
    values = (torch.tensor(x, dtype=torch.float64) for x in (20.0, 0.64, 0.2))
    assert float(metrics.average_error(*values)) == pytest.approx(0.10627, abs=5e-6)


def test_depth_errors_of_a_scaled_depth_are_the_scale():
    truth = torch.tensor([[1.0, 2.0], [4.0, 0.0]])
    errors = metrics.depth_errors(1.1 * truth, truth)
    assert errors["depth_abs_rel"] == pytest.approx(0.1, rel=1e-5)
    assert errors["depth_median_abs"] == pytest.approx(0.2, rel=1e-5)
    assert errors["depth_inliers"] == 1.0
    assert metrics.depth_errors(1.3 * truth, truth)["depth_inliers"] == 0.0
    assert metrics.depth_errors(torch.zeros(2, 2), truth)["depth_abs_rel"] == 1.0
    assert metrics.depth_errors(truth, torch.zeros(2, 2)) == {}


def camera():
    pose = torch.eye(4)[None]
    size = torch.tensor([[64, 48]])
    return Cameras.pinhole(pose, torch.tensor([[60.0, 60.0]]), torch.tensor([[32.0, 24.0]]), size)


def test_near_mass_of_even_fog_is_beer_lambert():
    def fog(points):
        return torch.full(points.shape[:-1], 0.3)

    width, height = 64, 48
    x, y = np.meshgrid((np.arange(400) + 0.5) * width / 400, (np.arange(300) + 0.5) * height / 300)
    length = np.sqrt(1 + ((x - 32) / 60) ** 2 + ((y - 24) / 60) ** 2)
    for start in (0.0, 0.5):
        expected = (1 - np.exp(-0.3 * (2.0 - start) * length)).mean()
        assert metrics.near_mass(fog, camera(), limit=2.0, start=start) == pytest.approx(expected, abs=1e-4)


def test_near_mass_sees_only_what_is_nearer_than_the_limit():
    def wall(points):
        return 50.0 * (points[..., 2] > 2.0).float()

    assert metrics.near_mass(wall, camera(), limit=1.9) == 0.0
    assert metrics.near_mass(wall, camera(), limit=3.0) == pytest.approx(1.0, abs=1e-6)
    assert metrics.near_mass(wall, camera(), limit=1.0, start=1.5) == 0.0


def test_near_mass_of_pictures_is_the_share_of_opacity_in_front():
    depth, opacity = torch.tensor([[0.5, 3.0]]), torch.tensor([[0.25, 0.75]])
    assert metrics.near_mass_of_depth(depth, opacity, limit=1.0) == pytest.approx(0.25)
    assert metrics.near_mass_of_depth(depth, 0 * opacity, limit=1.0) == 0.0


def test_mean_colour_leaves_masked_pixels_out():
    photos = torch.zeros(2, 3, 4, 4)
    photos[:, 0, :2] = 1.0
    weight = torch.zeros(2, 4, 4)
    weight[:, :2] = 1
    torch.testing.assert_close(metrics.mean_colour(photos), torch.tensor([0.5, 0.0, 0.0]))
    torch.testing.assert_close(metrics.mean_colour(photos, weight), torch.tensor([1.0, 0.0, 0.0]))


def test_rank_correlation_is_that_of_scipy_ties_included(rng):
    from scipy.stats import spearmanr

    truth = 1 + (10 * torch.rand(30, 40, generator=rng)).round() / 10
    depth = truth + (4 * torch.rand(30, 40, generator=rng)).round() / 4
    expected = spearmanr(depth.flatten().numpy(), truth.flatten().numpy()).statistic
    assert metrics.depth_rank_corr(depth, truth) == pytest.approx(float(expected), abs=1e-12)


def test_rank_correlation_asks_for_the_order_alone(rng):
    truth = 1 + torch.rand(20, 20, generator=rng)
    assert metrics.depth_rank_corr(5 * truth**3 + 2, truth) == pytest.approx(1)
    assert metrics.depth_rank_corr(1 / truth, truth) == pytest.approx(-1)
    assert metrics.depth_rank_corr(torch.full_like(truth, 2.0), truth) == 0
    assert math.isnan(metrics.depth_rank_corr(truth, torch.ones_like(truth)))
    assert math.isnan(metrics.depth_rank_corr(truth, torch.zeros_like(truth)))


def test_rank_correlation_leaves_unknown_pixels_out_and_takes_empty_ones_as_farthest():
    truth = torch.tensor([[1.0, 2.0, 3.0, 4.0, 0.0, math.inf]])
    assert metrics.depth_rank_corr(torch.tensor([[1.0, 2.0, 3.0, 0.0, 9.0, 0.1]]), truth) == pytest.approx(1)
    assert metrics.depth_rank_corr(torch.tensor([[0.0, 2.0, 3.0, 4.0, 9.0, 0.1]]), truth) < 0


def test_opacity_entropy_is_a_bit_for_a_veil_of_one_half_and_nothing_for_solids():
    solid = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    assert metrics.opacity_entropy(solid) == 0
    both = metrics.opacity_entropy(torch.stack([torch.full((2, 2), 0.5), torch.full((2, 2), 0.11)]))
    torch.testing.assert_close(both, torch.tensor([1.0, 0.4999], dtype=torch.float64), atol=1e-4, rtol=0)


def test_ray_entropy_is_nothing_for_one_surface_and_one_for_an_even_spread():
    weights = torch.tensor([[0, 1.0, 0, 0], [0.25] * 4, [0.1] * 4, [0.5, 0.5, 0, 0], [0.0] * 4])
    expected = torch.tensor([0, 1.0, 1.0, 0.5, 0], dtype=torch.float64)
    torch.testing.assert_close(metrics.ray_entropy(weights), expected)
