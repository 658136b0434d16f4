"""Outputs are whole or absent: written beside their place under a temporary name, then renamed."""

import errno
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from diorama.errors import OutputError

if TYPE_CHECKING:
    from torch import Tensor


def partial_path(path: Path) -> Path:
    """Where an output grows until it is whole: a hidden neighbour with the same suffix."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def check_free(path: Path, *, force: bool) -> None:
    """Refuse to overwrite, before any work is done.

    Raises OutputError where something exists and `force` is not given, or where a file stands in for a folder.
    """
    if path.is_symlink() or path.exists():
        if not force:
            raise OutputError(f"{path} exists already. Give another -o, or --force to replace it.")
        if path.resolve() in (Path.cwd(), *Path.cwd().parents, Path.home()):
            raise OutputError(f"{path} holds the folder you are in; --force would delete it. Give another -o.")


@contextmanager
def whole_file(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary file path to write to; renamed to `path` at the end, removed if anything goes wrong.

    Raises OutputError (exists, read-only, disk full) with the path the user gave.
    """
    check_free(path, force=force)
    if path.is_dir():
        raise OutputError(f"{path} is a folder, and a file was to be written. Give another -o.")
    temporary = partial_path(path)
    with clear_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def whole_folder(path: Path, *, force: bool = False) -> Iterator[Path]:
    """A temporary folder to fill; renamed to `path` at the end, removed if anything goes wrong.

    A folder (or file) that `force` replaces is moved aside first and deleted last, so it is never half gone.
    Raises OutputError as `whole_file` does.
    """
    check_free(path, force=force)
    temporary, old = partial_path(path), path.with_name(f".{path.name}.replaced")
    with clear_errors(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            if path.is_symlink() or path.exists():
                remove(old)
                path.rename(old)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            if old.exists() and not path.exists():
                old.rename(path)
            raise
        remove(old)


def write_text(path: Path, text: str) -> None:
    """Write or replace a UTF-8 text file, whole or not at all; its folder is made. Raises OutputError."""
    with whole_file(path, force=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: object) -> None:
    """Write or replace a JSON file, whole or not at all; ValueError for a NaN, which would not be JSON."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def write_tensors(path: Path, tensors: Mapping[str, "Tensor"], about: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file to a temporary place, such as one of `whole_file`; `about`: text in its header.

    The library has an exception of its own for what the operating system says; here it is the OSError it was, so that
    `clear_errors` can word it. An error that states no number counts as a fault of the disk.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(tensors), path, metadata=None if about is None else dict(about))
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from error


def remove(path: Path) -> None:
    """Delete a file, a link or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says about writing `path` into an OutputError that says what to do."""
    try:
        yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full. Free some space or give an -o on another disk.",
            errno.EDQUOT: "your disk quota is used up. Free some space or give an -o elsewhere.",
            errno.EACCES: "there is no permission to write there. Give an -o in a folder of yours.",
            errno.EPERM: "there is no permission to write there. Give an -o in a folder of yours.",
            errno.EROFS: "the file system is read-only. Give an -o elsewhere.",
            errno.EIO: "the disk reports a fault. Give an -o on another disk.",
            errno.ENAMETOOLONG: "the name is too long for this file system. Give a shorter -o.",
            errno.ENOTDIR: "a part of that path is a file, not a folder. Give another -o.",
            errno.EEXIST: "a part of that path is a file, not a folder. Give another -o.",
        }
        if error.errno not in reasons:
            raise
        raise OutputError(f"{path} could not be written: {reasons[error.errno]}") from error
