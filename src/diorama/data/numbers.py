"""Numbers from files of strangers: text matrices and NumPy archives; nothing is executed, no stated size is trusted."""

import io
import math
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from diorama.errors import InputError

MAX_TEXT_BYTES = 16 << 20
"""Camera files are kilobytes; anything larger than this is not one."""

MAX_ARRAY_BYTES = 256 << 20
"""Largest array that is read out of an archive."""

_NOT_AN_ARRAY = (
    *(ValueError, EOFError, SyntaxError, TypeError, KeyError, MemoryError, OverflowError, RecursionError),
    tokenize.TokenError,
)
"""What NumPy's header parser raises on bytes that are no header."""


def read_text(path: Path, limit: int = MAX_TEXT_BYTES) -> str:
    """The text of a small file (UTF-8, unreadable bytes replaced); InputError where absent or larger than limit."""
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}). Check the file and its rights."
        ) from error
    if len(content) > limit:
        raise InputError(f"{path}: larger than {limit >> 20} MB, too large for a camera file. Is it the right file?")
    return content.decode("utf-8", "replace")


def parse_numbers(words: list[str], where: str) -> list[float]:
    """Floats from words; InputError naming the first word that is none. NaN and infinity pass: see `require_finite`."""
    numbers = []
    for word in words:
        try:
            numbers.append(float(word))
        except ValueError as error:
            raise InputError(f"{where}: found {word[:40]!r} where a number was needed. Is the file whole?") from error
    return numbers


def read_matrix(path: Path, rows: int, columns: int) -> np.ndarray:
    """A rows x columns matrix (float64) from a text file that holds exactly these numbers."""
    words = read_text(path).replace(",", " ").split()
    if len(words) != rows * columns:
        raise InputError(f"{path}: {len(words)} numbers, {rows * columns} are needed ({rows} x {columns}).")
    return np.array(parse_numbers(words, str(path)), dtype=np.float64).reshape(rows, columns)


def require_finite(values: np.ndarray, where: str) -> None:
    """InputError where a NaN or an infinity stands among the numbers of a camera."""
    if not np.isfinite(values).all():
        raise InputError(f"{where}: holds NaN or infinity, every number of a camera must be finite. Remove that photo.")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an `.npz`; pickled objects are refused, and sizes are checked before memory is asked for."""
    arrays: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if not member.filename.endswith(".npy"):
                    continue
                if member.file_size > MAX_ARRAY_BYTES:
                    raise InputError(f"{path}: {member.filename} is larger than {MAX_ARRAY_BYTES >> 20} MB.")
                with archive.open(member) as file:
                    content = file.read(MAX_ARRAY_BYTES + 1)
                arrays[member.filename.removesuffix(".npy")] = parse_npy(content, f"{path}: {member.filename}")
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not a whole .npz file ({error}). Copy or download it again.") from error
    return arrays


def parse_npy(content: bytes, where: str) -> np.ndarray:
    """The array of one `.npy` file's bytes; no pickles, and never more memory than the bytes at hand."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read_header: Any = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise InputError(f"{where}: holds Python objects, which are never loaded. Save plain numbers.")
        needed = math.prod(shape) * dtype.itemsize
        if needed > len(content) - file.tell():
            raise InputError(f"{where}: {len(content) - file.tell()} bytes of an array of {needed}: the file is cut.")
        file.seek(0)
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))
    except _NOT_AN_ARRAY as error:
        raise InputError(f"{where}: not a NumPy array ({error}). Copy or download it again.") from error
