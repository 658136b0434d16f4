"""A scene that a multi-view model made, as a field: IB-planes of its views, their cameras, and the MLPs that read them.

What a hash grid is to a fit. It needs nothing of the model's network any more.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diorama.errors import InputError
from diorama.fields.build import PlanesConfig, build_planes, sample_bytes
from diorama.fields.density_cube import DensityCube
from diorama.fields.ib_planes import SAME_POSE, IBPlaneField, IBPlanesConfig, KeptPlanes, OwnPlane, Planes
from diorama.fields.tri_planes import TriPlaneField

LARGEST_HALF = 65504.0
"""The largest number that float16 can hold."""

CELLS_PER_PIXEL, MOST_CELLS = 2, 160
"""Of the proposal, along one side of contracted space: cells per pixel of a map, and at most."""

MOST_NUMBERS = 1 << 29
"""In all planes and weights together (2 GB); a file that asks for more is damaged."""


@dataclass(frozen=True)
class SampledPlanesConfig:
    """The shapes of a scene's planes, and what reads them."""

    planes: PlanesConfig = IBPlanesConfig()
    views: int = 1
    side: tuple[int, ...] = (48, 48)
    """Height and width of a perspective map."""
    polar_side: tuple[int, ...] = (24, 24)
    """Height and width of a polar map; of no meaning where the planes have none."""
    half: bool = True
    """Maps hold what float16 can, and are stored so; computed with in float32."""
    own_plane: OwnPlane = "keep"
    """Whether a picture from where one of the views was taken may be painted by that view's plane."""
    first: tuple[int, ...] = ()
    """Views that are asked alone about what they have in their frames (`Planes.first`); none: all views always."""

    def __post_init__(self) -> None:
        sides, planes = (*self.side, *self.polar_side), self.planes
        flat = planes.maps - planes.polar_channels
        maps = flat * math.prod(self.side) + planes.polar_channels * math.prod(self.polar_side)
        numbers = self.views * maps + planes.hidden * (planes.maps + planes.code + 2 * planes.layers * planes.hidden)
        fits = len(self.side) == len(self.polar_side) == 2 and min(*sides, self.views, planes.hidden) >= 1
        fits = fits and all(0 <= view < self.views for view in self.first)
        if not (fits and numbers <= MOST_NUMBERS):
            raise InputError(
                f"{self.views} views (asked first: {self.first}) with planes of {self.side} and {self.polar_side} "
                f"pixels, {numbers} numbers in all. Needed: one view at least, none asked first that is not there, "
                f"height and width of both maps, and at most {MOST_NUMBERS} numbers."
            )


