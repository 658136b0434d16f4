"""What a scene asks of the field it holds, so that one scene draws, stores and exports all kinds of them."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.rendering.render import RadianceField


@runtime_checkable
class SceneField(RadianceField, Protocol):
    """A radiance field that can live in a `Scene` and on disk; a `torch.nn.Module`, built from `config` alone.

    Positions are in metres of the scene's normalised frame, directions are unit vectors; both on the field's device.
    What it was built from is a frozen dataclass of plain numbers and words; all else (weights, planes, their cameras)
    is in its state dict.
    """

    @property
    def kind(self) -> str:
        """The word for it in `scene.json`; `scenes.storage.build_field` knows them all."""
        ...

    @property
    def config(self) -> Any:
        """The dataclass it was built from."""
        ...

    @property
    def device(self) -> torch.device:
        """Where its numbers lie."""
        ...

    @property
    def bytes_per_sample(self) -> int:
        """About how much memory one coloured sample takes while it is rendered."""
        ...

    def density(self, positions: Float[Tensor, "*batch xyz=3"]) -> Float[Tensor, "*batch"]:
        """Density per metre."""
        ...

    def __call__(
        self, positions: Float[Tensor, "*batch xyz=3"], directions: Float[Tensor, "*batch xyz=3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch rgb=3"]]:
        """Density per metre, and colour in [0, 1]."""
        ...

    def state_dict(self) -> Mapping[str, Tensor]:
        """All its numbers by name."""
        ...


@runtime_checkable
class OwnViewsField(Protocol):
    """A field that shows a camera which took one of its views something of its own."""

    def seen_from(self, camera_to_world: Float[Tensor, "4 4"]) -> RadianceField:
        """What a camera of the normalised frame is shown."""
        ...
