"""CO3D: turntable-like videos of objects, cameras in PyTorch3D's convention (x left, y up, row vectors, NDC focal).

Two layouts: a folder with `gt_cameras.npz` (gtR, gtT, gtFL) beside `images/`, and CO3Dv2, where a category folder holds
`frame_annotations.jgz`, `set_lists/*.json` and a folder per sequence with images, masks, depths and depth masks.
Sources: pytorch3d/implicitron/dataset/types.py for the annotation fields; github.com/facebookresearch/co3d.
"""

import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from diorama.cameras.convert import NdcScale, from_pytorch3d
from diorama.data.images import list_images, read_depth, read_mask
from diorama.data.listing import Listing
from diorama.data.numbers import read_npz, read_text
from diorama.data.posed import pinhole_shot, stored_size
from diorama.data.shots import Shot
from diorama.data.views import Frame, Views
from diorama.errors import InputError

ARCHIVE = "gt_cameras.npz"
ANNOTATIONS = "frame_annotations.jgz"

MAX_ANNOTATION_BYTES = 1 << 30
"""Unpacked size of the largest annotation file that is read (the real ones stay below 400 MB)."""

NDC_SCALES: Mapping[str, NdcScale] = {"ndc_isotropic": "shorter side", "ndc_norm_image_bounds": "each side"}
"""`intrinsics_format` of an annotation -> what one unit of NDC spans."""


def matches(path: Path) -> bool:
    """True for a folder with the camera archive, a CO3Dv2 category folder, or a sequence folder inside one."""
    return (path / ARCHIVE).is_file() or (path / ANNOTATIONS).is_file() or _is_sequence(path)


