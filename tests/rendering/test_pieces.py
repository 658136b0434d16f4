"""Rendering in pieces: the same picture and the same gradient, in less memory."""

from dataclasses import replace

import pytest
import torch

from diorama.cameras.rays import Rays
from diorama.fields.hashgrid import GridConfig, HashField, HashFieldConfig
from diorama.rendering.render import SamplingConfig, render_in_pieces, render_rays
from diorama.streams import stream

GRID = GridConfig(levels=3, log2_table_size=8, finest_resolution=32)
SAMPLING = SamplingConfig(coarse=12, fine=8)
RAYS = 50


@pytest.fixture(params=[GRID, None], ids=["with a proposal", "without"])
def field(request):
    torch.manual_seed(0)
    shape = {"hidden": 8, "geometry": 3, "colour_hidden": 8, "colour_layers": 1, "sh_degree": 1}
    made = HashField(HashFieldConfig(grid=GRID, proposal=request.param, **shape))
    torch.nn.init.normal_(made.table, std=0.5)
    return made


@pytest.fixture
def rays():
    directions = torch.nn.functional.normalize(torch.randn(RAYS, 3, generator=stream(0, "rays")), dim=-1)
    return Rays(torch.zeros(RAYS, 3), directions, torch.ones(RAYS))


def arguments(field, rays, generator=None):
    near, far = torch.full((RAYS,), 0.5), torch.full((RAYS,), 8.0)
    return field, rays, near, far, SAMPLING, torch.full((RAYS, 3), 0.3), generator


def a_loss(out):
    return (
        out.colour.square().sum()
        + out.distance.log1p().sum()
        + out.weights.square().sum()
        + out.coarse[1].square().sum()
    )


def gradient_of(field, out):
    field.zero_grad()
    a_loss(out).backward()
    return {name: p.grad.clone() for name, p in field.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("at_once", [7, 25, 50])
def test_values_and_gradients_are_those_of_one_piece(field, rays, at_once):
    whole = render_rays(*arguments(field, rays))
    pieces = render_in_pieces(*arguments(field, rays), at_once=at_once)
    for name in ("colour", "distance", "opacity", "weights", "edges", "fractions"):
        torch.testing.assert_close(getattr(pieces, name), getattr(whole, name))
    one, many = gradient_of(field, whole), gradient_of(field, pieces)
    assert one.keys() == many.keys()
    for name in one:
        torch.testing.assert_close(many[name], one[name], rtol=1e-4, atol=1e-5)


def test_what_is_computed_again_meets_the_same_random_bins(field, rays):
    def by_differences(parameter, place, step=1e-2):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[place] += sign * step
                out = render_in_pieces(*arguments(field, rays, stream(0, "bins")), at_once=20)
                values.append(float(a_loss(out).double()))
                parameter[place] -= sign * step
        return (values[0] - values[1]) / (2 * step)

    found = gradient_of(field, render_in_pieces(*arguments(field, rays, stream(0, "bins")), at_once=20))
    name, parameter = next((n, p) for n, p in field.colour_head.named_parameters() if p.ndim == 2)
    place = divmod(int(found[f"colour_head.{name}"].abs().argmax()), parameter.shape[1])
    assert float(found[f"colour_head.{name}"][place]) == pytest.approx(by_differences(parameter, place), rel=2e-2)


def test_pieces_draw_one_after_another(field, rays):
    generator = stream(0, "bins")
    first = render_in_pieces(*arguments(field, rays, generator), at_once=20)
    second = render_in_pieces(*arguments(field, rays, generator), at_once=20)
    assert not torch.equal(first.edges, second.edges), "the generator has advanced"
    edges = first.edges.clone()
    a_loss(first).backward()
    again = render_in_pieces(*arguments(field, rays, stream(0, "bins")), at_once=20)
    assert torch.equal(again.edges, edges)
    assert not torch.equal(first.edges[:20], first.edges[20:40])


def test_less_is_kept_for_the_gradient(field, rays):
    def kept(render):
        total = 0

        def pack(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            render()
        return total

    many = replace(SAMPLING, coarse=48, fine=48)
    given = list(arguments(field, rays))
    given[4] = many
    assert kept(lambda: render_in_pieces(*given, at_once=5)) < 0.2 * kept(lambda: render_rays(*given))


def test_two_gradients_of_one_rendering_are_the_same(field, rays):
    out = render_in_pieces(*arguments(field, rays, stream(0, "bins")), at_once=20)
    loss = a_loss(out)
    (first,) = torch.autograd.grad(loss, [field.table], retain_graph=True)
    (second,) = torch.autograd.grad(loss, [field.table])
    torch.testing.assert_close(first, second)
