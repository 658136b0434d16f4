"""Weights on disk: a folder with `config.json`, `model.safetensors` and a card, `README.md`.

This is the layout of the Hugging Face hub, so `huggingface_hub.upload_folder` and `snapshot_download` carry such a
folder as it is; its mixin is not used, because it downloads, prints, ignores settings it does not know, loads loosely
and falls back to pickles. Here nothing in a folder is ever executed, nothing is fetched, and nothing is left over: the
kind of model is a word that the caller knows, safetensors holds numbers only, and every name and shape must fit.

Weights that come with the package lie in `diorama/weights/<name>/` and are asked for by name. They have at most 7.5
million parameters a file, in float16 (16 MB); what is smaller than 1 MB may be float32.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from diorama.errors import InputError, OutputError
from diorama.files import whole_folder, write_tensors

FORMAT = 1
"""Version of the folder; a newer one is refused."""

SHIPPED = Path(__file__).resolve().parents[1] / "weights"
"""Where the weights inside the package lie."""

MOST_SHIPPED_PARAMETERS = 7_500_000
"""Parameters in one shipped file; in float16 that is 15 MB."""

LARGEST_CONFIG = 1 << 20
"""Bytes; no model's settings are longer."""

PICKLES = frozenset({".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle"})
"""Suffixes of files that run code when they are read."""

_NAMES_SHOWN = 6


@dataclass(frozen=True)
class Pretrained:
    """A folder of weights whose `config.json` has been read and checked; the weights are read when asked for."""

    folder: Path
    kind: str
    """The word by which the folder names the class of its model."""
    settings: dict[str, Any]
    """What the model's config must say; as JSON has it, so check it."""

    @property
    def weights(self) -> Path:
        """The file of the model's weights."""
        return self.folder / "model.safetensors"

    def tensors(self, name: str = "model", device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """The tensors of `<name>.safetensors`, as stored; see `read_tensors`."""
        return read_tensors(self.folder / f"{name}.safetensors", device)


def save_pretrained(
    folder: Path | str,
    kind: str,
    settings: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    more: Mapping[str, Mapping[str, Tensor]] | None = None,
    card: str = "",
    licence: str | None = None,
    half: bool = False,
    force: bool = False,
) -> Path:
    """Write a folder of weights, whole or not at all.

    settings: plain JSON values. more: further files by name, such as {"raw": ...} for weights before averaging.
    card: Markdown of the README (training data, steps, hardware, metrics); the facts that can be counted are put above
    it. half: store floating-point tensors as float16. Raises OutputError when the folder exists (without `force`, which
    replaces folders of weights only), cannot be written, or when a tensor holds what the storage cannot: NaN, infinity,
    or, with `half`, values beyond 65504.
    """
    target = Path(folder)
    _check_place(target, force=force)
    files = {"model": tensors, **(more or {})}
    stored = {name: _stored(values, f"{name}.safetensors", half=half) for name, values in files.items()}
    config = json.dumps({"format": FORMAT, "kind": kind, "settings": dict(settings)}, indent=2, allow_nan=False)
    with whole_folder(target, force=True) as partial:
        (partial / "config.json").write_text(config + "\n", encoding="utf-8")
        for name, values in stored.items():
            write_tensors(partial / f"{name}.safetensors", values, {"format": "pt"})
            (partial / f"{name}.safetensors").chmod((partial / "config.json").stat().st_mode)  # not the owner's alone
        (partial / "README.md").write_text(_card(kind, stored, card, licence), encoding="utf-8")
    return target


def read_pretrained(place: Path | str, kinds: Collection[str]) -> Pretrained:
    """The folder at `place`, or the shipped one of that name, if it is of one of `kinds`.

    Raises InputError where there is none, where it is of another kind or newer than this version, or is a pickle.
    """
    folder = find_pretrained(place)
    config = _read_config(folder / "config.json")
    if config.get("kind") not in kinds or not isinstance(config.get("settings"), dict):
        raise InputError(
            f"{folder} holds a model of kind {config.get('kind')!r}; needed here: {' or '.join(sorted(kinds))}."
        )
    return Pretrained(folder, config["kind"], config["settings"])


def kind_of(place: Path | str) -> str:
    """The word by which the folder at `place`, or the shipped one of that name, names its class. InputError if none."""
    return str(_read_config(find_pretrained(place) / "config.json").get("kind"))


def find_pretrained(place: Path | str) -> Path:
    """The folder `place`, else the folder inside the package of that name. InputError if there is neither."""
    path = Path(place)
    if path.suffix.lower() in PICKLES:
        raise InputError(_refusal(path))
    if path.is_file():
        raise InputError(f"{path} is a file. Give the folder that holds config.json and model.safetensors.")
    if path.is_dir():
        return path
    named = SHIPPED / path.name
    if str(place) == path.name and path.name not in ("", ".", "..") and named.is_dir():
        return named
    raise InputError(
        f"{place} is neither a folder nor the name of weights that come with diorama "
        f"({', '.join(shipped()) or 'none'}). Give the folder that holds config.json and model.safetensors; "
        "nothing is downloaded."
    )


def shipped() -> list[str]:
    """Names of the weights inside the package."""
    return sorted(path.parent.name for path in SHIPPED.glob("*/config.json"))


@dataclass(frozen=True)
class KeyReport:
    """How the tensors of a file differ from those a model has."""

    missing: tuple[str, ...]
    """Names the model has and the file has not."""
    unexpected: tuple[str, ...]
    """Names the file has and the model has not."""
    misshapen: tuple[str, ...]
    """Names both have, with what the file holds and what is needed."""

    @property
    def fits(self) -> bool:
        """Whether there is no difference."""
        return not (self.missing or self.unexpected or self.misshapen)

    def __str__(self) -> str:
        """One line; long lists are cut."""
        parts = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.misshapen}
        return "; ".join(f"{len(names)} {what} ({_some(names)})" for what, names in parts.items() if names)


