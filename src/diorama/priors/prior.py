"""Prior: anything that knows what scenes look like, as a loss on rendered patches and as a folder on disk.

The folder holds `config.json` (which kind, which settings) and `model.safetensors` (the weights). Nothing in it is ever
executed: the kind is looked up among the classes below, and safetensors holds numbers only.
"""

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from diorama.errors import InputError, OutputError

FORMAT = 1
"""Version of the folder; a newer one is refused."""

_LARGEST_CONFIG = 1 << 20


class Prior(nn.Module, ABC):
    """An opinion about scenes. Subclasses are final and listed in `_build`."""

    kind: str
    """The word by which `config.json` names the class."""

    @abstractmethod
    def patch_loss(
        self,
        colour: Float[Tensor, "patch 3 h w"],
        depth: Float[Tensor, "patch h w"],
        progress: float,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """How unlikely rendered patches are; its gradient pulls the scene towards what the prior knows.

        colour in [0, 1]; depth planar, in the metre-like units of the normalised frame; progress: the share of the
        fit that is done, in [0, 1]. The weight of the term is the caller's.
        """

    def settings(self) -> dict[str, Any]:
        """What `config.json` must say to build this prior again, weights aside."""
        return {}

    @staticmethod
    def from_pretrained(path: Path | str) -> "Prior":
        """Read a prior's folder. InputError if it is none, is newer than this version, or does not fit its weights."""
        folder = Path(path)
        config = _read_config(folder)
        prior = _build(config, folder)
        weights = folder / "model.safetensors"
        try:
            prior.load_state_dict(load_file(weights) if weights.exists() else {})
        except Exception as error:
            raise InputError(
                f"{weights} does not fit config.json beside it ({str(error).splitlines()[0]}). "
                "Download or copy the whole folder again."
            ) from error
        return prior.eval()

    def save_pretrained(self, path: Path | str) -> None:
        """Write the folder. OutputError if it exists already."""
        folder = Path(path)
        if folder.exists():
            raise OutputError(f"{folder} exists already. Choose another name, or remove it first.")
        folder.mkdir(parents=True)
        text = json.dumps({"format": FORMAT, "kind": self.kind, "settings": self.settings()}, indent=2)
        (folder / "config.json").write_text(text + "\n", encoding="utf-8")
        weights = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(weights, folder / "model.safetensors")


class NullPrior(Prior):
    """No opinion: the fit without a learned prior."""

    kind = "null"

    def patch_loss(
        self,
        colour: Float[Tensor, "patch 3 h w"],
        depth: Float[Tensor, "patch h w"],
        progress: float,
        generator: torch.Generator,
    ) -> Float[Tensor, ""]:
        """Zero, whatever the patches."""
        del depth, progress, generator
        return colour.new_zeros(())


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise InputError(f"{folder} holds no prior: config.json is missing. Give the folder that contains it.")
    if path.stat().st_size > _LARGEST_CONFIG:
        raise InputError(f"{path} is larger than {_LARGEST_CONFIG} bytes, which no prior's settings are.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}). Download or copy the folder again.") from error
    if not isinstance(config, dict) or not isinstance(config.get("format"), int):
        raise InputError(f"{path} is not the description of a prior: it states no format version.")
    if config["format"] > FORMAT:
        raise InputError(
            f"{path} has format {config['format']}, this diorama reads up to {FORMAT}. Install a newer diorama."
        )
    return config


def _build(config: dict[str, Any], folder: Path) -> Prior:
    match config.get("kind"):
        case NullPrior.kind:
            return NullPrior()
        case other:
            raise InputError(f"{folder} holds a prior of kind {other!r}; this diorama knows: {NullPrior.kind}.")
