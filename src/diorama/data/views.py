"""Views: photographs and their cameras, the only thing that readers make and systems take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.errors import ViewsError


@dataclass(frozen=True)
class Frame:
    """The coordinate frame in which the user gave the cameras; every export goes back into it."""

    name: str = "world"
    """Whose numbers these are, in words: `nerfstudio transforms.json`, `LLFF poses_bounds.npy`, `COLMAP model`."""
    units: str = "arbitrary"
    """`metres`, `millimetres`, or `arbitrary` where the scale means nothing."""


@dataclass(frozen=True)
class Views:
    """Photographs of one scene.

    images: straight (not premultiplied) colour in [0, 1]. Photos of different sizes are padded at the right and the
    bottom; `cameras.size` (or `sizes` without cameras) tells the true size and padding counts as ignored.
    ignore: True where a pixel must not be used. object: soft coverage in [0, 1] of the object of interest.
    depth: planar, user units, 0 where unknown. points: sparse surface points in the user's frame.
    bounds: near and far per view in user units, where the format states them. splits: the split the data set ships,
    by names (`train`, `test`, ...; `train_order` where a protocol fixes the order in which training photos are added).
    skipped: what the reader left out and why, one line each.
    """

    images: Float[Tensor, "view c h w"]
    names: tuple[str, ...]
    cameras: Cameras | None = None
    ignore: Bool[Tensor, "view h w"] | None = None
    object: Float[Tensor, "view h w"] | None = None
    depth: Float[Tensor, "view h w"] | None = None
    points: Float[Tensor, "point xyz=3"] | None = None
    bounds: Float[Tensor, "view 2"] | None = None
    frame: Frame = field(default_factory=Frame)
    source: Path | None = None
    layout: str = "memory"
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    focal_hints: Float[Tensor, "view"] | None = None
    """Focal length in pixels from EXIF, NaN where unknown; only for photos without cameras."""
    sizes: Int[Tensor, "view wh=2"] | None = None
    """True (width, height) of photos without cameras that were padded; None where every photo fills the frame."""

    def __post_init__(self) -> None:
        counts = {"names": len(self.names)}
        for name in ("cameras", "ignore", "object", "depth", "bounds", "focal_hints", "sizes"):
            value = getattr(self, name)
            if value is not None:
                counts[name] = len(value)
        wrong = {name: count for name, count in counts.items() if count != len(self.images)}
        if wrong:
            raise ViewsError(f"{len(self.images)} images but {wrong}. Every image needs exactly one of each.")

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Sequence[int] | slice | Tensor) -> "Views":
        """A subset of the views (always a batch: index with a list, a slice or a tensor of indices)."""
        chosen = (
            torch.arange(len(self))[index] if isinstance(index, slice) else torch.as_tensor(index, dtype=torch.long)
        )
        per_view = ("images", "cameras", "ignore", "object", "depth", "bounds", "focal_hints", "sizes")
        kept = {k: getattr(self, k)[chosen] for k in per_view if getattr(self, k) is not None}
        return replace(self, names=tuple(self.names[i] for i in chosen.tolist()), **kept)

    @property
    def true_sizes(self) -> Int[Tensor, "view wh=2"]:
        """(width, height) of each photo without its padding."""
        if self.cameras is not None:
            return self.cameras.size
        if self.sizes is not None:
            return self.sizes
        return torch.tensor([[self.images.shape[3], self.images.shape[2]]]).expand(len(self), 2)

    def describe(self) -> str:
        """What was read, in one line: count, size, layout, what belongs to the photos, and how many were left out."""
        width, height = self.true_sizes.amax(0).tolist()
        sizes = f"{width}x{height}" + ("" if bool((self.true_sizes == self.true_sizes[0]).all()) else " and smaller")
        extras = [name for name in ("ignore", "object", "depth", "points", "bounds") if getattr(self, name) is not None]
        lens = "without cameras" if self.cameras is None else f"{self.cameras.lens} cameras"
        text = f"{len(self)} photos of {sizes}, {lens}, layout {self.layout}"
        text += f", with {', '.join(extras)}" if extras else ""
        return text + (f"; {len(self.skipped)} remarks, the first: {self.skipped[0]}" if self.skipped else "")

    def index_of(self, names: Sequence[str]) -> list[int]:
        """Positions of views by name."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise ViewsError(f"no view is called {missing[:3]}; there are {list(self.names[:3])} ... Check the split.")
        return [self.names.index(name) for name in names]
