"""Tensors and a little JSON in one safetensors file, replaced atomically; nothing is pickled."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from diorama.errors import InputError, OutputError
from diorama.files import whole_file, write_tensors


def save_tensors(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write tensors and JSON-ready metadata; the file is whole or the old one stays.

    Raises OutputError when the disk is full or the folder cannot be written.
    """
    flat = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    try:
        with whole_file(path, force=True) as partial:
            write_tensors(partial, flat, {"meta": json.dumps(dict(meta))})
    except OSError as error:
        raise OutputError(
            f"{path} could not be written ({error}). The last whole file is kept; free some space or choose another "
            "place with -o, then run the same command again."
        ) from error


def load_tensors(path: Path, device: str | torch.device = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote. Raises InputError for a file that is cut short or something else."""
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            meta = json.loads((file.metadata() or {}).get("meta", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is not a whole safetensors file ({error}). Copy it again or delete it.") from error
