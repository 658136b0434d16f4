"""Compositing: Beer and Lambert first, then twins that agree."""

import math

import pytest
import torch

from diorama.kernels.compositing import composite, composite_reference, ray_weights, ray_weights_reference
from diorama.kernels.twins import use_twin


def random_rays(rays: int, bins: int, dtype: torch.dtype = torch.float32):
    g = torch.Generator().manual_seed(rays * 1000 + bins)
    density = torch.rand(rays, bins, generator=g, dtype=dtype).mul(3).exp() - 1.0
    colour = torch.rand(rays, bins, 3, generator=g, dtype=dtype)
    edges = 0.2 + torch.rand(rays, bins + 1, generator=g, dtype=dtype).cumsum(-1) / bins
    return density, colour, edges


def values_and_gradients(function, density, colour, edges, **options):
    density, colour = density.detach().requires_grad_(), colour.detach().requires_grad_()
    out = function(density, colour, edges, **options)
    g = torch.Generator().manual_seed(5)
    sum((part * torch.randn(part.shape, generator=g, dtype=part.dtype)).sum() for part in out).backward()
    return [*(part.detach() for part in out), density.grad, colour.grad]


@pytest.mark.parametrize("bins", [1, 7, 64])
def test_uniform_fog_follows_beer_lambert(bins):
    edges = torch.linspace(0, 2, bins + 1, dtype=torch.float64)[None]
    density = torch.full((1, bins), 0.7, dtype=torch.float64)
    assert math.isclose(ray_weights(density, edges).sum(), 1 - math.exp(-1.4), rel_tol=1e-12)


@pytest.mark.parametrize("twin", ["reference", "numba"])
def test_weights_sum_to_the_light_that_total_optical_depth_stops(twin):
    density, _, edges = random_rays(33, 21)
    total = (density * edges.diff(dim=-1)).sum(-1)
    with use_twin(twin):
        torch.testing.assert_close(ray_weights(density, edges).sum(-1), -torch.expm1(-total))


@pytest.mark.parametrize("twin", ["reference", "numba"])
@pytest.mark.parametrize("last_opaque", [False, True])
def test_empty_bins_and_solid_walls_stay_finite(twin, last_opaque):
    edges = torch.tensor([[0.5, 1.0, 1.0, 2.0, 3.0, 1e10]])
    density = torch.tensor([[0.0, 1e8, 0.3, 1e8, 1e8]], requires_grad=True)
    colour = torch.full((1, 5, 3), 0.5, requires_grad=True)
    with use_twin(twin):
        rgb, depth, opacity, weights = composite(density, colour, edges, last_opaque=last_opaque)
    (rgb.sum() + depth.sum() + opacity.sum() + weights.sum()).backward()
    torch.testing.assert_close(opacity, torch.ones(1))
    torch.testing.assert_close(weights[0, 2], torch.tensor(1 - math.exp(-0.3)))
    assert weights[0, 1] == 0
    for tensor in (rgb, depth, weights, density.grad, colour.grad):
        assert tensor.isfinite().all()


@pytest.mark.parametrize("twin", ["reference", "numba"])
def test_thin_fog_keeps_its_relative_precision(twin):
    edges = torch.linspace(0, 1, 5)[None]
    with use_twin(twin):
        weights = ray_weights(torch.full((1, 4), 4e-9), edges)
    torch.testing.assert_close(weights, torch.full((1, 4), 1e-9), rtol=1e-5, atol=0)


@pytest.mark.parametrize("twin", ["reference", "numba"])
def test_an_opaque_last_bin_takes_all_light_that_is_left_and_no_part_in_depth(twin):
    density, colour, edges = random_rays(9, 5)
    with use_twin(twin):
        _, depth, opacity, weights = composite(density, colour, edges, last_opaque=True)
        open_weights = ray_weights(density, edges)
    torch.testing.assert_close(opacity, torch.ones(9))
    torch.testing.assert_close(weights[:, :-1], open_weights[:, :-1])
    middle = (edges[:, 1:] + edges[:, :-1])[:, :-1] / 2
    torch.testing.assert_close(depth, (weights[:, :-1] * middle).sum(-1) / weights[:, :-1].sum(-1))


def test_a_thin_wall_has_its_own_colour_and_depth_whatever_its_opacity():
    edges = torch.tensor([[1.0, 2.0, 2.1, 4.0]])
    for density in (1e-2, 1.0, 1e8):
        _, depth, _, _ = composite(torch.tensor([[0.0, density, 0.0]]), torch.rand(1, 3, 3), edges)
        torch.testing.assert_close(depth, torch.tensor([2.05]))


def test_background_shows_by_the_light_that_is_left():
    density, colour, edges = random_rays(4, 6)
    background = torch.rand(4, 3)
    black, _, opacity, _ = composite(density, colour, edges)
    over, _, _, _ = composite(density, colour, edges, background)
    torch.testing.assert_close(over, black + (1 - opacity)[:, None] * background)


@pytest.mark.parametrize(("rays", "bins"), [(0, 4), (1, 1), (5, 7), (600, 33)])
@pytest.mark.parametrize("last_opaque", [False, True])
def test_numba_agrees_with_the_reference(rays, bins, last_opaque):
    tensors = random_rays(rays, bins)
    got = values_and_gradients(composite, *tensors, last_opaque=last_opaque)
    wanted = values_and_gradients(composite_reference, *tensors, last_opaque=last_opaque)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-4, atol=2e-5)
    density, _, edges = tensors
    ours, theirs = density.clone().requires_grad_(), density.clone().requires_grad_()
    ray_weights(ours, edges, last_opaque=last_opaque).square().sum().backward()
    ray_weights_reference(theirs, edges, last_opaque).square().sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=2e-4, atol=2e-5)


def test_strided_inputs_are_read_rightly():
    density, colour, edges = random_rays(8, 5)
    turned = [tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in (density, colour, edges)]
    assert not turned[0].is_contiguous()
    for one, other in zip(composite(*turned), composite(density, colour, edges), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("last_opaque", [False, True])
def test_the_gradients_of_the_operation_pass_gradcheck(last_opaque):
    density, colour, edges = random_rays(3, 4, torch.float64)
    density.requires_grad_()
    colour.requires_grad_()
    background = torch.rand(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda d, c, b: composite(d, c, edges, b, last_opaque=last_opaque), (density, colour, background)
    )
    assert torch.autograd.gradcheck(lambda d: ray_weights(d, edges, last_opaque=last_opaque), (density,))


@pytest.mark.parametrize("twin", ["reference", "numba"])
def test_torch_finds_nothing_wrong_with_the_operations(twin):
    density, colour, edges = random_rays(4, 6)
    density.requires_grad_()
    colour.requires_grad_()
    torch.library.opcheck(torch.ops.diorama.ray_weights.default, (density, edges, False, twin))
    torch.library.opcheck(torch.ops.diorama.composite.default, (density, colour, edges, True, twin))


def test_half_precision_densities_are_composited_in_single():
    density, colour, edges = random_rays(5, 7)
    density, colour = density.bfloat16().requires_grad_(), colour.bfloat16().requires_grad_()
    outputs = composite(density, colour, edges)
    assert all(out.dtype == torch.float32 for out in outputs)
    sum(out.sum() for out in outputs).backward()
    assert density.grad is not None
    assert density.grad.dtype == torch.bfloat16
    torch.testing.assert_close(outputs[3], ray_weights(density.detach().float(), edges))
