"""COLMAP models as Views, and cameras as a COLMAP text model."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diorama.cameras.convert import from_colmap, to_colmap
from diorama.cameras.pinhole import Cameras, Lens
from diorama.data.colmap_model import ColmapCamera, ColmapImage, model_suffix, read_cameras, read_images, read_points
from diorama.data.listing import Listing
from diorama.data.shots import Intrinsics, Shot, safe_name
from diorama.data.views import Frame, Views
from diorama.errors import CameraError, InputError, OutputError, ViewsError

IMAGE_FOLDERS = ("images", ".", "input", "images_2", "images_4", "images_8")
"""Where the photos of a model may lie, best first; smaller copies are used where the originals are not there."""

NO_DISTORTION = (0.0,) * 6


def matches(path: Path) -> bool:
    """True for a folder with a sparse model in `sparse/`, `sparse/0/`, ... or right in it."""
    return bool(model_folders(path))


def read(path: Path, *, max_side: int | None = None) -> Views:
    """The photos of the largest sub-model with its cameras and points; the others are left out and said.

    Errors: InputError for files that are cut or not COLMAP's, CameraError for a lens or pose that cannot be used.
    """
    return listed(path).views(max_side=max_side)


def listed(path: Path, *, with_points: bool = True) -> Listing:
    """The photos of the largest sub-model that are there, with their cameras; see `read`.

    with_points: False leaves the points unread, which are most of a model.
    """
    folders = model_folders(path)
    if not folders:
        raise ViewsError(f"{path}: no COLMAP model. cameras and images (.bin or .txt) are needed, as in sparse/0.")
    notes: list[str] = []
    folder, images = _largest(folders, notes)
    suffix = model_suffix(folder) or ".bin"
    lenses = read_cameras(folder, suffix)
    photos = _photo_folder(path, folder, images)
    shots = [_shot(image, lenses, photos, folder) for image in images if _has_file(photos / image.name)]
    absent = [image.name for image in images if not _has_file(photos / image.name)]
    notes += [f"{name}: in the model, but there is no file {photos / name}" for name in absent]
    if not shots:
        raise ViewsError(
            f"{path}: none of the {len(images)} photos of the model is there"
            f"{', ' + images[0].name + ' first' if images else ''}. Put them into {path / 'images'}."
        )
    try:
        points = read_points(folder, suffix) if with_points else None
    except InputError as error:
        points = None
        notes.append(f"the model is used without its points: {error}")
    positions = None if points is None else torch.from_numpy(points.positions).float()
    return Listing(
        tuple(shots),
        layout="colmap",
        source=path,
        frame=Frame("COLMAP model"),
        skipped=tuple(notes),
        points=None if positions is None else positions[positions.isfinite().all(-1)],
    )


def model_folders(path: Path) -> list[Path]:
    """Folders with a sparse model; `colmap/` counts only where no transforms.json speaks for the same photos."""
    if not path.is_dir():
        return []
    places = [path, path / "sparse"]
    if not (path / "transforms.json").is_file():
        places += [path / "colmap" / "sparse", path / "dense" / "sparse"]
    for parent in places[0 if path.name == "sparse" else 1 :].copy():
        if parent.is_dir():
            places += sorted(child for child in parent.iterdir() if child.is_dir())
    return [place for place in places if model_suffix(place)]


def intrinsics_of(camera: ColmapCamera, name: str) -> Intrinsics:
    """The lens of a COLMAP camera; CameraError for models that have no equal here.

    Source: colmap/sensor/models.h; pixel centres at +0.5 and OpenCV axes, as here.
    """
    p = camera.parameters
    bent: tuple[float, ...] = NO_DISTORTION
    lens: Lens = "opencv"
    match camera.model:
        case "SIMPLE_PINHOLE" | "SIMPLE_FISHEYE":
            focal, centre = (p[0], p[0]), p[1:3]
        case "PINHOLE" | "FISHEYE":
            focal, centre = (p[0], p[1]), p[2:4]
        case "SIMPLE_RADIAL" | "SIMPLE_RADIAL_FISHEYE":
            focal, centre, bent = (p[0], p[0]), p[1:3], (p[3], 0, 0, 0, 0, 0)
        case "RADIAL" | "RADIAL_FISHEYE":
            focal, centre, bent = (p[0], p[0]), p[1:3], (p[3], p[4], 0, 0, 0, 0)
        case "OPENCV":
            focal, centre, bent = (p[0], p[1]), p[2:4], (p[4], p[5], 0, 0, p[6], p[7])
        case "OPENCV_FISHEYE":
            focal, centre, bent = (p[0], p[1]), p[2:4], (*p[4:8], 0, 0)
        case "FULL_OPENCV" if not any(p[9:12]):
            focal, centre, bent = (p[0], p[1]), p[2:4], (p[4], p[5], p[8], 0, p[6], p[7])
        case _:
            raise CameraError(
                f"the camera of {name} is COLMAP's {camera.model} with parameters {[round(v, 4) for v in p]}. Read are "
                "pinhole, radial, OPENCV and their fisheye forms, and FULL_OPENCV with k4 = k5 = k6 = 0. Run "
                "`colmap image_undistorter` and open its output."
            )
    if camera.model.endswith("FISHEYE"):
        lens = "fisheye"
    elif not any(bent):
        lens = "pinhole"
    return Intrinsics(
        (float(camera.width), float(camera.height)), focal, (centre[0], centre[1]), tuple(map(float, bent)), lens
    )


def camera_to_world(quaternion: Sequence[float], translation: Sequence[float], name: str) -> Float[np.ndarray, "4 4"]:
    """The pose of a COLMAP image: its world-to-camera rotation (w x y z) and translation, inverted."""
    length = math.sqrt(sum(value * value for value in quaternion))
    if not 0.5 < length < 2.0 or not np.isfinite(translation).all():
        raise CameraError(
            f"the camera of {name} has the quaternion {list(quaternion)} and translation {list(translation)}; a unit "
            "quaternion and finite numbers are needed. Remove that photo from the model."
        )
    pose = from_colmap(torch.tensor(quaternion, dtype=torch.float64), torch.tensor(translation, dtype=torch.float64))
    return pose.numpy()


def write_colmap_text(
    folder: Path,
    cameras: Cameras,
    names: Sequence[str],
    points: Float[Tensor, "point xyz=3"] | None = None,
    colours: Float[Tensor, "point rgb=3"] | None = None,
) -> None:
    """Write cameras.txt, images.txt and points3D.txt: a model that COLMAP and its followers read.

    points: user's frame; colours in [0, 1], grey if not given. Points carry no tracks. Errors: CameraError where the
    lens has a term COLMAP has no model for, OutputError where the folder cannot be written.
    """
    if len(names) != len(cameras):
        raise InputError(f"{len(names)} names but {len(cameras)} cameras; every camera needs one name.")
    rows = [_lens_row(cameras[index], name) for index, name in enumerate(names)]
    numbers = {row: index + 1 for index, row in enumerate(dict.fromkeys(rows))}
    lenses = [f"{number} {row}" for row, number in numbers.items()]
    quaternions, translations = to_colmap(cameras.camera_to_world.detach().cpu().double())
    poses = []
    for index, (name, row) in enumerate(zip(names, rows, strict=True)):
        if "\n" in name:
            raise InputError(f"the name {name!r} has a line break, which COLMAP's text files cannot hold. Rename it.")
        pose = (*quaternions[index].tolist(), *translations[index].tolist())
        poses += [f"{index + 1} {' '.join(map(repr, pose))} {numbers[row]} {name}", ""]
    scattered = []
    if points is not None:
        shades = torch.full_like(points, 0.5) if colours is None else colours
        for index, (xyz, rgb) in enumerate(zip(points.double().tolist(), shades.tolist(), strict=True)):
            shade = " ".join(str(round(255 * min(1.0, max(0.0, value)))) for value in rgb)
            scattered.append(f"{index + 1} {' '.join(map(repr, xyz))} {shade} 0.0")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for stem, header, lines in (
            ("cameras", "CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", lenses),
            ("images", "IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; then POINTS2D[]", poses),
            ("points3D", "POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]", scattered),
        ):
            (folder / f"{stem}.txt").write_text("\n".join([f"# {header}", *lines, ""]), "utf-8", "surrogateescape")
    except OSError as error:
        raise OutputError(
            f"{folder} could not be written ({error.strerror or error}). Choose another place."
        ) from error


def _lens_row(camera: Cameras, name: str) -> str:
    """MODEL WIDTH HEIGHT PARAMS of one camera."""
    width, height = camera.size.tolist()
    plain = (*camera.focal.tolist(), *camera.centre.tolist())
    k1, k2, k3, k4, p1, p2 = camera.distortion.tolist()
    match camera.lens:
        case "pinhole":
            model, parameters = "PINHOLE", plain
        case "fisheye":
            model, parameters = "OPENCV_FISHEYE", (*plain, k1, k2, k3, k4)
        case "opencv" if k3 == 0 and k4 == 0:
            model, parameters = "OPENCV", (*plain, k1, k2, p1, p2)
        case "opencv" if k4 == 0:
            model, parameters = "FULL_OPENCV", (*plain, k1, k2, p1, p2, k3, 0.0, 0.0, 0.0)
        case _:
            raise CameraError(f"the camera of {name} has k4 = {k4}, which no COLMAP model holds. Undistort the photos.")
    return f"{model} {width} {height} {' '.join(map(repr, parameters))}"


def _largest(folders: Sequence[Path], notes: list[str]) -> tuple[Path, list[ColmapImage]]:
    """The sub-model with most photos (the first of equals), and a note for each other one."""
    models = [(folder, read_images(folder, model_suffix(folder) or ".bin")) for folder in folders]
    best = max(models, key=lambda model: len(model[1]))
    for folder, images in models:
        if folder != best[0]:
            notes.append(
                f"sub-model {folder.name}: {len(images)} photos, left out; {best[0].name} with {len(best[1])} is used"
            )
    return best


def _photo_folder(path: Path, model: Path, images: Sequence[ColmapImage]) -> Path:
    """Where most of the photos lie: beside the model's folder or above it."""
    roots = [path, *list(model.resolve().parents)[:2]]
    places = [root / name for root in roots for name in IMAGE_FOLDERS]
    return max(places, key=lambda place: sum(_has_file(place / image.name) for image in images[:64]))


def _has_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name no file can have
        return False


def _shot(image: ColmapImage, lenses: dict[int, ColmapCamera], photos: Path, folder: Path) -> Shot:
    if image.camera not in lenses:
        raise CameraError(
            f"{image.name} names camera {image.camera}, but {folder} has only {sorted(lenses)[:5]}. The files do not "
            "belong together: copy the model again."
        )
    pose = camera_to_world(image.quaternion, image.translation, image.name)
    return Shot(safe_name(image.name), photos / image.name, pose, intrinsics_of(lenses[image.camera], image.name))
