"""NeRF-synthetic scenes: transforms_{train,val,test}.json and RGBA renders.

Source: NeRF (arXiv 2003.08934), blender data. One camera_angle_x for all, OpenGL camera-to-world matrices.
"""

from pathlib import Path

from diorama.cameras.camera_file import load_json
from diorama.data.listing import Listing
from diorama.data.transforms import frames_of, named_shots
from diorama.data.views import Frame, Views

ROLES = ("train", "val", "test")


def matches(path: Path) -> bool:
    """True for a folder that holds transforms_train.json or transforms_test.json."""
    return any((path / f"transforms_{role}.json").is_file() for role in ("train", "test"))


def read(path: Path, *, max_side: int | None = None) -> Views:
    """All views of the scene, with straight colour, alpha as `object` coverage, and the split it ships.

    Names are `train/r_0.png` and so on. To read one part alone, open that part's JSON file: transforms_train.json.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path) -> Listing:
    """The photos of all parts with their cameras; see `read`."""
    entries, roles = [], []
    for role in ROLES:
        file = path / f"transforms_{role}.json"
        if file.is_file():
            content = load_json(file)
            part = [{**content, **entry} for entry in frames_of(content, file)]
            entries += part
            roles += [role] * len(part)
    names, shots, skipped = named_shots(entries, path)
    splits = {role: tuple(n for n, r in zip(names, roles, strict=True) if r == role) for role in dict.fromkeys(roles)}
    return Listing(
        tuple(shots),
        layout="blender",
        source=path,
        frame=Frame("NeRF-synthetic transforms"),
        skipped=tuple(skipped),
        splits=splits,
    )
