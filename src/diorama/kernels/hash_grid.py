"""Multiresolution hash encoding: a point in the unit cube becomes interpolated features of every grid level.

Source: Instant-NGP (arXiv 2201.05989), section 3. Letters used below. n: points; a level is a grid of `resolution`
cells per side, thus resolution + 1 corners, interpolated trilinearly; entry: a row of the one table that holds the
features of all levels' corners; coarse levels are dense (a corner has its own entry, x fastest), fine ones hashed.

The operation is `torch.ops.diorama.hash_encode`; its twins are the torch form in this file, `hash_grid_numba` and
`hash_grid_triton`. It can be differentiated once, to the table and to the positions; `hash_encode_reference` is plain
torch and can be differentiated as often as wanted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diorama.kernels.twins import choose_twin

PRIMES = (1, 2654435761, 805459861)
"""Of the spatial hash: corner (x, y, z) has entry (x p0 xor y p1 xor z p2) mod table size."""

ALIGNMENT = 16
"""Levels start at multiples of this many entries: a cache line, whatever the number of features."""


@dataclass(frozen=True)
class GridLayout:
    """Where each level lies in the table. Level l owns entries offsets[l] to offsets[l] + sizes[l]."""

    resolutions: tuple[int, ...]
    """Cells per side of the unit cube."""
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    dense: tuple[bool, ...]
    """Whether every corner has its own entry; else sizes[l] is a power of two and corners are hashed."""

    @property
    def levels(self) -> int:
        """How many levels."""
        return len(self.resolutions)

    @property
    def entries(self) -> int:
        """Rows of the table."""
        return _aligned(self.offsets[-1] + self.sizes[-1])

    def to_numbers(self) -> list[int]:
        """The layout as a flat list, four numbers per level: what an operation of torch can be given."""
        levels = zip(self.resolutions, self.offsets, self.sizes, map(int, self.dense), strict=True)
        return [number for level in levels for number in level]

    @staticmethod
    def from_numbers(numbers: Sequence[int]) -> "GridLayout":
        """The inverse of `to_numbers`."""
        resolutions, offsets, sizes, dense = (tuple(numbers[start::4]) for start in range(4))
        return GridLayout(resolutions, offsets, sizes, tuple(map(bool, dense)))


def grid_layout(levels: int, base_resolution: int, finest_resolution: int, log2_table_size: int) -> GridLayout:
    """Levels whose resolutions grow geometrically from base to finest, each with at most 2^log2_table_size entries."""
    if levels < 1 or not 1 <= base_resolution <= finest_resolution < 2**20 or not 4 <= log2_table_size <= 28:
        raise ValueError(
            f"levels {levels}, resolutions {base_resolution} to {finest_resolution}, log2_table_size "
            f"{log2_table_size}: need levels >= 1, 1 <= base <= finest < 2^20 and log2_table_size in 4..28."
        )
    growth = (finest_resolution / base_resolution) ** (1.0 / max(levels - 1, 1))
    resolutions = tuple(math.floor(base_resolution * growth**level + 1e-6) for level in range(levels))
    limit = 2**log2_table_size
    sizes = tuple(min((resolution + 1) ** 3, limit) for resolution in resolutions)
    dense = tuple((resolution + 1) ** 3 <= limit for resolution in resolutions)
    offsets = [0]
    for size in sizes[:-1]:
        offsets.append(_aligned(offsets[-1] + size))
    return GridLayout(resolutions, tuple(offsets), sizes, dense)


def _aligned(entries: int) -> int:
    return -(-entries // ALIGNMENT) * ALIGNMENT


def hash_encode(
    positions: Float[Tensor, "n xyz=3"],
    table: Float[Tensor, "entries f"],
    layout: GridLayout,
    level_weights: Float[Tensor, "levels"] | None = None,
) -> Float[Tensor, "n channels"]:
    """Features of points, level after level.

    positions are in [0, 1]^3; outside of it they are clamped, and get no gradient along the clamped axis. level_weights
    multiply the features of each level (they get no gradient); a level with weight 0 costs nothing and gets no
    gradient. Gradients flow to table and positions, once. The result and the gradients are the same bits every time,
    for any number of threads, on the CPU.
    """
    if table.shape[0] != layout.entries or table.shape[1] not in (1, 2, 4, 8):
        raise ValueError(
            f"Hash table of shape {tuple(table.shape)}: this layout needs ({layout.entries}, F) with F in 1, 2, 4, 8."
        )
    if level_weights is not None:
        level_weights = level_weights.to(table)
    return _encode(positions.to(table.dtype), table, layout.to_numbers(), level_weights, choose_twin(table))


def hash_encode_reference(
    positions: Float[Tensor, "n xyz=3"],
    table: Float[Tensor, "entries f"],
    layout: GridLayout,
    level_weights: Float[Tensor, "levels"] | None = None,
) -> Float[Tensor, "n channels"]:
    """The same in plain torch operations, for reading and for comparing."""
    features = []
    for level in range(layout.levels):
        index, fraction = corners(
            positions, layout.resolutions[level], layout.offsets[level], layout.sizes[level], layout.dense[level]
        )
        weight = corner_weights(fraction)
        feature = (weight[..., None] * table[index]).sum(dim=1)
        features.append(feature if level_weights is None else feature * level_weights[level])
    return torch.cat(features, dim=-1)


def corners(
    positions: Float[Tensor, "n xyz=3"], resolution: int, offset: int, size: int, dense: bool
) -> tuple[Int[Tensor, "n corner=8"], Float[Tensor, "n xyz=3"]]:
    """Table rows of the eight corners around each point (x slowest, z fastest), and where in the cell it lies."""
    scaled = positions.clamp(0.0, 1.0) * resolution
    cell = scaled.detach().nan_to_num().floor().clamp(max=resolution - 1)
    steps = torch.tensor([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], device=positions.device)
    corner = cell.long()[:, None] + steps
    if dense:
        side = resolution + 1
        index = corner[..., 0] + side * (corner[..., 1] + side * corner[..., 2])
    else:
        x, y, z = (corner[..., axis] * PRIMES[axis] for axis in range(3))
        index = (x ^ y ^ z) & (size - 1)
    return index + offset, scaled - cell


def corner_weights(fraction: Float[Tensor, "n xyz=3"]) -> Float[Tensor, "n corner=8"]:
    """Trilinear weights of the eight corners, in the order of `corners`."""
    x, y, z = torch.stack([1.0 - fraction, fraction], dim=-1).unbind(dim=1)
    return (x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]).reshape(-1, 8)


def _reference_to_table(
    gradient: Tensor, positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None
) -> Tensor:
    """Each point adds its gradient to its eight corners, by the weight it read them with."""
    result = torch.zeros_like(table, memory_format=torch.contiguous_format)
    features = table.shape[1]
    for index, fraction, part in _each_level(gradient, positions, layout, features, level_weights):
        share = corner_weights(fraction)[..., None] * part[:, None]
        result.index_add_(0, index.reshape(-1), share.reshape(-1, features))
    return result


def _reference_to_positions(
    gradient: Tensor, positions: Tensor, table: Tensor, layout: GridLayout, level_weights: Tensor | None
) -> Tensor:
    """Trilinear interpolation is linear along each axis: its slope is the difference of the two faces' means."""
    slope = torch.zeros_like(positions, memory_format=torch.contiguous_format)
    levels = _each_level(gradient, positions, layout, table.shape[1], level_weights)
    for resolution, (index, fraction, part) in zip(layout.resolutions, levels, strict=True):
        value = (table[index] * part[:, None]).sum(-1).reshape(-1, 2, 2, 2)
        x, y, z = torch.stack([1.0 - fraction, fraction], dim=-1).unbind(dim=1)
        slope[:, 0] += resolution * torch.einsum("nyz,ny,nz->n", value[:, 1] - value[:, 0], y, z)
        slope[:, 1] += resolution * torch.einsum("nxz,nx,nz->n", value[:, :, 1] - value[:, :, 0], x, z)
        slope[:, 2] += resolution * torch.einsum("nxy,nx,ny->n", value[..., 1] - value[..., 0], x, y)
    return slope * ((positions >= 0.0) & (positions <= 1.0))


