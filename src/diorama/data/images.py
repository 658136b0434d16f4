"""Image files in and out: photographs become straight colour in [0, 1], whatever the camera or the program wrote.

Files of strangers: only plain raster formats are opened, headers are checked before memory is asked for, and whatever
a decoder does, the caller sees an InputError that names the file.
"""

import errno
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from diorama.data.numbers import MAX_ARRAY_BYTES, parse_npy
from diorama.data.resample import area_average, fit_size
from diorama.errors import InputError, MissingExtraError, OutputError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".avif")
HEIF_SUFFIXES = (".heic", ".heif", ".hif")
"""What phones write; read with the extra `photos`."""

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "AVIF")
"""Pillow decoders that are let near a file: rasters only, nothing that starts another program."""

MAX_PIXELS = 80_000_000
"""Pixels of the largest picture that is decoded (width x height, read from the header)."""


@dataclass(frozen=True)
class Photo:
    """One picture as read.

    colour: straight, in [0, 1]. coverage: its alpha channel, None without one. size: (width, height) of the whole
    picture before it was made smaller, in the orientation of `colour`. focal_hint: focal length from EXIF in pixels of
    `colour`, None where unknown. note: what had to be left out, in words; empty if nothing.
    """

    colour: Float[Tensor, "3 h w"]
    coverage: Float[Tensor, "h w"] | None
    size: tuple[int, int]
    focal_hint: float | None = None
    note: str = ""


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder by their suffix, sorted by name; hidden files and folders are left out."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder. Give a folder of photos.")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES + HEIF_SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def image_size(path: Path, upright: bool = True) -> tuple[int, int]:
    """(width, height) from the header alone; upright follows EXIF orientation as `read_photo` does."""
    with _opened(path) as image:
        turned = upright and _orientation(image) >= 5
        return (image.height, image.width) if turned else (image.width, image.height)


def read_image(path: Path, max_side: int | None = None) -> tuple[Float[Tensor, "3 h w"], Float[Tensor, "h w"] | None]:
    """(straight colour in [0, 1], alpha or None), turned upright, its longer side at most max_side.

    Errors: InputError naming a file that is absent, cut, too large or no image; MissingExtraError for HEIC.
    """
    photo = read_photo(path, max_side)
    return photo.colour, photo.coverage


def read_photo(path: Path, max_side: int | None = None, upright: bool = True) -> Photo:
    """A picture made smaller by area averages (premultiplied where it has alpha); see `read_image` for errors.

    Grey, palette, CMYK and 16-bit pictures become three channels in [0, 1]; of an animation the first frame is taken
    and said so. upright=False leaves the pixels as stored: cameras often describe those.
    """
    with _opened(path) as image:
        pixels = _pixels(image, path)
        orientation = _orientation(image) if upright else 1
        frames = int(getattr(image, "n_frames", 1)) if image.format != "MPO" else 1
        pixels = _turned(pixels, orientation)
        full = (pixels.shape[1], pixels.shape[0])
        focal = _exif_focal(image, full)
    width, height = fit_size(full, max_side)
    peak = np.float32(1.0 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max)
    if (width, height) != full or pixels.dtype.kind != "f":
        pixels = _shrunk(pixels, width, height, peak)
    planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return Photo(
        colour=planes[:3] if len(planes) >= 3 else planes[:1].expand(3, -1, -1).contiguous(),
        coverage=planes[3] if len(planes) == 4 else None,
        size=full,
        focal_hint=None if focal is None else focal * width / full[0],
        note=f"{path.name}: animated, {frames} frames; the first is used" if frames > 1 else "",
    )


def read_mask(path: Path, size: tuple[int, int] | None = None) -> Float[Tensor, "h w"]:
    """A mask file as coverage in [0, 1]: its grey value, or its alpha where the colour says nothing.

    size: (width, height) to bring it to; shrinking averages, growing repeats pixels.
    """
    with _opened(path) as image:
        pixels = _pixels(image, path)
    peak = np.float32(1.0 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max)
    grey, alpha = pixels[..., : 3 if pixels.shape[2] >= 3 else 1], pixels[..., 3:]
    chosen = alpha if alpha.size and grey.min() == grey.max() else grey[..., :1]
    width, height = size or (chosen.shape[1], chosen.shape[0])
    if width <= chosen.shape[1] and height <= chosen.shape[0]:
        return torch.from_numpy(area_average(chosen, width, height)[..., 0] / peak)
    return torch.from_numpy(_nearest(chosen[..., 0], width, height).astype(np.float32) / peak)


