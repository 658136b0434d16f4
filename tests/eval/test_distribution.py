"""The Frechet distance against closed forms of Gaussians; the random features against damage; networks from files."""

import math

import pytest
import torch
from torch.nn import functional

from diorama.errors import InputError
from diorama.eval.distribution import (
    RANDOM_CONV,
    Features,
    frechet_distance,
    gaussian_distance,
    inception_features,
    random_convolutions,
    random_filters,
)

PIXELS = Features("pixels", lambda pictures: pictures.flatten(1))


def exact_sample(mean, covariance, count, generator):
    """Numbers whose sample mean and sample covariance are exactly these."""
    draw = torch.randn(count, len(mean), generator=generator, dtype=torch.float64)
    draw = draw - draw.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(draw.T.cov()).mT, draw, upper=True, left=False)
    return mean + white @ torch.linalg.cholesky(covariance).mT


def pictures(count=24, seed=0, side=32):
    """Smooth colours under overlapping squares: edges and even parts, as photographs have."""
    generator = torch.Generator().manual_seed(seed)
    canvas = functional.interpolate(torch.rand(count, 3, 4, 4, generator=generator), (side, side), mode="bilinear")
    for index in range(count):
        for _ in range(6):
            top, left, size = torch.randint(0, side - 8, (3,), generator=generator).tolist()
            canvas[index, :, top : top + size // 2 + 3, left : left + size // 2 + 3] = torch.rand(
                3, 1, 1, generator=generator
            )
    return canvas


def blurred(images, deviation):
    steps = torch.exp(-0.5 * (torch.arange(-8, 9) / deviation) ** 2)
    kernel = (steps / steps.sum()).expand(3, 1, 1, -1)
    padded = functional.pad(images, (8,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel, groups=3), kernel.mT, groups=3)


def test_equal_sets_are_no_distance_apart_in_any_order():
    images = pictures()
    for features in (PIXELS, RANDOM_CONV):
        apart = frechet_distance(images, pictures(seed=1), features).value
        assert frechet_distance(images, images, features).value == pytest.approx(0, abs=1e-9 * apart)
        assert frechet_distance(images.flip(0), pictures(seed=1), features).value == pytest.approx(apart)


def test_the_distance_of_diagonal_gaussians_is_that_of_their_means_and_deviations(rng):
    means = torch.tensor([[0.0, 1, 2], [1.0, 1, 0]], dtype=torch.float64)
    deviations = torch.tensor([[1.0, 2, 0.5], [3.0, 1, 0.5]], dtype=torch.float64)
    samples = [exact_sample(m, torch.diag(d**2), 50, rng) for m, d in zip(means, deviations, strict=True)]
    expected = float(means.diff(dim=0).square().sum() + deviations.diff(dim=0).square().sum())
    assert gaussian_distance(*samples) == pytest.approx(expected, rel=1e-9)


def test_the_distance_of_gaussians_that_share_no_axes_is_the_closed_form_of_the_plane(rng):
    # in two dimensions tr (A B)^(1/2) = sqrt(tr AB + 2 sqrt(det AB))
    a, b = (torch.tensor(x, dtype=torch.float64) for x in ([[2.0, 0.9], [0.9, 1.0]], [[0.5, -0.3], [-0.3, 1.5]]))
    zero = torch.zeros(2, dtype=torch.float64)
    root = math.sqrt(float((a @ b).trace()) + 2 * math.sqrt(float(torch.linalg.det(a @ b))))
    expected = float(a.trace() + b.trace()) - 2 * root
    assert gaussian_distance(exact_sample(zero, a, 30, rng), exact_sample(zero, b, 40, rng)) == pytest.approx(expected)


def test_fewer_samples_than_features_give_what_the_matrix_root_gives(rng):
    first, second = (torch.randn(n, 12, generator=rng, dtype=torch.float64) for n in (5, 7))
    one, two = first.T.cov(), second.T.cov()
    values, axes = torch.linalg.eigh(one)
    half = axes * values.clamp_min(0).sqrt() @ axes.T
    root = torch.linalg.eigvalsh(half @ two @ half).clamp_min(0).sqrt().sum()
    expected = (first.mean(0) - second.mean(0)).square().sum() + one.trace() + two.trace() - 2 * root
    assert gaussian_distance(first, second) == pytest.approx(float(expected), rel=1e-6)
    assert gaussian_distance(second, first) == pytest.approx(gaussian_distance(first, second))