def read(path: Path, *, max_side: int | None = None) -> Views:
    """One CO3D sequence; a category folder is accepted where it holds a single sequence.

    Errors: InputError where counts differ, annotations are cut, or the sequence must be chosen.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path) -> Listing:
    """The photos of one sequence with their cameras; see `read`."""
    if (path / ARCHIVE).is_file():
        return _list_archive(path)
    path = path.absolute()
    category = path if (path / ANNOTATIONS).is_file() else path.parent
    frames = _chosen_frames(category / ANNOTATIONS, None if category == path else path.name)
    listing = _list_frames(category, frames)
    there = [shot.name for shot in listing.shots if shot.path.is_file()]
    return replace(listing, splits=_shipped_split(category, str(frames[0]["sequence_name"]), there))


@dataclass(frozen=True)
class Sequences:
    """The sequences below a folder of CO3Dv2, each listed when it is asked for.

    The annotations of a category are one file, which may take seconds to read: it is read once, and kept packed (about
    200 bytes a frame). root: the folder above the categories.
    """

    root: Path
    packed: dict[str, dict[str, bytes]] = field(default_factory=dict, repr=False, compare=False)
    """Category -> sequence -> its annotations, as compressed JSON."""

    def names(self, category: str) -> tuple[str, ...]:
        """`category/sequence` of every sequence whose photos are there, sorted."""
        folder = self.root / category
        return tuple(f"{category}/{place.name}" for place in sorted(folder.iterdir()) if (place / "images").is_dir())

    def __call__(self, name: str) -> Listing:
        """The photos of `category/sequence` with their cameras, masks and depth maps; without the split it ships."""
        category, _, sequence = name.partition("/")
        if category not in self.packed:
            self.packed[category] = {
                found: zlib.compress(json.dumps(frames).encode())
                for found, frames in _by_sequence(read_annotations(self.root / category / ANNOTATIONS)).items()
            }
        frames = self.packed[category].get(sequence)
        if frames is None:
            raise InputError(f"{self.root / category / ANNOTATIONS}: lists no frame of sequence {sequence}.")
        return _list_frames(self.root / category, json.loads(zlib.decompress(frames)))


def ndc_shot(
    path: Path,
    camera: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    size: tuple[float, float],
    ndc: NdcScale = "shorter side",
    object_mask: Path | None = None,
) -> Shot:
    """A photo with its PyTorch3D camera: R, T (X_camera = X_world R + T), focal length and principal point in NDC.

    size: (width, height) of the photo; path: its file, which gives it its name.
    """
    rotation, translation, focal, principal = (torch.from_numpy(values.astype(np.float64)) for values in camera)
    sides = torch.tensor(size).round().to(torch.int64)
    cameras = from_pytorch3d(rotation, translation, focal, sides, principal, ndc=ndc)
    matrix = np.eye(3)
    matrix[[0, 1], [0, 1]], matrix[:2, 2] = cameras.focal.numpy(), cameras.centre.numpy()
    return pinhole_shot(path.name, path, cameras.camera_to_world.numpy(), matrix, size=size, object_mask=object_mask)


def _list_archive(path: Path) -> Listing:
    """images/ and gt_cameras.npz, whose rows follow the sorted file names."""
    arrays = read_npz(path / ARCHIVE)
    files = list_images(path / "images") if (path / "images").is_dir() else []
    shapes = {name: (len(files), *tail) for name, tail in (("gtR", (3, 3)), ("gtT", (3,)), ("gtFL", (2,)))}
    found = {name: arrays[name].shape if name in arrays else None for name in shapes}
    if not files or found != shapes:
        raise InputError(f"{path / ARCHIVE}: found {found}; {len(files)} photos in images/ need {shapes}.")
    if any(arrays[name].dtype.kind not in "fiu" for name in shapes):
        raise InputError(f"{path / ARCHIVE}: cameras must be numbers.")
    shots = []
    for index, file in enumerate(files):
        rotation, translation, focal = (arrays[name][index] for name in shapes)
        shots.append(ndc_shot(file, (rotation, translation, focal, np.zeros(2)), stored_size(file)))
    return Listing(tuple(shots), layout="co3d", source=path, frame=Frame("CO3D gt_cameras.npz"))


def _is_sequence(path: Path) -> bool:
    return path.is_dir() and (path / "images").is_dir() and (path.absolute().parent / ANNOTATIONS).is_file()


def _list_frames(category: Path, frames: Sequence[dict[str, Any]]) -> Listing:
    """The annotated frames of one sequence with masks and depth."""
    root = category.parent
    shots = [_posed(frame, root, category / ANNOTATIONS) for frame in frames]
    frame_of = {shot.name: frame for shot, frame in zip(shots, frames, strict=True)}
    return Listing(
        tuple(shots),
        layout="co3d",
        source=category / str(frames[0]["sequence_name"]),
        frame=Frame("CO3Dv2 frame_annotations.jgz"),
        complete=partial(_with_depth, root=root, frame_of=frame_of),
    )


def read_annotations(file: Path) -> list[dict[str, Any]]:
    """The frame annotations of a category, in the file's order, each with a sequence_name."""
    wanted = "Needed: the gzipped JSON list of frame annotations of a CO3Dv2 category."
    try:
        with gzip.open(file) as packed:
            content = packed.read(MAX_ANNOTATION_BYTES + 1)
        if len(content) > MAX_ANNOTATION_BYTES:
            raise InputError(f"{file}: more than {MAX_ANNOTATION_BYTES >> 20} MB unpacked. {wanted}")
        frames = json.loads(content)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not readable ({error}). {wanted}") from error
    if not isinstance(frames, list) or not all(isinstance(f, dict) and "sequence_name" in f for f in frames):
        raise InputError(f"{file}: not a list of frames with a sequence_name. {wanted}")
    return frames


