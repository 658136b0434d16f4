"""IB-planes: feature maps of several photographs become density and colour anywhere in space.

Each view has a perspective map, looked up where a point projects to, and a polar map, looked up by the direction from
its camera to the point, so that the field is defined outside every frustum as well. What the views say of a point is
pooled, so any number of views in any order will do.

Source: GIBR (arXiv 2402.03445); spec of GIBR, section 2. [paper]: features by projection, polar second maps, a field of
density and colour. All widths, the pooling, the distance code and the activations are our choices.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from diorama.fields.pooling import Pool, density_and_colour, linear_layers, pooled_answers
from diorama.kernels.view_agreement import view_agreement
from diorama.kernels.view_gather import gather_views

PointCode = Literal["distance", "xyz", "depth"]
OwnPlane = Literal["drop", "keep"]
"""Whether a view may be rendered from its own plane; dropping it is representation dropout [paper]."""

SAME_POSE = 1e-3
"""Two cameras are one whose centres (units of the normalised frame) and axes differ by no more than this."""


@dataclass(frozen=True)
class IBPlanesConfig:
    """How views are read and pooled. None of these numbers is the paper's."""

    channels: int = 24
    """Of a view's perspective map."""
    polar_channels: int = 8
    """Of a view's polar map; 0: none, and nothing is known outside the frustums."""
    hidden: int = 48
    """Width of both MLPs."""
    layers: int = 2
    """Linear layers of the MLP that each view goes through, and hidden layers of the decoder after pooling."""
    octaves: int = 6
    """Sines and cosines of the point's code."""
    point_code: PointCode = "distance"
    """What is known of the place of a point seen from a view: distance; xyz in the camera's axes; planar depth."""
    pool: Pool = "max"
    """How views are pooled; max is idempotent: a view given twice changes nothing (without `agreement`)."""
    agreement: bool = True
    """Tell the decoder, besides what is pooled, how far the views agree (`view_agreement`)."""
    least_depth: float = 1e-2
    """A camera sees what is farther before it than this (units of the normalised frame)."""
    pole_average: bool = True
    """Average the first and the last row of a polar map over azimuth, which means nothing there."""
    density_shift: float = -1.0
    """Density is softplus(logit + shift), per unit of the normalised frame."""

    @property
    def code(self) -> int:
        """Numbers of the point code."""
        return {"distance": 2, "xyz": 3, "depth": 2}[self.point_code] * (1 + 2 * self.octaves)

    @property
    def maps(self) -> int:
        """Channels of both maps of a view."""
        return self.channels + self.polar_channels


@dataclass(frozen=True)
class Planes:
    """The maps of the views of some scenes, and where their cameras stand: all that a sampled scene is.

    intrinsics: fx / width, fy / height, cx / width, cy / height, so maps may have any resolution. present: False for
    views that only fill up a batch. first: views that are asked alone about points that any of them has in its frame;
    None: all views are asked about every point. Tri-planes, which have no frames, ask all.
    """

    perspective: Float[Tensor, "scene view c h w"]
    polar: Float[Tensor, "scene view e p q"] | None
    world_to_camera: Float[Tensor, "scene view 3 4"]
    intrinsics: Float[Tensor, "scene view 4"]
    present: Bool[Tensor, "scene view"]
    first: Bool[Tensor, "scene view"] | None = None

    def of_scene(self, index: int) -> "Planes":
        """One scene alone, as a batch of one; absent views are left out."""
        kept = self.present[index]
        return Planes(
            self.perspective[index][kept][None],
            None if self.polar is None else self.polar[index][kept][None],
            self.world_to_camera[index][kept][None],
            self.intrinsics[index][kept][None],
            kept[kept][None],
            None if self.first is None else self.first[index][kept][None],
        )


def split_maps(
    maps: Float[Tensor, "scene view m h w"], config: IBPlanesConfig
) -> tuple[Float[Tensor, "scene view c h w"], Float[Tensor, "scene view e p q"] | None]:
    """A network's output as perspective maps and, at half the resolution, polar ones."""
    perspective = maps[:, :, : config.channels]
    if not config.polar_channels:
        return perspective, None
    polar = torch.nn.functional.avg_pool2d(maps[:, :, config.channels :].flatten(0, 1), 2)
    polar = polar.unflatten(0, maps.shape[:2])
    return perspective, average_poles(polar) if config.pole_average else polar


