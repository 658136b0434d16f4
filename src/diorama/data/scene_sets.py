"""Folders that hold many scenes: what is trained on. Cameras of a scene come without its photos, photos one by one.

CO3Dv2           a category, or a folder of categories, as downloaded
RealEstate10K    camera text files and a folder of frames per clip (`realestate` says where)
MVImgNet         instances, or classes of instances (`mvimgnet`)
ShapeNet-SRN     objects, or folders of objects (`shapenet_srn`)
any other        folders, up to two deep, each of a layout with cameras that `open_views` reads; or one such folder
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from diorama.cameras.pinhole import Cameras
from diorama.data import co3d, mvimgnet, realestate
from diorama.data.listing import Listing
from diorama.data.open import BARE, LAYOUTS, Layout, PosedReader, inventory, reader, recognise
from diorama.data.views import Views
from diorama.errors import InputError, ViewsError

RECENT = 256
"""Scenes whose list of photos is kept in memory; one of 200 photos takes about a quarter of a megabyte."""

MVIMGNET = "mvimgnet"


@runtime_checkable
class Names(Protocol):
    """Names by number: a tuple of them, or what makes them when they are asked for."""

    def __getitem__(self, index: int, /) -> str:
        """The name of scene number `index`."""
        ...


@runtime_checkable
class SceneSet(Protocol):
    """Many scenes with cameras, each read when it is asked for."""

    @property
    def names(self) -> Names:
        """A name for every scene."""
        ...

    def __len__(self) -> int:
        """How many scenes there are."""
        ...

    def frame_count(self, index: int) -> int:
        """How many photos scene number `index` lists."""
        ...

    def cameras(self, index: int) -> Cameras:
        """Their cameras, in the scene's own frame; no photo is opened."""
        ...

    def read(
        self, index: int, frames: Sequence[int] | None = None, max_side: int | None = None, depth: bool = True
    ) -> Views:
        """These photos of a scene (None: all), and no other; those that cannot be read are left out and said."""
        ...


@dataclass(frozen=True)
class ListedScenes:
    """The scenes of a folder, a `SceneSet`.

    layout: of the scenes, `several` where they differ. find: from the name of a scene to its photos and cameras; may
    raise InputError. skipped: what the folder holds besides, a line each.
    """

    place: Path
    layout: str
    names: tuple[str, ...]
    find: Callable[[str], Listing]
    skipped: tuple[str, ...] = ()
    recent: dict[str, Listing] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Sequence[int]) -> "ListedScenes":
        """Some of the scenes: those to train on, those to hold out."""
        return replace(self, names=tuple(self.names[index] for index in indices), recent={})

    def listing(self, index: int) -> Listing:
        """Photos and cameras of a scene before any pixel is read."""
        if not 0 <= index < len(self.names):
            raise InputError(f"scene number {index} was asked for; {self.place} holds {len(self)}, counted from 0.")
        name = self.names[index]
        found = self.recent.pop(name, None) or self.find(name)
        self.recent[name] = found
        while len(self.recent) > RECENT:
            self.recent.pop(next(iter(self.recent)), None)
        return found

    def frame_count(self, index: int) -> int:
        """How many photos scene number `index` lists."""
        return len(self.listing(index))

    def cameras(self, index: int) -> Cameras:
        """The cameras of a scene, in its own frame, at the sizes they state; no photo is opened."""
        return self.listing(index).cameras()

    def read(
        self, index: int, frames: Sequence[int] | None = None, max_side: int | None = None, depth: bool = True
    ) -> Views:
        """These photos of a scene (None: all), decoded at most max_side pixels on their longer side.

        depth: False leaves depth files unread. Photos that cannot be read are left out and said in `skipped`.
        """
        return self.listing(index).views(frames, max_side=max_side, depth=depth)

    def describe(self) -> str:
        """What was found, in one line."""
        text = f"{len(self)} scenes, layout {self.layout}, {self.names[0]} first"
        return text + (f"; {'; '.join(self.skipped)}" if self.skipped else "")


