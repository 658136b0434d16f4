"""Scenes on disk: a folder that is whole or absent, and whose files execute nothing when they are read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from diorama.cameras.pinhole import Cameras
from diorama.cameras.poses import Similarity
from diorama.data.images import write_png
from diorama.data.tensors import load_tensors, save_tensors
from diorama.data.transforms import write_transforms
from diorama.data.views import Frame
from diorama.errors import InputError, OutputError
from diorama.fields.hashgrid import HashField, HashFieldConfig
from diorama.fields.sampled_planes import SampledPlanes, SampledPlanesConfig
from diorama.files import check_free, whole_folder
from diorama.rendering.render import SamplingConfig
from diorama.scenes.config import from_json, to_json
from diorama.scenes.field import SceneField
from diorama.scenes.scene import Scene

FORMAT = 1
"""Version of the folder's layout; a newer one is refused."""

MAX_JSON_BYTES = 32 << 20


def save_scene(scene: Scene, path: Path | str, *, force: bool = False) -> Path:
    """Write a scene folder: `scene.json`, `field.safetensors`, `cameras.safetensors`, `transforms.json`, thumbnails.

    Built beside its place and renamed. Raises OutputError when the place is taken (without `force`), cannot be
    written, or the disk is full.
    """
    target = Path(path)
    check_scene_place(target, force=force)
    with whole_folder(target, force=force) as partial:
        (partial / "thumbnails").mkdir()
        _write(scene, partial)
    return target


def check_scene_place(target: Path, *, force: bool) -> None:
    """Raise OutputError where a scene may not be written: what exists needs `force`, which replaces scenes only."""
    check_free(target, force=force)
    if target.is_dir() and any(target.iterdir()) and not (target / "scene.json").exists():
        raise OutputError(f"{target} is a folder that is not a scene; --force replaces scenes only. Choose another -o.")


def _write(scene: Scene, folder: Path) -> None:
    save_tensors(folder / "field.safetensors", scene.field.state_dict(), {})
    save_tensors(folder / "cameras.safetensors", camera_tensors(scene.cameras), {"lens": scene.cameras.lens})
    if scene.held_out is not None:
        save_tensors(folder / "held_out.safetensors", camera_tensors(scene.held_out), {"lens": scene.held_out.lens})
    files = [f"thumbnails/{index:03d}.png" for index in range(len(scene.names))]
    if scene.thumbnails is not None:
        for file, thumbnail in zip(files, scene.thumbnails, strict=True):
            write_png(folder / file, thumbnail)
    write_transforms(folder / "transforms.json", scene.cameras, scene.names, scene.frame)
    card: dict[str, Any] = {
        "format": FORMAT,
        "kind": "field",
        "field_kind": scene.field.kind,
        "field": field_settings(scene.field.config),
        "sampling": to_json(scene.sampling),
        "background": scene.background,
        "sphere": scene.sphere,
        "similarity": scene.similarity.to_dict(),
        "frame": to_json(scene.frame),
        "near": scene.near,
        "far": scene.far,
        "names": list(scene.names),
        "thumbnails": files if scene.thumbnails is not None else [],
        "provenance": scene.provenance,
    }
    (folder / "scene.json").write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")


def camera_tensors(cameras: Cameras) -> dict[str, Tensor]:
    """Cameras as named tensors; `read_cameras` reads them back bit for bit."""
    names = ("camera_to_world", "focal", "centre", "size", "distortion")
    return {name: getattr(cameras, name) for name in names}


def read_cameras(file: Path) -> Cameras:
    """Cameras from a file of `camera_tensors`."""
    tensors, meta = load_tensors(file)
    return Cameras(lens=meta["lens"], **tensors)


def load_scene(path: Path | str, device: str | torch.device = "cpu") -> Scene:
    """A scene folder. Raises InputError with advice when it is none, damaged, or of a newer version."""
    folder = Path(path)
    card = read_card(folder)
    tensors, _ = load_tensors(folder / "field.safetensors", device)
    try:
        field = build_field(card.get("field_kind", HashField.kind), card["field"])  # once there was one kind alone
        field.load_state_dict(tensors)
        return Scene(
            field=cast(SceneField, field.to(device).eval()),
            sampling=from_json(SamplingConfig, card["sampling"]),
            background=card["background"],
            sphere=card["sphere"],
            similarity=Similarity.from_dict(card["similarity"]),
            cameras=read_cameras(folder / "cameras.safetensors"),
            names=tuple(card["names"]),
            frame=from_json(Frame, card["frame"]),
            near=float(card["near"]),
            far=float(card["far"]),
            provenance=card["provenance"],
            thumbnails=_thumbnails(folder, card["thumbnails"]),
            held_out=read_cameras(held_out) if (held_out := folder / "held_out.safetensors").is_file() else None,
        )
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{folder} is a damaged scene ({error}). Reconstruct it again.") from error


def field_settings(config: Any) -> dict[str, Any]:
    """A field's settings as they are stored.

    An own plane that is kept goes without saying, and that no view is asked first, so that versions which knew nothing
    else read the scene.
    """
    settings: dict[str, Any] = to_json(config)
    unsaid = (("own_plane", "keep"), ("first", ()))
    return {name: value for name, value in settings.items() if (name, value) not in unsaid}


def build_field(kind: str, settings: Mapping[str, Any]) -> nn.Module:
    """The field (a `SceneField`) of a kind, from the settings in a `scene.json`; its numbers are loaded afterwards.

    Raises InputError for a kind that is not known.
    """
    match kind:
        case HashField.kind:
            return HashField(from_json(HashFieldConfig, settings))
        case SampledPlanes.kind:
            return SampledPlanes(from_json(SampledPlanesConfig, settings))
    raise InputError(f"this scene holds a field of the kind {kind!r}, unknown here. Upgrade: pip install -U diorama")


def read_card(folder: Path) -> dict[str, Any]:
    """`scene.json` of a scene folder, checked for its version."""
    file = folder / "scene.json"
    if not file.is_file():
        hint = ""
        if folder.with_name(folder.name + ".partial").is_dir():
            hint = " An unfinished fit lies beside it: run the same `diorama reconstruct` command again to finish it."
        elif within := sorted(card.parent for card in folder.glob("*/scene.json")):
            hint = f" It holds {len(within)} scenes: name one of them, as {within[0]}."
        raise InputError(f"{folder} is not a scene: it has no scene.json.{hint} `diorama reconstruct` makes scenes.")
    if file.stat().st_size > MAX_JSON_BYTES:
        raise InputError(f"{file} is larger than a scene.json can be.")
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        version = int(card["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{file} is not readable ({error}). Reconstruct the scene again.") from error
    if version > FORMAT:
        raise InputError(
            f"{folder} has scene format {version}; this diorama reads up to {FORMAT}. Upgrade: pip install -U diorama"
        )
    return card


def _thumbnails(folder: Path, files: list[str]) -> Tensor | None:
    from diorama.data.images import read_image

    if not files:
        return None
    pictures = []
    for file in files:
        place = (folder / file).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise InputError(f"{folder}/scene.json points outside its folder ({file}).")
        pictures.append(read_image(place)[0])
    return torch.stack(pictures)
