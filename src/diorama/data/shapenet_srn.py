"""ShapeNet as Scene Representation Networks lay it out: a folder per object with rgb/, pose/ and intrinsics.txt.

    OBJECT/rgb/000000.png     square renders on white
    OBJECT/pose/000000.txt    camera-to-world, 4x4 (on four lines or one), OpenCV axes
    OBJECT/intrinsics.txt     f cx cy (0) | barycentre x y z | near plane, in some files | scale | height width | flag

The flag is absent in the published files; 1 says that poses are world-to-camera (DeepVoxels, whose file this is). The
principal point of 64 in pictures of 128 pixels is taken for their very middle: (0, 0) is the corner, as here.
Sources: github.com/vsitzmann/scene-representation-networks, github.com/vsitzmann/deepvoxels, README.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from diorama.data.images import list_images
from diorama.data.listing import Listing
from diorama.data.numbers import parse_numbers, read_matrix, read_text, require_finite
from diorama.data.posed import pinhole_shot
from diorama.data.views import Frame, Views
from diorama.errors import CameraError, InputError

INTRINSICS = "intrinsics.txt"


@dataclass(frozen=True)
class SrnIntrinsics:
    """What intrinsics.txt says that counts. matrix: K in pixels of pictures of `size` (width, height)."""

    matrix: Float[np.ndarray, "3 3"]
    size: tuple[float, float]
    world_to_camera: bool = False


def matches(path: Path) -> bool:
    """True for the folder of one object: intrinsics.txt beside pose/ and rgb/."""
    return (path / INTRINSICS).is_file() and all((path / folder).is_dir() for folder in ("pose", "rgb"))


def read(path: Path, *, max_side: int | None = None) -> Views:
    """The pictures of one object with their cameras, in the object's own frame; colour as rendered, on white.

    Pictures and poses go together by name; those without a partner are left out and said. Errors: InputError where a
    file is cut or nothing goes together, CameraError where a pose is no rotation.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path) -> Listing:
    """The pictures of one object with their cameras; see `read`."""
    intrinsics = read_intrinsics(path / INTRINSICS)
    photos = {file.stem: file for file in list_images(path / "rgb")}
    poses = {file.stem: file for file in (path / "pose").glob("*.txt")}
    shared = sorted(set(photos) & set(poses))
    if not shared:
        raise InputError(
            f"{path}: {len(photos)} pictures in rgb/ and {len(poses)} poses in pose/, but none share a name. "
            "A picture rgb/000000.png needs pose/000000.txt."
        )
    alone = len(set(photos) ^ set(poses))
    shots = []
    for name in shared:
        matrix = read_matrix(poses[name], 4, 4)
        require_finite(matrix, str(poses[name]))
        pose = _inverse(matrix, poses[name]) if intrinsics.world_to_camera else matrix
        shots.append(pinhole_shot(photos[name].name, photos[name], pose, intrinsics.matrix, size=intrinsics.size))
    return Listing(
        tuple(shots),
        layout="shapenet_srn",
        source=path,
        frame=Frame("ShapeNet-SRN pose files"),
        skipped=(f"{alone} pictures or poses have no partner of their name",) if alone else (),
    )


def read_intrinsics(file: Path) -> SrnIntrinsics:
    """An intrinsics.txt; InputError where its first row is no camera or its size is missing."""
    rows = [line.split() for line in read_text(file).splitlines() if line.strip()]
    flag = rows.pop() if len(rows) > 2 and len(rows[-1]) == 1 and len(rows[-2]) == 2 else ["0"]
    if len(rows) < 2 or len(rows[0]) not in (3, 4) or len(rows[-1]) != 2:
        raise InputError(
            f"{file}: {len(rows)} rows of {[len(row) for row in rows]} numbers. Needed: f cx cy first, height width "
            "last. Is the file whole, and of ShapeNet-SRN?"
        )
    focal, across, down = parse_numbers(rows[0][:3], str(file))
    height, width = parse_numbers(rows[-1], str(file))
    numbers = np.array([focal, across, down, height, width, *parse_numbers(flag, str(file))])
    require_finite(numbers, str(file))
    if min(focal, height, width) <= 0:
        raise InputError(f"{file}: focal length {focal:g} and size {width:g} x {height:g}; all must be above zero.")
    matrix = np.array([[focal, 0.0, across], [0.0, focal, down], [0.0, 0.0, 1.0]])
    return SrnIntrinsics(matrix, (width, height), bool(numbers[-1]))


def _inverse(matrix: Float[np.ndarray, "4 4"], file: Path) -> Float[np.ndarray, "4 4"]:
    try:
        return np.linalg.inv(matrix)
    except np.linalg.LinAlgError as error:
        raise CameraError(f"{file}: a singular matrix, no camera has it. Correct it or remove the picture.") from error
