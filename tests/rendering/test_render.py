import math

import torch

from diorama.cameras.rays import Rays
from diorama.rendering.render import SamplingConfig, background_colour, render_rays


class Fog:
    """Density that is constant inside |z| in [first, last], one colour everywhere."""

    proposal = None

    def __init__(self, density, first=-1e9, last=1e9):
        self.density, self.first, self.last = density, first, last

    def geometry(self, positions):
        z = positions[..., 2]
        inside = (z > self.first) & (z < self.last)
        return self.density * inside.to(z), torch.zeros(*z.shape, 2)

    def harmonics(self, directions):
        return directions[..., :1]

    def colour(self, geometry, harmonics):
        return torch.tensor([0.2, 0.4, 0.6]).expand(len(geometry), 3)


def forward_rays(count=3):
    directions = torch.tensor([[0.0, 0, 1]]).expand(count, 3).contiguous()
    return Rays(torch.zeros(count, 3), directions, torch.ones(count))


def limits(count=3, near=1.0, far=3.0):
    return torch.full((count,), near), torch.full((count,), far)


PLAIN = SamplingConfig(coarse=64, fine=32, spacing="linear", last_opaque=False, colour_threshold=0.0)


def test_uniform_fog_has_the_opacity_and_the_colour_of_beer_and_lambert(rng):
    background = torch.ones(3, 3)
    for generator in (None, rng):
        out = render_rays(Fog(0.7), forward_rays(), *limits(), PLAIN, background, generator)
        opacity = 1 - math.exp(-1.4)
        torch.testing.assert_close(out.opacity, torch.full((3,), opacity))
        expected = opacity * torch.tensor([0.2, 0.4, 0.6]) + (1 - opacity)
        torch.testing.assert_close(out.colour, expected.expand(3, 3))


def test_a_wall_is_found_by_the_fine_bins():
    out = render_rays(Fog(200.0, first=2.0), forward_rays(), *limits(), PLAIN, torch.zeros(3, 3))
    torch.testing.assert_close(out.distance, torch.full((3,), 2.0), atol=0.02, rtol=0)
    assert (out.opacity > 0.999).all()


def test_an_opaque_last_bin_stops_what_is_left_but_has_no_say_in_depth():
    config = SamplingConfig(coarse=64, fine=32, spacing="linear", last_opaque=True)
    out = render_rays(Fog(0.05, first=1.5), forward_rays(), *limits(), config, torch.zeros(3, 3))
    torch.testing.assert_close(out.opacity, torch.ones(3))
    assert (out.distance < 2.6).all()


def test_the_union_of_coarse_and_fine_bins_is_sorted_and_holds_both(rng):
    config = SamplingConfig(coarse=16, fine=8, union=True, spacing="linear", last_opaque=False)
    out = render_rays(Fog(1.0), forward_rays(), *limits(), config, torch.zeros(3, 3), rng)
    assert out.weights.shape == (3, 16 + 7)
    assert (out.edges.diff(dim=-1) >= 0).all()


def test_empty_space_shows_the_background_and_makes_no_nan(rng):
    background = background_colour("random", 3, rng, torch.zeros(1))
    out = render_rays(Fog(0.0), forward_rays(), *limits(), PLAIN, background)
    torch.testing.assert_close(out.colour, background)
    assert torch.isfinite(out.distance).all()


def test_the_published_grey_is_the_background_without_a_generator():
    for kind in ("random", "grey"):
        torch.testing.assert_close(background_colour(kind, 1, None, torch.zeros(1)), torch.full((1, 3), 206 / 255))
