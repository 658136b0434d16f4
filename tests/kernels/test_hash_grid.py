"""The hash grid: laws of the encoding, and twins that agree in values and gradients."""

import pytest
import torch

from diorama.kernels.hash_grid import GridLayout, grid_layout, hash_encode, hash_encode_reference
from diorama.kernels.twins import use_twin

LAYOUT = grid_layout(6, 4, 64, 10)
"""Two dense levels, then hashed ones."""

both_twins = pytest.mark.parametrize("twin", ["reference", "numba"])


def random_table(layout: GridLayout, features: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    return torch.randn(layout.entries, features, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_points(count: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def border_points() -> torch.Tensor:
    """Corners, edges and faces of the box, and points outside of it."""
    ticks = torch.tensor([-0.5, 0.0, 0.25, 1.0, 1.5])
    return torch.cartesian_prod(ticks, ticks, ticks)


def values_and_gradients(encode, positions, table, layout=LAYOUT, level_weights=None):
    positions, table = positions.detach().requires_grad_(), table.detach().requires_grad_()
    out = encode(positions, table, layout, level_weights)
    probe = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=out.dtype)
    (out * probe).sum().backward()
    return out.detach(), table.grad, positions.grad


def assert_twins_agree(positions, table, layout=LAYOUT, level_weights=None):
    with use_twin("numba"):
        got = values_and_gradients(hash_encode, positions, table, layout, level_weights)
    wanted = values_and_gradients(hash_encode_reference, positions, table, layout, level_weights)
    for one, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-4)


def test_levels_grow_from_base_to_finest_and_small_ones_are_dense():
    layout = grid_layout(16, 16, 2048, 19)
    assert (layout.resolutions[0], layout.resolutions[-1]) == (16, 2048)
    for level, resolution in enumerate(layout.resolutions):
        corners = (resolution + 1) ** 3
        assert layout.dense[level] == (corners <= 2**19)
        assert layout.sizes[level] == min(corners, 2**19)
        assert layout.offsets[level] % 16 == 0
    ends = [offset + size for offset, size in zip(layout.offsets, layout.sizes, strict=True)]
    assert all(end <= start for end, start in zip(ends, [*layout.offsets[1:], layout.entries], strict=True))
    assert GridLayout.from_numbers(layout.to_numbers()) == layout


def test_one_level_is_the_base():
    assert grid_layout(1, 7, 2048, 12).resolutions == (7,)


@pytest.mark.parametrize("numbers", [(0, 4, 8, 10), (2, 8, 4, 10), (2, 0, 4, 10), (2, 4, 8, 40)])
def test_a_layout_that_cannot_be_says_so(numbers):
    with pytest.raises(ValueError, match="need levels"):
        grid_layout(*numbers)


@pytest.mark.parametrize("shape", [(LAYOUT.entries - 1, 2), (LAYOUT.entries, 3)])
def test_a_table_of_another_shape_says_what_was_needed(shape):
    with pytest.raises(ValueError, match="this layout needs"):
        hash_encode(random_points(3), torch.zeros(shape), LAYOUT)


@both_twins
def test_a_dense_level_reproduces_a_linear_function_and_its_slope(twin):
    layout = grid_layout(1, 5, 5, 8)
    ticks = torch.arange(6) / 5
    z, y, x = torch.meshgrid(ticks, ticks, ticks, indexing="ij")  # x fastest
    table = torch.zeros(layout.entries, 1)
    table[: layout.sizes[0], 0] = (1 + 2 * x - y + 3 * z).reshape(-1)
    points = random_points(50).requires_grad_()
    with use_twin(twin):
        out = hash_encode(points, table, layout)
        out.sum().backward()
    slope = torch.tensor([2.0, -1.0, 3.0])
    torch.testing.assert_close(out[:, 0], 1 + points @ slope)
    torch.testing.assert_close(points.grad, slope.expand(50, 3), rtol=1e-4, atol=1e-4)


@both_twins
def test_at_a_corner_the_encoding_is_the_entry_itself(twin):
    layout = grid_layout(1, 4, 4, 7)
    table = random_table(layout, 2)
    steps = torch.arange(5)
    z, y, x = torch.meshgrid(steps, steps, steps, indexing="ij")
    points = torch.stack([x, y, z], dim=-1).reshape(-1, 3) / 4
    with use_twin(twin):
        torch.testing.assert_close(hash_encode(points, table, layout), table[: layout.sizes[0]])


@both_twins
def test_a_constant_table_encodes_to_the_constant(twin):
    with use_twin(twin):
        out = hash_encode(border_points(), torch.full((LAYOUT.entries, 2), 0.75), LAYOUT)
    torch.testing.assert_close(out, torch.full_like(out, 0.75))


@both_twins
def test_points_outside_are_clamped_and_get_no_slope_along_that_axis(twin):
    outside = torch.tensor([[1.7, 0.3, -2.0]])
    with use_twin(twin):
        out, _, slope = values_and_gradients(hash_encode, outside, random_table(LAYOUT, 2))
        on_border = hash_encode(torch.tensor([[1.0, 0.3, 0.0]]), random_table(LAYOUT, 2), LAYOUT)
    assert torch.equal(out, on_border)
    assert slope[0, 0] == 0
    assert slope[0, 1] != 0
    assert slope[0, 2] == 0


@both_twins
def test_level_weights_scale_levels_and_zero_closes_them(twin):
    weights = torch.tensor([1.0, 0.5, 0.0, 2.0, 0.0, 0.0])
    points, table = random_points(20), random_table(LAYOUT, 2)
    with use_twin(twin):
        out, to_table, _ = values_and_gradients(hash_encode, points, table, LAYOUT, weights)
        plain = hash_encode(points, table, LAYOUT)
    torch.testing.assert_close(out, plain * weights.repeat_interleave(2))
    for level in (2, 4, 5):
        rows = slice(LAYOUT.offsets[level], LAYOUT.offsets[level] + LAYOUT.sizes[level])
        assert (to_table[rows] == 0).all()


def test_numba_does_not_read_a_closed_level():
    table = random_table(LAYOUT, 2)
    table[LAYOUT.offsets[3] :] = torch.nan
    with use_twin("numba"):
        out = hash_encode(random_points(9), table, LAYOUT, torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]))
    assert out.isfinite().all()


