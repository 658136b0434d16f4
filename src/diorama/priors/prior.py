"""Prior: anything that knows what small pictures with depth look like, as a score and as a folder on disk.

The folder is one of `nets.pretrained`: config.json names the kind, its settings and what its patches mean,
model.safetensors holds the weights. Nothing in it is ever executed: the kind is looked up among the classes of this
room. The field that is fitted never sees a network: it renders a patch in the prior's encoding and is handed a score.
"""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diorama.cameras.patches import STANDARD_WINDOW, PatchWindow
from diorama.data.rgbd_coding import DEPTH_FLOOR
from diorama.errors import InputError
from diorama.nets.pretrained import assign_strict, read_pretrained, save_pretrained
from diorama.priors.levels import STEPS

LARGEST_PATCH = 512
"""Pixels a side; a file that asks for more is refused."""


@dataclass(frozen=True)
class PatchEncoding:
    """What the numbers of a patch mean; both sides, training and fit, read it."""

    channels: Literal["rgbd"] = "rgbd"
    """(2 colour - 1, 2 disparity - 1): `data.rgbd_coding`."""
    window: PatchWindow = STANDARD_WINDOW
    """Size in pixels, and the angle they span."""
    depth_floor: float = DEPTH_FLOOR
    """Metres at which disparity is 1."""
    depth: Literal["planar"] = "planar"
    """Along the optical axis, not along the ray."""
    metric: bool = True
    """Depth is in metres; a scene of arbitrary scale must be brought near them first."""
    median_depth: float = 3.0
    """Median depth (metres) of the patches that the prior was made from: is a scene's scale near it?"""
    colour_space: Literal["display"] = "display"
    """Gamma-coded, as photos are stored; in [0, 1] before the coding."""
    steps: int = STEPS
    """Levels are steps of the discrete cosine schedule of this length."""
    levels: tuple[int, int] = (0, 999)
    """First and last level at which the score means something."""

    def require(self, patch: Float[Tensor, "batch c h w"], level: int) -> None:
        """ValueError where a patch has another shape, or the level lies outside the valid ones."""
        wanted = (4, self.window.size, self.window.size)
        if tuple(patch.shape[1:]) != wanted:
            raise ValueError(f"a patch of {tuple(patch.shape[1:])}; this prior knows patches of {wanted}.")
        if not self.levels[0] <= level <= self.levels[1]:
            raise ValueError(f"level {level}; this prior is valid from {self.levels[0]} to {self.levels[1]}.")


class Prior(nn.Module, ABC):
    """An opinion about patches. Subclasses are final and listed in `_build`."""

    kind: str
    """The word by which `config.json` names the class."""
    diffuses: bool = True
    """Whether its score at a level is that of patches with noise of this level."""
    encoding: PatchEncoding

    @abstractmethod
    def score(self, patch: Float[Tensor, "batch c h w"], level: int) -> Float[Tensor, "batch c h w"]:
        """The gradient of the log-density of patches with noise of a level, at these patches; float32, no graph.

        patch: in the prior's encoding, taken as if it were a noisy patch of that level (spec of DiffusioNeRF, 2.2).
        Points to where patches are likelier. ValueError where shape or level are not the encoding's.
        """

    def settings(self) -> dict[str, Any]:
        """What `config.json` must say to build this prior again, weights and encoding aside."""
        return {}

    @property
    def checksum(self) -> str:
        """SHA-256 over kind, settings, encoding and weights: what a scene notes about the prior it was made with."""
        described = {"kind": self.kind, "settings": self.settings(), "encoding": asdict(self.encoding)}
        digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    @staticmethod
    def from_pretrained(place: Path | str) -> "Prior":
        """A prior from its folder, or from the name of one that is shipped inside the package; ready to be asked.

        Weights are computed with in float32, however they are stored. InputError if there is none, if it is newer than
        this version, a pickle, damaged, or does not fit its weights.
        """
        found = read_pretrained(place, KINDS)
        try:
            with torch.device("meta"):
                prior = _build(found.kind, found.settings)
        except (TypeError, ValueError, KeyError) as error:
            raise InputError(
                f"{found.folder / 'config.json'} cannot be understood ({error}). Copy the whole folder again."
            ) from error
        assign_strict(prior, found.tensors(), found.weights)
        return prior.frozen()

    def frozen(self) -> "Prior":
        """This prior in evaluation mode, without gradients for its weights."""
        return self.eval().requires_grad_(False)

    def save_pretrained(
        self, folder: Path | str, *, card: str = "", licence: str | None = None, half: bool = False, force: bool = False
    ) -> Path:
        """Write the folder, whole or not at all; see `nets.pretrained.save_pretrained`."""
        settings = {**self.settings(), "encoding": asdict(self.encoding)}
        return save_pretrained(
            folder, self.kind, settings, self.state_dict(), card=card, licence=licence, half=half, force=force
        )


