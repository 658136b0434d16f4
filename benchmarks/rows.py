"""What benchmarks of fits share: rows that are found again by what decides them, files of rows, strips of pictures."""

import ast
import fcntl
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diorama
from diorama.data.views import Views
from diorama.files import whole_file, write_json
from diorama.pipelines.presets import FitPreset
from diorama.scenes.config import to_json

FIT = ("diorama.pipelines.fit", "diorama.eval.measure", "diorama.data.open")
"""Modules that decide the figures of a fit, together with all that they import."""

NOT_OF_A_FIT = ("diorama.fields.sampled_planes",)
"""Modules that a fit imports, to tell scenes of other kinds apart, and never runs."""

Row = dict[str, Any]


def code_digest(modules: Sequence[str] = FIT, without: Sequence[str] = ()) -> str:
    """A hash of the code of some modules and of all modules of diorama that they import, now or when they run.

    without: modules that do not count, nor what is imported by them alone. Comments, docstrings and layout do not count
    either: what was measured stays measured when it is explained better.
    """
    digest, waiting, known = hashlib.sha256(), list(modules), set[str]()
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if name in known or name in without or file is None:
            continue
        known.add(name)
        waiting += _imported(ast.parse(file.read_text(encoding="utf-8")))
    for name in sorted(known):
        file = _file_of(name)
        assert file is not None
        digest.update(name.encode() + ast.dump(_Bare().visit(ast.parse(file.read_text(encoding="utf-8")))).encode())
    return digest.hexdigest()[:16]


def _file_of(name: str) -> Path | None:
    place = Path(diorama.__file__).parent.joinpath(*name.split(".")[1:])
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None) if name.split(".")[0] == "diorama" else None


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class _Bare(ast.NodeTransformer):
    """Takes out docstrings."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str) else node


def row_key(decides: Row) -> str:
    """The name of a row: a hash of the settings and data that decide it. Its code is noted in the row, not hashed."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]


def fit_settings(preset: FitPreset, *, prior: bool = False, sampled: bool = False) -> Row:
    """A preset as it stands in the key of a row.

    prior, sampled: whether the fit has a prior or sampled views; how either would be heard decides nothing without.
    """
    settings = to_json(preset)
    for name, has in (("prior", prior), ("sampled", sampled)):
        if not has:
            del settings["fit"][name]
    return settings


def capture_facts(capture: str, views: Views) -> list[Any]:
    """What stands for a capture's photos in the key of a row: its folder, their names and size.

    Not their hashes: another processor rounds a pixel or a pose another way, and rows are to be found there too.
    """
    return [capture, list(views.names), list(views.images.shape[-2:])]


def kept_row(key: str, code: str, stored: Path, committed: Mapping[str, Row], *, again: bool) -> Row | None:
    """A row made before: from its own file or, where that is gone, from the committed results; None if there is none.

    again: rows of other code than `code` do not count.
    """
    found = json.loads(stored.read_text(encoding="utf-8")) if stored.is_file() else committed.get(key)
    return None if found is None or (again and found["code"] != code) else found


def other_code_note(rows: Sequence[Row], present: Sequence[str]) -> str | None:
    """A line about rows that other code made than the present one, which is given row by row; None without such."""
    count = sum(row["code"] != code for row, code in zip(rows, present, strict=True))
    if not count:
        return None
    return f"{count} of {len(rows)} rows were made by other code, with these settings and data; --again makes them anew"


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
    """Write the rows, each in the place of the stored one of the same `identity`; others stay. Processes take turns."""
    with locked(path):
        kept = {tuple(row[k] for k in identity): row for row in [*stored_rows(path), *rows]}
        write_json(path, {"command": command, "version": diorama.__version__, "rows": list(kept.values())})


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
    with whole_file(path, force=True) as part:  # another shard may be stacking strips
        sheet.save(part, "png")


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
    with whole_file(path, force=True) as part:
        sheet.save(part, "png")
