"""How far views agree on a point: known numbers, gradients, and both twins."""

import math

import pytest
import torch

from diorama.kernels.twins import use_twin
from diorama.kernels.view_agreement import view_agreement


def seen_features(scenes=2, views=5, points=300, channels=4, further=3, dtype=torch.float32, seed=0):
    """Features as they are gathered: 0 in views that do not see the point, a flag, and channels that do not count."""
    generator = torch.Generator().manual_seed(seed)
    seen = (torch.rand(scenes, views, points, 1, generator=generator) < 0.5).to(dtype)
    flat, rest = torch.randn(scenes, views, points, channels + further, generator=generator, dtype=dtype).split(
        [channels, further], dim=-1
    )
    return torch.cat([flat * seen, seen, rest], dim=-1)


@pytest.mark.parametrize("twin", ["reference", "numba"])
def test_views_agree_where_those_that_see_a_point_show_the_same(twin):
    seen = torch.tensor([[1.0, 1, 0], [1, 1, 1], [1, 1, 1], [0, 0, 1], [0, 0, 0]])  # (point, view)
    flat = torch.tensor([[2.0, 2, 0], [-3, 3, 3], [1, 2, 3], [0, 0, 7], [0, 0, 0]])
    features = torch.stack([flat, -10 * flat, seen, torch.randn(5, 3)], dim=-1).transpose(0, 1)[None].requires_grad_()
    with use_twin(twin):
        told = view_agreement(features, 2)[0]
    deviation = [0.0, math.sqrt(8.0), math.sqrt(2 / 3), 0.0, 0.0]
    assert told.shape == (5, 6)
    torch.testing.assert_close(told[:, 0], torch.tensor([2.0, 1, 2, 7, 0]))
    torch.testing.assert_close(told[:, 1], -10 * told[:, 0])
    torch.testing.assert_close(told[:, 2], torch.tensor(deviation), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(told[:, 3], 10 * told[:, 2], atol=1e-2, rtol=1e-2)
    assert told[:, 4:].tolist() == [[0, 1], [0, 1], [0, 1], [1, 0], [0, 0]]
    assert float(told[[0, 3, 4], 2:4].detach().abs().amax()) == 0.0
    told.sum().backward()
    assert bool(features.grad.isfinite().all())


@pytest.mark.parametrize("views", [1, 2, 5])
def test_both_twins_tell_the_same_and_have_the_same_gradient(views):
    found = []
    for twin in ("reference", "numba"):
        features = seen_features(views=views).requires_grad_()
        with use_twin(twin):
            told = view_agreement(features, 4)
            (told * torch.linspace(-1, 1, told.numel()).reshape(told.shape)).sum().backward()
        found.append((told.detach(), features.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_gradient_is_that_of_the_formula():
    features = seen_features(scenes=1, views=3, points=6, dtype=torch.float64)
    flat, flag = features[..., :4].clone().requires_grad_(), features[..., 4:5]
    assert torch.autograd.gradcheck(lambda one: view_agreement(torch.cat([one * flag, flag], dim=-1), 4), (flat,))


def test_the_order_of_views_and_channels_that_do_not_count_change_nothing():
    features = seen_features()
    told = view_agreement(features, 4)
    torch.testing.assert_close(view_agreement(features.flip(1), 4), told)
    features[..., 5:] = math.nan
    assert torch.equal(view_agreement(features, 4), told)


def test_what_is_not_a_number_stays_so_and_only_there():
    features = seen_features(views=2)
    features[..., 4] = 1.0
    features[1, 0, 7, 2] = math.nan
    told = view_agreement(features, 4)
    assert told[1, 7].isnan().nonzero().flatten().tolist() == [2, 6]
    assert int(told.isnan().sum()) == 2