def average_poles(polar: Float[Tensor, "scene view e p q"]) -> Float[Tensor, "scene view e p q"]:
    """Polar maps whose first and last row do not depend on azimuth."""
    ends = polar[..., [0, -1], :].mean(-1, keepdim=True).expand(*polar.shape[:-2], 2, polar.shape[-1])
    return torch.cat([ends[..., :1, :], polar[..., 1:-1, :], ends[..., 1:, :]], dim=-2)


class IBPlaneField(nn.Module):
    """What all scenes have in common: the MLPs that read planes."""

    def __init__(self, config: IBPlanesConfig) -> None:
        super().__init__()
        self.config = config
        hidden = [config.hidden] * config.layers
        self.read = linear_layers([config.maps + 1 + config.code, *hidden], last=True)
        told = config.hidden + (2 * config.channels + 2 if config.agreement else 0)
        self.decode = linear_layers([told, *hidden, 4], last=False)
        self.nothing = nn.Parameter(torch.zeros(told))

    def forward(
        self,
        planes: Planes,
        points: Float[Tensor, "scene point xyz=3"],
        keep: Bool[Tensor, "scene view point"] | None = None,
    ) -> tuple[Float[Tensor, "scene point"], Float[Tensor, "scene point rgb=3"]]:
        """Density (per unit, not negative) and colour in [0, 1] of points of the normalised frame.

        keep: which views may be asked about which point; None: all that are present. Where none may, the field is a
        learned constant. Gradients reach planes and weights, not points.
        """
        config = self.config
        present = planes.present[:, :, None].expand(-1, -1, points.shape[1])
        kept = present if keep is None else keep & present
        features, distance = gather_views(
            points, planes.world_to_camera, planes.intrinsics, planes.perspective, planes.polar,
            min_depth=config.least_depth, skip=~kept,
        )  # fmt: skip
        if planes.first is not None:
            kept = first_asked(kept, features[..., config.channels] > 0, planes.first)
            silent = ~kept[..., None]
            features = features.masked_fill(silent, 0) if features.requires_grad else features.masked_fill_(silent, 0)
        local = None if config.point_code == "distance" else local_places(points, planes.world_to_camera)

        def code(scene: int, rows: Tensor) -> Tensor:
            place = None if local is None else local[scene].flatten(0, 1).index_select(0, rows)
            return point_code(config, distance[scene].flatten().index_select(0, rows), place)

        pooled, known = pooled_answers(self.read, config.pool, features, kept, code)
        if config.agreement:
            pooled = torch.cat([pooled, view_agreement(features, config.channels).to(pooled)], dim=-1)
        return density_and_colour(self.decode, self.nothing, pooled, known, config.density_shift)


def first_asked(
    kept: Bool[Tensor, "scene view point"], framed: Bool[Tensor, "scene view point"], first: Bool[Tensor, "scene view"]
) -> Bool[Tensor, "scene view point"]:
    """Which views are asked about a point: where one of the first ones may be and has it in its frame, they alone."""
    early = first[..., None] & kept
    return kept & (early | ~(early & framed).any(1, keepdim=True))


def local_places(
    points: Float[Tensor, "scene point xyz=3"], world_to_camera: Float[Tensor, "scene view 3 4"]
) -> Float[Tensor, "scene view point xyz=3"]:
    """Points in the frame of each camera."""
    rotation, translation = world_to_camera[:, :, None, :, :3], world_to_camera[:, :, None, :, 3]
    return (rotation * points[:, None, :, None]).sum(-1) + translation  # no matmul, which autocast would round


def point_code(
    config: IBPlanesConfig, distance: Float[Tensor, "*n"], local: Float[Tensor, "*n xyz=3"] | None = None
) -> Float[Tensor, "*n code"]:
    """Where a point lies as seen from a view: bounded numbers, themselves and their sines and cosines.

    distance: from the camera's centre. local: in the camera's frame; the code `distance` does without. r becomes
    r / (1 + r) and log(1 + r), however far a point is; depth likewise, its sign kept; xyz is squashed by 1 / (1 + r)
    (PixelNeRF embeds the plain coordinates).
    """
    if config.point_code == "distance":
        return harmonics(torch.stack([distance / (1.0 + distance), torch.log1p(distance)], dim=-1), config.octaves)
    assert local is not None
    if config.point_code == "xyz":
        return harmonics(local / (1.0 + distance[..., None]), config.octaves)
    depth = local[..., 2]
    return harmonics(
        torch.stack([depth / (1.0 + depth.abs()), depth.sign() * torch.log1p(depth.abs())], dim=-1), config.octaves
    )


