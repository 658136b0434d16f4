"""The MLP over views and its pooling: pieces against the whole, values and gradients."""

import pytest
import torch

from diorama.kernels import pooled_mlp as module
from diorama.kernels.pooled_mlp import pooled_mlp, pooled_mlp_reference


def make(dtype=torch.float64, views=3, points=50):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, views, points, 5, generator=generator, dtype=dtype)
    keep = torch.rand(2, views, points, generator=generator) < 0.7
    keep[0, :, :4] = False
    extra = torch.randn(2, views, points, 3, generator=generator, dtype=dtype)
    weights = [torch.randn(o, i, generator=generator).to(dtype) for o, i in ((6, 8), (4, 6))]
    biases = [torch.randn(6, generator=generator, dtype=dtype), torch.randn(4, generator=generator, dtype=dtype)]
    return features, keep, weights, biases, lambda scene, rows: extra[scene].flatten(0, 1)[rows]


@pytest.mark.parametrize("rows", [7, 64, 100_000])
def test_pieces_of_any_size_give_what_all_points_at_once_give(rows, monkeypatch):
    monkeypatch.setitem(module.ROWS, "cpu", rows)
    features, keep, weights, biases, more = make(torch.float32)
    leaves = [features, *weights, *biases]
    found = []
    for function in (pooled_mlp, pooled_mlp_reference):
        given = [leaf.clone().requires_grad_() for leaf in leaves]
        pooled, known = function(given[0], keep, given[1:3], given[3:], more)
        (pooled * torch.linspace(-1, 1, pooled.numel()).reshape(pooled.shape)).sum().backward()
        found.append([pooled.detach(), known, *(leaf.grad for leaf in given)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_where_no_view_is_kept_the_answer_is_zero_and_has_no_gradient():
    features, keep, weights, biases, more = make(torch.float32)
    given = features.clone().requires_grad_()
    pooled, known = pooled_mlp(given, keep, weights, biases, more)
    pooled.sum().backward()
    assert not known[0, :4].any()
    assert not pooled[0, :4].any()
    assert not given.grad[~keep].any()
    assert given.grad.isfinite().all()


def test_without_gradients_the_values_are_the_same():
    features, keep, weights, biases, more = make(torch.float32)
    with torch.no_grad():
        plain = pooled_mlp(features, keep, weights, biases, more)[0]
    assert torch.equal(plain, pooled_mlp(features.clone().requires_grad_(), keep, weights, biases, more)[0].detach())


def test_bfloat16_departs_by_its_rounding_alone():
    features, keep, weights, biases, more = make(torch.float32, points=400)
    exact = pooled_mlp(features, keep, weights, biases, more)[0]
    rounded = pooled_mlp(features, keep, weights, biases, more, compute=torch.bfloat16)[0]
    assert float((rounded - exact).norm() / exact.norm()) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_twins_find_the_same_largest_answers_of_any_sign_and_give_equal_ones_to_the_first_view(dtype):
    generator = torch.Generator().manual_seed(1)
    keep = torch.rand(4, 200, generator=generator) < 0.6
    keep[:, :5] = False
    h = torch.randint(-3, 4, (int(keep.sum()), 48), generator=generator).to(dtype) / 3  # many are equal
    gradient = torch.randn(200, 48, generator=generator).to(dtype)
    assert torch.equal(module._largest(h, keep, "numba"), module._largest(h, keep, "reference"))
    ours, theirs = (module._to_largest(h, keep, gradient, twin) for twin in ("numba", "reference"))
    assert torch.equal(ours, theirs)
    assert torch.equal(module._spread(ours, keep, 0.0).sum(0), gradient * keep.any(0)[:, None])


def test_what_is_not_a_number_stays_so():
    h = torch.zeros(6, 4)
    h[4, 2] = torch.nan
    assert module._largest(h, torch.ones(2, 3, dtype=torch.bool), "numba").isnan().sum() == 1


def test_views_that_are_not_kept_are_not_computed():
    features, keep, weights, biases, more = make(torch.float32)
    asked = []

    def heard(scene, rows):
        asked.append(torch.stack([torch.full_like(rows, scene), rows]))
        return more(scene, rows)

    pooled_mlp(features, keep, weights, biases, heard)
    assert torch.equal(torch.cat(asked, dim=1), keep.flatten(1).nonzero().T)
