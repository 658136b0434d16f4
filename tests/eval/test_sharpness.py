"""Spectra against closed forms: equal pictures, a Gaussian's transfer function, white noise, brightness."""

import math

import pytest
import torch

from diorama.eval.sharpness import SpectrumConfig, radial_spectrum, spectrum_distance


def noise(height=128, width=96, deviation=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 0.5 + deviation * torch.randn(3, height, width, generator=generator, dtype=torch.float64)


def blurred(picture, deviation):
    """Under a Gaussian, by its transfer function exp(-2 pi^2 deviation^2 f^2)."""
    rows, columns = (torch.fft.fftfreq(n, dtype=torch.float64) for n in picture.shape[-2:])
    transfer = torch.exp(-2 * (math.pi * deviation) ** 2 * (rows[:, None] ** 2 + columns**2))
    return torch.fft.ifft2(torch.fft.fft2(picture) * transfer).real


def test_equal_pictures_have_equal_spectra():
    result = spectrum_distance(noise(), noise())
    assert result.distance == 0
    assert result.fine == 0


@pytest.mark.parametrize("deviation", [0.3, 0.6, 0.9])
def test_a_gaussian_blur_takes_its_transfer_function_away(deviation):
    config = SpectrumConfig(floor=0.0)
    frequency, before = radial_spectrum(noise(), config)
    _, after = radial_spectrum(blurred(noise(), deviation), config)
    expected = -10 * (2 * math.pi * deviation * frequency) ** 2 * math.log10(math.e)
    torch.testing.assert_close(after - before, expected, atol=0.25, rtol=0.03)
    fine = float(expected[frequency >= config.high].mean())
    assert spectrum_distance(blurred(noise(), deviation), noise(), config).fine == pytest.approx(fine, abs=0.3)


def test_blur_is_negative_noise_is_positive_and_both_are_distant():
    photo = blurred(noise(), 1.0)
    soft, rough = spectrum_distance(blurred(photo, 0.7), photo), spectrum_distance(photo + 0.1 * noise(seed=1), photo)
    assert soft.fine < -1
    assert rough.fine > 1
    assert soft.distance > 0.5
    assert rough.distance > 0.5


def test_white_noise_has_its_variance_at_every_frequency():
    _, power = radial_spectrum(noise(256, 256), SpectrumConfig(floor=0.0))
    assert len(power) == 15
    torch.testing.assert_close(power, torch.full_like(power, 20 * math.log10(0.2)), atol=0.4, rtol=0)


def test_brightness_does_not_count_and_contrast_counts_everywhere_alike():
    config = SpectrumConfig(floor=0.0)
    offset = spectrum_distance(noise() + 0.3, noise(), config)
    assert offset.distance == pytest.approx(0, abs=1e-9)
    contrast = spectrum_distance(2 * noise(), noise(), config)
    assert contrast.distance == pytest.approx(20 * math.log10(2), abs=1e-9)
    assert contrast.fine == pytest.approx(20 * math.log10(2), abs=1e-9)


def test_what_rounding_hides_is_no_difference():
    photo = blurred(noise(), 4.0)
    rounded = (photo * 255).round() / 255
    assert spectrum_distance(rounded, photo).distance < 3.1
    assert spectrum_distance(rounded, photo, SpectrumConfig(floor=0.0)).distance > 30


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (64, 48)])
def test_pictures_of_any_size_have_a_spectrum(size):
    frequency, power = radial_spectrum(noise(*size))
    assert power.isfinite().all()
    assert (frequency.diff() > 0).all()
    assert frequency[-1] < 0.5


def test_a_flat_picture_has_the_floor_alone():
    flat = spectrum_distance(torch.full((3, 32, 32), 0.5), noise(32, 32).float())
    assert flat.fine == pytest.approx(10 * math.log10(SpectrumConfig().floor / 0.04), abs=1.5)