def read_depth(path: Path, unit: float = 1e-3, size: tuple[int, int] | None = None) -> Float[Tensor, "h w"]:
    """A 16-bit depth PNG (steps of `unit`) or a float `.npy`; 0 where unknown (0, 65535, NaN, infinite or negative).

    size: (width, height) to bring it to, by taking the nearest pixel: averages across edges would invent surfaces.
    """
    if path.suffix.lower() == ".npy":
        values = read_array(path).squeeze()
    else:
        with _opened(path) as image:
            values = _pixels(image, path)[..., 0]
        if values.dtype == np.uint8:
            raise InputError(f"{path}: 8 bits a pixel, a depth map needs 16 (millimetres). Is it a picture of depth?")
        values = np.where(values == 65535, 0, values)
    if values.ndim != 2 or values.dtype.kind not in "fui":
        raise InputError(f"{path}: {values.dtype} {values.shape}, a depth map is one number per pixel.")
    depth = values.astype(np.float32) * np.float32(unit)
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, 0.0).astype(np.float32)
    width, height = size or (depth.shape[1], depth.shape[0])
    return torch.from_numpy(_nearest(depth, width, height))


def read_array(path: Path) -> np.ndarray:
    """The array of a `.npy` file; InputError where it is absent, cut, larger than MAX_ARRAY_BYTES or holds pickles."""
    _check_file(path)
    if path.stat().st_size > MAX_ARRAY_BYTES:
        raise InputError(f"{path}: larger than {MAX_ARRAY_BYTES >> 20} MB, which is not read. Is it the right file?")
    try:
        return parse_npy(path.read_bytes(), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}). Check its rights.") from error


def stack_photos(
    photos: Sequence[Float[Tensor, "3 _ _"]],
) -> tuple[Float[Tensor, "view 3 h w"], Int[Tensor, "view wh=2"], Bool[Tensor, "view h w"] | None]:
    """(images, true sizes, padding) of photos of any sizes: zeros at the right and the bottom make them equal.

    padding is True where there is no photo, None where all are of one size.
    """
    sizes = torch.tensor([[photo.shape[2], photo.shape[1]] for photo in photos], dtype=torch.int64)
    width, height = (int(side) for side in sizes.amax(0))
    images = torch.zeros(len(photos), 3, height, width)
    for image, photo in zip(images, photos, strict=True):
        image[:, : photo.shape[1], : photo.shape[2]] = photo
    return images, sizes, padding_mask(sizes, width, height)


def padding_mask(sizes: Int[Tensor, "view wh=2"], width: int, height: int) -> Bool[Tensor, "view h w"] | None:
    """True beyond the true size of each photo; None where every photo fills the frame."""
    if bool((sizes == torch.tensor([width, height])).all()):
        return None
    right = torch.arange(width)[None, None, :] >= sizes[:, 0, None, None]
    below = torch.arange(height)[None, :, None] >= sizes[:, 1, None, None]
    return right | below


