"""Pictures of worlds, written once to a local folder and read many times at random.

A folder holds `recipe.json` (what was asked for) and numbered safetensors files, each whole or absent: a stopped
writer goes on where it was, and several writers can share the work. Colour is kept linear, so that every reading can
be another camera's photograph.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int16
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diorama.errors import InputError, OutputError
from diorama.files import clear_errors, whole_file, write_json, write_tensors

RECIPE = "recipe.json"
NEAREST, FARTHEST = 0.01, 5000.0
"""Metres: the span of packed depth, in 65,535 equal steps of its logarithm (0.02 % each). Beyond: the sky."""
STEPS = 65534


def pack_depth(depth: Float[Tensor, "*n"]) -> Int16[Tensor, "*n"]:
    """Planar depth in metres in two bytes; infinity and what is beyond `FARTHEST` become the last code."""
    share = (depth.clamp(NEAREST, FARTHEST) / NEAREST).log() / math.log(FARTHEST / NEAREST)
    code = torch.where(depth > FARTHEST, STEPS + 1.0, (share * STEPS).round())
    return (code - 32768).to(torch.int16)


def unpack_depth(code: Int16[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The inverse of `pack_depth`, to 0.01 %; the last code is infinity."""
    share = (code.to(torch.float32) + 32768) / STEPS
    depth = NEAREST * torch.exp(share * math.log(FARTHEST / NEAREST))
    return torch.where(share > 1, torch.inf, depth)


def write_shards(
    folder: Path,
    make: Callable[[int], dict[str, Tensor]],
    count: int,
    recipe: Mapping[str, Any],
    *,
    rank: int = 0,
    ranks: int = 1,
    told: Callable[[int], None] | None = None,
) -> int:
    """Write the shards that are missing among the first `count`; returns how many that were.

    make: shard number -> tensors whose first axes agree; it must depend on the number alone. recipe: what `make` was
    made from, as JSON. rank of ranks: this writer's share. told: called after each shard.
    Raises OutputError if the folder holds shards of another recipe, or cannot be written.
    """
    wanted = json.loads(json.dumps(dict(recipe)))
    known = folder / RECIPE
    if known.exists():
        found = _read_recipe(folder)
        if found != wanted:
            changed = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
            raise OutputError(f"{folder} holds shards of another recipe ({', '.join(changed)}). Give another folder.")
    else:
        with clear_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_json(known, wanted)
    written = 0
    for index in range(rank, count, ranks):
        path = shard_path(folder, index)
        if path.exists():
            continue
        tensors = {name: tensor.contiguous() for name, tensor in make(index).items()}
        with whole_file(path, force=True) as temporary:
            write_tensors(temporary, tensors)
        written += 1
        if told is not None:
            told(index)
    return written


def shard_path(folder: Path, index: int) -> Path:
    """Where a shard lies."""
    return folder / f"{index:05d}.safetensors"


def _read_recipe(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / RECIPE} cannot be read ({error}). Is {folder} a folder of shards?") from error
    if not isinstance(found, dict):
        raise InputError(f"{folder / RECIPE} is no JSON object. Is {folder} a folder of shards?")
    return found


@dataclass(frozen=True)
class Shards:
    """The rows of all shards of a folder, as one table that is read a few rows at a time."""

    folder: Path
    recipe: Mapping[str, Any]
    files: tuple[Path, ...]
    starts: tuple[int, ...]
    """Number of the first row of each file, and the number of all rows."""

    @staticmethod
    def open(folder: Path) -> "Shards":
        """The shards that are there; InputError if there are none or one is damaged."""
        recipe = _read_recipe(folder)
        files = tuple(sorted(folder.glob("[0-9]*.safetensors")))
        if not files:
            raise InputError(f"{folder} holds no shards. Write some first.")
        starts = [0]
        for file in files:
            starts.append(starts[-1] + _rows_of(file))
        return Shards(folder, recipe, files, tuple(starts))

    def __len__(self) -> int:
        return self.starts[-1]

    def rows(self, indices: Sequence[int], names: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Some rows of every tensor, or of those named, in the order asked for. Only they are read."""
        places = torch.bucketize(torch.tensor(indices), torch.tensor(self.starts[1:]), right=True).tolist()
        parts: dict[str, list[Tensor]] = {}
        for file_index in sorted(set(places)):
            with safe_open(self.files[file_index], framework="pt") as content:
                for name in content.keys() if names is None else names:
                    column = content.get_slice(name)
                    taken = parts.setdefault(name, [torch.empty(0)] * len(indices))
                    for order, (index, place) in enumerate(zip(indices, places, strict=True)):
                        if place == file_index:
                            local = index - self.starts[place]
                            taken[order] = column[local : local + 1]
        return {name: torch.cat(taken) for name, taken in parts.items()}


def _rows_of(file: Path) -> int:
    try:
        with safe_open(file, framework="pt") as content:
            names = list(content.keys())
            lengths = {content.get_slice(name).get_shape()[0] for name in names}
    except (SafetensorError, OSError, IndexError) as error:
        raise InputError(f"{file} is no whole shard ({error}). Delete it and write the shards again.") from error
    if len(lengths) != 1:
        raise InputError(
            f"{file}: tensors of {sorted(lengths)} rows, which should agree. Delete it and write it again."
        )
    return int(lengths.pop())