def test_a_shift_of_all_samples_is_its_squared_length(rng):
    sample = torch.randn(20, 6, generator=rng)
    assert gaussian_distance(sample + 0.5, sample) == pytest.approx(6 * 0.25, rel=1e-5)


@pytest.mark.parametrize("damage", [blurred, torch.add, lambda x, amount: x + amount * torch.sin(1e4 * x)])
def test_random_features_move_away_as_damage_grows(damage):
    images = pictures()
    distances = [frechet_distance(images, damage(images, amount), RANDOM_CONV).value for amount in (0.3, 0.6, 1.2)]
    assert 0 < distances[0] < distances[1] < distances[2]


def test_blur_tells_more_than_another_draw_of_the_same_pictures():
    same = frechet_distance(pictures(64), pictures(64, seed=1), RANDOM_CONV).value
    assert frechet_distance(pictures(64), blurred(pictures(64, seed=1), 1.0), RANDOM_CONV).value > 3 * same


def test_random_features_are_128_numbers_of_any_size_and_each_picture_has_its_own():
    for side in (1, 8, 33):
        images = pictures(3, side=max(side, 9))[..., :side, :side]
        features = random_convolutions(images)
        assert features.shape == (3, 128)
        assert features.isfinite().all()
        torch.testing.assert_close(random_convolutions(images[1:2]), features[1:2], rtol=1e-4, atol=1e-5)


def test_random_features_are_the_same_on_every_machine():
    # the name `random-conv-v1` stands for these numbers: change them, and it must become v2
    assert random_filters(0)[1, 0, 0].tolist() == pytest.approx([-0.301957556, -0.181473765, -0.052703566], abs=1e-9)
    ramp = torch.linspace(0, 1, 3 * 16 * 16).reshape(1, 3, 16, 16)
    features = random_convolutions(ramp)[0]
    assert features.double().sum().item() == pytest.approx(14.46464, rel=1e-4)
    assert [random_filters(stage).shape for stage in range(4)] == [(16, 3, 3, 3)] + [(16, 16, 3, 3)] * 3


def test_half_of_the_filters_do_not_see_even_colour():
    grey = torch.full((1, 3, 16, 16), 0.8)
    means = random_convolutions(grey)[0, :16]
    assert means[::2].abs().max() < 1e-5
    assert means[1::2].max() > 0.1


def test_a_result_names_its_features_and_its_counts():
    result = frechet_distance(pictures(3), pictures(5, seed=1), RANDOM_CONV, chunk=2)
    assert result.counts == (3, 5)
    assert str(result).endswith("(random-conv-v1, 3 against 5 pictures)")
    whole = frechet_distance(pictures(3), pictures(5, seed=1), RANDOM_CONV)
    assert result.value == pytest.approx(whole.value, rel=1e-4)


def test_sets_of_other_sizes_or_of_one_picture_are_refused():
    with pytest.raises(InputError, match="3 pictures of 32x32 against 3 pictures of 16x16"):
        frechet_distance(pictures(3), pictures(3, side=16), RANDOM_CONV)
    with pytest.raises(InputError, match="two or more"):
        frechet_distance(pictures(1), pictures(3), RANDOM_CONV)


class Detector(torch.nn.Module):
    """Like the published Inception file: bytes in, features when asked, else something else."""

    def forward(self, images, return_features: bool = False):
        assert images.dtype == torch.uint8
        means = images.float().mean((2, 3))
        return means if return_features else means * 0


class Plain(torch.nn.Module):
    def forward(self, images):
        return images.float().mean((2, 3), keepdim=True)


@pytest.mark.filterwarnings("ignore:`torch.jit.:DeprecationWarning")
@pytest.mark.parametrize("network", [Detector, Plain])
def test_a_network_from_a_file_gets_bytes_and_is_named_by_its_digest(network, tmp_path):
    torch.jit.script(network()).save(tmp_path / "detector.pt")
    features = inception_features(tmp_path / "detector.pt")
    assert features.name.startswith("detector-")
    assert len(features.name) == len("detector-") + 8
    torch.testing.assert_close(features.of(torch.full((2, 3, 4, 4), 0.5)), torch.full((2, 3), 128.0))
    assert frechet_distance(pictures(4), pictures(4), features).features == features.name


def test_an_absent_or_foreign_network_is_refused_and_nothing_is_fetched(tmp_path):
    with pytest.raises(InputError, match="no network at"):
        inception_features(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(InputError, match="no TorchScript file"):
        inception_features(tmp_path / "text.pt")
