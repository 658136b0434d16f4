"""Resampling: equal weight between the edges that are drawn, and a bound that only an uncovered weight breaks."""

import pytest
import torch

from diorama.kernels.resample import outer_bound, outer_bound_reference, resample, resample_reference
from diorama.kernels.twins import use_twin


def random_bins(rays: int, bins: int, seed: int = 0, dtype: torch.dtype = torch.float32):
    g = torch.Generator().manual_seed(seed)
    edges = torch.rand(rays, bins + 1, generator=g, dtype=dtype).cumsum(-1)
    weights = torch.rand(rays, bins, generator=g, dtype=dtype).pow(4)
    return edges, weights / weights.sum(-1, keepdim=True).clamp_min(1e-6)


def weight_before(edges, weights, places):
    """The integral of piecewise constant weight up to places, by the trapezoidal rule's exact case."""
    left, right = edges[:, None, :-1], edges[:, None, 1:]
    share = ((places[:, :, None] - left) / (right - left)).clamp(0, 1)
    return (share * weights[:, None]).sum(-1)


@pytest.mark.parametrize("twin", ["reference", "numba"])
@pytest.mark.parametrize(("rays", "bins", "count"), [(1, 1, 1), (5, 7, 3), (600, 48, 24)])
def test_every_new_bin_holds_the_same_weight(twin, rays, bins, count):
    edges, weights = random_bins(rays, bins)
    with use_twin(twin):
        drawn = resample(edges, weights, count)
    assert drawn.shape == (rays, count + 1)
    assert torch.equal(drawn[:, 0], edges[:, 0])
    assert torch.equal(drawn[:, -1], edges[:, -1])
    held = weight_before(edges.double(), weights.double(), drawn.double()).diff(dim=-1)
    torch.testing.assert_close(held, torch.full_like(held, 1 / count), rtol=0, atol=1e-3)


@pytest.mark.parametrize("twin", ["reference", "numba"])
def test_even_weights_give_back_even_bins(twin):
    edges = torch.linspace(0, 1, 9).expand(3, -1)
    with use_twin(twin):
        torch.testing.assert_close(resample(edges, torch.ones(3, 8), 8), edges.contiguous())
        torch.testing.assert_close(resample(edges, torch.zeros(3, 8), 4), torch.linspace(0, 1, 5).expand(3, -1))


@pytest.mark.parametrize("twin", ["reference", "numba"])
@pytest.mark.parametrize("shared", [False, True])
def test_jitter_keeps_edges_sorted_and_on_average_in_place(twin, shared):
    edges, weights = random_bins(1, 12, dtype=torch.float64)
    edges, weights = edges.float().expand(4000, -1), weights.float().expand(4000, -1)
    jitter = torch.rand(4000, 1 if shared else 7, generator=torch.Generator().manual_seed(3))
    with use_twin(twin):
        drawn = resample(edges, weights, 6, jitter)
        still = resample(edges[:1], weights[:1], 6)
    assert (drawn.diff(dim=-1) >= 0).all()
    held = weight_before(edges.double(), weights.double(), drawn.double())
    wanted = weight_before(edges[:1].double(), weights[:1].double(), still.double())
    torch.testing.assert_close(held.mean(0), wanted[0], rtol=0, atol=5e-3)


@pytest.mark.parametrize("shape", [(0, 5, 3), (1, 1, 2), (77, 31, 19)])
@pytest.mark.parametrize("jittered", [0, 1, 2])
def test_numba_draws_what_the_reference_draws(shape, jittered):
    rays, bins, count = shape
    edges, weights = random_bins(rays, bins)
    g = torch.Generator().manual_seed(9)
    jitter = [None, torch.rand(rays, 1, generator=g), torch.rand(rays, count + 1, generator=g)][jittered]
    torch.testing.assert_close(
        resample(edges, weights, count, jitter), resample_reference(edges, weights, count, jitter), rtol=1e-5, atol=1e-5
    )


def test_nan_weights_do_not_reach_outside_the_ray():
    edges = torch.linspace(0, 1, 6)[None]
    drawn = resample(edges, torch.full((1, 5), torch.nan), 4)
    assert drawn.shape == (1, 5)


@pytest.mark.parametrize("twin", ["reference", "numba"])
def test_a_proposal_that_covers_the_weight_costs_nothing(twin):
    edges, weights = random_bins(20, 16)
    coarse = edges[:, ::4].contiguous()
    covering = weights.reshape(20, 4, 4).sum(-1)
    with use_twin(twin):
        torch.testing.assert_close(outer_bound(edges, weights, coarse, covering), torch.zeros(20), rtol=0, atol=1e-9)
        torch.testing.assert_close(outer_bound(edges, weights, edges, weights), torch.zeros(20), rtol=0, atol=1e-9)
        missing = outer_bound(edges, weights, coarse, torch.zeros(20, 4))
    torch.testing.assert_close(missing, torch.ones(20), rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", [(0, 3, 4), (1, 1, 1), (53, 24, 48)])
def test_numba_bounds_as_the_reference_does(shape):
    rays, fine, coarse = shape
    (fine_edges, fine_weights), (edges, weights) = random_bins(rays, fine, 1), random_bins(rays, coarse, 2)
    edges = edges * fine_edges[:, -1:] / edges[:, -1:] if rays else edges
    ours, theirs = weights.clone().requires_grad_(), weights.clone().requires_grad_()
    got = outer_bound(fine_edges, fine_weights, edges, ours)
    wanted = outer_bound_reference(fine_edges, fine_weights, edges, theirs)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    (got * torch.arange(rays)).sum().backward()
    (wanted * torch.arange(rays)).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)


def test_the_bound_passes_gradcheck_and_reaches_the_proposal_alone():
    fine_edges, fine_weights = random_bins(4, 6, 1, torch.float64)
    edges, weights = random_bins(4, 5, 2, torch.float64)
    fine_weights.requires_grad_()
    weights.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: outer_bound(fine_edges, fine_weights, edges, w), (weights,))
    outer_bound(fine_edges, fine_weights, edges, weights).sum().backward()
    assert fine_weights.grad is None


@pytest.mark.parametrize("twin", ["reference", "numba"])
def test_torch_finds_nothing_wrong_with_the_operations(twin):
    edges, weights = random_bins(4, 6)
    torch.library.opcheck(torch.ops.diorama.resample.default, (edges, weights, 3, None, twin))
    weights.requires_grad_()
    fine = random_bins(4, 3, 7)
    torch.library.opcheck(torch.ops.diorama.outer_bound.default, (*fine, edges, weights, twin))