def key_report(needed: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> KeyReport:
    """Compare names, shapes and kinds of number (float16 for float32 is no difference, integers for floats are)."""
    misshapen = []
    for name in sorted(set(needed) & set(found)):
        want, have = needed[name], found[name]
        if want.shape != have.shape:
            misshapen.append(f"{name}: {tuple(have.shape)} in the file, {tuple(want.shape)} needed")
        elif want.is_floating_point() != have.is_floating_point():
            misshapen.append(f"{name}: {have.dtype} in the file, {want.dtype} needed")
    return KeyReport(
        missing=tuple(sorted(set(needed) - set(found))),
        unexpected=tuple(sorted(set(found) - set(needed))),
        misshapen=tuple(misshapen),
    )


def assign_strict(model: nn.Module, tensors: Mapping[str, Tensor], source: Path | str) -> None:
    """Give a model all its parameters and buffers, none more and none fewer, in the model's own precision.

    A model on the meta device receives the tensors' device with them, so that a file can never make it larger than the
    file itself is. `source` is what an error names. Raises InputError with a `KeyReport` when they do not fit, or when
    a tensor is not finite.
    """
    needed = model.state_dict()
    report = key_report(needed, tensors)
    if not report.fits:
        raise InputError(
            f"{source} does not fit its config.json: {report}. Copy the whole folder again, or use the version of "
            "diorama that wrote it."
        )
    broken = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise InputError(f"{source} holds values that are not finite ({_some(broken)}). It is damaged: copy it again.")
    unborn = any(tensor.is_meta for tensor in needed.values())
    own = {name: tensor.to(needed[name].dtype, copy=unborn) for name, tensor in tensors.items()}
    model.load_state_dict(own, strict=True, assign=unborn)


def read_tensors(path: Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """All tensors of a safetensors file, as stored. InputError when it is missing, cut short, or a pickle."""
    if not path.is_file():
        pickles = sorted(file for file in path.parent.glob("*") if file.suffix.lower() in PICKLES)
        if pickles:
            raise InputError(_refusal(pickles[0]))
        raise InputError(f"{path} is missing. Copy the whole folder again.")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")):
            raise InputError(_refusal(path)) from error
        raise InputError(f"{path} is not a whole safetensors file ({error}). Copy or download it again.") from error


def _refusal(path: Path) -> str:
    return (
        f"{path} is a pickle, and reading a pickle can run any code in it; diorama reads safetensors only. If you "
        "trust its origin: safetensors.torch.save_file(torch.load(FILE, weights_only=True), 'model.safetensors'), "
        "with a config.json beside it."
    )


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path.parent} holds no weights: config.json is missing. Give the folder that contains it.")
    if path.stat().st_size > LARGEST_CONFIG:
        raise InputError(f"{path} is larger than {LARGEST_CONFIG} bytes, which no model's settings are.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON ({error}). Copy or download the folder again.") from error
    if not isinstance(config, dict) or type(config.get("format")) is not int:
        raise InputError(f"{path} is not the description of weights for diorama: it states no format version.")
    if config["format"] > FORMAT:
        raise InputError(
            f"{path} has format {config['format']}, this diorama reads up to {FORMAT}. Install a newer diorama."
        )
    return config


def _stored(tensors: Mapping[str, Tensor], file: str, *, half: bool) -> dict[str, Tensor]:
    stored = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        if plain.is_floating_point():
            plain = plain.half() if half else plain
            if not plain.isfinite().all():
                limit = " beyond 65504, which float16 cannot hold (store it without half)" if half else ""
                raise OutputError(f"{name} in {file} has values that are not finite{limit}; nothing was written.")
        stored[name] = plain
    return stored


def _card(kind: str, files: Mapping[str, Mapping[str, Tensor]], text: str, licence: str | None) -> str:
    from huggingface_hub import ModelCardData

    header = ModelCardData(license=licence, library_name="diorama", tags=["diorama", kind]).to_yaml()
    rows = [
        f"| {name}.safetensors | {sum(tensor.numel() for tensor in tensors.values()):,} | "
        f"{', '.join(sorted({str(tensor.dtype).removeprefix('torch.') for tensor in tensors.values()}))} |"
        for name, tensors in files.items()
    ]
    table = "\n".join(["| file | numbers | stored as |", "|---|---|---|", *rows])
    return (
        f"---\n{header}\n---\n\n# {kind}\n\n{table}\n\n{text.strip() or 'How it was trained was not written down.'}\n"
    )


def _check_place(target: Path, *, force: bool) -> None:
    if not (target.exists() or target.is_symlink()):
        return
    if not force:
        raise OutputError(f"{target} exists already. Choose another name, or remove it first.")
    if not target.is_dir() or (any(target.iterdir()) and not (target / "config.json").is_file()):
        raise OutputError(f"{target} is not a folder of weights, and only those are replaced. Choose another name.")


def _some(names: Collection[str]) -> str:
    listed = list(names)
    rest = f", and {len(listed) - _NAMES_SHOWN} more" if len(listed) > _NAMES_SHOWN else ""
    return ", ".join(listed[:_NAMES_SHOWN]) + rest
