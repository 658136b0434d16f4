"""Tri-planes instead of IB-planes: the map of a view is read as three planes of the world, not as its picture.

An ablation. The same network makes maps of the same size, but they stand in space as the xy, xz and yz planes of the
normalised frame, around the point that the cameras look at; where a camera stands does not matter any more, so the
network must move what it sees from pixels to places in the world by itself. Each view still has planes of its own,
which can be dropped, and what the views say of a point is pooled as with IB-planes.

Source: GIBR (arXiv 2402.03445) compares with tri-planes that come straight out of a 2D U-Net [paper, by its reviews];
spec of GIBR, section 2.2. How they are bounded, combined and decoded there is not known: all of that is ours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from diorama.fields.contraction import contract
from diorama.fields.ib_planes import Planes, harmonics
from diorama.fields.pooling import Pool, density_and_colour, linear_layers, pooled_answers

AXES = ((0, 1), (0, 2), (1, 2))
"""Of the three planes: the coordinates that run along a row and down a column."""


@dataclass(frozen=True)
class TriPlanesConfig:
    """How the planes of views lie in the world, how they are read and pooled. None of these numbers is the paper's."""

    channels: int = 8
    """Of each of the three planes of a view."""
    hidden: int = 48
    """Width of both MLPs."""
    layers: int = 2
    """Linear layers of the MLP that each view goes through, and hidden layers of the decoder after pooling."""
    octaves: int = 6
    """Sines and cosines of the contracted position, which the MLP is told beside the planes."""
    pool: Pool = "max"
    """How views are pooled."""
    centre: tuple[float, ...] = (0.0, 0.0, 1.0)
    """Middle of the planes, in the normalised frame: what the reference camera looks at."""
    radius: float = 1.0
    """Of the ball that fills the inner half of the planes; the outer half holds the rest of the world."""
    density_shift: float = -1.0
    """Density is softplus(logit + shift), per unit of the normalised frame."""

    @property
    def code(self) -> int:
        """Numbers of the code of a point."""
        return 3 * (1 + 2 * self.octaves)

    @property
    def maps(self) -> int:
        """Channels of the map of a view: all three planes."""
        return 3 * self.channels

    @property
    def polar_channels(self) -> int:
        """There are no polar maps: the planes cover all of space."""
        return 0


class TriPlaneField(nn.Module):
    """What all scenes have in common: the MLPs that read planes."""

    def __init__(self, config: TriPlanesConfig) -> None:
        super().__init__()
        self.config = config
        hidden = [config.hidden] * config.layers
        self.read = linear_layers([config.channels + config.code, *hidden], last=True)
        self.decode = linear_layers([config.hidden, *hidden, 4], last=False)
        self.nothing = nn.Parameter(torch.zeros(config.hidden))

    def forward(
        self,
        planes: Planes,
        points: Float[Tensor, "scene point xyz=3"],
        keep: Bool[Tensor, "scene view point"] | None = None,
    ) -> tuple[Float[Tensor, "scene point"], Float[Tensor, "scene point rgb=3"]]:
        """Density and colour of points, as `IBPlaneField` gives them; `planes.perspective` holds the three planes."""
        config = self.config
        present = planes.present[:, :, None].expand(-1, -1, points.shape[1])
        kept = present if keep is None else keep & present
        place = unit_place(points, config)
        features = read_planes(planes.perspective, place).masked_fill(~kept[..., None], 0.0)

        def code(scene: int, rows: Tensor) -> Tensor:
            return harmonics(place[scene].index_select(0, rows % points.shape[1]), config.octaves)

        pooled, known = pooled_answers(self.read, config.pool, features, kept, code)
        return density_and_colour(self.decode, self.nothing, pooled, known, config.density_shift)


def unit_place(
    points: Float[Tensor, "scene point xyz=3"], config: TriPlanesConfig
) -> Float[Tensor, "scene point xyz=3"]:
    """All of space in the unit ball: the ball of `radius` around `centre` fills half of its width, linearly."""
    return 0.5 * contract((points - points.new_tensor(config.centre)) / config.radius)


def read_planes(
    maps: Float[Tensor, "scene view m h w"], place: Float[Tensor, "scene point xyz=3"]
) -> Float[Tensor, "scene view point c"]:
    """The sum of what the three planes of each view hold, bilinear, for places in [-1, 1]^3; always in float32."""
    scenes, views, channels, height, width = maps.shape
    grid = torch.stack([place[..., pair] for pair in AXES], dim=1)[:, None].expand(-1, views, -1, -1, -1)
    flat = maps.float().reshape(scenes * views * len(AXES), channels // len(AXES), height, width)
    read = torch.nn.functional.grid_sample(
        flat, grid.reshape(len(flat), 1, -1, 2).float(), mode="bilinear", padding_mode="border", align_corners=False
    )
    return read[:, :, 0].reshape(scenes, views, len(AXES), -1, place.shape[1]).sum(2).mT