def _by_sequence(frames: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The annotations of every sequence, by frame number."""
    sequences: dict[str, list[dict[str, Any]]] = {}
    for frame in sorted(frames, key=lambda frame: str(frame.get("frame_number", "")).zfill(12)):
        sequences.setdefault(str(frame["sequence_name"]), []).append(frame)
    return sequences


def _chosen_frames(file: Path, sequence: str | None) -> list[dict[str, Any]]:
    """The annotations of one sequence; of the only one whose photos are there, if none is named."""
    frames = _by_sequence(read_annotations(file))
    sequences = sorted(frames)
    if sequence is None:
        here = [name for name in sequences if (file.parent / name / "images").is_dir()]
        if len(here) != 1:
            raise InputError(
                f"{file.parent}: {len(here)} sequences are here ({', '.join(here[:4])} ...), one is needed. "
                f"Name its folder: {file.parent / (here or sequences or ['SEQUENCE'])[0]}"
            )
        sequence = here[0]
    if sequence not in frames:
        raise InputError(f"{file}: lists no frame of sequence {sequence}, only {', '.join(sequences[:4])} ...")
    return frames[sequence]


def _posed(frame: dict[str, Any], root: Path, file: Path) -> Shot:
    """One annotated frame; named after its photo file."""
    try:
        photo = root / frame["image"]["path"]
        height, width = (int(side) for side in frame["image"]["size"])
        viewpoint = frame["viewpoint"]
        layout = viewpoint.get("intrinsics_format", "ndc_norm_image_bounds")
        rotation, translation, focal, principal = (
            np.array(viewpoint[key], dtype=np.float64).reshape(shape)
            for key, shape in (("R", (3, 3)), ("T", (3,)), ("focal_length", (2,)), ("principal_point", (2,)))
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{file}: frame {frame.get('frame_number')} has no whole image and viewpoint ({error!r})."
        ) from error
    scale = NDC_SCALES.get(str(layout))
    if scale is None:
        raise InputError(f"{file}: intrinsics_format {layout!r}; {' or '.join(NDC_SCALES)} are known.")
    mask = frame.get("mask")
    mask_path = root / mask["path"] if isinstance(mask, dict) and isinstance(mask.get("path"), str) else None
    return ndc_shot(photo, (rotation, translation, focal, principal), (float(width), float(height)), scale, mask_path)


def _with_depth(views: Views, root: Path, frame_of: dict[str, dict[str, Any]]) -> Views:
    """Add the depth maps that the frames name; one that cannot be read is left out and said."""
    assert views.cameras is not None
    depth, notes = torch.zeros(len(views), *views.images.shape[-2:]), list(views.skipped)
    for index, name in enumerate(views.names):
        width, height = views.cameras.size[index].tolist()
        annotation = frame_of[name].get("depth")
        if not annotation:
            continue
        try:
            depth[index, :height, :width] = torch.from_numpy(_read_depth(root, annotation, (width, height)))
        except (InputError, KeyError, TypeError, ValueError) as error:
            notes.append(f"{name} is used without its depth: {error}")
    return replace(views, depth=depth if bool((depth > 0).any()) else None, skipped=tuple(notes))


def _read_depth(root: Path, annotation: dict[str, Any], size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    """Planar depth of one frame: 16-bit PNG whose bits are a half float, times scale_adjustment, inside its mask."""
    bits = read_depth(root / annotation["path"], unit=1.0, size=size).numpy().astype(np.uint16)
    with np.errstate(over="ignore", invalid="ignore"):
        depth = bits.view(np.float16).astype(np.float32) * np.float32(annotation["scale_adjustment"])
    depth[~np.isfinite(depth) | (depth < 0)] = 0
    if annotation.get("mask_path"):
        depth[read_mask(root / annotation["mask_path"], size).numpy() == 0] = 0
    return depth


def _shipped_split(category: Path, sequence: str, names: list[str]) -> dict[str, tuple[str, ...]]:
    """train, val, test of the first set list that holds out photos of this sequence (many-view lists first).

    A set list is {train: [[sequence, frame number, path], ...], val: ..., test: ...}. Few-view lists put a whole
    sequence into one role: they ship no split of it.
    """
    folder = category / "set_lists"
    lists = sorted(folder.glob("*.json"), key=lambda file: ("manyview" not in file.name, file.name))
    for file in lists:
        try:
            content = json.loads(read_text(file, MAX_ANNOTATION_BYTES))
            roles = {
                role: tuple(Path(path).name for name, _, path in rows if str(name) == sequence)
                for role, rows in content.items()
            }
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{file}: not a CO3Dv2 set list ({error}). Copy it again, or remove it.") from error
        split = {role: tuple(n for n in listed if n in names) for role, listed in roles.items()}
        if split.get("train") and split.get("test") and not set(split["train"]) & set(split["test"]):
            return {role: listed for role, listed in split.items() if listed}
    return {}
