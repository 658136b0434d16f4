"""How the views of a sampled scene came out of the noise: small pictures after every step, beside it on disk."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diorama.cameras.pinhole import Cameras
from diorama.data.tensors import load_tensors, save_tensors
from diorama.errors import InputError
from diorama.files import whole_folder
from diorama.scenes.scene import Scene
from diorama.scenes.storage import camera_tensors, save_scene

FILE = "denoising.safetensors"
"""In the folder of the scene."""


@dataclass(frozen=True)
class Denoising:
    """Views that were denoised together, as the model had them after every step.

    cameras: where they stand, user frame. pictures: of the model's size, in 8 bits.
    """

    cameras: Cameras
    pictures: UInt8[Tensor, "step view 3 h w"]

    @staticmethod
    def of(cameras: Cameras, steps: Sequence[Float[Tensor, "view 3 h w"]]) -> "Denoising":
        """Pictures in [0, 1], a batch for every step."""
        levels = [(images.clamp(0.0, 1.0) * 255.0 + 0.5).to("cpu", torch.uint8) for images in steps]
        return Denoising(cameras, torch.stack(levels))

    def __len__(self) -> int:
        return len(self.pictures)

    def images(self, step: int) -> Float[Tensor, "view 3 h w"]:
        """The pictures after a step (from 0), in [0, 1]."""
        return self.pictures[step].float() / 255.0


def save_with_denoising(scene: Scene, denoising: Denoising, path: Path) -> None:
    """Write a scene folder that holds its denoising too, whole or not at all; see `storage.save_scene`."""
    with whole_folder(path) as folder:
        save_scene(scene, folder, force=True)
        tensors = camera_tensors(denoising.cameras) | {"pictures": denoising.pictures}
        save_tensors(folder / FILE, tensors, {"lens": denoising.cameras.lens})


def load_denoising(folder: Path) -> Denoising | None:
    """What lies in a scene folder; None where nothing was kept. InputError where it is damaged."""
    file = folder / FILE
    if not file.is_file():
        return None
    tensors, meta = load_tensors(file)
    try:
        pictures = tensors.pop("pictures")
        if pictures.dtype != torch.uint8 or pictures.dim() != 5 or not len(pictures):
            raise ValueError(f"pictures of {pictures.dtype}, {tuple(pictures.shape)}")
        return Denoising(Cameras(lens=meta["lens"], **tensors), pictures)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is damaged ({error}). Delete it: the scene does not need it.") from error
