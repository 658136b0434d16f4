"""COLMAP sparse models as they lie on disk: `.bin` and `.txt`, read without COLMAP.

Formats: colmap.github.io/format.html. Sizes are checked against the bytes at hand before anything is allocated, so a
file cut anywhere gives an InputError and nothing else.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from diorama.data.numbers import parse_numbers
from diorama.errors import InputError

MAX_BYTES = 4 << 30
"""Largest file that is read."""

MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
    12: ("SIMPLE_DIVISION", 4),
    13: ("DIVISION", 5),
    14: ("SIMPLE_FISHEYE", 3),
    15: ("FISHEYE", 4),
    16: ("EUCM", 6),
    17: ("EQUIRECTANGULAR", 2),
}
"""Number of a camera model in binary files -> (name, count of parameters)."""


@dataclass(frozen=True)
class ColmapCamera:
    """One lens: the model's name, the size of its pictures in pixels and its parameters in the model's order."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class ColmapImage:
    """One placed photo: world-to-camera rotation (quaternion w x y z) and translation, and what it observes.

    pixels: keypoints, centres at +0.5. points: id of the 3D point each one shows, -1 for none.
    """

    name: str
    camera: int
    quaternion: tuple[float, ...]
    translation: tuple[float, ...]
    pixels: Float[np.ndarray, "n xy=2"]
    points: Int[np.ndarray, "n"]


@dataclass(frozen=True)
class ColmapPoints:
    """Sparse surface points: ids, positions, 8-bit colours and mean reprojection errors in pixels."""

    ids: Int[np.ndarray, "n"]
    positions: Float[np.ndarray, "n xyz=3"]
    colours: UInt8[np.ndarray, "n rgb=3"]
    errors: Float[np.ndarray, "n"]


def model_suffix(folder: Path) -> str | None:
    """`.bin` or `.txt` if the folder holds a sparse model in that form (binary first), else None."""
    for suffix in (".bin", ".txt"):
        if all((folder / f"{stem}{suffix}").is_file() for stem in ("cameras", "images")):
            return suffix
    return None


def read_cameras(folder: Path, suffix: str) -> dict[int, ColmapCamera]:
    """Lenses by their id."""
    file = folder / f"cameras{suffix}"
    return _cameras_from_text(_lines(file), file) if suffix == ".txt" else _cameras_from_bytes(_Bytes(file))


def read_images(folder: Path, suffix: str) -> list[ColmapImage]:
    """Placed photos, sorted by name."""
    file = folder / f"images{suffix}"
    images = _images_from_text(_lines(file), file) if suffix == ".txt" else _images_from_bytes(_Bytes(file))
    return sorted(images, key=lambda image: image.name)


def read_points(folder: Path, suffix: str) -> ColmapPoints | None:
    """Sparse points, None where the file is absent."""
    file = folder / f"points3D{suffix}"
    if not file.is_file():
        return None
    return _points_from_text(_lines(file), file) if suffix == ".txt" else _points_from_bytes(_Bytes(file))


class _Bytes:
    """A binary file that is read from front to back and says where it ends too early."""

    def __init__(self, file: Path) -> None:
        self.file, self.at = file, 0
        try:
            if file.stat().st_size > MAX_BYTES:
                raise InputError(f"{file}: larger than {MAX_BYTES >> 30} GB, which is not read.")
            self.content = file.read_bytes()
        except OSError as error:
            raise InputError(f"{file}: cannot be read ({error.strerror or error}). Check its rights.") from error

    def cut(self, needed: int) -> InputError:
        return InputError(
            f"{self.file}: ends at byte {len(self.content)}, but {needed} more are needed at {self.at}. The file is "
            "cut or is not a COLMAP binary: copy it again, or run COLMAP's model_converter."
        )

    def take(self, form: struct.Struct) -> tuple:
        """The next numbers of a fixed form."""
        if self.at + form.size > len(self.content):
            raise self.cut(form.size)
        values = form.unpack_from(self.content, self.at)
        self.at += form.size
        return values

    def count(self, smallest: int) -> int:
        """The next count of records, none of which is smaller than `smallest` bytes: checked before it is believed."""
        count = int(self.take(_COUNT)[0])
        if count * smallest > len(self.content) - self.at:
            raise self.cut(count * smallest)
        return count

    def name(self) -> str:
        """The next text up to its zero byte."""
        end = self.content.find(b"\0", self.at)
        if end < 0:
            raise self.cut(1)
        text = self.content[self.at : end].decode("utf-8", "surrogateescape")
        self.at = end + 1
        return text

    def records(self, kind: np.dtype, count: int) -> np.ndarray:
        """The next records of a fixed kind; `count` is already checked."""
        values = np.frombuffer(self.content, kind, count, self.at)
        self.at += count * kind.itemsize
        return values


