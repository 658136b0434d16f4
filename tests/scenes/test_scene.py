"""Scenes where memory is short: fewer rays and points at a time, said, and the same pictures."""

import pytest
import torch

from diorama.errors import MemoryLimitError
from diorama.scenes.scene import Scene
from tests.scenes.test_storage import cameras, made_scene


def hungry(monkeypatch, most, asked):
    """Scenes to whom more than so many rays are too many."""
    whole = Scene.render_normalised

    def render(scene, rays, field=None):
        asked.append(len(rays.cosine))
        if asked[-1] > most:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return whole(scene, rays, field)

    monkeypatch.setattr(Scene, "render_normalised", render)


def test_where_memory_does_not_suffice_a_picture_is_drawn_in_smaller_chunks_with_a_warning(monkeypatch):
    scene, view, asked, done = made_scene(), cameras(1), [], []
    whole = scene.render(view)
    hungry(monkeypatch, 30, asked)
    with pytest.warns(RuntimeWarning, match="out of memory: ") as said:
        made = scene.render(view, progress=lambda *how: done.append(how))
    assert [str(one.message) for one in said] == [f"out of memory: {n} rays at a time from here on" for n in (40, 20)]
    assert asked == [80, 40, 20, 20, 20, 20]
    torch.testing.assert_close(made.colour, whole.colour)
    torch.testing.assert_close(made.depth, whole.depth)
    assert done[-1] == (80, 80)


def test_a_ray_that_does_not_fit_is_an_error(monkeypatch):
    hungry(monkeypatch, 0, [])
    with pytest.warns(RuntimeWarning), pytest.raises(MemoryLimitError, match="1 rays at a time do not fit"):
        made_scene().render(cameras(1))


def test_points_are_asked_as_many_at_a_time_as_memory_allows(monkeypatch):
    scene, asked = made_scene(), []
    where = torch.randn(10, 20, 3)
    density, colour = scene.density(where), scene.colour(where, torch.nn.functional.normalize(where, dim=-1))
    whole = scene.field.density
    monkeypatch.setattr(scene.field, "density", lambda points: asked.append(len(points)) or whole(points))
    few = 64 * scene.field.bytes_per_sample
    torch.testing.assert_close(scene.density(where, max_memory=few), density)
    assert asked == [64, 64, 64, 8]
    directions = torch.nn.functional.normalize(where, dim=-1)
    torch.testing.assert_close(scene.colour(where, directions, max_memory=few), colour)
    assert density.shape == (10, 20)
    assert colour.shape == (10, 20, 3)
    assert scene.density(where[:0]).shape == (0, 20)