def harmonics(values: Float[Tensor, "*n k"], octaves: int) -> Float[Tensor, "*n m"]:
    """The values, and sines and cosines of pi/2, pi, 2 pi, ... times them. Source: NeRF (arXiv 2003.08934), eq. 4.

    Each octave follows from the one before by the formulas of the double angle, which cost a fraction of a sine.
    """
    values = values.movedim(-1, 0).contiguous()  # long rows: joining short ones takes longer than all sines
    parts = [values]
    sine, cosine = torch.sin(0.5 * math.pi * values), torch.cos(0.5 * math.pi * values)
    for _ in range(octaves):
        parts += [sine, cosine]
        sine, cosine = 2.0 * sine * cosine, 1.0 - 2.0 * sine.square()
    return torch.cat(parts).movedim(0, -1)


@runtime_checkable
class PlaneField(Protocol):
    """What reads planes: an `IBPlaneField`, or another reading of the same maps."""

    def __call__(
        self,
        planes: Planes,
        points: Float[Tensor, "scene point xyz=3"],
        keep: Bool[Tensor, "scene view point"] | None = None,
    ) -> tuple[Float[Tensor, "scene point"], Float[Tensor, "scene point rgb=3"]]:
        """Density and colour of points of the normalised frame."""
        ...


@dataclass(frozen=True)
class KeptPlanes:
    """Planes as the renderer wants a field: rays of several scenes in a row, equally many of each.

    keep: which views may be asked about each ray; None: all that are present.
    """

    field: PlaneField
    planes: Planes
    keep: Bool[Tensor, "scene view ray"] | None = None

    @property
    def proposal(self) -> None:
        """There is none: the field itself weighs the coarse samples."""
        return None

    def geometry(
        self, positions: Float[Tensor, "ray n xyz=3"]
    ) -> tuple[Float[Tensor, "ray n"], Float[Tensor, "ray n rgb=3"]]:
        """Density, and the colour in place of features for it."""
        scenes, (rays, samples) = len(self.planes.present), positions.shape[:2]
        points = positions.reshape(scenes, -1, 3)
        keep = None if self.keep is None else self.keep.repeat_interleave(samples, dim=-1)
        density, colour = self.field(self.planes, points, keep)
        return density.reshape(rays, samples), colour.reshape(rays, samples, 3)

    def harmonics(self, directions: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch k"]:
        """Nothing: colour does not depend on the direction."""
        return directions[..., :0]

    def colour(self, geometry: Float[Tensor, "n g"], harmonics: Float[Tensor, "n k"]) -> Float[Tensor, "n rgb=3"]:
        """What `geometry` gave."""
        del harmonics
        return geometry


def others_of(
    target: Int[Tensor, "scene ray"],
    views: int,
    own: OwnPlane = "drop",
    *,
    poses: Float[Tensor, "scene every 4 4"] | None = None,
) -> Bool[Tensor, "scene view ray"]:
    """Which planes may paint each ray: with `drop`, all but that of the view whose ray it is [paper].

    target: number of the view that a ray belongs to; `views` or more for views that were never encoded. poses: of all
    views; with them `drop` leaves out all that were taken from where the ray's view was: another square of the same
    photograph paints it at any depth, as the view's own plane would [ours].
    """
    every = torch.arange(views, device=target.device)[:, None]
    if own == "keep":
        return torch.ones(len(target), views, target.shape[1], dtype=torch.bool, device=target.device)
    others = target[:, None] != every
    if poses is None:
        return others
    elsewhere = (poses[:, :, None] - poses[:, None, :views]).abs().flatten(3).amax(-1) > SAME_POSE
    return others & elsewhere.gather(1, target[..., None].expand(-1, -1, views)).mT


def drop_some(
    keep: Bool[Tensor, "scene view ray"],
    target: Int[Tensor, "scene ray"],
    present: Bool[Tensor, "scene view"],
    share: float,
    generator: torch.Generator,
) -> Bool[Tensor, "scene view ray"]:
    """Each other plane is left out with this probability for all rays of a target view; one always stays."""
    if share <= 0:
        return keep
    targets = int(target.max()) + 1
    drawn = torch.rand(len(keep), keep.shape[1], targets, generator=generator, device=generator.device) < share
    dropped = drawn.to(keep.device).gather(2, target[:, None].expand(-1, keep.shape[1], -1))
    left = keep & ~dropped
    alive = (left & present[..., None]).any(1, keepdim=True)
    return torch.where(alive, left, keep)