def _each_level(
    gradient: Tensor, positions: Tensor, layout: GridLayout, features: int, level_weights: Tensor | None
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Per level: corner rows, place in the cell, and the gradient of the level's features."""
    out = []
    for level in range(layout.levels):
        index, fraction = corners(
            positions, layout.resolutions[level], layout.offsets[level], layout.sizes[level], layout.dense[level]
        )
        part = gradient[:, level * features : (level + 1) * features]
        out.append((index, fraction, part if level_weights is None else part * level_weights[level]))
    return out


def _fast(twin: str) -> ModuleType:
    # imported when first used: the reference needs neither Numba nor Triton
    if twin == "triton":
        from diorama.kernels import hash_grid_triton

        return hash_grid_triton
    from diorama.kernels import hash_grid_numba

    return hash_grid_numba


@torch.library.custom_op(
    "diorama::hash_encode",
    mutates_args=(),
    schema="(Tensor positions, Tensor table, int[] grid, Tensor? level_weights, str twin) -> Tensor",
)
def _encode(positions: Tensor, table: Tensor, grid: Sequence[int], level_weights: Tensor | None, twin: str) -> Tensor:
    layout = GridLayout.from_numbers(grid)
    if twin == "reference":
        return hash_encode_reference(positions, table, layout, level_weights)
    return _fast(twin).encode(positions, table, layout, level_weights)


@torch.library.custom_op(
    "diorama::hash_encode_backward",
    mutates_args=(),
    schema="(Tensor gradient, Tensor positions, Tensor table, int[] grid, Tensor? level_weights, str twin,"
    " bool to_positions, bool to_table) -> (Tensor, Tensor)",
)
def _encode_backward(
    gradient: Tensor,
    positions: Tensor,
    table: Tensor,
    grid: Sequence[int],
    level_weights: Tensor | None,
    twin: str,
    to_positions: bool,
    to_table: bool,
) -> tuple[Tensor, Tensor]:
    # a gradient that is not wanted is empty
    arguments = (gradient, positions, table, GridLayout.from_numbers(grid), level_weights)
    if twin == "reference":
        position_gradient, table_gradient = _reference_to_positions, _reference_to_table
    else:
        position_gradient, table_gradient = _fast(twin).gradient_to_positions, _fast(twin).gradient_to_table
    return (
        position_gradient(*arguments) if to_positions else positions.new_empty(0),
        table_gradient(*arguments) if to_table else table.new_empty(0),
    )


@_encode.register_fake
def _(positions: Tensor, table: Tensor, grid: Sequence[int], *_: object) -> Tensor:
    return table.new_empty(positions.shape[0], len(grid) // 4 * table.shape[1])


@_encode_backward.register_fake
def _(_: Tensor, positions: Tensor, table: Tensor, *flags: object) -> tuple[Tensor, Tensor]:
    *_others, to_positions, to_table = flags
    return (
        positions.new_empty(positions.shape if to_positions else 0),
        table.new_empty(table.shape if to_table else 0),
    )


def _save(ctx: Any, inputs: tuple, output: Tensor) -> None:  # noqa: ARG001
    positions, table, ctx.grid, level_weights, ctx.twin = inputs
    ctx.save_for_backward(positions, table, level_weights)


def _backward(ctx: Any, gradient: Tensor) -> tuple:
    positions, table, level_weights = ctx.saved_tensors
    wanted = ctx.needs_input_grad[:2]
    got = _encode_backward(gradient, positions, table, ctx.grid, level_weights, ctx.twin, *wanted)
    return *(one if want else None for one, want in zip(got, wanted, strict=True)), None, None, None


_encode.register_autograd(_backward, setup_context=_save)
