"""The vocabulary of axes, and the callables that rooms hand to each other.

Axes: `*batch` any batch; `view` photographs; `c h w` an image; `ray`, `sample` along a ray; `xyz=3`; `xy=2` pixels.
Images are float in [0, 1], channels first. Depth is planar (distance along the optical axis), 0 where unknown.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from diorama.cameras.pinhole import Cameras


@dataclass(frozen=True)
class Rendering:
    """What a scene looks like from some cameras.

    colour is in [0, 1]; depth is planar and in the units of the cameras that were asked for, and describes the
    surface the ray met (normalised by opacity); opacity in [0, 1] is the share of light the scene stopped.
    """

    colour: Float[Tensor, "view 3 h w"]
    depth: Float[Tensor, "view h w"]
    opacity: Float[Tensor, "view h w"]


@runtime_checkable
class RenderFn(Protocol):
    """Anything that can draw itself from cameras (given in the user's frame)."""

    def __call__(self, cameras: "Cameras") -> Rendering:
        """Colour, planar depth in the cameras' units, and opacity of every camera's whole picture."""
        ...


@runtime_checkable
class DensityFn(Protocol):
    """Density per world unit at points; used by proposal sampling, occupancy and meshing."""

    def __call__(self, positions: Float[Tensor, "*batch xyz=3"], /) -> Float[Tensor, "*batch"]:
        """Density (not negative) per unit of the positions."""
        ...


@runtime_checkable
class FieldFn(Protocol):
    """A radiance field: density per world unit and colour in [0, 1] at points seen from unit directions."""

    def __call__(
        self, positions: Float[Tensor, "*batch xyz=3"], directions: Float[Tensor, "*batch xyz=3"]
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch rgb=3"]]:
        """Density per unit of the positions, and colour."""
        ...


@runtime_checkable
class Denoiser(Protocol):
    """Anything that guesses the data behind noise: the one language of samplers, guidance and priors.

    x is noisy data of any shape; t is time in [0, 1] (0 clean, 1 noisiest; see `diffusion.noise`), one per sample
    (`batch`) or one per view (`batch view`). Returns the clean estimate, shaped as x.
    """

    def __call__(self, x: Float[Tensor, "batch *shape"], t: Float[Tensor, "batch *time"], /) -> Tensor:
        """The expected clean data, shaped as x."""
        ...