def write_png(path: Path, image: Float[Tensor, "*channel h w"]) -> None:
    """An 8-bit PNG of a picture in [0, 1] with 1, 3 or 4 channels (or none: grey); values are clamped and rounded."""
    from PIL import Image

    planes = image if image.ndim == 3 else image[None]
    if planes.ndim != 3 or len(planes) not in (1, 3, 4):
        raise ValueError(f"a picture of shape {tuple(image.shape)}; (h, w) or 1, 3 or 4 channels first are needed")
    array = (planes.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    _save(Image.fromarray(array[..., 0] if array.shape[2] == 1 else array), path)


def write_depth_png(path: Path, depth: Float[Tensor, "h w"], unit: float = 1e-3) -> None:
    """A 16-bit PNG in steps of `unit`; 0 where depth is 0, not finite, or beyond 65534 steps."""
    from PIL import Image

    steps = depth.detach().cpu().double() / unit
    steps = torch.where(torch.isfinite(steps) & (steps > 0) & (steps < 65534.5), steps, 0.0)
    _save(Image.fromarray(steps.round().numpy().astype(np.uint16)), path)


def _save(image: "Image", path: Path) -> None:
    try:
        image.save(path, format="PNG")
    except OSError as error:
        path.unlink(missing_ok=True)
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
        raise OutputError(f"{path} could not be written: {reason}. Free some space or choose another place.") from error


def _check_file(path: Path) -> None:
    """InputError unless this is a regular file with something in it (a pipe would never end)."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file. Check the name, or remove it from the list.")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: empty, 0 bytes. Copy the photo again or remove it.")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}). Check the name and its rights.") from error


@contextmanager
def _opened(path: Path) -> Iterator["Image"]:
    """The picture with its header read and checked; anything that goes wrong inside is an InputError with its name."""
    from PIL import Image

    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # Pillow warns of odd metadata and of large pictures; sizes are checked here
            with _heif(path) if path.suffix.lower() in HEIF_SUFFIXES else Image.open(path, formats=FORMATS) as image:
                _check_pixels(path, image.size)
                yield image
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: larger than {MAX_PIXELS // 10**6} megapixels. Make it smaller first.") from error
    except (InputError, MissingExtraError):
        raise
    except Exception as error:  # decoders fail in every way there is; none of them is ours to explain
        raise InputError(
            f"{path}: not readable as an image ({_reason(error)}). Copy the photo again or remove it."
        ) from error


def _reason(error: Exception) -> str:
    text = "unknown format" if type(error).__name__ == "UnidentifiedImageError" else str(error)
    return (text or type(error).__name__)[:120]


def _check_pixels(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path}: {width} x {height} is {width * height / 1e6:.0f} megapixels, at most {MAX_PIXELS // 10**6} are "
            "read. Make it smaller first."
        )


def _heif(path: Path) -> "Image":
    try:
        import pillow_heif
    except ImportError as error:
        raise MissingExtraError(
            f'{path}: HEIC photos need an extra package: pip install "diorama[photos]". Or export the photos as JPEG.'
        ) from error
    container = pillow_heif.open_heif(path)
    _check_pixels(path, container.size)
    return container.to_pillow()


def _pixels(image: "Image", path: Path) -> np.ndarray:
    """Decoded pixels (h, w, channels) with 1, 3 or 4 channels: uint8, uint16, or float32 in [0, 1]."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        return np.asarray(image).astype(np.uint16)[..., None]
    if image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(f"{path}: 32-bit numbers up to {values.max()}; 8 or 16 bits a channel are read.")
        return values.astype(np.uint16)[..., None]
    if image.mode == "F":
        floats = np.asarray(image, dtype=np.float32)
        if not np.isfinite(floats).all() or floats.min() < 0 or floats.max() > 1:
            raise InputError(f"{path}: float pixels outside [0, 1]. Save it as an 8 or 16 bit image.")
        return floats[..., None]
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image.convert("L"))[..., None]
    has_alpha = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))


def _orientation(image: "Image") -> int:
    """EXIF orientation 1 to 8; 1 where there is none or it is nonsense."""
    try:
        value = int(image.getexif().get(0x0112, 1))
    except Exception:  # corrupt EXIF must not cost the photo
        return 1
    return value if 1 <= value <= 8 else 1


def _turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels turned upright. EXIF 2.3, tag 0x0112: where the stored row 0 and column 0 lie in the scene."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels


def _exif_focal(image: "Image", size: tuple[int, int]) -> float | None:
    """Focal length in pixels of the whole picture: from the 35 mm equivalent (by diagonals), else from the sensor."""
    try:
        tags: Any = image.getexif().get_ifd(0x8769)
        diagonal = math.hypot(*size)
        candidates = []
        if float(tags.get(0xA405) or 0) > 0:  # FocalLengthIn35mmFilm
            candidates.append(float(tags[0xA405]) / math.hypot(36, 24) * diagonal)
        millimetres = {2: 25.4, 3: 10.0, 4: 1.0}.get(int(tags.get(0xA210) or 2), 25.4)  # FocalPlaneResolutionUnit
        length, density, across = (float(tags.get(tag) or 0) for tag in (0x920A, 0xA20E, 0xA002))
        if length > 0 and density > 0:  # FocalLength in mm, pixels of the full sensor picture per unit
            candidates.append(length / millimetres * density * max(size) / (across or max(size)))
    except Exception:  # corrupt EXIF must not cost the photo
        return None
    return next((f for f in candidates if 0.2 * max(size) < f < 30 * max(size)), None)


def _shrunk(pixels: np.ndarray, width: int, height: int, peak: np.float32) -> np.ndarray:
    """Area averages in [0, 1]; colour is weighted by alpha, so that transparent pixels do not bleed."""
    if pixels.shape[2] != 4 or (height, width) == pixels.shape[:2]:
        return area_average(pixels, width, height) / peak
    straight = pixels.astype(np.float32) / peak
    straight[..., :3] *= straight[..., 3:]
    small = area_average(straight, width, height)
    small[..., :3] = np.clip(small[..., :3] / np.maximum(small[..., 3:], 1e-6), 0.0, 1.0)
    return small


def _nearest(values: np.ndarray, width: int, height: int) -> np.ndarray:
    """The pixel under the centre of each new one."""
    rows = ((np.arange(height) + 0.5) * (values.shape[0] / height)).astype(int)
    columns = ((np.arange(width) + 0.5) * (values.shape[1] / width)).astype(int)
    return np.ascontiguousarray(values[rows[:, None], columns[None]])
