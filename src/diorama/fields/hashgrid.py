"""The hash-grid radiance field: a point becomes density and colour.

Source: Instant-NGP (arXiv 2201.05989) for the grid; DiffusioNeRF (2302.12231) for the heads of preset `paper`.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diorama.fields.contraction import Space, to_unit_cube
from diorama.fields.encodings import spherical_harmonics
from diorama.kernels.hash_grid import GridLayout, grid_layout, hash_encode
from diorama.kernels.mlp import fused_mlp


@dataclass(frozen=True)
class GridConfig:
    """A multiresolution hash grid over the unit cube."""

    levels: int = 12
    features: int = 2
    log2_table_size: int = 17
    base_resolution: int = 16
    finest_resolution: int = 2048

    def layout(self) -> GridLayout:
        """Where each level lies in the one table."""
        return grid_layout(self.levels, self.base_resolution, self.finest_resolution, self.log2_table_size)


@dataclass(frozen=True)
class HashFieldConfig:
    """A radiance field on a hash grid, and the small density grid that proposes where to sample it."""

    grid: GridConfig = GridConfig()
    hidden: int = 64
    """Width of the density MLP (one hidden layer)."""
    geometry: int = 15
    """Features handed from the density head to the colour head."""
    colour_hidden: int = 64
    colour_layers: int = 2
    """Hidden layers of the colour MLP."""
    sh_degree: int = 2
    """Highest degree of spherical harmonics of the viewing direction."""
    density_bias: float = -1.0
    """Added to the density logit: exp of it is the density (per metre) of an untrained field."""
    space: Space = "contracted"
    radius: float = 1.0
    """Ball of the grid (sphere), or where contraction begins (contracted), in metres of the normalised frame."""
    proposal: GridConfig | None = GridConfig(levels=5, features=2, log2_table_size=15, finest_resolution=128)
    """Grid of the proposal density; None where the field itself weighs the coarse samples."""
    proposal_hidden: int = 16
    proposal_leak: float = 0.01
    """Slope of the proposal's ReLUs below zero. With 0, as published, the first steps can push all sixteen units below
    zero, one half when density should fall and the other when it should rise again: then the proposal is the same
    everywhere for the rest of the run, and the picture stays blurred (10 of 59 fits, all of them under a prior)."""


class TruncatedExp(torch.autograd.Function):
    """exp whose gradient is taken at the logit clamped to [-15, 15] (spec section 4)."""

    @staticmethod
    def forward(ctx: Any, logit: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(logit)
        return torch.exp(logit.clamp(max=30.0))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: D102
        (logit,) = ctx.saved_tensors
        return gradients[0] * torch.exp(logit.clamp(-15.0, 15.0))


def linear_stack(widths: list[int]) -> nn.ModuleList:
    """Linear layers without their activations, initialised for ReLU between them."""
    layers = [nn.Linear(i, o) for i, o in itertools.pairwise(widths)]
    for layer in layers:
        nn.init.kaiming_uniform_(layer.weight, a=1.0)
        nn.init.zeros_(layer.bias)
    return nn.ModuleList(layers)


def apply_stack(layers: nn.ModuleList, x: Float[Tensor, "n i"], leak: float = 0.0) -> Float[Tensor, "n o"]:
    """The layers of a `linear_stack` with ReLU between them, of slope `leak` below zero."""
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    return fused_mlp(x, [layer.weight for layer in linear], [layer.bias for layer in linear], leak=leak)


class DensityGrid(nn.Module):
    """A small hash grid that knows density only: it proposes where the field is worth sampling."""

    def __init__(
        self, grid: GridConfig, hidden: int, space: Space, radius: float, bias: float, leak: float = 0.0
    ) -> None:
        super().__init__()
        self.layout = grid.layout()
        self.space, self.radius, self.bias, self.leak = space, radius, bias, leak
        self.table = nn.Parameter(torch.empty(self.layout.entries, grid.features).uniform_(-1e-4, 1e-4))
        self.head = linear_stack([grid.levels * grid.features, hidden, 1])

    def forward(self, positions: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch"]:
        """Density per metre."""
        flat = to_unit_cube(positions, self.space, self.radius).reshape(-1, 3)
        logit = apply_stack(self.head, hash_encode(flat, self.table, self.layout, None), self.leak)
        return TruncatedExp.apply(logit[:, 0] + self.bias).reshape(positions.shape[:-1])


class HashField(nn.Module):
    """Density and colour of points; a `FieldFn`. Positions in metres of the normalised frame, directions unit."""

    kind: ClassVar[str] = "hash-grid"
    """The word for it in stored scenes."""
    level_weights: Tensor | None
    """Coarse to fine: how far each level is open, (levels,) in [0, 1]; None when all are."""

    def __init__(self, config: HashFieldConfig) -> None:
        super().__init__()
        self.config = config
        grid = config.grid
        self.layout = grid.layout()
        self.table = nn.Parameter(torch.empty(self.layout.entries, grid.features).uniform_(-1e-4, 1e-4))
        self.density_head = linear_stack([grid.levels * grid.features, config.hidden, 1 + config.geometry])
        harmonics = (config.sh_degree + 1) ** 2
        widths = [config.geometry + harmonics] + [config.colour_hidden] * config.colour_layers + [3]
        self.colour_head = linear_stack(widths)
        proposal = None
        if config.proposal is not None:
            proposal = DensityGrid(
                config.proposal, config.proposal_hidden, config.space, config.radius, config.density_bias,
                config.proposal_leak,
            )  # fmt: skip
        self._modules["proposal"] = proposal
        self.level_weights = None
        self.open_degree = config.sh_degree

    @property
    def proposal(self) -> DensityGrid | None:
        """The small grid that weighs coarse samples. A property, so that protocols see it from Python 3.12 on, where
        they look at the class and not at the modules that torch keeps."""
        proposal = self._modules["proposal"]
        assert proposal is None or isinstance(proposal, DensityGrid)
        return proposal

    @property
    def device(self) -> torch.device:
        """Where its numbers lie."""
        return self.table.device

    @property
    def bytes_per_sample(self) -> int:
        """About how much memory one coloured sample takes: encoding, hidden layers of both heads, odds and ends."""
        config = self.config
        return 4 * (config.grid.levels * config.grid.features + 2 * config.hidden + 3 * config.colour_hidden + 64)

    def geometry(
        self, positions: Float[Tensor, "*batch xyz=3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch g"]]:
        """Density per metre, and the features from which the colour head starts."""
        flat = to_unit_cube(positions, self.config.space, self.config.radius).reshape(-1, 3)
        encoded = hash_encode(flat, self.table, self.layout, self.level_weights)
        out = apply_stack(self.density_head, encoded)
        density = TruncatedExp.apply(out[:, 0] + self.config.density_bias)
        shape = positions.shape[:-1]
        return density.reshape(shape), out[:, 1:].reshape(*shape, -1)

    def colour(self, geometry: Float[Tensor, "n g"], harmonics: Float[Tensor, "n k"]) -> Float[Tensor, "n rgb=3"]:
        """Colour in [0, 1] from geometry features and spherical harmonics of the viewing direction."""
        return torch.sigmoid(apply_stack(self.colour_head, torch.cat([geometry, harmonics], dim=-1)))

    def harmonics(self, directions: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch k"]:
        """What the colour head is told of the direction; degrees not yet open are zero."""
        basis = spherical_harmonics(directions, self.config.sh_degree)
        open_terms = (self.open_degree + 1) ** 2
        if open_terms < basis.shape[-1]:
            basis = torch.cat([basis[..., :open_terms], torch.zeros_like(basis[..., open_terms:])], dim=-1)
        return basis

    def density(self, positions: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch"]:
        """Density per metre; a `DensityFn`."""
        return self.geometry(positions)[0]

    def forward(
        self, positions: Float[Tensor, "*batch xyz=3"], directions: Float[Tensor, "*batch xyz=3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch rgb=3"]]:
        """Density per metre and colour in [0, 1]."""
        density, geometry = self.geometry(positions)
        harmonics = self.harmonics(directions)
        rgb = self.colour(geometry.reshape(-1, geometry.shape[-1]), harmonics.reshape(-1, harmonics.shape[-1]))
        return density, rgb.reshape(positions.shape)


def cosine_window(levels: int, start: float, progress: float, end: float) -> Float[Tensor, "levels"]:
    """How far each level is open: `start` levels at progress 0, all of them from `end` on, one after another.

    Source: BARF (arXiv 2104.06405), eq. 14, with levels for frequencies; linear in progress.
    """
    share = min(max(progress / end, 0.0), 1.0) if end > 0 else 1.0
    opened = start + (levels - start) * share
    reach = (opened - torch.arange(levels)).clamp(0.0, 1.0)
    return (1.0 - torch.cos(reach * math.pi)) / 2.0