def open_scenes(place: Path | str, *, layout: str | None = None) -> ListedScenes:
    """The scenes of a folder, whatever known data set it is; one scene with cameras makes a set of one.

    layout: one of `open.LAYOUTS` with cameras, to choose where the folders of scenes hold several. Only names are
    looked at: a scene that cannot be read says so when it is asked for. Errors: InputError where no scene is found,
    ViewsError where a scene has cameras in two layouts.
    """
    path = Path(place).expanduser()
    if not path.is_dir():
        raise InputError(f"{path}: there is no such folder. Give the folder that holds the scenes.")
    if layout is not None and layout not in set(LAYOUTS) - set(BARE):
        raise InputError(
            f"layout {layout}: scenes of a set need cameras; known are {', '.join(LAYOUTS[: -len(BARE)])}."
        )
    chosen = next((name for name in LAYOUTS if name == layout), None)
    if chosen is None:
        named = _co3d(path) or _realestate(path)
        if named is not None:
            return named
    own = _layout_of(path, chosen, None)
    if own is not None:
        return ListedScenes(
            path,
            own,
            (path.absolute().name,),
            partial(_list_folder, path.absolute().parent, {path.absolute().name: own}),
        )
    for folders in (_folders(path), (deep for child in _folders(path) for deep in _folders(child))):
        found, without = _scenes(path, folders, chosen)
        if found:
            kinds = set(found.values())
            return ListedScenes(
                path,
                kinds.pop() if len(kinds) == 1 else "several",
                tuple(found),
                partial(_list_folder, path, found),
                (f"{len(without)} folders without cameras: {', '.join(without[:3])}",) if without else (),
            )
    raise InputError(
        f"{path} {inventory(path)}; no scene with cameras is there, nor in its folders or theirs. Needed: a category "
        "of CO3Dv2 or a folder of them, MVImgNet, ShapeNet-SRN, RealEstate10K with its frames, or folders of photos "
        "with cameras (transforms.json, sparse/0, ...). For photos without cameras run `diorama pose` on each first."
    )


def _co3d(path: Path) -> ListedScenes | None:
    """All sequences of one CO3Dv2 category, or of all below a folder."""
    path = path.absolute()
    alone = (path / co3d.ANNOTATIONS).is_file()
    categories = [path] if alone else [child for child in _folders(path) if (child / co3d.ANNOTATIONS).is_file()]
    if not categories:
        return None
    sequences = co3d.Sequences(categories[0].parent)
    names = tuple(name for category in categories for name in sequences.names(category.name))
    if not names:
        raise InputError(
            f"{path}: {co3d.ANNOTATIONS} of {len(categories)} categories, but no sequence has its photos. Needed "
            "beside it are folders SEQUENCE/images: unpack the archives of the category too."
        )
    return ListedScenes(path, "co3d", names, sequences)


def _realestate(path: Path) -> ListedScenes | None:
    """All clips of RealEstate10K that have frames."""
    clips = realestate.find_clips(path)
    if clips is None:
        return None
    if not clips:
        raise InputError(
            f"{path}: camera files of RealEstate10K without any frames, which have to be taken from the videos. They "
            f"are looked for in {', '.join(place.format(clip='CLIP', split='SPLIT') for place in realestate.FRAMES)}."
        )
    return ListedScenes(path, "realestate10k", tuple(clips), partial(_list_clip, clips))


def _list_clip(clips: dict[str, tuple[Path, Path]], name: str) -> Listing:
    return realestate.listed(*clips[name])


def _list_folder(root: Path, layouts: dict[str, str], name: str) -> Listing:
    """A scene in a folder of its own."""
    if layouts[name] == MVIMGNET:
        return mvimgnet.listed(root / name)
    found = reader(next(known for known in LAYOUTS if known == layouts[name]))
    assert isinstance(found, PosedReader)
    return found.listed(root / name)


def _scenes(root: Path, folders: Iterator[Path], layout: Layout | None) -> tuple[dict[str, str], list[str]]:
    """(layout of each folder that is a scene, by its path below root; folders that are none)."""
    found: dict[str, str] = {}
    without, last = [], None
    for folder in folders:
        kind = _layout_of(folder, layout, last)
        name = folder.relative_to(root).as_posix()
        if kind is None:
            without.append(name)
        else:
            found[name] = last = kind
    return found, without


def _layout_of(folder: Path, layout: Layout | None, last: str | None) -> str | None:
    """The layout of a folder that is a scene, None for one that is not; what its neighbour was is tried first."""
    if layout is not None:
        return layout if reader(layout).matches(folder) else None
    if mvimgnet.matches(folder):
        return MVIMGNET
    hint = next((known for known in LAYOUTS if known == last), None)
    if hint is not None and reader(hint).matches(folder):
        return hint
    try:
        kind = recognise(folder)
    except ViewsError:
        raise
    except InputError:
        return None
    return None if kind in BARE else kind


def _folders(path: Path) -> Iterator[Path]:
    """The folders right below one, sorted by name; hidden ones are left out."""
    try:
        children = sorted(path.iterdir())
    except OSError as error:
        raise InputError(f"{path}: cannot be listed ({error.strerror or error}). Check its rights.") from error
    return (child for child in children if not child.name.startswith(".") and child.is_dir())
