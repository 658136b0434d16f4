"""Whole pictures: cut into chunks that fit into memory, of the views that are asked for."""

from dataclasses import replace

import pytest
import torch

from diorama.errors import MemoryLimitError
from diorama.rendering.chunk import Chunk
from diorama.rendering.render import SamplingConfig, render_rays
from diorama.scenes.pictures import render_views
from tests.systems.drawn import balls, given_first, model_of, noisy_views

FIELDS = ("colour", "depth", "opacity", "near_mass")


class Hungry:
    """A painter to whom more than so many rays are too many."""

    def __init__(self, painter, most, error):
        self.painter, self.most, self.error, self.asked = painter, most, error, []

    def render(self, planes, rays, keep=None, *, sampling=None):
        self.asked.append(rays.cosine.numel())
        if self.asked[-1] > self.most:
            raise self.error
        return self.painter.render(planes, rays, keep, sampling=sampling)


@pytest.fixture(scope="module")
def scene():
    """A model, planes of two scenes, their views."""
    model, views = model_of(), balls(2, 3, 8)
    return model, model.planes(noisy_views(views, given_first(views, 1, 2))), views


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("tried to allocate 20 GiB"), MemoryError(), RuntimeError("can't allocate memory")]
)
def test_where_memory_does_not_suffice_the_chunk_is_halved_for_good_and_said(scene, error):
    model, planes, views = scene
    hungry, lines = Hungry(model, 60, error), []
    chunk = Chunk(200, lines.append)
    made = render_views(hungry, planes, views, "drop", chunk=chunk)
    assert hungry.asked[:3] == [200, 100, 50]
    assert max(hungry.asked[3:]) == 50
    assert lines == [f"out of memory: {rays} rays at a time from here on" for rays in (100, 50)]
    render_views(hungry, planes, views, "drop", chunk=chunk)
    assert len(lines) == 2
    whole = render_views(model, planes, views, "drop")
    assert all(torch.equal(getattr(made, name), getattr(whole, name)) for name in FIELDS)


def test_a_single_ray_of_each_scene_that_does_not_fit_is_an_error(scene):
    model, planes, views = scene
    hungry = Hungry(model, 1, MemoryError())
    with pytest.raises(MemoryLimitError, match="2 rays at a time do not fit into memory \\(MemoryError\\)"):
        render_views(hungry, planes, views, "drop", chunk=16)
    assert hungry.asked == [16, 8, 4, 2]


def test_other_errors_pass(scene):
    model, planes, views = scene
    with pytest.raises(RuntimeError, match="shapes differ"):
        render_views(Hungry(model, 0, RuntimeError("shapes differ")), planes, views, "drop")


@pytest.mark.parametrize("own", ["drop", "keep"])
def test_some_views_are_drawn_as_they_are_among_all(scene, own):
    model, planes, views = scene
    every, some = (render_views(model, planes, views, own, which=which) for which in (None, torch.tensor([2, 0])))
    assert all(torch.equal(getattr(some, name), getattr(every, name)[:, [2, 0]]) for name in FIELDS)
    other = render_views(model, planes, views, "keep" if own == "drop" else "drop")
    assert not torch.equal(other.colour, every.colour)


def test_no_views_are_no_pictures(scene):
    model, planes, views = scene
    assert render_views(model, planes, views.last(0), "keep").colour.shape == (2, 0, 3, 8, 8)


class Fog:
    """A painter of even fog, whatever the planes say."""

    proposal = None
    config = SamplingConfig(coarse=200, fine=100, union=True, spacing="linear", near=0.5, far=4.5, last_opaque=False)

    def geometry(self, positions):
        return torch.full(positions.shape[:-1], 0.4), positions

    def harmonics(self, directions):
        return directions[..., :0]

    def colour(self, geometry, harmonics):
        return torch.tensor([0.2, 0.4, 0.6]).expand(len(geometry), 3)

    def render(self, planes, rays, keep=None, *, sampling=None):
        flat = rays.reshape(-1)
        near, far = torch.full_like(flat.cosine, 0.5), torch.full_like(flat.cosine, 4.5)
        return render_rays(self, flat, near, far, self.config, torch.zeros(len(near), 3))


def test_in_fog_opacity_depth_and_the_share_of_near_light_follow_beer_and_lambert(scene):
    _, planes, views = scene
    truth = torch.full_like(views.depth, 3.0)
    truth[:, 1] = 0.0
    seen = render_views(Fog(), planes, replace(views, depth=truth), "keep", near_limit=0.5)
    stopped = 1 - torch.exp(torch.tensor(-0.4 * 4.0))
    torch.testing.assert_close(seen.opacity, stopped.expand_as(seen.opacity), rtol=1e-4, atol=0)
    cosine = 1 / ((views.focal[0, 0, 0] ** -2 * ((torch.arange(8) + 0.5 - 4).square())) + 1).sqrt()
    middle = 1 / (views.focal[0, 0, 0] ** -2 * (2 * 0.5**2) + 1).sqrt()
    near = 1 - torch.exp(-0.4 * (1.5 / middle - 0.5))
    assert abs(float(seen.near_mass[0, 0, 4, 4] - near)) < 0.01
    assert float(seen.near_mass[:, 1].abs().amax()) == 0.0
    inside = torch.linspace(0.5, 4.5, 100_001, dtype=torch.float64)
    weight = torch.exp(-0.4 * (inside - 0.5))
    mean = float((inside * weight).sum() / weight.sum())
    assert abs(float(seen.depth[0, 0, 4, 4]) - mean * float(middle)) < 0.01
    assert float(seen.depth[0, 0, 4, 0]) < float(seen.depth[0, 0, 4, 4]) * float(cosine[0]) * 1.01