class SampledPlanes(nn.Module):
    """The field of one sampled scene; a `scenes.field.SceneField`. Positions: the normalised frame of the sample.

    All planes are asked about every point (but see `seen_from` and `SampledPlanesConfig.first`). Colour does not depend
    on the direction.
    """

    kind = "ib-planes"

    perspective: Float[Tensor, "view c h w"]
    polar: Float[Tensor, "view e p q"] | None
    world_to_camera: Float[Tensor, "view 3 4"]
    intrinsics: Float[Tensor, "view 4"]

    def __init__(self, config: SampledPlanesConfig) -> None:
        super().__init__()
        self.config = config
        planes, views = config.planes, config.views
        self.register_buffer("perspective", torch.zeros(views, planes.maps - planes.polar_channels, *config.side))
        polar = torch.zeros(views, planes.polar_channels, *config.polar_side) if planes.polar_channels else None
        self.register_buffer("polar", polar)
        self.register_buffer("world_to_camera", torch.eye(3, 4).repeat(views, 1, 1))
        self.register_buffer("intrinsics", torch.tensor([1.0, 1.0, 0.5, 0.5]).repeat(views, 1))
        self.reader = build_planes(planes)
        self.register_state_dict_post_hook(_store_half)

    @staticmethod
    def of(
        planes: Planes, reader: IBPlaneField | TriPlaneField, *, half: bool = True, own_plane: OwnPlane = "keep"
    ) -> "SampledPlanes":
        """The only scene of `planes`, read by the MLPs of the model that made it; a copy, on the planes' device.

        half: its numbers are rounded to float16, so that the scene is the same before and after it was stored.
        InputError where there are several scenes, or a plane is not finite.
        """
        if len(planes.present) != 1:
            raise InputError(f"planes of {len(planes.present)} scenes; one scene is needed: planes.of_scene(index).")
        alone = planes.of_scene(0)
        maps = {"perspective": alone.perspective[0], "polar": None if alone.polar is None else alone.polar[0]}
        if not all(bool(one.isfinite().all()) for one in maps.values() if one is not None):
            raise InputError("these planes hold what is not a number, so they are no scene. Check the model's weights.")
        polar = maps["polar"]
        config = SampledPlanesConfig(
            reader.config,
            alone.present.shape[1],
            tuple(alone.perspective.shape[-2:]),
            (1, 1) if polar is None else tuple(polar.shape[-2:]),
            half,
            own_plane,
            () if alone.first is None else tuple(alone.first[0].nonzero()[:, 0].tolist()),
        )
        field = SampledPlanes(config).to(alone.perspective.device)
        for name, one in maps.items():
            if one is not None:
                getattr(field, name).copy_(_halved(one).float() if half else one)
        field.world_to_camera.copy_(alone.world_to_camera[0])
        field.intrinsics.copy_(alone.intrinsics[0])
        field.reader.load_state_dict(reader.state_dict())
        return field.eval().requires_grad_(False)

    @property
    def planes(self) -> Planes:
        """The planes as a batch of one scene."""
        present = torch.ones(1, self.config.views, dtype=torch.bool, device=self.device)
        polar = None if self.polar is None else self.polar[None]
        first = None
        if self.config.first:
            first = torch.zeros_like(present)
            first[:, list(self.config.first)] = True
        return Planes(self.perspective[None], polar, self.world_to_camera[None], self.intrinsics[None], present, first)

    def seen_from(self, camera_to_world: Float[Tensor, "4 4"]) -> "SampledPlanes | KeptPlanes":
        """What a camera of the normalised frame is shown: this field; where `own_plane` is `drop`, from where views
        were taken (several squares of one photograph) the field of all other planes, if there are others."""
        if self.config.own_plane == "keep":
            return self
        pose = camera_to_world.to(self.world_to_camera)
        rotation, translation = self.world_to_camera.split([3, 1], dim=-1)
        away = (pose[:3, 3] + (rotation.mT @ translation)[..., 0]).norm(dim=-1)
        turned = (rotation @ pose[:3, :3] - torch.eye(3).to(pose)).abs().amax(dim=(-1, -2))
        apart = torch.maximum(away, turned)
        kept = apart > SAME_POSE
        if bool(kept.all()) or not bool(kept.any()):
            return self
        planes = self.planes
        return KeptPlanes(self.reader, replace(planes, present=planes.present & kept).of_scene(0))

    @cached_property
    def proposal(self) -> DensityCube:
        """Where samples should lie: the field's density in cells, made when it is first asked for.

        They are finest around what the reference camera looks at, where most of a scene lies.
        """
        side = min(CELLS_PER_PIXEL * max(self.config.side), MOST_CELLS)
        return DensityCube.of(self.density, side, centre=(0.0, 0.0, 1.0), device=self.device)

    @property
    def device(self) -> torch.device:
        """Where the planes lie."""
        return self.perspective.device

    @property
    def bytes_per_sample(self) -> int:
        """About how much memory one sample of a ray takes."""
        return sample_bytes(self.config.planes, self.config.views)

    def geometry(
        self, positions: Float[Tensor, "*batch xyz=3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch rgb=3"]]:
        """Density, and the colour in place of features for it."""
        density, colour = self.reader(self.planes, positions.reshape(1, -1, 3))
        return density.reshape(positions.shape[:-1]), colour.reshape(positions.shape)

    def harmonics(self, directions: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch k"]:
        """Nothing: colour does not depend on the direction."""
        return directions[..., :0]

    def colour(self, geometry: Float[Tensor, "n g"], harmonics: Float[Tensor, "n k"]) -> Float[Tensor, "n rgb=3"]:
        """What `geometry` gave."""
        del harmonics
        return geometry

    def density(self, positions: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch"]:
        """Density per unit of the normalised frame."""
        return self.geometry(positions)[0]

    def forward(
        self, positions: Float[Tensor, "*batch xyz=3"], directions: Float[Tensor, "*batch xyz=3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch rgb=3"]]:
        """Density per unit, and colour in [0, 1]; the direction does not matter."""
        del directions
        return self.geometry(positions)


def _halved(maps: Tensor) -> Tensor:
    return maps.clamp(-LARGEST_HALF, LARGEST_HALF).half()


def _store_half(module: nn.Module, state: dict[str, Any], prefix: str, _: Mapping[str, Any]) -> None:
    """What is stored of the maps: float16, which they hold exactly, where the config says so."""
    assert isinstance(module, SampledPlanes)
    if module.config.half:
        for name in (f"{prefix}perspective", f"{prefix}polar"):
            if name in state:
                state[name] = _halved(state[name])