_COUNT = struct.Struct("<Q")
_CAMERA = struct.Struct("<iiQQ")
_IMAGE = struct.Struct("<I7dI")
_POINT = struct.Struct("<Q3d3Bd")
_KEYPOINT = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])
_TRACK = np.dtype([("image", "<u4"), ("keypoint", "<u4")])


def _cameras_from_bytes(file: _Bytes) -> dict[int, ColmapCamera]:
    cameras = {}
    for _ in range(file.count(_CAMERA.size)):
        number, model, width, height = file.take(_CAMERA)
        if model not in MODELS:
            raise InputError(f"{file.file}: camera {number} has the unknown model {model}. The file is cut or too new.")
        name, count = MODELS[model]
        cameras[number] = ColmapCamera(name, width, height, file.take(struct.Struct(f"<{count}d")))
    return cameras


def _images_from_bytes(file: _Bytes) -> list[ColmapImage]:
    images = []
    for _ in range(file.count(_IMAGE.size + 1 + _COUNT.size)):
        _, *pose, camera = file.take(_IMAGE)
        name = file.name()
        keypoints = file.records(_KEYPOINT, file.count(_KEYPOINT.itemsize))
        pixels = np.stack([keypoints["x"], keypoints["y"]], axis=-1)
        images.append(ColmapImage(name, camera, tuple(pose[:4]), tuple(pose[4:]), pixels, keypoints["point"]))
    return images


def _points_from_bytes(file: _Bytes) -> ColmapPoints:
    count = file.count(_POINT.size + _COUNT.size)
    rows = []
    for _ in range(count):
        rows.append(file.take(_POINT))
        track = file.count(_TRACK.itemsize)
        file.at += track * _TRACK.itemsize
    return _points(rows)


def _points(rows: list[tuple]) -> ColmapPoints:
    table = np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 7)
    return ColmapPoints(
        np.array([row[0] for row in rows], dtype=np.uint64).astype(np.int64),
        np.ascontiguousarray(table[:, :3]),
        table[:, 3:6].astype(np.uint8),
        np.ascontiguousarray(table[:, 6]),
    )


def _lines(file: Path) -> list[str]:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file}: larger than {MAX_BYTES >> 30} GB, which is not read.")
        return file.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}). Check its rights.") from error


def _rows(lines: list[str]) -> list[str]:
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _cameras_from_text(lines: list[str], file: Path) -> dict[int, ColmapCamera]:
    cameras = {}
    counts = dict(MODELS.values())
    for line in _rows(lines):
        words = line.split()
        if len(words) < 4 or len(words) != 4 + counts.get(words[1], -1):
            raise InputError(f"{file}: no camera in the line {line[:60]!r}. Is the file whole, and of COLMAP?")
        number, width, height = (int(value) for value in parse_numbers([words[0], *words[2:4]], str(file)))
        cameras[number] = ColmapCamera(words[1], width, height, tuple(parse_numbers(words[4:], str(file))))
    return cameras


def _images_from_text(lines: list[str], file: Path) -> list[ColmapImage]:
    images = []
    rest = iter(lines)
    for line in rest:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.strip().split(maxsplit=9)
        keypoints = next(rest, None)
        if len(words) != 10 or keypoints is None:
            raise InputError(f"{file}: no placed photo in the line {line[:60]!r}. Is the file whole, and of COLMAP?")
        numbers = parse_numbers(words[:9], str(file))
        values = np.array(parse_numbers(keypoints.split(), str(file)), dtype=np.float64)
        if len(values) % 3:
            raise InputError(f"{file}: the keypoints of {words[9]} are not triples. The file is cut: copy it again.")
        table = values.reshape(-1, 3)
        if not np.isfinite([*numbers, *table[:, 2]]).all():
            raise InputError(f"{file}: NaN or infinity for {words[9]}. Remove that photo from the model.")
        images.append(
            ColmapImage(
                words[9],
                int(numbers[8]),
                tuple(numbers[1:5]),
                tuple(numbers[5:8]),
                np.ascontiguousarray(table[:, :2]),
                table[:, 2].astype(np.int64),
            )
        )
    return images


def _points_from_text(lines: list[str], file: Path) -> ColmapPoints:
    rows = []
    for line in _rows(lines):
        words = line.split(maxsplit=8)
        if len(words) < 8:
            raise InputError(f"{file}: no point in the line {line[:60]!r}. Is the file whole, and of COLMAP?")
        numbers = parse_numbers(words[:8], str(file))
        if not np.isfinite(numbers).all() or min(numbers[4:7]) < 0 or max(numbers[4:7]) > 255:
            raise InputError(f"{file}: a point with numbers out of range, {line[:60]!r}. The file is damaged.")
        rows.append((int(numbers[0]), *numbers[1:]))
    return _points(rows)
