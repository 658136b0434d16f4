"""MVImgNet and MVImgNet2: a folder per video with images/, a COLMAP model in sparse/0 and, where loaded, masks/.

    CLASS/INSTANCE/images/001.jpg
    CLASS/INSTANCE/sparse/0/cameras.bin, images.bin, points3D.bin
    CLASS/INSTANCE/masks/001.jpg.png    white on the object (MVImgNet2; optional)

Sources: README of github.com/GAP-LAB-CUHK-SZ/MVImgNet and of github.com/luyues/MVImgNet2.0.
"""

from dataclasses import replace
from pathlib import Path

from diorama.data import colmap
from diorama.data.listing import Listing
from diorama.data.shots import Shot

MASKS = "masks"


def matches(path: Path) -> bool:
    """True for the folder of one video; looks at three names only, because there are hundreds of thousands of them.

    A folder with a transforms.json as well is another program's.
    """
    return (path / "sparse" / "0").is_dir() and (path / "images").is_dir() and not (path / "transforms.json").is_file()


def listed(path: Path) -> Listing:
    """The photos of one video with their cameras and masks, without the points; errors as those of `colmap.read`."""
    listing = colmap.listed(path, with_points=False)
    if (path / MASKS).is_dir():
        listing = replace(listing, shots=tuple(_masked(shot, path / MASKS) for shot in listing.shots))
    return replace(listing, layout="mvimgnet")


def _masked(shot: Shot, masks: Path) -> Shot:
    names = (f"{shot.path.name}.png", f"{shot.path.stem}.png")
    return replace(shot, object_mask=next((masks / name for name in names if (masks / name).is_file()), None))
