"""What steers a U-Net, and the networks of the papers by name."""

import builtins
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin

from diorama.errors import InputError

Style = Literal["classic", "adm"]
AttentionKind = Literal["none", "linear", "full", "cosine"]


@dataclass(frozen=True)
class UNetConfig:
    """A U-Net; sides are counted after the stem. The defaults are DiffusioNeRF's network [code, spec 1.1]."""

    in_channels: int = 4
    out_channels: int = 4
    style: Style = "classic"
    """Which of the two building styles; see `diorama.nets.unet`."""
    width: int = 64
    """Channels after the stem; the time embedding is four times as wide."""
    multipliers: tuple[int, ...] = (1, 2, 4, 8)
    """Channels of each level, as multiples of `width`; each level but the last halves the side."""
    blocks: int = 2
    """Residual blocks per level on the way down (`adm`: one more on the way up)."""
    attention: tuple[AttentionKind, ...] = ("linear", "linear", "linear", "linear")
    """Per level: none; linear (cost grows with the pixels); full; cosine (full, between unit vectors, scale 10)."""
    middle_attention: AttentionKind = "cosine"
    """Attention between the two blocks at the bottom."""
    heads: int | None = 4
    """Attention heads; None: as many of `head_width` as the channels hold."""
    head_width: int = 32
    """Channels per head."""
    groups: int = 8
    """Groups of every group normalisation."""
    weight_standardised: bool = True
    """Filters of the residual blocks have mean 0 and variance 1 (arXiv 1903.10520)."""
    stem_kernel: int = 7
    """Side of the first convolution's kernel; odd."""
    patch: int = 1
    """Side of the squares of pixels that become one (space to depth) before the stem; the head undoes it."""
    classes: int = 0
    """Number of class labels; 0: unconditional. The null class is the label -1."""
    context_width: int = 0
    """Channels of the tokens that every attention of the network also reads (cross-attention); 0: none."""
    time_scale: float = 1.0
    """The time is multiplied by this before its sinusoidal embedding; 1000 for times in [0, 1]."""
    full_precision_ends: bool = True
    """Under autocast, stem, embedding, long skip and head stay float32: near 1 a step of bfloat16 is 0.0039 to 0.0078,
    and DiffusioNeRF's prior is asked about noise of 0.0139."""

    def __post_init__(self) -> None:
        levels = len(self.multipliers)
        if not 1 <= levels <= 8 or len(self.attention) != levels:
            raise InputError(
                f"a U-Net has 1 to 8 levels and one kind of attention for each; multipliers are {self.multipliers} and "
                f"attention is {self.attention}."
            )
        limits = {
            "in_channels": (1, 4096), "out_channels": (1, 4096), "width": (2, 4096), "blocks": (1, 16),
            "heads": (1, 1024), "head_width": (1, 1024), "groups": (1, 1024), "stem_kernel": (1, 31), "patch": (1, 32),
            "classes": (0, 1_000_000), "context_width": (0, 65536), "time_scale": (1e-6, 1e6),
        }  # fmt: skip
        for name, (least, most) in limits.items():
            if (value := getattr(self, name)) is not None and not least <= value <= most:
                raise InputError(f"{name} of a U-Net is {value}; it must lie in [{least}, {most}].")
        if any(multiplier < 1 or multiplier > 64 for multiplier in self.multipliers) or self.stem_kernel % 2 == 0:
            raise InputError(
                f"multipliers {self.multipliers} must lie in [1, 64], stem_kernel {self.stem_kernel} be odd."
            )
        if self.width % 2 or any(width % self.groups for width in (self.width, *self.widths)):
            raise InputError(f"widths {(self.width, *self.widths)} must be even and multiples of {self.groups} groups.")
        if self.heads is None and any(width % self.head_width for width in self.attended):
            raise InputError(
                f"widths with attention {self.attended} must be multiples of head_width {self.head_width}."
            )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "UNetConfig":
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
        down = (self.width, *self.widths[:-1]) if self.style == "classic" else self.widths
        levels = [*zip(down, self.attention, strict=True), *zip(self.widths, self.attention, strict=True)]
        return tuple(width for width, kind in [*levels, (self.widths[-1], self.middle_attention)] if kind != "none")

    @property
    def embedding(self) -> int:
        """Width of the time (and class) embedding."""
        return 4 * self.width

    @property
    def multiple(self) -> int:
        """Height and width of an input must be multiples of this."""
        return self.patch * 2 ** (len(self.multipliers) - 1)


def typed_settings(kind: type, settings: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values as arguments of a U-Net's config; InputError for a setting it does not know or of another type."""
    hints = {field.name: field.type for field in fields(kind)}
    if unknown := set(settings) - set(hints):
        raise InputError(f"a U-Net has no settings {sorted(unknown)}; the file is of another version.")
    return {name: _typed(name, hints[name], value) for name, value in settings.items()}


def _typed(name: str, hint: Any, value: Any) -> Any:
    # JSON from strangers: tuples come as lists, and anything may come as anything
    match get_origin(hint):
        case None if type(value) is hint or (hint is float and type(value) is int):
            return hint(value)
        case types.UnionType if value is None or type(value) is int:
            return value
        case typing.Literal if value in get_args(hint):
            return value
        case builtins.tuple if isinstance(value, list | tuple):
            return tuple(_typed(name, get_args(hint)[0], item) for item in value)
    raise InputError(f"{name} of a U-Net cannot be {value!r}; {hint} is needed.")


def diffusionerf_paper() -> UNetConfig:
    """DiffusioNeRF's RGBD patch network (arXiv 2302.12231; spec 1.1): 4x48x48 or 4x24x24, the integer step as time."""
    return UNetConfig()


def patch_prior_small() -> UNetConfig:
    """The shipped RGBD patch prior for 48x48."""
    return UNetConfig(
        width=32, multipliers=(1, 2, 4, 6), attention=("none", "none", "full", "full"), middle_attention="full",
        stem_kernel=3, patch=2,
    )  # fmt: skip


def ivid_large(*, in_channels: int = 4) -> UNetConfig:
    """IVID's ImageNet network at 128x128 (arXiv 2303.17905; spec section 7); 10 input channels: the completing one."""
    return _ivid(in_channels, width=256, classes=1000)


def ivid_single_category(*, in_channels: int = 4) -> UNetConfig:
    """IVID's network for one category at 128x128 (spec section 7); 10 input channels: the completing one."""
    return _ivid(in_channels, width=128, classes=0)


def ivid_upsampler(*, classes: int = 0) -> UNetConfig:
    """IVID's RGBD super-resolution network, 128 to 256 (spec sections 7 and 10): noisy, then small image."""
    return _ivid(8, width=128, classes=classes)


def _ivid(in_channels: int, width: int, classes: int) -> UNetConfig:
    return UNetConfig(
        in_channels=in_channels, style="adm", width=width, multipliers=(1, 1, 2, 3, 4),
        attention=("none", "none", "full", "full", "full"), middle_attention="full", heads=None, head_width=64,
        groups=32, weight_standardised=False, stem_kernel=3, classes=classes, full_precision_ends=False,
    )  # fmt: skip
