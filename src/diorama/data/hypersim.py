"""Hypersim: photorealistic interiors with depth, one HDF5 file per picture.

    SCENE/images/scene_cam_XX_final_hdf5/frame.IIII.color.hdf5             linear light, (h, w, 3)
    SCENE/images/scene_cam_XX_geometry_hdf5/frame.IIII.depth_meters.hdf5   metres from the camera's centre, (h, w)

Each file holds one array, `dataset`. Depth is the distance along the ray, NaN where nothing was hit. h5py is the extra
`data`; nothing here is imported before it is needed. Source: github.com/apple/ml-hypersim.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diorama.data.images import MAX_PIXELS
from diorama.errors import InputError, MissingExtraError

DATASET = "dataset"

FIELD_OF_VIEW = torch.pi / 3
"""Radians across the width; scenes whose camera was changed say so in a table that is not read here."""

DISPLAY_GAMMA = 1.0 / 2.2
BRIGHT_PERCENTILE, BRIGHT_VALUE = 90.0, 0.8
"""Exposure: this percentile of the brightness is shown at this value, as the authors' own previews do."""


@dataclass(frozen=True)
class HypersimFrames:
    """The frames below a folder (one scene or many), read one at a time."""

    depth_files: tuple[Path, ...]

    @staticmethod
    def find(path: Path) -> "HypersimFrames":
        """All frames that have both files; InputError where there are none."""
        found = sorted(path.glob("**/images/scene_cam_*_geometry_hdf5/frame.*.depth_meters.hdf5"))
        whole = tuple(file for file in found if _colour_file(file).is_file())
        if not whole:
            raise InputError(
                f"{path}: {len(found)} Hypersim depth files, none with its colour. Needed beside each "
                "scene_cam_XX_geometry_hdf5 is scene_cam_XX_final_hdf5 with frame.IIII.color.hdf5."
            )
        return HypersimFrames(whole)

    def __len__(self) -> int:
        return len(self.depth_files)

    def read(self, index: int) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "h w"], Float[Tensor, "xy=2"]]:
        """Display colour in [0, 1], planar depth in metres (0 where unknown), and the focal length in pixels."""
        file = self.depth_files[index]
        distance = read_array(file, 2)
        colour = read_array(_colour_file(file), 3)
        if colour.shape != (*distance.shape, 3):
            raise InputError(
                f"{_colour_file(file)}: {colour.shape}, but its depth has {distance.shape}. Copy both again."
            )
        focal = torch.full((2,), 0.5 * distance.shape[1] / float(np.tan(0.5 * FIELD_OF_VIEW)))
        planar = planar_depth(torch.from_numpy(distance), focal)
        planar = torch.where(torch.isfinite(planar) & (planar > 0), planar, torch.zeros_like(planar))
        return tone_mapped(torch.from_numpy(colour).permute(2, 0, 1)), planar, focal


def matches(path: Path) -> bool:
    """True for a Hypersim scene folder, or a folder of such."""
    pattern = "images/scene_cam_*_geometry_hdf5"
    return path.is_dir() and (any(path.glob(pattern)) or any(path.glob(f"*/{pattern}")))


def planar_depth(distance: Float[Tensor, "h w"], focal: Float[Tensor, "xy=2"]) -> Float[Tensor, "h w"]:
    """Distance along the ray -> distance along the optical axis, for a pinhole whose axis is the picture's middle."""
    height, width = distance.shape
    x = (torch.arange(width) + 0.5 - 0.5 * width) / focal[0]
    y = (torch.arange(height) + 0.5 - 0.5 * height) / focal[1]
    return distance / torch.sqrt(1.0 + x.square()[None] + y.square()[:, None])


def tone_mapped(linear: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    """Linear light as display colour in [0, 1], exposed by its own 90th percentile of brightness."""
    light = torch.nan_to_num(linear, nan=0.0, posinf=0.0, neginf=0.0).clamp_min(0.0)
    grey = (torch.tensor([0.3, 0.59, 0.11]) @ light.reshape(3, -1)).numpy()
    bright = float(np.percentile(grey, BRIGHT_PERCENTILE))
    gain = BRIGHT_VALUE ** (1.0 / DISPLAY_GAMMA) / max(bright, 1e-6)
    return (gain * light).pow(DISPLAY_GAMMA).clamp(0.0, 1.0)


def read_array(path: Path, axes: int) -> Float[np.ndarray, "..."]:
    """The one array of a Hypersim file as float32.

    InputError where the file is cut, holds something else, or points outside itself (links, virtual or external
    storage), which data never needs.
    """
    h5py = _h5py()
    try:
        with h5py.File(path, "r") as file:
            link = file.get(DATASET, getlink=True)
            found: Any = file[DATASET] if isinstance(link, h5py.HardLink) else None
            if not isinstance(found, h5py.Dataset) or found.external or found.is_virtual:
                raise InputError(f"{path}: no array {DATASET!r} of its own. Download the file again.")
            if found.ndim != axes or found.size > 4 * MAX_PIXELS or found.dtype.kind != "f":
                raise InputError(
                    f"{path}: {found.dtype} of {found.shape}; needed are floats with {axes} axes. Is it the right file?"
                )
            return np.asarray(found[()], dtype=np.float32)
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: not a whole HDF5 file ({error}). Download it again.") from error


def _colour_file(depth_file: Path) -> Path:
    folder = depth_file.parent.name.replace("_geometry_hdf5", "_final_hdf5")
    return depth_file.parent.parent / folder / depth_file.name.replace(".depth_meters.", ".color.")


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError('Hypersim\'s HDF5 files need h5py: pip install "diorama[data]"') from error
    return h5py
