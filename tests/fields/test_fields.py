import inspect
import math
from dataclasses import replace

import pytest
import torch

from diorama.fields.contraction import contract, to_unit_cube
from diorama.fields.encodings import spherical_harmonics
from diorama.fields.hashgrid import GridConfig, HashField, HashFieldConfig, TruncatedExp, cosine_window
from diorama.scenes.field import SceneField

TINY = HashFieldConfig(
    grid=GridConfig(levels=4, log2_table_size=10, finest_resolution=32),
    hidden=8, geometry=3, colour_hidden=8,
    proposal=GridConfig(levels=2, log2_table_size=8, finest_resolution=16), proposal_hidden=4,
)  # fmt: skip


def test_contraction_keeps_the_unit_ball_and_bounds_the_rest(rng):
    points = torch.randn(1000, 3, generator=rng, dtype=torch.float64) * 5
    contracted = contract(points)
    inside = points.norm(dim=-1) <= 1
    assert torch.equal(contracted[inside], points[inside])
    assert (contracted.norm(dim=-1) < 2).all()
    far = contract(torch.tensor([[1e9, 0.0, 0.0]], dtype=torch.float64))
    assert math.isclose(far[0, 0].item(), 2.0, rel_tol=1e-8)


@pytest.mark.parametrize("space", ["sphere", "contracted"])
def test_all_of_the_space_fits_into_the_unit_cube(space, rng):
    reach = 7.0 if space == "sphere" else 1e4
    directions = torch.nn.functional.normalize(torch.randn(500, 3, generator=rng), dim=-1)
    cube = to_unit_cube(directions * torch.rand(500, 1, generator=rng) * reach, space, 7.0)
    assert (cube >= 0).all()
    assert (cube <= 1).all()


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics_are_orthonormal(degree):
    # Product quadrature, exact for these polynomials: Gauss-Legendre would do; a fine uniform grid is simpler.
    count = 400
    z = (torch.arange(count, dtype=torch.float64) + 0.5) / count * 2 - 1
    phi = (torch.arange(16, dtype=torch.float64) + 0.5) / 16 * 2 * math.pi
    radius = (1 - z.square()).sqrt()
    directions = torch.stack(
        [radius[:, None] * phi.cos(), radius[:, None] * phi.sin(), z[:, None].expand(-1, 16)], dim=-1
    ).reshape(-1, 3)
    basis = spherical_harmonics(directions, degree)
    gram = basis.T @ basis * (4 * math.pi / len(directions))
    torch.testing.assert_close(gram, torch.eye((degree + 1) ** 2, dtype=torch.float64), atol=1e-4, rtol=0)


def test_truncated_exp_has_a_bounded_gradient():
    logit = torch.tensor([-50.0, 0.0, 40.0], requires_grad=True)
    TruncatedExp.apply(logit).sum().backward()
    expected = torch.tensor([-15.0, 0.0, 15.0]).exp()
    torch.testing.assert_close(logit.grad, expected)


def test_a_field_answers_any_batch_shape_and_sends_gradients_everywhere(rng):
    field = HashField(TINY)
    positions = torch.randn(3, 5, 3, generator=rng)
    directions = torch.nn.functional.normalize(torch.randn(3, 5, 3, generator=rng), dim=-1)
    density, colour = field(positions, directions)
    assert density.shape == (3, 5)
    assert colour.shape == (3, 5, 3)
    assert (density > 0).all()
    (density.sum() + colour.sum() + field.proposal(positions).sum()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in field.parameters())


def test_closed_levels_and_directions_have_no_say(rng):
    field = HashField(TINY)
    torch.nn.init.uniform_(field.table, -1, 1)
    positions = torch.randn(50, 3, generator=rng)
    one, other = (torch.nn.functional.normalize(torch.randn(50, 3, generator=rng), dim=-1) for _ in range(2))
    assert not torch.equal(field(positions, one)[1], field(positions, other)[1])
    field.open_degree = 0
    assert torch.equal(field(positions, one)[1], field(positions, other)[1])
    field.level_weights = torch.tensor([1.0, 0.0, 0.0, 0.0])
    before = field.density(positions)
    with torch.no_grad():
        field.table[field.layout.offsets[1] :] += 1.0
    assert torch.equal(field.density(positions), before)


def test_the_cosine_window_opens_level_after_level():
    assert cosine_window(12, 4.0, 0.0, 0.5).tolist() == [1.0] * 4 + [0.0] * 8
    assert cosine_window(12, 4.0, 0.5, 0.5).tolist() == [1.0] * 12
    halfway = cosine_window(12, 4.0, 0.25, 0.5)
    assert halfway.tolist() == [1.0] * 8 + [0.0] * 4
    assert (cosine_window(12, 4.0, 0.27, 0.5).diff() <= 0).all()


@pytest.mark.parametrize("config", [TINY, replace(TINY, proposal=None)])
def test_a_hash_grid_is_a_field_of_scenes_for_those_who_look_at_the_class_alone(config):
    """From Python 3.12 on `isinstance` looks for a protocol's members on the class; torch keeps modules elsewhere."""
    field = HashField(config)
    assert isinstance(field, SceneField)
    for name in ("proposal", "kind", "device", "bytes_per_sample", "geometry", "harmonics", "colour", "density"):
        inspect.getattr_static(field, name)
    kept = {name.partition(".")[0] for name in field.state_dict()}
    assert ("proposal" in kept) == (config.proposal is not None)


@pytest.mark.parametrize(("leak", "learns"), [(HashFieldConfig().proposal_leak, True), (0.0, False)])
def test_a_proposal_whose_units_all_fell_below_zero_learns_again(leak, learns, rng):
    config = replace(TINY, proposal_leak=leak)
    torch.manual_seed(0)
    proposal = HashField(config).proposal
    with torch.no_grad():
        proposal.head[0].bias.fill_(-0.01)  # the features of a young table are a hundred times smaller
    optimiser = torch.optim.Adam(proposal.parameters(), lr=5e-3, betas=(0.9, 0.99), eps=1e-15)
    here, there = torch.tensor([[0.5, 0.0, 0.0]]), torch.tensor([[-0.5, 0.0, 0.0]])
    for _ in range(200):
        optimiser.zero_grad()
        ((proposal(here).log() - 1.0).square() + (proposal(there).log() + 3.0).square()).backward()
        optimiser.step()
    apart = float((proposal(here).log() - proposal(there).log()).detach())
    assert (apart > 3.0) == learns, apart
