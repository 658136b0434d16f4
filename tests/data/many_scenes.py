"""Tiny made-up data sets of many scenes, as their authors lay them out."""

from pathlib import Path

import numpy as np
import torch

from diorama.data.colmap import write_colmap_text
from diorama.data.images import write_png
from tests.data.made_up import POSES, SIZE, K, photo
from tests.data.tiny import paint, ring

RELATIVE = np.array([K[0, 0] / SIZE[0], K[1, 1] / SIZE[1], K[0, 2] / SIZE[0], K[1, 2] / SIZE[1]])
"""Focal lengths and principal point of K as shares of width and height."""

TIMES = (52553000, 52586000, 52619000)
"""Microseconds."""


def srn_object(folder: Path, intrinsics="20 12 8 0\n0. 0. 0.\n1.\n16 24\n", poses=None):
    """One object of ShapeNet-SRN: three renders, camera-to-world matrices on four lines or one."""
    (folder / "pose").mkdir(parents=True)
    for index, matrix in enumerate(POSES if poses is None else poses):
        photo(folder / "rgb" / f"{index:06d}.png", index)
        rows = [" ".join(f"{value:.9f}" for value in row) for row in matrix]
        (folder / "pose" / f"{index:06d}.txt").write_text((" " if index == 0 else "\n").join(rows) + "\n")
    (folder / "intrinsics.txt").write_text(intrinsics)
    return folder


def mvimgnet_instance(folder: Path, count=4, masks=False):
    """One video of MVImgNet: photos, a model in sparse/0 and, as in MVImgNet2, masks."""
    names = [f"{index + 1:03d}.jpg" for index in range(count)]
    cameras = ring(count)
    for index, name in enumerate(names):
        paint(folder / "images" / name, 24, 16, seed=index)
        if masks:
            (folder / "masks").mkdir(exist_ok=True)
            write_png(folder / "masks" / f"{name}.png", torch.full((16, 24), 0.4))
    write_colmap_text(folder / "sparse/0", cameras, names, torch.rand(5, 3))
    return cameras


def realestate_clip(text: Path, frames: Path, times=TIMES, unit=1, suffix=".png"):
    """One clip of RealEstate10K: world-to-camera rows with relative intrinsics, and frames named by their time."""
    rows = ["https://www.youtube.com/watch?v=a-film"]
    for index, (time, matrix) in enumerate(zip(times, POSES, strict=True)):
        photo(frames / f"{time // unit}{suffix}", index)
        numbers = [*RELATIVE, 0.0, 0.0, *np.linalg.inv(matrix)[:3].ravel()]
        rows.append(f"{time} " + " ".join(f"{number:.9f}" for number in numbers))
    text.parent.mkdir(parents=True, exist_ok=True)
    text.write_text("\n".join(rows) + "\n")
    return text
