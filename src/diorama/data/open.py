"""`open_views`: whatever the user has becomes Views."""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, cast

from diorama.data.views import Views
from diorama.errors import InputError, ViewsError


class Reader(Protocol):
    """What every reader module offers."""

    def matches(self, path: Path) -> bool:
        """True if this folder or file is laid out as the reader expects; cheap, and never an error."""

    def read(self, path: Path, *, max_side: int | None = None) -> Views:
        """The views, photos at most max_side on their longer side."""


POSED = ("transforms", "blender", "colmap", "llff", "dtu", "co3d", "middlebury", "strecha", "rgbd")
"""Layouts that bring cameras, each a module of this room; two of them in one folder contradict each other."""

BARE = ("video", "folder")
"""Layouts without cameras, tried last."""


def open_views(path: Path | str, *, layout: str | None = None, max_side: int | None = None) -> Views:
    """Photos, and whatever belongs to them, from a folder or file of any layout known here.

    layout: one of `POSED` and `BARE`, to choose where a folder holds several. max_side: pixels; larger photos shrink
    by area averages and their intrinsics with them. The result says in `layout` what was taken and in `skipped` what
    was left out. Errors: InputError where there is nothing, ViewsError where two layouts contradict each other.
    """
    place = Path(path).expanduser()
    known = POSED + BARE
    if layout is not None and layout not in known:
        raise InputError(f"--layout {layout}: not a layout known here. Known are {', '.join(known)}.")
    if max_side is not None and max_side < 1:
        raise InputError(f"--max-side {max_side}: a number of pixels, at least 1, is needed.")
    try:
        exists = place.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"{str(place)[:80]}: not a path this system can open ({error}).") from error
    if not exists:
        raise InputError(f"{place}: there is no such folder or file. Check the path.")
    return _reader(layout or recognise(place)).read(place, max_side=max_side)


def recognise(path: Path) -> str:
    """The layout of a folder or file; InputError where there is none, ViewsError where there are two."""
    found = [name for name in POSED if find_spec(f"diorama.data.{name}") and _reader(name).matches(path)]
    if len(found) > 1:
        choices = " or ".join(f"--layout {name}" for name in found)
        raise ViewsError(f"{path} holds cameras in {len(found)} layouts: {', '.join(found)}. Say which: {choices}.")
    found += [n for n in BARE if not found and find_spec(f"diorama.data.{n}") and _reader(n).matches(path)]
    if not found:
        raise InputError(
            f"{path}: {_inventory(path)}. Needed: photos (JPEG, PNG, WebP, HEIC), a video, or a data set "
            f"laid out as one of {', '.join(POSED)}."
        )
    return found[0]


def _reader(name: str) -> Reader:
    return cast(Reader, import_module(f"diorama.data.{name}"))


def _inventory(path: Path) -> str:
    """What lies there instead, in a few words."""
    if path.is_file():
        return f"a {path.suffix or 'nameless'} file"
    entries = sorted(entry.name for entry in path.iterdir())
    return f"holds {', '.join(entries[:4])}{' ...' if len(entries) > 4 else ''}" if entries else "an empty folder"
