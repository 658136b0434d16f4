"""What steers the network that reads several photographs of one scene together, and its sizes by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from diorama.errors import InputError
from diorama.nets.config import typed_settings

CameraEmbed = Literal["matrix", "rays", "both"]
LooksAt = Literal["all", "epipolar"]


@dataclass(frozen=True)
class MultiViewConfig:
    """A set-wise U-Net; sides are counted after the stem. The defaults are `gibr_base`.

    What GIBR (arXiv 2402.03445) says of its own is: a U-Net, attention across views, poses as embeddings, any number
    of views. Everything else here, all numbers included, is our choice.
    """

    image_channels: int = 3
    """Channels of a photograph, or of whatever is denoised in its place."""
    out_channels: int = 48
    """Channels of the planes that are made of every view; perspective and polar ones together."""
    width: int = 64
    """Channels after the stem; the embedding of time and camera is four times as wide."""
    multipliers: tuple[int, ...] = (1, 2, 3)
    """Channels of each level, as multiples of `width`; each level but the last halves the side."""
    blocks: int = 1
    """Residual blocks per level on the way down; one more on the way up."""
    attention: tuple[bool, ...] = (False, True, True)
    """Per level: whether attention follows its blocks."""
    middle_attention: bool = True
    """Attention between the two blocks at the bottom."""
    cross_view: bool = True
    """Attention is to all pixels of all views; False: to those of the own view alone."""
    looks_at: LooksAt = "all"
    """Which pixels of the other views a pixel may look at: all; or, by their cameras, those near the line on which they
    show what it shows (`nets.epipolar`). Its own view it sees whole. Decides nothing without `cross_view`."""
    epipolar_band: float = 2.0
    """The largest distance of a pixel from that line, in pixels of the feature map."""
    heads: int = 4
    """Attention heads."""
    groups: int = 4
    """Groups of every group normalisation. Where all widths over it are multiples of 16, CPUs are several times faster
    at it in bfloat16."""
    patch: int = 2
    """Side of the squares of pixels that become one (space to depth) before the stem; the head undoes it."""
    plane_scale: int = 1
    """Pixels of an image per pixel of a plane, along one side; divides `patch`."""
    camera_embed: CameraEmbed = "both"
    """How cameras enter: numbers of the pose beside the time, a map of rays beside the image, or both."""
    pose_numbers: int = 16
    """Numbers of a camera: 12 of [R | t] and 4 intrinsics as shares of the image's sides."""
    time_scale: float = 1000.0
    """The time in [0, 1] is multiplied by this before its sinusoidal embedding."""

    def __post_init__(self) -> None:
        levels = len(self.multipliers)
        if not 1 <= levels <= 8 or len(self.attention) != levels:
            raise InputError(
                f"a U-Net has 1 to 8 levels and one answer about attention for each; multipliers are "
                f"{self.multipliers} and attention is {self.attention}."
            )
        limits = {
            "image_channels": (1, 4096), "out_channels": (1, 4096), "width": (2, 4096), "blocks": (1, 16),
            "heads": (1, 1024), "groups": (1, 1024), "patch": (1, 32), "plane_scale": (1, 32),
            "pose_numbers": (1, 4096), "time_scale": (1e-6, 1e6), "epipolar_band": (0.5, 1e6),
        }  # fmt: skip
        for name, (least, most) in limits.items():
            if not least <= (value := getattr(self, name)) <= most:
                raise InputError(f"{name} of a U-Net is {value}; it must lie in [{least}, {most}].")
        if any(not 1 <= multiplier <= 64 for multiplier in self.multipliers):
            raise InputError(f"multipliers {self.multipliers} must lie in [1, 64].")
        if self.width % 2 or any(width % self.groups for width in (self.width, *self.widths)):
            raise InputError(f"widths {(self.width, *self.widths)} must be even and multiples of {self.groups} groups.")
        if any(width % self.heads for width in self.attended):
            raise InputError(f"widths with attention {self.attended} must be multiples of {self.heads} heads.")
        if self.patch % self.plane_scale:
            raise InputError(
                f"plane_scale is {self.plane_scale} and patch {self.patch}; a patch must hold whole pixels of a plane. "
                f"Choose a divisor of {self.patch}, or a larger patch."
            )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "MultiViewConfig":
        """From what `dataclasses.asdict` or `config.json` gave; missing ones default.

        Raises InputError for a setting it does not know, of another type, or out of range.
        """
        return cls(**typed_settings(cls, settings))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.width * multiplier for multiplier in self.multipliers)

    @property
    def attended(self) -> tuple[int, ...]:
        """Channel counts at which there is attention."""
        levels = [*zip(self.widths, self.attention, strict=True), (self.widths[-1], self.middle_attention)]
        return tuple(width for width, attends in levels if attends)

    @property
    def embedding(self) -> int:
        """Width of the embedding of time and camera."""
        return 4 * self.width

    @property
    def multiple(self) -> int:
        """Height and width of an image must be multiples of this."""
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @property
    def takes_pose(self) -> bool:
        """Whether the numbers of the poses are read."""
        return self.camera_embed != "rays"

    @property
    def takes_rays(self) -> bool:
        """Whether the maps of rays are read."""
        return self.camera_embed != "matrix"


def gibr_tiny() -> MultiViewConfig:
    """For tests at 32 px: planes of 16 and 8 channels."""
    return MultiViewConfig(
        out_channels=24, width=16, multipliers=(1, 2), attention=(False, True), heads=2, groups=1, patch=1
    )


def gibr_small() -> MultiViewConfig:
    """For 48 px on a CPU: planes of 24 and 8 channels, attention at 12 and 6 px."""
    return MultiViewConfig(out_channels=32, width=48, multipliers=(1, 2, 4), groups=3)


def gibr_base() -> MultiViewConfig:
    """For 96 px: planes of 32 and 16 channels, attention at 24 and 12 px."""
    return MultiViewConfig()


def gibr_large() -> MultiViewConfig:
    """For 256 px: planes of 32 and 16 channels at 128 px, attention at 32, 16 and 8 px."""
    return MultiViewConfig(
        width=128, multipliers=(1, 1, 2, 3, 4), blocks=2, attention=(False, False, True, True, True), heads=8,
        groups=8, plane_scale=2,
    )  # fmt: skip
