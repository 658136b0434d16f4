"""What benchmarks of fits share: rows that are found again by what decides them, files of rows, strips of pictures."""

import fcntl
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diorama
from diorama.files import write_json

CODE = ("cameras", "data", "fields", "kernels", "priors", "rendering", "systems", "training", "eval", "pipelines")
"""Rooms whose sources decide the figures of a fit."""

Row = dict[str, Any]


def code_digest(rooms: Sequence[str] = CODE) -> str:
    """A hash of the sources that decide the figures."""
    digest = hashlib.sha256()
    for room in rooms:
        for file in sorted((Path(diorama.__file__).parent / room).glob("*.py")):
            digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def row_key(decides: Row) -> str:
    """The name of a row: a hash of everything that decides it."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other process of this machine holds the lock on `path`, and hold it; one that dies lets go."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    with (Path(tempfile.gettempdir()) / f"diorama-{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def stored_rows(path: Path) -> list[Row]:
    """The rows of a results file; none where there is no file."""
    return json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []


def save_rows(path: Path, rows: Sequence[Row], identity: Sequence[str], command: str) -> None:
    """Write the rows; stored rows that differ from all of them in `identity` stay. Processes take turns."""
    here = {tuple(row[k] for k in identity) for row in rows}
    with locked(path):
        kept = [row for row in stored_rows(path) if tuple(row[k] for k in identity) not in here]
        write_json(path, {"command": command, "version": diorama.__version__, "rows": [*kept, *rows]})


def write_strip(path: Path, views: Sequence[dict[str, bytes]], label: str) -> None:
    """Photo, render, error and depth of some views side by side, as one PNG with its name on top."""
    from PIL import Image, ImageDraw

    tiles = [[Image.open(io.BytesIO(jpeg)) for jpeg in view.values()] for view in views]
    flat = [tile for row in tiles for tile in row]
    height = max(tile.height for tile in flat)
    sheet = Image.new("RGB", (sum(tile.width + 2 for tile in flat), height + 14), "white")
    ImageDraw.Draw(sheet).text((2, 1), label, fill="black")
    left = 0
    for tile in flat:
        sheet.paste(tile, (left, 14))
        left += tile.width + 2
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def stack_strips(path: Path, files: Sequence[Path]) -> None:
    """All strips that exist below each other, as one PNG; none, no sheet."""
    from PIL import Image

    strips = [Image.open(file) for file in files if file.is_file()]
    if not strips:
        return
    sheet = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    sheet.save(path)
