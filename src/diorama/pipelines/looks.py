"""What a training leaves behind of each look at held-out data: figures by step, and a sheet of pictures."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from diorama.data.images import write_png
from diorama.files import write_json

HELD_OUT_FILE = "held_out.json"
"""Of a run's folder: what each look found, by step."""
SAMPLES = "samples"
"""Of a run's folder: a sheet of pictures a look."""


def read_figures(folder: Path) -> dict[str, Any]:
    """What the looks of a run found, by step (as text); empty where there was none."""
    file = folder / HELD_OUT_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def add_figures(folder: Path, step: int, found: Mapping[str, Any] | Sequence[Any]) -> None:
    """Add what a look found, as JSON; a step that is looked at again replaces what was there."""
    write_json(folder / HELD_OUT_FILE, read_figures(folder) | {str(step): found})


def add_sheet(folder: Path, step: int, sheet: Float[Tensor, "3 h w"]) -> None:
    """Write the pictures of a look."""
    (folder / SAMPLES).mkdir(exist_ok=True)
    write_png(folder / SAMPLES / f"{step:07d}.png", sheet)


def picture_row(pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "3 hh ww"]:
    """Side by side, twice as large, with white between them."""
    large = pictures.repeat_interleave(2, dim=-1).repeat_interleave(2, dim=-2)
    return torch.cat(list(torch.nn.functional.pad(large, (2, 2, 2, 2), value=1.0)), dim=-1)
