"""Splits: which photos a scene may learn from and which are held out, frozen by name and by hash.

Where the split comes from (`--split`):
- `auto`: the data set's own split where it ships one (`Views.splits` has `train` and `test`); else `every8` with 20
  photos or more; else `none`, because a user with five photos wants all five used.
- `none`: every photo trains.
- `every8`: the sorted names of the photos that exist; index % 8 == 0 is held out (the LLFF convention).
- `protocol`: the published split of the benchmark: the one shipped with the data set, `every8` for LLFF scenes.
- a path: a JSON file `{"train": [names], "test": [names]}`.

`count` (`--views N`) takes the test views of that split out first (`every8` where `auto` gave none) and then picks N of
the rest: the first N of `Views.splits["train_order"]` where a protocol fixes an order (DTU), for everything else
`pool[round(linspace(0, len(pool) - 1, N))]`, a half rounded to the even neighbour.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from diorama.data.views import Views
from diorama.errors import InputError

MINIMUM_FOR_EVERY_EIGHTH = 20
"""Photos from which `auto` holds every eighth one out."""

MAX_SPLIT_BYTES = 16 << 20
"""A split file is a list of names; anything larger is not one."""


@dataclass(frozen=True)
class Split:
    """Names of the photos a scene learns from and of those it never sees; train and test share no name.

    source says in words where it came from. digest is the SHA-256 of the ids; it is computed when empty and checked
    when given, so that a split that was stored and then altered is refused.
    """

    source: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    digest: str = ""

    def __post_init__(self) -> None:
        for role, names in (("train", self.train), ("test", self.test)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise InputError(f"the split ({self.source}) lists {twice[:3]} twice in {role}. List each photo once.")
        both = sorted(set(self.train) & set(self.test))
        if both:
            raise InputError(
                f"the split ({self.source}) trains on {len(both)} of its own test photos, {both[:3]} first. "
                "A photo is either learned from or held out: take them out of one of the two lists."
            )
        computed = split_digest(self.train, self.test)
        if self.digest and self.digest != computed:
            raise InputError(
                f"the split ({self.source}) has digest {self.digest[:12]}, but its names hash to {computed[:12]}: "
                "the names were changed after the split was made. Make the split again."
            )
        object.__setattr__(self, "digest", computed)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form; `from_dict` reads it back and checks the digest."""
        return {"source": self.source, "train": list(self.train), "test": list(self.test), "digest": self.digest}

    @staticmethod
    def from_dict(stored: dict[str, Any]) -> "Split":
        """A split that was stored with `to_dict`."""
        return Split(stored["source"], tuple(stored["train"]), tuple(stored["test"]), stored.get("digest", ""))


def split_digest(train: Sequence[str], test: Sequence[str]) -> str:
    """SHA-256 over the canonical JSON of the ids: sorted names, sorted keys, no spaces, UTF-8.

    Two splits with the same photos in the same roles have the same digest, whatever the order or the source.
    """
    ids = {"test": sorted(test), "train": sorted(train)}
    text = json.dumps(ids, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def every_eighth(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(pool, test) of the LLFF convention: sorted names, every index divisible by 8 is held out."""
    ordered = sorted(names)
    pool = tuple(name for index, name in enumerate(ordered) if index % 8)
    return pool, tuple(ordered[::8])


def spread_indices(length: int, count: int) -> list[int]:
    """round(linspace(0, length - 1, count)), a half rounded to the even neighbour, in exact arithmetic.

    The rounding matters: horns with three views is 1, 30, 61 and not 1, 31, 61 (spec diffusionerf.md, 5.1).
    """
    if count == 1:
        return [0]
    return [round(Fraction(index * (length - 1), count - 1)) for index in range(count)]


def make_split(views: Views, mode: str | Path = "auto", count: int | None = None) -> Split:
    """The split of these views; see the head of this file for the modes and for `count`.

    Errors: InputError where the mode is unknown, the file does not fit the photos, nothing is left to train on, or
    more views are asked for than the pool holds.
    """
    source, pool, test = _roles(views, mode)
    if count is not None and mode == "auto" and not test:
        source = "every8"
        pool, test = every_eighth(views.names)
    if not pool:
        raise InputError(
            f"the split {source} leaves no photo to learn from: {len(views)} photos, {len(test)} held out. "
            "Add photos, or take --split none."
        )
    if count is None:
        return Split(source, pool, test)
    order = views.splits.get("train_order") if source in ("dataset", "protocol") else None
    candidates = order or pool
    if not 1 <= count <= len(candidates):
        raise InputError(
            f"--views {count}: the split {source} holds {len(test)} of {len(views)} photos out and leaves "
            f"{len(candidates)} to choose from. Ask for 1 to {len(candidates)}, or take another --split."
        )
    indices = range(count) if order else spread_indices(len(candidates), count)
    return Split(f"{source}, {count} views", tuple(candidates[index] for index in indices), test)


def _roles(views: Views, mode: str | Path) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(source, pool, test) before any views are picked."""
    shipped = views.splits if views.splits.get("train") and views.splits.get("test") else None
    match mode:
        case "auto" if shipped:
            return ("dataset", *_shipped(views))
        case "auto" if len(views) >= MINIMUM_FOR_EVERY_EIGHTH:
            return ("every8", *every_eighth(views.names))
        case "auto" | "none":
            return "none", tuple(sorted(views.names)), ()
        case "every8":
            return ("every8", *every_eighth(views.names))
        case "protocol" if shipped:
            return ("protocol", *_shipped(views))
        case "protocol" if views.layout == "llff":
            return ("protocol", *every_eighth(views.names))
        case "protocol":
            raise InputError(
                f"--split protocol: no benchmark split is known for photos of layout {views.layout}. "
                "Take --split every8, or give a JSON file {train: [names], test: [names]}."
            )
        case _:
            return _read_split(views, Path(mode))


def _shipped(views: Views) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The data set's own train and test names, checked against the photos that exist."""
    for role in ("train", "test"):
        views.index_of(views.splits[role])
    return tuple(views.splits["train"]), tuple(views.splits["test"])


def _read_split(views: Views, path: Path) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """(source, train, test) from a JSON file; every name must be a photo of these views."""
    wanted = "Needed: auto, none, every8, protocol, or a JSON file {train: [names], test: [names]}."
    if not path.is_file():
        raise InputError(f"--split {path}: neither a known split nor a file. {wanted}")
    if path.stat().st_size > MAX_SPLIT_BYTES:
        raise InputError(f"--split {path}: {path.stat().st_size >> 20} MB is too large for a list of names. {wanted}")
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"--split {path}: not readable as JSON ({error}). {wanted}") from error
    roles = []
    for role in ("train", "test"):
        names = content.get(role) if isinstance(content, dict) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"--split {path}: no list of names under {role!r}. {wanted}")
        unknown = [name for name in names if name not in views.names]
        if unknown:
            raise InputError(
                f"--split {path}: {len(unknown)} names under {role!r} are no photos here, {unknown[:3]} first. "
                f"The photos are called {list(views.names[:3])} ..."
            )
        roles.append(tuple(names))
    return f"file {path.name}", roles[0], roles[1]
