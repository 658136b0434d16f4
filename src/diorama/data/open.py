"""`open_views`: whatever the user has becomes Views."""

from pathlib import Path
from typing import Literal, Protocol, assert_never, get_args, runtime_checkable

from diorama.data.listing import Listing
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError


@runtime_checkable
class Reader(Protocol):
    """What every reader module offers."""

    def matches(self, path: Path) -> bool:
        """True if this folder or file is laid out as the reader expects; cheap, and never an error."""

    def read(self, path: Path, *, max_side: int | None = None) -> Views:
        """The views, photos at most max_side on their longer side."""


@runtime_checkable
class PosedReader(Reader, Protocol):
    """What the reader modules of layouts with cameras offer besides."""

    def listed(self, path: Path) -> Listing:
        """The photos and their cameras; no pixel is read yet."""


Layout = Literal[
    "transforms",
    "blender",
    "colmap",
    "llff",
    "dtu",
    "co3d",
    "middlebury",
    "strecha",
    "rgbd",
    "shapenet_srn",
    "video",
    "folder",
]
"""The layouts known here, each a module of this room."""

LAYOUTS: tuple[Layout, ...] = get_args(Layout)

BARE: tuple[Layout, ...] = ("video", "folder")
"""Layouts without cameras, tried in this order where no other fits; two of the others in one folder disagree."""


def open_views(path: Path | str, *, layout: str | None = None, max_side: int | None = None) -> Views:
    """Photos, and whatever belongs to them, from a folder or file of any layout known here.

    layout: one of `LAYOUTS`, to choose where a folder holds several. max_side: pixels; larger photos shrink
    by area averages and their intrinsics with them. The result says in `layout` what was taken and in `skipped` what
    was left out. Errors: InputError where there is nothing, ViewsError where two layouts contradict each other.
    """
    place = Path(path).expanduser()
    chosen = next((name for name in LAYOUTS if name == layout), None)
    if layout is not None and chosen is None:
        raise InputError(f"--layout {layout}: not a layout known here. Known are {', '.join(LAYOUTS)}.")
    if max_side is not None and max_side < 1:
        raise InputError(f"--max-side {max_side}: a number of pixels, at least 1, is needed.")
    try:
        exists = place.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"{str(place)[:80]}: not a path this system can open ({error}).") from error
    if not exists:
        raise InputError(f"{place}: there is no such folder or file. Check the path.")
    if chosen is not None and not reader(chosen).matches(place):
        raise InputError(f"--layout {layout}: {place} is not laid out so; it {inventory(place)}. Leave --layout out.")
    return reader(chosen or recognise(place)).read(place, max_side=max_side)


def recognise(path: Path) -> Layout:
    """The layout of a folder or file; InputError where there is none, ViewsError where there are two."""
    found = [name for name in LAYOUTS if name not in BARE and reader(name).matches(path)]
    if len(found) > 1:
        choices = " or ".join(f"--layout {name}" for name in found)
        raise ViewsError(f"{path} holds cameras in {len(found)} layouts: {', '.join(found)}. Say which: {choices}.")
    found = found or [name for name in BARE if reader(name).matches(path)]
    if not found:
        raise InputError(
            f"{path} {inventory(path)}. Needed: photos (JPEG, PNG, WebP, HEIC), a video, or a data set laid out as "
            f"one of {', '.join(name for name in LAYOUTS if name not in BARE)}. "
            "Of a video, give the file itself."
        )
    return found[0]


def reader(layout: Layout) -> Reader:
    """The module that reads a layout."""
    from diorama.data import blender, co3d, colmap, dtu, folder, llff, middlebury, rgbd, shapenet_srn  # noqa: I001
    from diorama.data import strecha, transforms, video

    match layout:
        case "transforms":
            return transforms
        case "blender":
            return blender
        case "colmap":
            return colmap
        case "llff":
            return llff
        case "dtu":
            return dtu
        case "co3d":
            return co3d
        case "middlebury":
            return middlebury
        case "strecha":
            return strecha
        case "rgbd":
            return rgbd
        case "shapenet_srn":
            return shapenet_srn
        case "video":
            return video
        case "folder":
            return folder
        case _:
            assert_never(layout)


def inventory(path: Path) -> str:
    """What lies there instead, in a few words."""
    if path.is_file():
        return f"is a {path.suffix or 'nameless'} file"
    try:
        entries = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        return f"cannot be listed ({error.strerror or error})"
    return f"holds {', '.join(entries[:4])}{' ...' if len(entries) > 4 else ''}" if entries else "is an empty folder"
