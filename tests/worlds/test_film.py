"""A film does what it says and no more: exposure, tone, noise, blur, bits."""

from dataclasses import replace

import pytest
import torch

from diorama.worlds.film import (
    LUMINANCE,
    Film,
    FilmConfig,
    blurred,
    decode_srgb,
    develop,
    encode_srgb,
    meter,
    sample_film,
    through_jpeg,
    toned,
)  # fmt: skip


def plain(count: int = 1) -> Film:
    """A film that only exposes and encodes."""
    zeros = torch.zeros(count)
    return Film(torch.ones(count, 3), zeros, zeros, torch.ones(count), zeros, zeros, zeros, torch.zeros(count).long())


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_plain_film_is_srgb_in_256_steps():
    linear = torch.rand(1, 3, 8, 9, generator=rng())
    photo = develop(linear, plain(), rng())
    assert torch.allclose(photo, encode_srgb(linear), atol=0.5 / 255 + 1e-6)
    assert torch.allclose((photo * 255).round(), photo * 255, atol=1e-4)


def test_srgb_goes_there_and_back():
    values = torch.linspace(0, 1, 500)
    assert torch.allclose(decode_srgb(encode_srgb(values)), values, atol=1e-5)
    assert float(encode_srgb(torch.tensor(0.18))) == pytest.approx(0.4614, abs=1e-3)


def test_metering_brings_any_picture_to_the_key():
    config = FilmConfig()
    picture = 0.02 + torch.rand(2, 3, 16, 16, generator=rng())
    for brightness in (0.1, 1.0, 2.0):
        exposed = brightness * picture * meter(brightness * picture, config)[:, None, None]
        luminance = (exposed * torch.tensor(LUMINANCE)[:, None, None]).sum(1)
        assert float(luminance.log().mean().exp()) == pytest.approx(config.key, rel=0.02)


def test_white_balance_takes_away_a_part_of_a_cast():
    cast = torch.rand(1, 3, 16, 16, generator=rng()) * torch.tensor([1.5, 1.0, 0.5])[:, None, None]
    for share in (0.0, 0.4, 1.0):
        seen = (cast * meter(cast, FilmConfig(grey_world=share))[:, None, None]).mean((0, 2, 3))
        assert float(seen[0] / seen[2]) == pytest.approx(3 ** (1 - share), rel=0.05)


def test_the_tone_curve_rises_everywhere_and_ends_at_black():
    ramp = torch.linspace(0, 1.5, 300)[None, None, None].expand(1, 3, 1, -1)
    low, high = FilmConfig().contrast
    for contrast in (low, 0.0, high):
        for shoulder in FilmConfig().shoulder:
            shown = toned(ramp, torch.tensor([shoulder]), torch.tensor([contrast]), torch.tensor([1.0]))[0, 0, 0]
            assert bool((shown.diff() >= -1e-6).all())
            assert float(shown[0]) == 0.0
            assert float(shown[-1]) > 0.9


def test_grey_stays_grey_under_any_saturation():
    grey = torch.full((1, 3, 4, 4), 0.3)
    shown = toned(grey, torch.tensor([0.5]), torch.tensor([0.2]), torch.tensor([1.7]))
    assert torch.allclose(shown, shown[:, :1].expand_as(shown), atol=1e-6)


def test_noise_has_the_variance_of_its_photons():
    film = replace(plain(), shot=torch.tensor([1e-3]))
    photo = develop(torch.full((1, 3, 100, 100), 0.5), film, rng())
    assert float(decode_srgb(photo).std()) == pytest.approx((1e-3 * 0.5) ** 0.5, rel=0.05)


def test_blur_keeps_the_light_and_spreads_it_by_its_deviation():
    point = torch.zeros(2, 1, 15, 15)
    point[:, :, 7, 7] = 1.0
    spread = blurred(point, torch.tensor([0.5, 0.7]))
    place = torch.arange(15.0) - 7
    assert torch.allclose(spread.sum((1, 2, 3)), torch.ones(2), atol=1e-5)
    for index, deviation in enumerate((0.5, 0.7)):
        variance = float((spread[index, 0].sum(0) * place.square()).sum())
        assert variance == pytest.approx(deviation**2, rel=0.2)


def test_jpeg_changes_a_picture_a_little_and_worse_quality_more():
    picture = develop(torch.rand(1, 3, 48, 48, generator=rng()), plain(), rng())[0]
    errors = [float((through_jpeg(picture, quality) - picture).abs().mean()) for quality in (95, 60)]
    assert 0 < errors[0] < errors[1] < 0.2


def test_the_same_generator_takes_the_same_photograph():
    linear = torch.rand(4, 3, 24, 24, generator=rng())
    one, two = (develop(linear, sample_film(4, generator), generator) for generator in (rng(1), rng(1)))
    assert torch.equal(one, two)
    assert bool(((one >= 0) & (one <= 1)).all())


def test_films_stay_within_their_config():
    film, config = sample_film(500, rng()), FilmConfig()
    assert config.blur[0] <= float(film.blur.min()) <= float(film.blur.max()) <= config.blur[1]
    assert config.shot_noise[0] <= float(film.shot.min()) <= float(film.shot.max()) <= config.shot_noise[1]
    stored = film.quality[film.quality > 0]
    assert 0.4 < len(stored) / 500 < 0.6
    assert config.jpeg_quality[0] <= int(stored.min()) <= int(stored.max()) <= config.jpeg_quality[1]
    assert len(film[slice(0, 3)].blur) == 3