@both_twins
def test_a_nan_position_stays_one_and_harms_no_other(twin):
    points = random_points(5)
    points[2, 1] = torch.nan
    with use_twin(twin):
        out = hash_encode(points, random_table(LAYOUT, 2), LAYOUT)
    assert out[2].isnan().all()
    assert out[[0, 1, 3, 4]].isfinite().all()


@pytest.mark.parametrize("features", [1, 2, 8])
@pytest.mark.parametrize("count", [0, 1, 7, 1001])
def test_numba_agrees_with_the_reference(count, features):
    assert_twins_agree(random_points(count), random_table(LAYOUT, features))


def test_numba_agrees_on_the_border_of_the_box_and_outside():
    assert_twins_agree(border_points(), random_table(LAYOUT, 2))


def test_numba_agrees_under_level_weights():
    assert_twins_agree(
        random_points(300), random_table(LAYOUT, 2), LAYOUT, torch.tensor([1.0, 0.3, 0.0, 2.0, 0.1, 0.0])
    )


def test_numba_agrees_on_strided_inputs():
    points = random_points(600).reshape(3, 200, 3)[1:].transpose(0, 1)[::2].transpose(0, 1).reshape(-1, 3)
    strided = torch.empty(3, len(points)).t().copy_(points)
    wide = torch.cat([random_table(LAYOUT, 2), random_table(LAYOUT, 2)], dim=1)[:, 1:3]
    assert not strided.is_contiguous()
    assert not wide.is_contiguous()
    assert_twins_agree(strided, wide)


def test_numba_agrees_at_the_size_of_a_fit():
    layout = grid_layout(12, 16, 2048, 17)
    assert_twins_agree(random_points(5000), random_table(layout, 2), layout)


def test_results_are_the_same_bits_again_and_for_any_number_of_threads():
    points, table = random_points(9000), random_table(LAYOUT, 2)
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 1, 2, 3):
            torch.set_num_threads(count)
            results.append(values_and_gradients(hash_encode, points, table))
    finally:
        torch.set_num_threads(threads)
    for again in results[1:]:
        assert all(torch.equal(one, other) for one, other in zip(again, results[0], strict=True))


def test_the_gradients_of_the_operation_pass_gradcheck():
    layout = grid_layout(3, 2, 9, 6)
    positions = random_points(5, torch.float64).requires_grad_()
    table = random_table(layout, 2, torch.float64).requires_grad_()
    weights = torch.tensor([1.0, 0.5, 0.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p, t: hash_encode(p, t, layout, weights), (positions, table))
    assert torch.autograd.gradcheck(lambda p, t: hash_encode_reference(p, t, layout, weights), (positions, table))


def test_only_the_gradients_that_are_wanted_are_made():
    points, table = random_points(4), random_table(LAYOUT, 2)
    table.requires_grad_()
    hash_encode(points, table, LAYOUT).sum().backward()
    assert table.grad is not None
    assert points.grad is None
    points.requires_grad_()
    hash_encode(points, table.detach(), LAYOUT).sum().backward()
    assert points.grad is not None


@both_twins
def test_torch_finds_nothing_wrong_with_the_operation(twin):
    points, table = random_points(4).requires_grad_(), random_table(LAYOUT, 2).requires_grad_()
    arguments = (points, table, LAYOUT.to_numbers(), torch.ones(6), twin)
    torch.library.opcheck(torch.ops.diorama.hash_encode.default, arguments)
