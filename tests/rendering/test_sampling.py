import pytest
import torch

from diorama.rendering.sampling import sphere_crossing, stratified_edges, to_distance, warp_distance

SPACINGS = ["linear", "inverse", "mixed"]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_fractions_go_from_near_to_far_and_back(spacing, rng):
    near, far = torch.tensor([0.2, 0.5, 3.0]), torch.tensor([5.0, 1000.0, 40.0])
    fractions = torch.rand(3, 9, generator=rng).sort(-1).values
    fractions[:, 0], fractions[:, -1] = 0, 1
    distances = to_distance(fractions, near, far, spacing, knee=2.0)
    torch.testing.assert_close(distances[:, 0], near)
    torch.testing.assert_close(distances[:, -1], far, rtol=1e-3, atol=0)
    assert (distances.diff(dim=-1) >= 0).all()
    low, high, warped = (warp_distance(t, spacing, 2.0) for t in (near[:, None], far[:, None], distances))
    torch.testing.assert_close((warped - low) / (high - low), fractions, atol=2e-4, rtol=1e-3)


def test_inverse_spacing_is_even_in_inverse_distance():
    edges = to_distance(torch.linspace(0, 1, 5)[None], torch.tensor([1.0]), torch.tensor([4.0]), "inverse")
    steps = (1 / edges).diff(dim=-1)
    torch.testing.assert_close(steps, steps.mean().expand_as(steps))


def test_mixed_spacing_joins_smoothly_at_its_knee():
    fractions = torch.linspace(0, 1, 20001, dtype=torch.float64)[None]
    near, far = torch.tensor([0.1], dtype=torch.float64), torch.tensor([1e3], dtype=torch.float64)
    slope = to_distance(fractions, near, far, "mixed", knee=2.0).diff(dim=-1)[0]
    before = slope[: int((slope.cumsum(0) < 1.9).sum())]
    jump = (slope[1:] / slope[:-1])[: int(len(before) * 1.01)]
    assert (jump < 1.01).all()
    assert (jump > 0.99).all()


def test_stratified_edges_stay_in_order_and_repeat_without_a_generator(rng):
    edges = stratified_edges(64, 10, rng, torch.device("cpu"))
    assert (edges.diff(dim=-1) >= 0).all()
    assert edges[:, 0].eq(0).all()
    assert edges[:, -1].eq(1).all()
    assert torch.equal(*(stratified_edges(4, 10, None, torch.device("cpu")) for _ in range(2)))


def test_a_ball_is_entered_and_left_where_geometry_says():
    origins = torch.tensor([[0.0, 0, 0], [0.5, 0, 0], [0.0, 3, 0], [0.0, 0, -3], [0.0, 0, 3]])
    directions = torch.tensor([[0.0, 0, 1], [1.0, 0, 0], [1.0, 0, 0], [0.0, 0, 1], [0.0, 0, 1]])
    enters, leaves = sphere_crossing(origins, directions, 1.0)
    torch.testing.assert_close(enters, torch.tensor([0.0, 0.0, 0.0, 2.0, 0.0]))
    torch.testing.assert_close(leaves, torch.tensor([1.0, 0.5, 0.0, 4.0, 0.0]))