class NullPrior(Prior):
    """No opinion: the fit without a prior, in which no patch is drawn at all."""

    kind = "null"

    def __init__(self, encoding: PatchEncoding | None = None) -> None:
        super().__init__()
        self.encoding = encoding or PatchEncoding()

    def score(self, patch: Float[Tensor, "batch c h w"], level: int) -> Float[Tensor, "batch c h w"]:
        """Zero, whatever the patches."""
        self.encoding.require(patch, level)
        return torch.zeros_like(patch, dtype=torch.float32)


KINDS = (NullPrior.kind, "gaussian", "total-variation", "rgbd-patch")
"""The kinds of this room; no others are read."""


def _build(kind: str, settings: Mapping[str, Any]) -> Prior:
    """The prior of a description, with weights yet to come."""
    from diorama.priors.gaussian import GaussianPrior
    from diorama.priors.rgbd_patch import RgbdPatchPrior
    from diorama.priors.total_variation import TotalVariationPrior

    own = {name: value for name, value in settings.items() if name != "encoding"}
    encoding = encoding_of(settings.get("encoding"))
    match kind:
        case GaussianPrior.kind:
            return GaussianPrior.empty(encoding)
        case TotalVariationPrior.kind:
            return TotalVariationPrior.from_settings(own, encoding)
        case RgbdPatchPrior.kind:
            return RgbdPatchPrior.from_settings(own, encoding)
        case _:
            return NullPrior(encoding)


def encoding_of(described: object) -> PatchEncoding:
    """The encoding that `dataclasses.asdict` described; ValueError for what this version does not know."""
    if not isinstance(described, Mapping):
        raise ValueError("it does not say what the numbers of a patch mean (`encoding`)")
    parts = _known(described, PatchEncoding())
    parts["window"] = PatchWindow(**_known(parts["window"], PatchWindow()))
    parts["levels"] = tuple(int(level) for level in parts["levels"])
    encoding = PatchEncoding(**parts)
    window, levels = encoding.window, encoding.levels
    if (encoding.channels, encoding.depth, encoding.colour_space) != ("rgbd", "planar", "display"):
        raise ValueError("this version reads rgbd patches of planar depth and display colour alone")
    lengths = (window.focal, encoding.depth_floor, encoding.median_depth)
    if not (1 <= window.size <= LARGEST_PATCH and all(0 < length < math.inf for length in lengths)):
        raise ValueError(f"patches of {window.size} pixels; focal length, floor and median depth {lengths}")
    if not (len(levels) == 2 and 0 <= levels[0] <= levels[1] < encoding.steps <= 1_000_000):
        raise ValueError(f"levels {levels} of {encoding.steps}")
    return encoding


def _known(described: Any, default: Any) -> dict[str, Any]:
    """The fields of a dataclass from a mapping that has all of them and no others, each of its default's type."""
    names = {field.name for field in fields(default)}
    if not isinstance(described, Mapping) or set(described) != names:
        raise ValueError(f"{type(default).__name__} has the fields {sorted(names)}")
    for name in names:
        found, wanted = described[name], type(getattr(default, name))
        plain = {PatchWindow: Mapping, tuple: list | tuple, float: int | float}.get(wanted, wanted)
        if not isinstance(found, plain) or (isinstance(found, bool) and wanted is not bool):
            raise ValueError(f"{type(default).__name__}.{name} cannot be {found!r}")
    return {name: float(value) if type(getattr(default, name)) is float else value for name, value in described.items()}
