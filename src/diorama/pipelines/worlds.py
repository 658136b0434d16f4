"""`diorama worlds`: a contact sheet of procedural scenes, to be looked at before anything learns from them."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from diorama.data.images import write_png
from diorama.data.views import Views
from diorama.errors import InputError
from diorama.files import check_free, whole_file
from diorama.rendering.false_colour import colour_depth
from diorama.worlds.dataset import ViewGroup, Worlds, WorldsConfig
from diorama.worlds.layouts import Kind

MOST = 400
"""Worlds on one sheet."""
FOCAL = 175 / 256
"""Focal length in widths of the picture: that of the patch prior's camera, 72 degrees across."""
GAP = 3
"""White pixels around each picture."""


@dataclass(frozen=True)
class Options:
    """Draw a contact sheet of procedural worlds: exact scenes made from nothing but a kind and a seed."""

    kind: Kind | Literal["mixed"] = "mixed"
    """What kind of world: `mixed` takes all of them in turn."""
    count: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 16
    """How many worlds."""
    seed: int = 0
    """Which worlds; the same seed draws the same sheet."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("worlds.png")
    """The PNG to write."""
    views: int = 1
    """Pictures of each world, side by side."""
    depth: bool = False
    """Draw each picture's depth below it, in false colour."""
    width: int = 256
    """Width of a picture in pixels; three quarters as high."""
    textures: Path | None = None
    """A folder of photos, crops of which 30 to 50 % of the materials show."""
    force: bool = False
    """Replace an existing output."""


def command(options: Options) -> int:
    """Draw the sheet and say where it is."""
    check_free(options.output, force=options.force)
    if not 1 <= options.count <= MOST or options.views < 1 or options.width < 16:
        raise InputError(
            f"{options.count} worlds with {options.views} pictures of {options.width} pixels. Needed: 1 to {MOST} "
            "worlds, at least one picture of each, at least 16 pixels wide."
        )
    kinds = get_args(Kind) if options.kind == "mixed" else (options.kind,)
    width, height = options.width, options.width * 3 // 4
    groups = [
        ViewGroup(
            Worlds(WorldsConfig((kind,), options.seed, options.textures)), options.views, width, height, FOCAL * width
        )
        for kind in kinds
    ]
    scenes = [groups[index % len(groups)](index)[0] for index in range(options.count)]
    with whole_file(options.output, force=options.force) as temporary:
        write_png(temporary, sheet(scenes, depth=options.depth))
    print(f"{options.output}: {options.count} worlds ({', '.join(kinds)}), seed {options.seed}")
    return 0


def sheet(scenes: list[Views], *, depth: bool) -> Float[Tensor, "3 h w"]:
    """Photographs in rows that make the sheet about as wide as high; scenes have equally many of one size."""
    views, height, width = len(scenes[0]), *scenes[0].images.shape[2:]
    cell = width * views / (height * (1 + depth))
    columns = min(len(scenes), max(1, round(math.sqrt(len(scenes) * 1.4 / cell))))
    blocks = []
    for scene in scenes:
        block = _row(list(scene.images))
        if depth:
            assert scene.depth is not None
            block = torch.cat([block, _row([_false_colour(one) for one in scene.depth])], dim=1)
        blocks.append(block)
    blank = torch.ones_like(blocks[0])
    rows = [blocks[start : start + columns] for start in range(0, len(blocks), columns)]
    return torch.cat([torch.cat([*row, *[blank] * (columns - len(row))], dim=2) for row in rows], dim=1)


def _row(pictures: list[Tensor]) -> Tensor:
    return torch.cat([torch.nn.functional.pad(one, (GAP,) * 4, value=1.0) for one in pictures], dim=2)


def _false_colour(depth: Tensor) -> Tensor:
    solid = depth[depth > 0]
    if not len(solid):
        return torch.zeros(3, *depth.shape)
    near, far = (float(value) for value in solid.quantile(torch.tensor([0.01, 0.98])))
    return colour_depth(depth, (depth > 0).to(depth), near, max(far, 1.01 * near))
